"""`python -m benchmarks [name ...]`: every benchmark, or those named; exit 1 when a requirement is missed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks import harness


def in_own_process(module: str) -> Callable[[], int]:
    """A benchmark that is a program of its own; what it uses draws no progress bars."""
    quiet = {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    return lambda: subprocess.run([sys.executable, "-m", module], env=os.environ | quiet).returncode


BENCHMARKS = {
    "speed": harness.speed,
    "latency": harness.latency,
    "predictions": harness.predictions,
    "checks": harness.checks,
    "memory": harness.memory,
    "learning": harness.learning,
    "collapse": harness.collapse,
    "serving": in_own_process("benchmarks.serving"),
    "engine": in_own_process("benchmarks.engine"),
    "real_model": in_own_process("benchmarks.real_model"),
    "load": in_own_process("benchmarks.load"),
    "pages": in_own_process("benchmarks.pages"),
    "frames": in_own_process("benchmarks.frames"),
    "tinker": in_own_process("benchmarks.tinker"),
    "bench": in_own_process("benchmarks.bench"),
    "calibration": in_own_process("benchmarks.calibration"),
    "compare": in_own_process("benchmarks.compare"),
    "aggregate": in_own_process("benchmarks.aggregate"),
    "protocols": in_own_process("benchmarks.protocols"),
    "loggers": in_own_process("benchmarks.loggers"),
    "tiny_model": in_own_process("benchmarks.tiny_model"),
}


def main(names: list[str]) -> int:
    """Run the benchmarks named, all when none is; the exit code."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    missed: list[str] = []
    for name in names or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        if BENCHMARKS[name]():
            missed.append(name)
        print(f"   ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nevery requirement is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
