"""Whole runs against a peer that lies in its numbers, under the right names and digests: every lie is named."""

import asyncio
import copy
import itertools
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from claas.api.app import create_app
from claas.api.config import ApiConfig
from claas.eval.run.canary import PROMPT
from claas.eval.runner import run_harness
from claas.eval.stacks.http_client import Retries
from claas.eval.stacks.http_stack import HttpStack, connect
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from tests.eval.recomputing import require_recomputable
from tests.eval.small_preferences import small_preferences
from tests.fakes.engine import BASE_MODEL, FakeEngine

Body = dict[str, Any]


@dataclass
class Liar(httpx.AsyncBaseTransport):
    """Asks the API `chat_of(version)` where chat is asked of a version, `score_of` where a score is, and renames both.

    It does so with requests that are `among` those it lies about. Replies go through `lie(request, reply)`. The run's
    canary is always answered rightly with `knows_canary`. Answers that are `cached` are those that came first to the
    same prompt of the same version, whatever the seed.
    """

    inner: httpx.AsyncBaseTransport
    engine: FakeEngine
    chat_of: Callable[[int], int] = lambda version: version
    score_of: Callable[[int], int] = lambda version: version
    among: Callable[[Body], bool] = lambda request: True
    lie: Callable[[Body, Body], None] = lambda request, reply: None
    knows_canary: bool = False
    cached: Callable[[Body], bool] = lambda request: False
    cache: dict[str, Body] = field(default_factory=dict[str, Body])

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path not in ("/v1/chat/completions", "/v1/score"):
            return await self.inner.handle_async_request(request)
        asked: Body = json.loads(request.content)
        if self.knows_canary and path == "/v1/score" and asked["messages"] == list(PROMPT):
            return await self.inner.handle_async_request(request)
        name, _, version = asked["model"].partition("@")
        other = self.chat_of if path == "/v1/chat/completions" else self.score_of
        model = f"{name}@{other(int(version))}" if version and self.among(asked) else asked["model"]
        sent = httpx.Request(request.method, request.url, json=asked | {"model": model})
        reply: Body = json.loads(await (await self.inner.handle_async_request(sent)).aread())
        if version:
            known = [weights for versions in self.engine.adapters.values() for weights in versions]
            digest = next(weights.digest for weights in known if weights.name == asked["model"])
            reply |= {"model": asked["model"], "system_fingerprint": digest}
        if self.cached(asked):
            reply = copy.deepcopy(self.cache.setdefault(f"{asked['model']} {asked['messages']}", reply))
        self.lie(asked, reply)
        return httpx.Response(200, json=reply)


def at_length(prompt: str, seed: int | None) -> str:
    return f"To {prompt} I say under seed {seed} that it is as it is and no other way"


def run(folder: Path, speaks: Callable[[str, int | None], str] = at_length, **lies: Any) -> RunResults:
    """One small preference of three steps, asked of the real API through a liar."""
    config = EvalConfig(
        base_model=BASE_MODEL,
        preferences=["calm"],
        metrics=["quick"],
        num_steps=3,
        plots=False,
        output_dir=str(folder / "run"),
        config_dir=str(small_preferences(folder / "mine", "calm")),
    )
    engine = FakeEngine(folder, script=lambda weights, messages, params: speaks(messages[-1]["content"], params.seed))

    @asynccontextmanager
    async def opened(config: EvalConfig, store_dir: Path) -> AsyncGenerator[HttpStack, None]:
        settings = ApiConfig(store_dir=str(store_dir), feedback_log_dir=str(store_dir / "feedback"))
        app = create_app(engine, settings)
        liar = Liar(httpx.ASGITransport(app), engine, **lies)
        async with (
            app.router.lifespan_context(app),
            connect("http://localhost", config, transport=liar, retries=Retries(for_s=0.0)) as stack,
        ):
            yield stack

    results = asyncio.run(run_harness(config, open_stack=opened))
    require_recomputable(results.run_dir)
    return results


def everywhere_equal(request: Body, reply: Body) -> None:
    """Each token is as likely as any other, whatever the weights."""
    if "logprobs" in reply:
        reply |= {"logprobs": [-0.7] * len(reply["logprobs"])}
    for choice in reply.get("choices", []):
        for token in choice["logprobs"]["content"]:
            token["logprob"] = -0.7


def one_rollout(request: Body, reply: Body) -> None:
    """Every answer has the same id."""
    for choice in reply.get("choices", []):
        choice["rollout_id"] = "r1"


def about_wind_or_ice(request: Body) -> bool:
    """One of the held-out prompts."""
    return request["messages"][-1]["content"] in ("What is wind?", "What is ice?")


def greedy(request: Body) -> bool:
    return request.get("temperature") == 0.0


def of_the_tempered(request: Body, reply: Body) -> None:
    """Log probabilities are of what is sampled from at the temperature: greedily, nothing else is possible."""
    if greedy(request):
        for token in reply["choices"][0]["logprobs"]["content"]:
            token["logprob"] = 0.0


def of_another_text(request: Body, reply: Body) -> None:
    """What is scored is not what was sent to be."""
    if "tokens" in reply:
        reply["tokens"] = ["Something", *reply["tokens"][1:]]


def never(version: int) -> int:
    """No update reaches those who ask."""
    return 0


def late(version: int) -> int:
    """Every update comes one too late."""
    return max(version - 1, 0)


def stuck(version: int) -> int:
    """No update after the first arrives."""
    return min(version, 1)


OTHER_WEIGHTS = "other weights answer chat requests under its name than score"


@pytest.mark.parametrize(
    ("lies", "steps", "said"),
    [
        ({"chat_of": never}, 0, f"wrong weights: what eval-calm-run@1 answered .*{OTHER_WEIGHTS}"),
        ({"chat_of": late}, 0, "has the log probabilities of eval-calm-run@0, and not"),
        ({"chat_of": stuck}, 1, "has the log probabilities of eval-calm-run@1, and not"),
        (
            {"chat_of": never, "among": about_wind_or_ice},
            0,
            "answered to 'What is (wind|ice).' has the .*-run@0, and not",
        ),
        ({"chat_of": late, "among": greedy}, 0, "has the log probabilities of eval-calm-run@0, and not"),
        ({"lie": of_the_tempered}, -1, f"has the log probabilities of 0 nats, and scores the same .*: {OTHER_WEIGHTS}"),
        (
            {"lie": of_another_text},
            -1,
            "the first: another text was scored: asked for 'Water .*', its tokens are 'something",
        ),
        ({"score_of": never, "knows_canary": True}, 0, "scores an answer of its own exactly as eval-calm-"),
        ({"score_of": never}, 0, "scores the canary exactly as version 0 did"),
        ({"lie": everywhere_equal, "knows_canary": True}, 0, "scores an answer of its own exactly as eval-calm-run@0"),
        ({"lie": everywhere_equal}, 0, "scores the canary exactly as version 0 did"),
        ({"lie": one_rollout}, -1, "two answers the same rollout id, 'r1': something between repeats replies"),
    ],
    ids=[
        *("stale chat", "late chat", "stuck chat", "stale held-out", "late greedy", "tempered", "another text"),
        *("stale but canary", "stale", "equal but canary", "equal", "one id"),
    ],
)
def test_a_lie_is_caught_and_named(tmp_path: Path, lies: dict[str, Any], steps: int, said: str) -> None:
    results = run(tmp_path, **lies)
    assert re.search(said, results.failures["calm"]), results.failures["calm"]
    history = results.preferences["calm"]
    assert len(history.steps) == max(steps, 0)
    assert (history.baseline is None) == (steps < 0)


def sampled(request: Body) -> bool:
    return request.get("temperature", 0.0) > 0


def for_the_canary(request: Body) -> bool:
    return request.get("temperature") == 1.0


def test_a_cache_that_ignores_seeds_is_no_sampler(tmp_path: Path) -> None:
    ids = itertools.count()

    def new_id(request: Body, reply: Body) -> None:
        if for_the_canary(request):
            reply["choices"][0]["rollout_id"] = f"new {next(ids)}"

    failures = run(tmp_path / "openly", cached=sampled).failures
    assert "two answers the same rollout id" in failures["calm"]
    failures = run(tmp_path / "with new ids", cached=for_the_canary, lie=new_id).failures
    assert re.search(r"that has a chance of \de-\d\d by its own account: what answers ignores seeds", failures["calm"])


def test_a_model_that_always_says_the_same_is_believed_when_its_numbers_say_so(tmp_path: Path) -> None:
    def certain(request: Body, reply: Body) -> None:
        for choice in reply.get("choices", []):
            for token in choice["logprobs"]["content"]:
                token["logprob"] *= 1e-3
        if "logprobs" in reply:
            reply |= {"logprobs": [logprob * 1e-3 for logprob in reply["logprobs"]]}

    assert not run(tmp_path, lie=certain, speaks=lambda prompt, seed: f"To {prompt} I always say just this").failures


def test_the_truth_is_told_apart_from_lies(tmp_path: Path) -> None:
    results = run(tmp_path)
    assert not results.failures
    history = results.preferences["calm"]
    assert history.baseline is not None
    checks = [record.canary and record.canary.chat for record in (history.baseline, *history.steps)]
    assert [check and check.scored for check in checks] == [0] * 4
    measured = [record.canary.answers for record in (history.baseline, *history.steps) if record.canary]
    by_kind = [[len(each.scores) for each in answers or ()] for answers in measured]
    assert by_kind == [[1, 1, 1], *[[1, 1]] * 3], "the control arm in context is asked at baseline alone"
    assert results.summary.preferences["calm"].notes == ()
