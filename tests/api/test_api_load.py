"""64 clients at once: no error, no wrong weights, nobody waits for long, and a restart finds everything again."""

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from claas.wire.adapters import LoraList
from tests.api.load import ADAPTERS, Load, client, unfairness
from tests.api.server_process import served

pytest.importorskip("torch")

AT_WORK = 24
"""Answers under way when the server is told to stop: few enough that none is finished before the last is begun."""

MOST_MIB = 1400
"""What the server may hold in the end: model, libraries, twelve versions made ready for use, the rows being decoded."""


async def under_load(url: str, seconds: float) -> Load:
    """What the clients saw, none of which may be wrong."""
    async with client(url) as http:
        load = Load(http)
        await load.begin()
        await load.run(seconds)
        assert load.errors == []
        assert load.wrong() == []
        assert await load.changed() == []
        assert await load.alike() == []
    return load


async def stopped_at_work(url: str, load: Load, process: subprocess.Popen[str]) -> None:
    """Ask a lot, tell the server to stop once all of that is under way, and get every answer."""
    async with client(url) as load.http:
        busy = asyncio.create_task(load.together(AT_WORK))
        async with httpx.AsyncClient(base_url=url) as http:
            while (await http.get("/v1/health")).json()["detail"]["requests"] < AT_WORK:
                assert not busy.done()
                await asyncio.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        await busy
    assert await asyncio.to_thread(process.communicate, timeout=60) == ("", "")
    assert process.returncode == 0


async def everything_is_there(url: str, load: Load, folder: Path) -> None:
    """Adapters with their newest versions, their aliases, every answer that was given, every receipt under its key."""
    kept = [json.loads(line)["id"] for line in (folder / "data/store/rollouts.jsonl").read_text().splitlines()]
    assert set(load.rollouts) <= set(kept)
    async with client(url) as http:
        loras = LoraList.model_validate((await http.get("/v1/lora")).json()).adapters
        assert {lora.lora_id: lora.version for lora in loras} == load.newest
        assert [load.digest_of[lora.model] for lora in loras] == [lora.digest for lora in loras]
        for key, (body, receipt) in load.receipts.items():
            again = await http.post("/v1/feedback", json=body, headers={"Idempotency-Key": key})
            assert again.json() == receipt
        for text in list(load.rollouts.values())[-20:]:
            assert (await http.post("/v1/rollouts/resolve", json={"text": text})).json()["text"] == text
        assert (await http.get("/", headers={"Host": "evil.example"})).status_code == 403
        load.http = http
        assert set((await load.aliases()).items()) == {(lora.lora_id, lora.model) for lora in loras}
        assert await load.changed() == []


@pytest.mark.faults
def test_64_clients_are_served_alike_and_a_restart_finds_everything(tmp_path: Path) -> None:
    with served(tmp_path) as (process, url):
        load = asyncio.run(under_load(url, seconds=120))
        assert {one.kind for one in load.timed} == {"chat", "score", "update"}
        assert unfairness(load.timed, "chat") < 1.5
        assert psutil.Process(process.pid).memory_info().rss < MOST_MIB * 2**20
        asyncio.run(stopped_at_work(url, load, process))
    with served(tmp_path) as (_, url):
        assert len(load.receipts) >= 2 * len(ADAPTERS)
        asyncio.run(everything_is_there(url, load, tmp_path))
