"""What a reply promises is on the disk before the reply leaves, at the price of few fsyncs."""

import asyncio
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from claas.api.journal import Journal
from claas.core.errors import StackError
from tests.api.client import error, item, serving
from tests.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio


@dataclass
class Disk:
    """What a power cut would leave: of each file, the bytes it had at its last fsync."""

    synced: dict[int, int] = field(default_factory=dict[int, int])
    calls: int = 0
    begun: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    failure: OSError | None = None

    def __post_init__(self) -> None:
        self.opened.set()

    def fsync(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.begun.set()
        assert self.opened.wait(10)
        if self.failure is not None:
            raise self.failure
        self.calls += 1
        self.synced[status.st_ino] = status.st_size

    def after_power_cut(self, path: Path, folder: Path) -> None:
        """Leave in `folder` what of `path` would still be there."""
        folder.mkdir(parents=True)
        kept = path.read_bytes()[: self.synced.get(path.stat().st_ino, 0)]
        (folder / path.name).write_bytes(kept)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    return disk


async def test_a_power_cut_right_after_a_reply_loses_none_of_its_answers(
    tmp_path: Path, engine: FakeEngine, disk: Disk
) -> None:
    async with serving(tmp_path, engine) as api:
        replies = await asyncio.gather(*(api.chat(f"Question {i}", n=2, seed=i) for i in range(8)))
        disk.after_power_cut(tmp_path / "store" / "rollouts.jsonl", tmp_path / "later" / "store")
    async with serving(tmp_path / "later", engine) as api:
        for index, reply in enumerate(replies):
            told = [item(f"Question {index}", choice, rollout_id=choice.rollout_id) for choice in reply.choices]
            assert (await api.feedback(*told)).batch_size == 2


async def test_a_reply_waits_for_the_disk_and_the_api_does_not(tmp_path: Path, engine: FakeEngine, disk: Disk) -> None:
    sampled = asyncio.Event()
    engine.script = lambda *_: sampled.set() or "Hello"
    async with serving(tmp_path, engine) as api:
        disk.opened.clear()
        reply = asyncio.create_task(api.try_chat("Hi"))
        await sampled.wait()
        for _ in range(20):  # the disk hangs: other requests are served, this one is not
            assert (await api.http.get("/health")).status_code == 200
        assert not reply.done()
        disk.opened.set()
        assert (await reply).status_code == 200


async def test_an_answer_that_cannot_be_kept_is_not_given(tmp_path: Path, engine: FakeEngine, disk: Disk) -> None:
    async with serving(tmp_path, engine) as api:
        disk.failure = OSError(5, "Input/output error")
        message = error(await api.try_chat("Hi"), 503)
        assert "rollouts.jsonl: Input/output error" in message
        disk.failure = None
        assert (await api.chat("Hi")).choices


async def test_lines_that_wait_together_share_one_fsync(tmp_path: Path, disk: Disk) -> None:
    journal = Journal(tmp_path / "journal.jsonl", 1000, lambda line: (line.decode(),))
    disk.calls = 0
    disk.begun.clear()
    disk.opened.clear()
    first = asyncio.create_task(journal.append(b"first"))
    assert await asyncio.to_thread(disk.begun.wait, 10), "what follows is not in its fsync"
    others = [asyncio.create_task(journal.append(b"%d" % number)) for number in range(64)]
    await asyncio.sleep(0.05)
    disk.opened.set()
    await asyncio.gather(first, *others)
    assert disk.calls == 2
    disk.after_power_cut(tmp_path / "journal.jsonl", tmp_path / "later")
    assert (tmp_path / "later" / "journal.jsonl").read_text().split() == ["first", *map(str, range(64))]
    journal.close()


async def test_a_caller_that_gives_up_leaves_the_journal_usable(tmp_path: Path, disk: Disk) -> None:
    journal = Journal(tmp_path / "journal.jsonl", 3, lambda line: (line.decode(),))
    disk.opened.clear()
    waiting = asyncio.create_task(journal.append(b"a"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    disk.opened.set()
    for line in (b"b", b"c", b"d", b"e", b"f"):  # the file is replaced on the way
        await journal.append(line)
    disk.failure = OSError(28, "No space left on device")
    with pytest.raises(StackError, match=r"journal\.jsonl: No space left"):
        await journal.append(b"g")
    disk.failure = None
    await journal.append(b"h")
    disk.after_power_cut(tmp_path / "journal.jsonl", tmp_path / "later")
    assert (tmp_path / "later" / "journal.jsonl").read_text().split()[-3:] == ["f", "g", "h"]
    assert held_open(tmp_path) == [str(tmp_path / "journal.jsonl")]
    journal.close()


def held_open(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    found: list[str] = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that listed them
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if path.startswith(str(folder))]
