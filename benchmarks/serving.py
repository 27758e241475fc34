"""The API as its clients meet it: what serving together gains, what the API adds, what an update costs.

    python -m benchmarks.serving

Seconds on the clock, the best of several rounds in which all that is compared takes turns.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.engine import CONCISE, PROMPTS, REQUESTS, ROWS, SCORED, TOKENS, bare, generated
from benchmarks.report import Report
from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.core.settings import EMBEDDED
from claas.engines.local.engine import LocalEngine
from claas.engines.local.model import LoadedModel
from claas.engines.local.versions import LocalStore
from claas.engines.types import Score

ROUNDS = 5
STEPS = 4
SAMPLES = 4
PLAIN_REQUESTS = 300
COMPLETION = "It is wet."

Work = Callable[[], Awaitable[int]]


async def main() -> int:
    report = Report()
    base = LoadedModel.load(EMBEDDED)
    with tempfile.TemporaryDirectory() as folder:
        engine = LocalEngine(base, LocalStore(Path(folder) / "adapters"), max_batch_rows=64, lock_timeout_s=60)
        config = ApiConfig(store_dir=f"{folder}/store", feedback_log_dir=f"{folder}/feedback")
        app = create_app(engine, config)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as http,
        ):
            await chats(report, http, base)
            await engine_scores(report, engine)
            await scores(report, http)
            await updates(report, http, base)
    overhead(report)
    return report.exit_code


async def chats(report: Report, http: httpx.AsyncClient, base: LoadedModel) -> None:
    """Tokens per second of 16 clients at once, of one, and of transformers' own batched decoding."""
    gate = asyncio.Semaphore(ROWS)

    async def answer(index: int) -> int:
        async with gate:
            reply = await post(http, "chat/completions", chat(index))
        return reply["usage"]["completion_tokens"]

    async def together() -> int:
        return sum(await asyncio.gather(*[answer(index) for index in range(REQUESTS)]))

    async def one_by_one() -> int:
        return sum([await answer(index) for index in range(ROWS)])

    async def transformers() -> int:
        return sum(generated(base, PROMPTS) for _ in range(REQUESTS // ROWS))

    best = await seconds({"together": together, "one": one_by_one, "transformers": transformers})
    report.line(f"tokens/s of {ROWS} chats at once", 1 / best["together"], "")
    report.line("than one at a time", best["one"] / best["together"], "x", at_least=2.5)
    report.line(f"than transformers.generate, batch {ROWS}", best["transformers"] / best["together"], "x", at_least=1.3)


async def engine_scores(report: Report, engine: LocalEngine) -> None:
    """Short completions scored together and one by one, by the engine itself."""
    weights = await engine.resolve(None)

    async def score(index: int) -> Score:
        return await engine.score(weights, [user(index)], COMPLETION)

    async def together() -> int:
        return len(await asyncio.gather(*[score(index) for index in range(SCORED)]))

    async def one_by_one() -> int:
        return len([await score(index) for index in range(SCORED)])

    best = await seconds({"together": together, "one": one_by_one})
    report.line(f"engine: ms to score each of {SCORED} completions at once", 1e3 * best["together"], "ms")
    report.line("than one by one", best["one"] / best["together"], "x", at_least=3.0)


async def scores(report: Report, http: httpx.AsyncClient) -> None:
    """The same through the API, which handles the requests one after the other."""
    bodies = [{"model": EMBEDDED, "messages": [user(index)], "completion": COMPLETION} for index in range(SCORED)]

    async def together() -> int:
        return len(await asyncio.gather(*[post(http, "score", body) for body in bodies]))

    async def one_by_one() -> int:
        return len([await post(http, "score", body) for body in bodies])

    best = await seconds({"together": together, "one": one_by_one})
    report.line(f"through the API: ms to score each of {SCORED}", 1e3 * best["together"], "ms")
    report.line("than one by one", best["one"] / best["together"], "x")


async def updates(report: Report, http: httpx.AsyncClient, base: LoadedModel) -> None:
    """An update of 4 samples and 4 optimiser steps against as many forward and backward passes over its tokens."""
    await post(http, "lora/init", {"lora_id": "bench", "lora_r": 16, "lora_alpha": 32})
    replies = [await post(http, "chat/completions", chat(index)) for index in range(SAMPLES)]
    items = [
        {
            "lora_id": "bench",
            "prompt": PROMPTS[index],
            "response": reply["choices"][0]["message"]["content"],
            "rollout_id": reply["choices"][0]["rollout_id"],
            "feedback": CONCISE,
            "training": {"steps_per_batch": STEPS, "teacher_top_k": 20},
        }
        for index, reply in enumerate(replies)
    ]
    forward_and_backward = bare(base, [reply["usage"]["total_tokens"] for reply in replies])

    async def update() -> int:
        await post(http, "feedback", {"requests": items})
        return 1

    async def floor() -> int:
        for _ in range(STEPS):
            forward_and_backward()
        return 1

    best = await seconds({"update": update, "floor": floor})
    report.line(f"s to learn from {SAMPLES} answers in {STEPS} steps", best["update"], "s")
    report.line("of the bare forward and backward passes", best["update"] / best["floor"], "x", at_most=1.5)


def overhead(report: Report) -> None:
    """What a request costs, client and socket included, when the engine takes no time."""
    from tests.eval.live_api import live_api
    from tests.fakes.engine import BASE_MODEL, FakeEngine

    body = {"model": BASE_MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    with tempfile.TemporaryDirectory() as folder:
        engine = FakeEngine(Path(folder) / "engine")
        with live_api(Path(folder), engine) as url, httpx.Client(base_url=url) as http:
            took: list[float] = []
            for _ in range(PLAIN_REQUESTS):
                started = time.perf_counter()
                http.post("/v1/chat/completions", json=body).raise_for_status()
                took.append(time.perf_counter() - started)
    report.line("ms a request takes when the engine takes none (median)", 1e3 * median(took), "ms", at_most=5.0)


def user(index: int) -> dict[str, str]:
    """One of the prompts as a turn."""
    return {"role": "user", "content": PROMPTS[index % ROWS]}


async def seconds(works: Mapping[str, Work]) -> dict[str, float]:
    """Seconds per unit of what each work says it did; the first round only warms up."""
    best = dict.fromkeys(works, float("inf"))
    for turn in range(1 + ROUNDS):
        for name, work in works.items():
            started = time.perf_counter()
            done = await work()
            if turn:
                best[name] = min(best[name], (time.perf_counter() - started) / done)
    return best


def chat(index: int) -> dict[str, Any]:
    """A chat request, each of its own."""
    messages = [{"role": "user", "content": PROMPTS[index % len(PROMPTS)]}]
    return {"model": EMBEDDED, "messages": messages, "max_tokens": TOKENS, "seed": index}


async def post(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    return (await http.post(f"/v1/{path}", json=body)).raise_for_status().json()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
