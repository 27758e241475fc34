"""Run folders made of synthetic records, as the harness would have left them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import claas
from claas.results import summary
from claas.results.manifest import new_manifest
from claas.results.overview import Listed, listed
from claas.results.records import History, Metadata
from claas.results.run_files import RunFiles
from claas.results.run_index import FOLDER, Folder, RunIndex, read_run
from claas.results.settings import EvalConfig
from tests.results.synthetic_runs import World, make_history

EXAMPLE = Path(claas.__file__).parents[1] / "data" / "examples" / "concise-3-steps"


class Few(World):
    """So few prompts that nothing is resampled: for tests that read many runs."""

    items, heldouts, pairs, prompts = 4, 4, 2, 2


def few(preference: str = "concise", **settings: Any) -> History:
    """A preference measured on few prompts."""
    return make_history(Few(), preference, **settings)


def write_run(
    folder: Path,
    histories: Mapping[str, History],
    *,
    summarised: bool = True,
    created: str | None = None,
    **config: Any,
) -> EvalConfig:
    """A run folder with these records; `config` is what differs from the default configuration."""
    steps = max((history.planned_steps for history in histories.values()), default=3)
    asked = EvalConfig(**{"preferences": list(histories) or ["concise"], "num_steps": steps, "plots": False} | config)
    files, resolved = RunFiles(folder), asked.resolved()
    folder.mkdir(parents=True)
    manifest = new_manifest(folder.name, resolved)
    manifest = manifest if created is None else manifest.model_copy(update={"created": created})
    files.config.write_text(manifest.model_dump_json(indent=2))
    for name, history in histories.items():
        write_preference(files, name, history)
    if summarised:
        summary.write(folder, summary.build_summary(manifest.run_id, resolved, histories))
    return resolved


def write_preference(files: RunFiles, name: str, history: History) -> None:
    """The records of one preference, as far as it has come."""
    preference = files.preference(name)
    preference.root.mkdir()
    preference.write_metadata(Metadata(preference=name, lora_id=f"eval/{name}", run_id=files.root.name, config={}))
    if history.baseline is not None:
        preference.baseline.write_text(history.baseline.model_dump_json())
    if history.steps:
        preference.steps.write_text("".join(line + "\n" for line in lines(history)))


def lines(history: History) -> list[str]:
    return [step.model_dump_json() for step in history.steps]


def read(folder: Path) -> RunIndex:
    return read_run(folder.name, folder)


def without_transcripts(history: History) -> History:
    """The history as pages hold it."""
    baseline = history.baseline and history.baseline.model_copy(update={"rollouts": []})
    return replace(
        history, baseline=baseline, steps=tuple(step.model_copy(update={"rollouts": []}) for step in history.steps)
    )


def timed(history: History, at_s: list[float], phases_s: list[float]) -> History:
    """The history with its records written at these seconds, and each step's phases taking so long altogether."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    stamps = [(start + timedelta(seconds=seconds)).isoformat() for seconds in at_s]
    assert history.baseline is not None
    steps = [
        step.model_copy(update={"timestamp": stamp, "timing_s": {"all": phase}})
        for step, stamp, phase in zip(history.steps, stamps[1:], phases_s, strict=True)
    ]
    return replace(history, baseline=history.baseline.model_copy(update={"timestamp": stamps[0]}), steps=tuple(steps))


@contextmanager
def worked_on(folder: Path) -> Iterator[None]:
    """Another process holds the run."""
    code = (
        "import sys; from pathlib import Path; from claas.core.files import locked\n"
        "with locked(Path(sys.argv[1]), ''): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(RunFiles(folder).lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.communicate()


def row_of(folder: Path) -> Listed:
    return listed([Folder(folder.name, folder)], new_rows_s=60)[0]


def state(folder: Path) -> str:
    """What the list says, with the row kept and without."""
    kept = folder / FOLDER / "row.json"
    first, again = row_of(folder), row_of(folder)
    kept.unlink(missing_ok=True)
    assert first == again == row_of(folder)
    return first.state.value
