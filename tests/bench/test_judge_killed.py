"""A comparison that is killed for good, as no exception is, goes on where it was."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from tests.bench.rule_judge import RuleJudge, shorter
from tests.bench.test_judge import two_sides

pytestmark = pytest.mark.faults


@contextmanager
def served(judge: RuleJudge) -> Generator[str, None, None]:
    """The address of the judge, which answers from another thread."""
    server = uvicorn.Server(uvicorn.Config(judge, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()


def test_after_sigkill_only_what_was_under_way_is_asked_again(tmp_path: Path) -> None:
    a, b = two_sides(tmp_path)
    written, replies = tmp_path / "out" / "judgments.jsonl", 0

    def slowly(first: str, second: str) -> str:
        time.sleep(0.2)
        return shorter(first, second)

    judge = RuleJudge(rule=slowly)
    with served(judge) as url:
        command = [sys.executable, "-m", "claas.bench.judge", f"a={a}", f"b={b}", f"judge.base_url={url}"]
        command += ["judge.model=rule", "judge.max_concurrency=1", f"output_dir={tmp_path / 'out'}"]
        with subprocess.Popen(command) as process:
            while replies < 4:
                time.sleep(0.02)
                replies = len(written.read_text().splitlines()) if written.exists() else 0
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "out" / "judge.json").exists()
        judge.bodies, replies = [], len(written.read_text().splitlines())
        assert subprocess.run(command, check=False).returncode == 0
    assert len(judge.bodies) == 14 - replies
    assert json.loads((tmp_path / "out" / "judge.json").read_text())["win_rate"] == (5 + 0.5) / 8
