"""What each installed logger costs beside a run: one of 20 steps on the embedded stack, logged from its records.

A logger works in a thread beside the run, so that its CPU seconds are compared with the run's, both as the operating
system counts them: those of the packages it imports and of the processes it starts are among them.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.report import Report
from claas.core import yaml_files
from claas.eval.config.catalog import build
from claas.eval.loggers.contents import ending_of, points_on_record, run_of
from claas.eval.loggers.sink import Sink
from claas.eval.runner import run_harness
from claas.results import summary
from claas.results.manifest import read_manifest
from claas.results.run_files import PreferenceRecords, RunFiles
from claas.results.settings import EvalConfig, recorded_config

STEPS = 20
LOGGERS = ("tensorboard", "wandb", "mlflow", "trackio")


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> int:
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        config = EvalConfig(preferences=["concise"], num_steps=STEPS, output_dir=f"{folder}/run")
        before, started = cpu_seconds(), time.monotonic()
        asyncio.run(run_harness(config))
        cpu, wall = cpu_seconds() - before, time.monotonic() - started
        report.line(f"a run of {STEPS} steps, plots and report", cpu, "CPU s")
        report.line("the same", wall, "s")
        for name in LOGGERS:
            if find_spec(name) is None:
                print(f"{name} is not installed: pip install 'claas[{name}]'")
                continue
            told = _logged(name, Path(folder))
            report.line(f"{name}: to import it", told["import"], "CPU s")
            report.line(f"{name}: of the run's CPU time", 100 * told["work"] / cpu, "%", at_most=1.0)
            report.line(f"{name}: with its import", 100 * (told["import"] + told["work"]) / cpu, "%")
            report.line(
                f"{name}: of the run's time spent on handing over", 100 * told["handed"] / wall, "%", at_most=1.0
            )
    return report.exit_code


def _logged(name: str, folder: Path) -> dict[str, float]:
    """What a process of its own measured, which has nothing of the others."""
    places = {"TRACKIO_DIR": "trackio", "MLFLOW_TRACKING_URI": "mlflow.db", "WANDB_DIR": "", "HOME": ""}
    environment = {key: str(folder / place) for key, place in places.items()}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{environment['MLFLOW_TRACKING_URI']}"
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.loggers", name, str(folder / "run")],
        env={**os.environ, **environment, "WANDB_MODE": "offline"},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(said.stdout.splitlines()[-1])


def _log(name: str, folder: Path) -> None:
    """Log the run in a folder, and print what that took."""
    manifest, files = read_manifest(RunFiles(folder)), RunFiles(folder)
    config = recorded_config(manifest.config)
    records = {"concise": PreferenceRecords.read_whole(files.preference("concise"))}
    points = list(points_on_record(records))
    plots = sorted(files.plots.glob("*.png"))
    end = ending_of(summary.read(folder), {"concise": records["concise"].history("concise", STEPS)}, plots)
    settings = yaml_files.read(yaml_files.find("logger", name, None))[name]
    sink = Sink(name, build(settings, name), run_of(folder, manifest, config), lambda said: sys.exit(said))
    first = cpu_seconds()
    __import__("mlflow.tracking" if name == "mlflow" else name)
    imported, handed = cpu_seconds(), 0.0
    for point in points:
        started = time.perf_counter()
        sink.log(point)
        handed += time.perf_counter() - started
    sink.finish(end)
    sink.close(600.0)
    if name == "wandb":
        __import__("wandb").teardown()  # its other process, whose time counts once it has ended
    print(json.dumps({"import": imported - first, "work": cpu_seconds() - imported, "handed": handed}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _log(sys.argv[1], Path(sys.argv[2]))
    else:
        sys.exit(main())
