"""The API as a server under load: 64 clients, four adapters, chats, scores and updates for two minutes."""

import asyncio
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.report import Report
from tests.api.load import CLIENTS, Load, client, latencies, percentile, unfairness
from tests.api.server_process import served

SECONDS = 120.0
WARM_S = 20.0


async def main(url: str, server: psutil.Process) -> int:
    """Print what the clients saw; exit code 1 when anything was wrong."""
    report = Report()
    async with client(url) as http:
        load = Load(http)
        await load.begin()
        await load.run(WARM_S)
        load.timed.clear()
        before = server.memory_info().rss
        await load.run(SECONDS)
        grown = (server.memory_info().rss - before) / 2**20
        changed, alike = await load.changed(), await load.alike()
    report.line(f"requests of {CLIENTS} clients, per second", len(load.timed) / SECONDS, "")
    for kind, by_adapter in latencies(load.timed).items():
        everyone = sorted(seconds for some in by_adapter.values() for seconds in some)
        report.line(f"{kind}: how many", len(everyone), "")
        for name, share in (("p50", 0.5), ("p95", 0.95), ("longest", 1.0)):
            report.line(f"{kind}: {name}", 1000 * percentile(everyone, share), "ms")
        medians = ", ".join(f"{lora} {1000 * percentile(some, 0.5):.0f}" for lora, some in sorted(by_adapter.items()))
        report.note(f"{kind}: p50 in ms by adapter: {medians}")
    report.line("chat: slowest adapter's p50 over the fastest's", unfairness(load.timed, "chat"), "x", at_most=1.5)
    report.line("errors", len(load.errors), "", at_most=0.0)
    report.line("replies by other weights than named", len(load.wrong()), "", at_most=0.0)
    report.line("replies that differ when asked again alone", len(changed), "", at_most=0.0)
    report.line("scores that another adapter would have given too", len(alike), "", at_most=0.0)
    report.line("versions made", sum(load.newest.values()), "")
    report.line("server's memory after a warm-up", before / 2**20, "MiB")
    report.line("its growth over two minutes", grown, "MiB", at_most=400.0)
    for error in load.errors[:3]:
        report.note(error)
    return report.exit_code


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (process, url):
        sys.exit(asyncio.run(main(url, psutil.Process(process.pid))))
