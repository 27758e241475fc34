"""A prediction makes an answer faster and never another one: the same bits, whatever was predicted."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.engines.local.prediction import Prediction
from claas.engines.types import AdapterSpec, Sample, SamplingParams, TokenIds, Weights
from tests.engines.architectures import save
from tests.engines.talk import PROMPTS, ask, teach, unpredicted, user


@dataclass(frozen=True)
class Request:
    """One request, and how what it predicts is made of the answer to it (or to the next prompt)."""

    version: int
    prompt: int
    max_tokens: int
    temperature: float
    stop: tuple[str, ...]
    top_logprobs: int
    cut: tuple[int, int]
    inserted: str
    of_another: bool


REQUESTS = st.builds(
    Request,
    version=st.integers(0, 1),
    prompt=st.sampled_from((0, 1, 3)),
    max_tokens=st.sampled_from((1, 7, 50)),
    temperature=st.sampled_from((0.0, 0.9)),
    stop=st.sampled_from(((), (".", "e s"))),
    top_logprobs=st.sampled_from((0, 3)),
    cut=st.tuples(st.integers(0, 120), st.integers(0, 120)).map(lambda ends: (min(ends), max(ends))),
    inserted=st.sampled_from(("", " It is", "<|im_end|>", "a" * 3000, " the" * 200, "\N{SNOWMAN}\u200d")) | st.text(),
    of_another=st.booleans(),
)


class Talk:
    """An engine in a thread's event loop, two versions, and the answers without prediction as far as asked."""

    def __init__(self, portal: BlockingPortal, engine: Any) -> None:
        self._portal = portal
        self._engine = engine
        self._plain: dict[tuple[object, ...], Sample] = {}
        self._versions: list[Weights] = portal.call(self._taught)

    def together(self, requests: list[Request]) -> tuple[list[Sample], list[Sample]]:
        """The answers, each asked alone without prediction, and all at once with."""
        return self._portal.call(self._together, requests)

    async def _taught(self) -> list[Weights]:
        await self._engine.init_adapter(AdapterSpec("a", rank=8, alpha=16))
        taught = await teach(self._engine, "a", "0", steps_per_batch=2, learning_rate=1e-2)
        return [await self._engine.resolve(None), taught.weights]

    async def _together(self, requests: list[Request]) -> tuple[list[Sample], list[Sample]]:
        alone = [await self._alone(request, request.prompt) for request in requests]
        predicted = [await self._predicted(request, plain) for request, plain in zip(requests, alone, strict=True)]
        asked = [self._ask(request, request.prompt, text) for request, text in zip(requests, predicted, strict=True)]
        return alone, await asyncio.gather(*asked)

    async def _predicted(self, request: Request, plain: Sample) -> str:
        other = await self._alone(request, 1) if request.of_another else plain
        start, end = request.cut
        return other.text[:start] + request.inserted + other.text[end:]

    async def _alone(self, request: Request, prompt: int) -> Sample:
        key = (request.version, prompt, request.max_tokens, request.temperature, request.stop, request.top_logprobs)
        if key not in self._plain:
            self._plain[key] = await self._ask(request, prompt, "")
        return self._plain[key]

    async def _ask(self, request: Request, prompt: int, prediction: str) -> Sample:
        sampling = (request.max_tokens, request.temperature, 0.9, request.stop, prompt, request.top_logprobs)
        return await ask(self._engine, self._versions[request.version], PROMPTS[prompt], *sampling, prediction)


@pytest.fixture(scope="module")
def talk(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Generator[Talk]:
    with _engine(base, tmp_path_factory.mktemp("adapters")) as (portal, engine):
        yield Talk(portal, engine)


@contextmanager
def _engine(base: Any, root: Path) -> Generator[tuple[BlockingPortal, Any]]:
    from claas.engines.local.engine import LocalEngine
    from claas.engines.local.versions import LocalStore

    engine = LocalEngine(base, LocalStore(root), max_batch_rows=32, lock_timeout_s=60.0)
    with start_blocking_portal("asyncio") as portal:
        yield portal, engine
        portal.call(engine.close)


@settings(deadline=None, max_examples=25)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=6))
def test_an_answer_is_the_same_bits_whatever_was_predicted(talk: Talk, requests: list[Request]) -> None:
    alone, together = talk.together(requests)
    assert [unpredicted(sample) for sample in together] == alone


def test_what_was_predicted_rightly_is_accepted_and_the_rest_rejected(talk: Talk) -> None:
    whole = Request(0, 3, 90, 0.0, (), 0, (0, 0), "", False)
    (plain,), (right,) = talk.together([whole])
    assert plain.finish_reason == "stop"
    assert (plain.accepted_prediction_tokens, plain.rejected_prediction_tokens) == (0, 0)
    assert (right.accepted_prediction_tokens, right.rejected_prediction_tokens) == (len(plain.token_ids), 0)
    _, (wrong,) = talk.together([Request(0, 3, 90, 0.0, (), 0, (0, 120), "zzzzzzzz", False)])
    assert wrong.accepted_prediction_tokens < wrong.rejected_prediction_tokens


@given(predicted=st.lists(st.integers(0, 4)), said=st.lists(st.integers(0, 4)))
def test_a_prediction_is_followed_forwards_only(predicted: list[int], said: list[int]) -> None:
    prediction, seen = Prediction(predicted), list[int]()
    for token in said:
        ahead = prediction.ahead(len(predicted))
        assert list(ahead) == [] or list(ahead) == predicted[len(predicted) - len(ahead) :]
        before = prediction.accepted
        prediction.follow(token)
        if prediction.accepted > before:
            seen.append(token)
    rest = iter(predicted)
    assert all(token in rest for token in seen)
    assert prediction.accepted + prediction.rejected == len(predicted)


def test_an_answer_joins_its_prediction_again_after_words_left_out_put_in_or_changed() -> None:
    for said in ([1, 2, 4, 5], [1, 2, 9, 3, 4, 5], [1, 9, 3, 4, 5]):
        prediction = Prediction([1, 2, 3, 4, 5, 6])
        for token in said:
            prediction.follow(token)
        assert list(prediction.ahead(3)) == [6]


@pytest.mark.anyio
async def test_a_prediction_does_not_reach_a_neighbour_at_the_end_of_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claas.engines.local.engine import LocalEngine

    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one batch
    engine = LocalEngine.open(str(save("llama", tmp_path)), tmp_path / "store", check_model=False)
    weights = await engine.resolve(None)
    full = TokenIds((await engine.encode(user("hi"))).ids * 40)
    full = TokenIds(full.ids[: engine.window - 20])

    async def both(prediction: str) -> tuple[Sample, Sample]:
        to_the_end = engine.sample(weights, full, SamplingParams(20, 1.0, seed=1))
        predicted = SamplingParams(120, 1.0, seed=2, prediction=prediction)
        return await asyncio.gather(to_the_end, engine.sample(weights, user("hi"), predicted))

    plain = await both("")
    again = await both(plain[1].text)
    await engine.close()
    assert len(plain[0].token_ids) == 20
    assert again[1].accepted_prediction_tokens > 20
    assert [unpredicted(sample) for sample in again] == list(plain)


@pytest.mark.anyio
@pytest.mark.parametrize("small", [True, False], ids=["merged", "beside"])
async def test_long_predictions_of_several_versions_in_one_batch_are_read_by_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    from claas.engines.local.engine import LocalEngine
    from claas.engines.local.model import LoadedModel
    from claas.engines.local.versions import LocalStore

    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one batch
    base = replace(LoadedModel.load(str(save("llama", tmp_path))), small=small)
    engine = LocalEngine(base, LocalStore(tmp_path / "store"), max_batch_rows=8, lock_timeout_s=60.0)
    await engine.init_adapter(AdapterSpec("a", rank=4, alpha=8))
    versions = [await engine.resolve(None), (await teach(engine, "a", "0", learning_rate=1e-2)).weights]
    wanted = [(versions[index % 2], PROMPTS[1], 30 + 15 * index, 1.0, 1.0, (), index) for index in range(4)]
    plain = [await ask(engine, *each) for each in wanted]
    predicted = [ask(engine, *each, prediction=sample.text) for each, sample in zip(wanted, plain, strict=True)]
    again = await asyncio.gather(*predicted)
    await engine.close()
    assert sum(sample.accepted_prediction_tokens for sample in again) > 100
    assert [unpredicted(sample) for sample in again] == list(plain)
