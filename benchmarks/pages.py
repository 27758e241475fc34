"""The results browser with many runs and large ones: a list of 300, and a run of 3 preferences with 200 steps each."""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from benchmarks.report import Report
from claas.core.files import dump_json, read_lines
from claas.dashboard.report import write_report
from tests.api.server_process import served

EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "examples" / "concise-3-steps"
PREFERENCES = ("concise", "no_emoji", "identity")
RUNS, STEPS, LOADS, WARM_LOADS = 300, 200, 1000, 50
RESULTS = Path("data/evals")

T = TypeVar("T")


def main(folder: Path, url: str, server: psutil.Process) -> int:
    """Print what pages take; exit code 1 when a requirement is missed."""
    report = Report()
    many, large = folder / RESULTS / "many", folder / RESULTS / "large"
    for number in range(RUNS):
        _small_run(many / f"run-{number:03}")
    _large_run(large)
    with httpx.Client(base_url=url, timeout=600) as http:
        _list(http, many, report)
        _page(http, large, report)
        _memory(http, server, report)
    _report(large, report)
    return report.exit_code


def _list(http: httpx.Client, many: Path, report: Report) -> None:
    query = {"results_dir": str(RESULTS / "many"), "per_page": "100"}
    first, page = _timed(lambda: _get(http, "/v1/eval", query))
    rest, loads = _timed(lambda: _until_read(http, query, page))
    again, page = _timed(lambda: _get(http, "/v1/eval", query))
    naive, _ = _timed(lambda: [_read(path) for path in many.glob("*/*/steps.jsonl")])
    report.line(f"list of {RUNS} runs that no page has shown before", first, "s", at_most=1.0)
    report.line(f"until all are in it, after {loads} more loads", rest, "s")
    report.line(f"list of {RUNS} runs", again, "s", at_most=1.0)
    report.line("only parsing their steps takes", naive / again, "x as long")
    report.line("its page", len(page) / 1e6, "MB")


def _until_read(http: httpx.Client, query: dict[str, str], page: bytes) -> int:
    """Ask again until no run is left to be read for the first time, and say how often."""
    loads = 0
    while b"yet to be read" in page:
        page, loads = _get(http, "/v1/eval", query), loads + 1
    return loads


def _page(http: httpx.Client, large: Path, report: Report) -> None:
    query = {"run": "large"}
    size = sum(path.stat().st_size for path in large.glob("*/*.json*")) / 1e6
    report.note(f"a run of {len(PREFERENCES)} preferences, {STEPS} steps each: {size:.0f} MB of records")
    first, _ = _timed(lambda: _get(http, "/v1/eval/run", query))
    again, page = _timed(lambda: _get(http, "/v1/eval/run", query))
    naive, _ = _timed(lambda: [_read(path) for path in large.glob("*/steps.jsonl")])
    scripts = [_get(http, address, {}) for address in re.findall(r'<script defer src="(.*?)"', page.decode())]
    report.line("its page, when no page has shown it before", first, "s")
    report.line("its page", again, "s", at_most=1.5)
    report.line("only parsing its steps takes", naive / again, "x as long")
    report.line(
        "its page with all scripts, not compressed", (len(page) + sum(map(len, scripts))) / 1e6, "MB", at_most=8.0
    )
    step, _ = _timed(
        lambda: _get(http, "/v1/eval/step", {**query, "preference": "concise", "updates": str(STEPS // 2)})
    )
    report.line("the page of one of its steps", step, "s")


def _memory(http: httpx.Client, server: psutil.Process, report: Report) -> None:
    """Every kind of page in turn, the large run's too."""
    queries = [
        ("/v1/eval", {"results_dir": str(RESULTS / "many")}),
        ("/v1/eval/run", {"results_dir": str(RESULTS / "many"), "run": "run-007"}),
        ("/v1/eval/step", {"run": "large", "preference": "identity", "updates": "7"}),
        ("/v1/eval/run", {"run": "large"}),
    ]
    for turn in range(WARM_LOADS):
        _get(http, *queries[turn % len(queries)])
    before = server.memory_info().rss
    for turn in range(LOADS):
        _get(http, *queries[turn % len(queries)])
    report.line("the server's memory", before / 2**20, "MiB")
    report.line(f"its growth over {LOADS} page loads", (server.memory_info().rss - before) / 2**20, "MiB", at_most=16.0)


def _report(large: Path, report: Report) -> None:
    seconds, path = _timed(lambda: write_report(large))
    report.line("report.html of the large run", path.stat().st_size / 1e6, "MB", at_most=15.0)
    report.line("writing it", seconds, "s")


def _small_run(folder: Path) -> None:
    """The example, in a folder of its own without taking more room."""
    (folder / "concise").mkdir(parents=True)
    for path in (*EXAMPLE.glob("*.json"), *EXAMPLE.glob("concise/*")):
        (folder / path.relative_to(EXAMPLE)).symlink_to(path)


def _large_run(folder: Path) -> None:
    """The example's transcripts over and over, under other names."""
    folder.mkdir(parents=True)
    manifest = json.loads((EXAMPLE / "config.json").read_text())
    manifest["config"] |= {"preferences": list(PREFERENCES), "num_steps": STEPS}
    (folder / "config.json").write_text(dump_json(manifest))
    steps = [json.loads(line) for line in read_lines(EXAMPLE / "concise" / "steps.jsonl")]
    for name in PREFERENCES:
        (folder / name).mkdir()
        for file in ("baseline.json", "metadata.json"):
            record = json.loads((EXAMPLE / "concise" / file).read_text()) | {"preference": name}
            (folder / name / file).write_text(dump_json(record))
        with (folder / name / "steps.jsonl").open("w") as file:
            file.writelines(f"{dump_json(record)}\n" for record in _numbered(steps, name))


def _numbered(steps: list[dict[str, object]], preference: str) -> Iterator[dict[str, object]]:
    for number in range(STEPS):
        yield {**steps[number % len(steps)], "step": number, "preference": preference}


def _read(path: Path) -> list[object]:
    return [json.loads(line) for line in read_lines(path)]


def _get(http: httpx.Client, address: str, query: dict[str, str]) -> bytes:
    return http.get(address, params=query).raise_for_status().content


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (process, url):
        sys.exit(main(Path(folder), url, psutil.Process(process.pid)))
