"""50 runs of 20 steps, as large as real ones, put together over their seeds by the command."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import Report
from claas.core.files import dump_json, read_lines

EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "examples" / "concise-3-steps"
RUNS, STEPS = 50, 20
STEP_RECORDS: list[dict[str, Any]] = [json.loads(line) for line in read_lines(EXAMPLE / "concise" / "steps.jsonl")]


def main() -> int:
    """Print how long it takes; exit code 1 when that is too long."""
    report = Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(1, RUNS + 1):
            _write_run(folder / f"seed-{seed}", seed)
        size = sum(path.stat().st_size for path in folder.glob("*/*/*.json*")) / 1e6
        report.note(f"{RUNS} runs of {STEPS} steps: {size:.0f} MB of records")
        started = time.perf_counter()
        code = subprocess.run(
            [sys.executable, "-m", "claas.eval.aggregate", name], stdout=subprocess.DEVNULL
        ).returncode
        report.line("the command, Python's start, page and plots included", time.perf_counter() - started, "s")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        report.line(
            "its CPU time, which is all of it where nothing else runs", used.ru_utime + used.ru_stime, "s", at_most=5.0
        )
        report.line("its exit code", code, "", at_most=0.0)
    return report.exit_code


def _write_run(folder: Path, seed: int) -> None:
    """The example's steps, the last one over and over; the answers of the very last are this seed's own."""
    (folder / "concise").mkdir(parents=True)
    manifest = json.loads((EXAMPLE / "config.json").read_text())
    manifest["config"] |= {"num_steps": STEPS, "seed": seed}
    (folder / "config.json").write_text(dump_json(manifest))
    for file in ("baseline.json", "metadata.json"):
        (folder / "concise" / file).write_text((EXAMPLE / "concise" / file).read_text())
    numbered: list[dict[str, Any]] = [
        {**STEP_RECORDS[min(step, len(STEP_RECORDS) - 1)], "step": step} for step in range(STEPS)
    ]
    said = [{**each, "response": f"{seed} {each['response']}"} for each in numbered[-1]["rollouts"]]
    numbered[-1]["rollouts"] = said
    lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in numbered)
    (folder / "concise" / "steps.jsonl").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
