"""The real thing: the command line, the local engine, a socket and a signal."""

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from claas.api.modes import open_engine
from tests.api.client import LORA, NAME, Api, item, ok, running, settings
from tests.api.server_process import ROOT, served
from tests.api.test_api_hangup import LONG

pytest.importorskip("torch")


def test_the_command_serves_alone_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with served(tmp_path, CLAAS_API_KEY="s3cret") as (process, url):
        assert httpx.get(f"{url}/v1/models").status_code == 401
        headers = {"Authorization": "Bearer s3cret"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
            assert ok(http.get("/"))["mode"] == "local"
            body = {"model": "claas-tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
            assert ok(http.post("/v1/chat/completions", json=body))["model"] == "claas-tiny"
        command = [sys.executable, "-m", "claas.api", "port=0", f"store_dir={tmp_path}/data/store"]
        second = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert (second.returncode, second.stdout) == (2, "")
        assert "another API works on store_dir" in second.stderr
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    assert "s3cret" not in "".join(path.read_text() for path in tmp_path.rglob("*.json*"))


def test_a_request_that_takes_too_long_does_not_keep_the_server_from_stopping(tmp_path: Path) -> None:
    with (
        served(tmp_path, "shutdown_s=0.5") as (process, url),
        httpx.Client(base_url=url, timeout=60) as http,
        ThreadPoolExecutor(1) as pool,
    ):
        asked = pool.submit(http.post, "/v1/chat/completions", json=LONG)
        while not ok(http.get("/v1/health"))["detail"]["requests"]:
            assert not asked.done()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert asked.exception() is not None or asked.result().status_code >= 500


def test_the_local_engine_learns_from_what_it_said(tmp_path: Path) -> None:
    async def use() -> None:
        config = settings(tmp_path)
        async with running(open_engine(config), config) as api:
            await api.init()
            choices = (await api.chat("Tell me about rain.", n=2, seed=3, max_tokens=24)).choices
            said = [item("Tell me about rain.", choice, rollout_id=choice.rollout_id) for choice in choices]
            receipt = await api.feedback(*said, key="k")
            assert await api.feedback(*said, key="k") == receipt
            assert receipt.version == 1
            assert receipt.distill_result.metadata["batch_size"] == 2
            assert await scored(api, f"{NAME}@0") != await scored(api, NAME)
        async with running(open_engine(config), config) as api:
            assert await api.feedback(*said, key="k") == receipt
            listed = ok(await api.http.get("/v1/lora"))["adapters"]
            assert [(lora["lora_id"], lora["version"], lora["digest"]) for lora in listed] == [
                (LORA, 1, receipt.digest)
            ]
            export = await api.http.get("/v1/lora/export", params={"lora_id": LORA})
            assert export.content.startswith(b"PK")

    async def scored(api: Api, model: str) -> float:
        messages = [{"role": "user", "content": "Tell me about rain."}]
        body = {"model": model, "messages": messages, "completion": "It is wet."}
        return ok(await api.http.post("/v1/score", json=body))["logprob_sum"]

    asyncio.run(use())
