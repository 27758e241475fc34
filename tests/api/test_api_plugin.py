"""The feedback plug-in's view: plain JSON in and out, against the real engine, with text as a gateway shows it."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.api.modes import open_engine
from tests.api.client import Api, error, ok, running, settings

pytest.importorskip("torch")
pytestmark = pytest.mark.anyio

PROMPTS = ("Tell me about the moon.", "Tell me about rain.", "What is gravity?")
ORCHESTRATION = {"sleep_before": True, "wake_after": True, "wake_on_failure": True, "sleep_level": 1}


def as_shown(text: str) -> str:
    """What a gateway makes of an answer: lines wrapped elsewhere, spaces doubled, the ends padded."""
    return "\n " + "  ".join(text.split()).replace(".  ", ".\n\n") + " \n"


def batch(*said: tuple[str, str]) -> dict[str, Any]:
    items = [
        {"lora_id": "plugin/user", "prompt": prompt, "response": text, "feedback": "Be more concise.", "training": {}}
        for prompt, text in said
    ]
    return {"requests": items, "orchestration": ORCHESTRATION}


async def answers(api: Api) -> list[tuple[str, str]]:
    ok(await api.http.post("/v1/lora/init", json={"lora_id": "plugin/user"}))
    said: list[tuple[str, str]] = []
    for seed, prompt in enumerate(PROMPTS):
        body = {"model": "plugin-user", "messages": [{"role": "user", "content": prompt}], "seed": seed}
        reply = ok(await api.http.post("/v1/chat/completions", json={**body, "max_tokens": 40}))
        said.append((prompt, reply["choices"][0]["message"]["content"]))
    return said


async def version(http: httpx.AsyncClient) -> int:
    (adapter,) = ok(await http.get("/v1/lora"))["adapters"]
    return adapter["version"]


async def test_a_plug_in_trains_on_what_a_gateway_showed_and_reads_the_figures(tmp_path: Path) -> None:
    config = settings(tmp_path)
    async with running(open_engine(config), config) as api:
        said = await answers(api)
        shown = [(prompt, as_shown(text)) for prompt, text in said]
        assert all(before != after for (_, before), (_, after) in zip(said, shown, strict=True))

        missed = batch(*shown[:2], (PROMPTS[2], shown[2][1] + " Or so I was told."))
        assert "requests.2" in error(await api.http.post("/v1/feedback", json=missed), 404)
        assert await version(api.http) == 0

        receipt = ok(await api.http.post("/v1/feedback", json=batch(*shown)))
        metadata = receipt["distill_result"]["metadata"]
        assert (receipt["status"], receipt["version"], metadata["batch_size"]) == ("ok", 1, 3)
        assert metadata["tokens_processed"] > len(PROMPTS)
        assert metadata["grad_norm"] > 0
        assert isinstance(metadata["total_loss"], float)
        assert receipt["timing_ms"]["total"] >= receipt["timing_ms"]["distill"] > 0
        assert receipt["vllm"] == {"slept": False, "woke": False}
        assert await version(api.http) == 1
