"""Runs as pandas frames: 50 runs of 20 steps each, beside the naive way, parsing every line of every file."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas

from benchmarks.report import Report
from claas import results
from claas.core.files import dump_json, read_lines

EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "examples" / "concise-3-steps"
RUNS, STEPS = 50, 20


def main(folder: Path) -> int:
    """Print what frames take, in CPU seconds; exit code 1 when a requirement is missed."""
    report = Report()
    results.runs(EXAMPLE)  # what is imported once counts for neither way
    _run(folder / "run-00")
    first, _ = _timed(lambda: results.steps(folder))
    for number in range(1, RUNS):
        _as_another_seed(folder / "run-00", folder / f"run-{number:02}", number)
    size = sum(path.stat().st_size for path in folder.glob("*/*/*.json*")) / 1e6
    report.note(f"{RUNS} runs of {STEPS} steps: {size:.0f} MB of records")
    naive, plain = _timed(lambda: _naive(folder))
    frames, (runs, steps, criteria) = _timed(
        lambda: (results.runs(folder), results.steps(folder), results.criteria(folder))
    )
    steps_alone, _ = _timed(lambda: results.steps(folder))
    report.note(f"{len(runs)} + {len(steps)} + {len(criteria)} rows; the naive way has {len(plain)}, without intervals")
    report.line("steps of one run that neither a page nor its report has shown before: its index is made", first, "s")
    report.line("json.loads of every line", naive, "s")
    report.line("steps", steps_alone, "s", at_most=2.0)
    report.line("runs, steps and criteria", frames, "s")
    report.line("json.loads of every line takes", naive / steps_alone, "x as long as steps")
    return report.exit_code


def _naive(folder: Path) -> Any:
    """The values of every measurement, as twelve lines of one's own would have them."""
    rows: list[dict[str, Any]] = []
    for baseline in sorted(folder.glob("*/*/baseline.json")):
        steps = baseline.with_name("steps.jsonl")
        records = [json.loads(text) for text in (baseline.read_text(), *steps.read_text().splitlines())]
        seed = json.loads((baseline.parents[1] / "config.json").read_text())["config"]["seed"]
        for record in records:
            row = {"run": baseline.parents[1].name, "seed": seed, "update": record.get("step", -1) + 1}
            for metric, value in record["eval"].items():
                parts = value.items() if isinstance(value, dict) else [("", value)]
                rows += [{**row, "key": f"{metric}.{part}".rstrip("."), "value": number} for part, number in parts]
    return pandas.DataFrame(rows)


def _run(folder: Path) -> None:
    """The example that ships, its steps once more until there are enough."""
    manifest = json.loads((EXAMPLE / "config.json").read_text(encoding="utf-8"))
    manifest["config"] |= {"num_steps": STEPS, "checkpoints": [STEPS - 1]}
    manifest["tracks"] = [track | {"num_steps": STEPS} for track in manifest["tracks"]]
    summary = json.loads((EXAMPLE / "summary.json").read_text(encoding="utf-8"))
    summary["preferences"]["concise"] |= {"steps_done": STEPS, "steps_planned": STEPS}
    lines = [json.loads(line) for line in read_lines(EXAMPLE / "concise" / "steps.jsonl")]
    target = folder / "concise"
    target.mkdir(parents=True)
    (folder / "config.json").write_text(dump_json(manifest), encoding="utf-8")
    (folder / "summary.json").write_text(dump_json(summary), encoding="utf-8")
    steps = [dump_json(lines[step % len(lines)] | {"step": step}) for step in range(STEPS)]
    (target / "steps.jsonl").write_text("".join(f"{line}\n" for line in steps), encoding="utf-8")
    for name in ("baseline.json", "metadata.json"):
        (target / name).write_bytes((EXAMPLE / "concise" / name).read_bytes())


def _as_another_seed(run: Path, folder: Path, seed: int) -> None:
    """A copy with its index, which belongs to files of that time and size."""
    shutil.copytree(run, folder)
    manifest = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    manifest["config"]["seed"] = seed
    (folder / "config.json").write_text(dump_json(manifest), encoding="utf-8")


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    made = run()
    return time.process_time() - started, made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
