"""What a run left behind: settings, records, its folder, statistics, criteria, verdicts, summary and charts.

`runs`, `steps`, `samples` and `criteria` give it as pandas frames, which need `pip install 'claas[data]'`. Each takes a
run's folder, a folder that runs are in, or several of them. What their columns mean stands in docs/reference.md;
`frame.attrs["schema_version"]` grows when one of them goes, or means something else.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

Places = str | Path | Iterable[str | Path]


def runs(places: Places, *, all_settings: bool = False) -> Any:
    """A frame with a row for each run, whatever its state, and for each folder that looks like one, with the reason why
    it cannot be read.

    Its last columns are the settings that are not the same in all runs (all settings with `all_settings`), by dotted
    name: `training.learning_rate`.
    """
    from claas.results.frames import runs_frame

    return runs_frame(places, all_settings=all_settings)


def steps(places: Places) -> Any:
    """A frame with a row for each number of each measurement, the baseline as update 0, with its interval where pages
    draw one; and for what updates reported, tokens and timing.

    A run that cannot be read is no row but a warning, and an `InvalidInput` where it was the one asked for.
    """
    from claas.results.frames import steps_frame

    return steps_frame(places)


def samples(places: Places, updates: Collection[int] | None = None) -> Any:
    """A frame with a row for each transcript: prompt, answer or scored text, and what the verifier said.

    `updates` are the measurements to read, as in `[0, 20]`; None: all. They are most of what a run's folder holds.
    """
    from claas.results.frames import samples_frame

    return samples_frame(places, updates)


def criteria(places: Places) -> Any:
    """A frame with a row for each criterion of each preference: the estimate with its interval, the threshold, and the
    verdict as it stands. Controls are not judged, and have no rows."""
    from claas.results.frames import criteria_frame

    return criteria_frame(places)
