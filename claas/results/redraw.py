"""The pictures of a run drawn anew from its records, in other formats or another style."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from claas.results.efficiency import flip_of
from claas.results.figure import write_flips, write_plots, write_transfer
from claas.results.run_index import read_run


def redraw(
    root: Path, formats: Sequence[str] | None = None, style: str | None = None, output: Path | None = None
) -> list[Path]:
    """Draw every picture of the run in a folder into `plots` there, or in `output`, and say which were written.

    What is not given is as the run has it. `InvalidInput` where the folder holds no run that can be read.
    """
    run = read_run(str(root), root)
    given = {"plot_formats": list(formats) if formats else None, "plot_style": style}
    config = replace(run.config, **{name: value for name, value in given.items() if value is not None})
    into, name = output or root, run.manifest.run_id
    written = write_plots(into, name, config, run.histories, run.interval)
    if run.summary is not None and run.summary.transfer is not None:
        written += write_transfer(into, name, config, run.summary.transfer)
    shown = [track for track in run.tracks if track.name in run.histories]
    found = {track.name: flip_of(run.histories[track.name], track.flips_at) for track in shown}
    flips = {name: flip for name, flip in found.items() if flip is not None}
    return written + (write_flips(into, name, config, flips) if flips else [])
