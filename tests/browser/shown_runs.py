"""The runs that the tests look at: the one that ships as an example, and synthetic ones for what it does not have."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from claas.results.figure import write_plots
from claas.results.manifest import Manifest
from claas.results.records import History, StepRecord
from claas.results.run_files import RunFiles
from claas.results.settings import EvalConfig
from tests.browser.hostile import NASTY, nasty_history
from tests.dashboard.test_cohort import HALF, WORSE
from tests.dashboard.test_cohort import write as benchmark
from tests.dashboard.written_runs import EXAMPLE, Few, few, write_run
from tests.results.synthetic_runs import World, make_history

GOLDEN, THREE, SEEDS = EXAMPLE.name, "three", ("seed1", "seed2", "seed3")
PREFERENCES = ("concise", "identity", "no_emoji")
BENCH = "/v1/bench"
MANY, OF_MANY = ".many", 60
"""A folder that the list of the one above leaves out, and how many runs are in it."""


class Slow(Few):
    """Learns half of it."""

    heldout = staticmethod(lambda t: 0.1 + 0.4 * t)


class Seeded(World):
    """Small, and a little different from seed to seed."""

    items, heldouts, pairs, prompts = 12, 24, 4, 3


def write_runs(results: Path) -> None:
    """All of them."""
    _copy_golden(results / GOLDEN)
    worlds = (Few(), Slow(), Few(1))
    three = {name: make_history(world, name, steps=7) for name, world in zip(PREFERENCES, worlds, strict=True)}
    lost = three["identity"]
    three["identity"] = replace(lost, steps=tuple(_without(step, 2, "heldout_compliance") for step in lost.steps))
    write_run(results / THREE, three, created="2026-03-01T12:00:00+00:00")
    for seed, name in enumerate(SEEDS):
        rate = {"training": {"learning_rate": 1e-4 * (1 + seed // 2)}}
        history = make_history(Seeded(seed), steps=4)
        write_run(results / name, {"concise": history}, created=f"2026-02-0{seed + 1}T12:00:00+00:00", seed=seed)
        if seed == 2:
            _change(results / name, rate)
    write_run(results / NASTY, {NASTY: nasty_history()}, created="2026-01-02T00:00:00+00:00")
    _change(results / NASTY, {"base_model": NASTY})
    _write_many(results / MANY)
    benchmark(results / ".bench", "base", {"mmlu": HALF, "gsm8k": HALF}, when=2)
    benchmark(results / ".bench", "sft", {"mmlu": WORSE, "gsm8k": HALF}, when=3)
    benchmark(results / ".bench", "few", {"mmlu": WORSE}, limits={"mmlu": 100}, method=NASTY)


def address(page: str, **query: Any) -> str:
    """`/v1/eval/run?run=three`; a list gives its name more than once."""
    return f"/v1/eval{page}?{urlencode(query, doseq=True)}"


def _copy_golden(folder: Path) -> None:
    """The example, with the pictures that it ships without."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".pages"))
    concise = RunFiles(folder).preference("concise")
    history = History("concise", 3, concise.read_baseline(), tuple(concise.read_steps()))
    write_plots(folder, GOLDEN, EvalConfig(preferences=["concise"]).resolved(), {"concise": history})


def _write_many(folder: Path) -> None:
    """A folder of runs that are the same but for their names and when they began, one of them stopped half-way."""
    folder.mkdir()
    write_run(folder / "run-00", {"concise": few(steps=2)}, created="2026-01-01T00:00:00+00:00")
    for number in range(1, OF_MANY - 1):
        run = shutil.copytree(folder / "run-00", folder / f"run-{number:02d}")
        _change(run, {}, run_id=run.name, created=f"2026-01-01T00:{number:02d}:00+00:00")
    write_run(
        folder / "stopped", {"concise": few(steps=5, done=2)}, summarised=False, created="2025-12-31T00:00:00+00:00"
    )


def _without(step: StepRecord, at: int, key: str) -> StepRecord:
    return step.model_copy(update={"eval": {**step.eval, key: None}}) if step.step == at else step


def _change(run: Path, config: Mapping[str, Any], **fields: Any) -> None:
    """Other values in a run's manifest."""
    path = RunFiles(run).config
    manifest = Manifest.model_validate_json(path.read_text())
    path.write_text(
        manifest.model_copy(update={"config": _merged(manifest.config, config), **fields}).model_dump_json()
    )


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **old,
        **{key: _merged(old[key], value) if isinstance(value, dict) else value for key, value in new.items()},
    }
