"""Two benchmark runs of 14,000 items, five-shot prompts and all, compared by the command."""

import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Report
from claas.results.benchmarks import BenchmarkFiles
from tests.bench.benchmark_folders import item, write_run

ITEMS = 14_000
FLIPPED = 0.1
PROMPT = "Of five worked examples and a question, this is one sentence. " * 45


def main() -> int:
    """Print how long it takes; exit code 1 when that is too long, or the decision is another one."""
    report, draw = Report(), random.Random(0)
    before = [float(draw.random() < 0.5) for _ in range(ITEMS)]
    after = [1 - score if draw.random() < FLIPPED else score for score in before]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, scores in (("a", before), ("b", after)):
            run, arguments = write_run(root, name, {"mmlu": []}), [[PROMPT, f" {letter}"] for letter in "ABCD"]
            items = [
                item("mmlu", place, score, f"digest-{name}", arguments=arguments) for place, score in enumerate(scores)
            ]
            BenchmarkFiles(root).write_samples(name, "mmlu", items)
        report.line("samples of one run", (run / "samples.mmlu.jsonl").stat().st_size / 2**20, "MiB")
        started = time.perf_counter()
        code = subprocess.run(
            [sys.executable, "-m", "claas.bench.compare", f"a={root / 'a'}", f"b={root / 'b'}"]
        ).returncode
        report.line("the command, Python's start included", time.perf_counter() - started, "s")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        report.line(
            "its CPU time, which is all of it where nothing else runs", used.ru_utime + used.ru_stime, "s", at_most=3.0
        )
        report.line("its exit code: nothing but noise is kept", code, "", at_most=0.0)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
