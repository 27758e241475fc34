"""The programs of kfallah/CLaaS against this API: what they send, in their order, and what they read of the replies.

Their harness, their plug-in for OpenClaw and the start script of their compose stack are written down here as requests,
in words and with values of our own. Each is run, and run again after a restart: against the scripted engine in process,
and against `python -m claas.api` with the embedded model (`-m faults`).
"""

import json
import re
import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from claas.api.app import create_app
from tests.api.client import ok, settings
from tests.api.server_process import served
from tests.fakes.engine import FakeEngine

Start = Callable[[], AbstractContextManager[httpx.Client]]

PROMPTS = ("What is gravity?", "Tell me about rain.", "What is a river?")
LOSSES = ("distill_loss", "kl_reg", "mean_is_ratio", "clip_fraction")
PAIR = ("It pulls things together.", "Gravity, to begin with, is a matter on which a very great deal could be said.")


@pytest.fixture(params=["scripted", pytest.param("embedded", marks=pytest.mark.faults)])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Starts an API without a key, each time on the same store, for as long as its client is used."""
    if request.param == "embedded":
        pytest.importorskip("torch")
        return lambda: in_a_process(tmp_path)
    engine = FakeEngine(tmp_path / "engine", script=lambda *_: "It is as it is.")
    engine.metrics |= dict.fromkeys(LOSSES, 0.5) | {"steps_per_batch_applied": 1.0}
    config = settings(tmp_path)
    return lambda: TestClient(create_app(engine, config), base_url="http://localhost")


@contextmanager
def in_a_process(folder: Path) -> Generator[httpx.Client]:
    with served(folder) as (process, url):
        with httpx.Client(base_url=url, timeout=120) as http:
            yield http
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")


def base_model(http: httpx.Client) -> str:
    """What a person configures their programs with."""
    return ok(http.get("/"))["base_model"]


def turns(prompt: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": prompt}]


def chat(http: httpx.Client, model: str, prompt: str, **fields: object) -> dict[str, Any]:
    body = {"model": model, "messages": turns(prompt), "temperature": 0, "max_tokens": 2048, **fields}
    return ok(http.post("/v1/chat/completions", json=body))["choices"][0]


class Harness:
    """One run of the harness over one preference, always with the same adapter id."""

    def __init__(self, http: httpx.Client, steps: int) -> None:
        self.http = http
        made = ok(http.post("/v1/lora/init", json={"lora_id": "eval/concise", "base_model": base_model(http)}))
        self.lora_id: str = made["lora_id"]
        self.model = re.sub(r"[^a-zA-Z0-9._-]+", "-", self.lora_id.strip("/")).strip("-")
        self.baseline = self.measure()
        self.metadata = [metadata for step in range(steps) for metadata in self.train(step)]

    def measure(self) -> list[float]:
        """Its margin, the lengths of its answers, and the numbers that tell a collapse."""
        scores = [
            ok(
                self.http.post(
                    "/v1/score", json={"model": self.model, "messages": turns(PROMPTS[0]), "completion": each}
                )
            )
            for each in PAIR
        ]
        answers = [chat(self.http, self.model, prompt)["message"]["content"] for prompt in PROMPTS]
        tokens = chat(self.http, self.model, PROMPTS[1], logprobs=True, top_logprobs=20)["logprobs"]["content"]
        assert all(len(token["top_logprobs"]) == 20 for token in tokens)
        drawn = chat(self.http, self.model, PROMPTS[1], temperature=0.7)["message"]["content"]
        assert isinstance(drawn, str)
        return [
            *(score["logprob_sum"] for score in scores),
            *map(len, answers),
            *(token["logprob"] for token in tokens),
            *(top["logprob"] for token in tokens for top in token["top_logprobs"]),
        ]

    def train(self, step: int) -> list[dict[str, Any]]:
        """Two answers, and the feedback on them sent four times: once for each optimiser step that it wants."""
        training = {
            "learning_rate": 3e-5,
            "alpha": 0.5,
            "is_clip": 5.0,
            "max_grad_norm": 1.0,
            "kl_reg_weight": 0.0,
            "teacher_top_k": 100,
        }
        items = [
            {
                "lora_id": self.lora_id,
                "prompt": prompt,
                "response": chat(self.http, self.model, prompt)["message"]["content"],
                "feedback": "Say it in one sentence.",
                "training": training,
            }
            for prompt in PROMPTS[step : step + 2]
        ]
        asleep = {"sleep_before": False, "wake_after": False, "wake_on_failure": True, "sleep_level": 1}
        replies = [
            ok(self.http.post("/v1/feedback", json={"requests": items, "orchestration": asleep})) for _ in range(4)
        ]
        return [reply["distill_result"]["metadata"] for reply in replies]


def start_script(http: httpx.Client) -> bool:
    """What a compose stack does at every start; whether it made its adapter."""
    alias = "openclaw/assistant-latest"
    assert http.get("/").status_code < 500
    if alias in ok(http.get("/v1/lora", params={"prefix": "openclaw/assistant"}))["loras"]:
        return False
    ok(http.post("/v1/lora/init", json={"lora_id": alias, "base_model": base_model(http)}))
    return True


def plug_in(http: httpx.Client, names: tuple[str, ...]) -> dict[str, Any]:
    """Four people talk to the assistant through the gateway, and say what they think; the reply to their feedback."""
    items: list[dict[str, Any]] = []
    for name, prompt in zip(names, (*PROMPTS, "Who are you?"), strict=True):
        turn = f"[Telegram {name} id:7 2026-02-25 10:31 UTC] {prompt}"
        items.append(
            {
                "lora_id": "openclaw/assistant-latest",
                "prompt": turn,
                "response": streamed(http, "openclaw-assistant-latest", turn).strip(),
                "feedback": "Shorter, please.",
                "training": {},
            }
        )
    awake = {"sleep_before": True, "wake_after": True, "wake_on_failure": True, "sleep_level": 1}
    return ok(http.post("/v1/feedback", json={"requests": items, "orchestration": awake}))


def streamed(http: httpx.Client, model: str, prompt: str) -> str:
    """An answer as a gateway collects it."""
    body = {"model": model, "messages": turns(prompt), "stream": True, "max_tokens": 256, "store": False}
    text = ""
    with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        for line in reply.iter_lines():
            if line.startswith("data: {"):
                text += "".join(each["delta"].get("content") or "" for each in json.loads(line[6:])["choices"])
    return text


def adapters(http: httpx.Client) -> dict[str, tuple[int, str]]:
    return {each["lora_id"]: (each["version"], each["digest"]) for each in ok(http.get("/v1/lora"))["adapters"]}


def test_their_harness_runs_twice_and_begins_with_untrained_weights_each_time(start: Start) -> None:
    with start() as http:
        first = Harness(http, steps=2)
        learnt = adapters(http)
        assert first.lora_id == "eval/concise"
        assert learnt["eval/concise"][0] == 8
    with start() as http:
        second = Harness(http, steps=1)
        made = adapters(http)
    assert second.baseline == first.baseline
    assert made["eval/concise"] == learnt["eval/concise"]
    assert (second.lora_id, made[second.lora_id][0]) == ("eval/concise-anew-2", 4)
    for metadata in first.metadata + second.metadata:
        assert metadata["steps_per_batch_applied"] == 1
        assert all(isinstance(metadata[key], float) for key in LOSSES)


def test_their_stack_starts_again_and_their_plug_in_goes_on_learning(start: Start) -> None:
    for runs in (1, 2):
        with start() as http:
            assert start_script(http) == (runs == 1)
            reply = plug_in(http, ("Ada", "Bo", "Cy", "Di"))
            assert reply["status"] == "ok"
            assert reply["timing_ms"]["total"] > 0
            assert isinstance(reply["distill_result"]["metadata"]["total_loss"], float)
            assert reply["distill_result"]["metadata"]["tokens_processed"] > 0
            assert {name: version for name, (version, _) in adapters(http).items()} == {
                "openclaw/assistant-latest": runs
            }
