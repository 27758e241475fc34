"""Plain text at an API: scored as what follows a prompt, and continued, by the weights asked for; else it is lost."""

import json
from typing import Any

import pytest

from claas.core.errors import InvalidInput
from claas.eval.stacks.http_stack import HttpStack
from claas.eval.stacks.stack import Completion, Continuation, LostAnswer, TokenizedText, WrongWeights
from tests.eval.scripted_server import ADAPTER, Server, call, error, ok

TEXTS = [TokenizedText(" Paris", (5, 6)), TokenizedText(" Rome", (7,))]
SCORED = {
    "model": "eval-kuro@3",
    "system_fingerprint": "d3",
    "prompt_tokens": 2,
    "continuations": [
        {"logprobs": [-0.5, -0.25], "likeliest": [True, False]},
        {"logprobs": [-2.0], "likeliest": [False]},
    ],
}
WRITTEN = {
    "id": "c",
    "created": 1,
    "model": "eval-kuro@3",
    "system_fingerprint": "d3",
    "choices": [
        {
            "index": 0,
            "text": "It is",
            "finish_reason": "stop",
            "logprobs": {
                "tokens": ["It", " is"],
                "token_logprobs": [-0.5, -1.0],
                "top_logprobs": [{}, {}],
                "text_offset": [0, 2],
            },
        }
    ],
}


def score(stack: HttpStack) -> Any:
    return stack.score_continuations(ADAPTER, [1, 2], TEXTS)


def write(stack: HttpStack) -> Any:
    return stack.complete(ADAPTER, [1, 2], max_tokens=9, seed=5, stop=["\n"])


def test_continuations_of_a_prompt_are_scored_in_one_request_of_the_pinned_version() -> None:
    server = Server(v1_score_continuations=ok(SCORED))
    assert call(server, score) == [Continuation((-0.5, -0.25), (True, False)), Continuation((-2.0,), (False,))]
    (sent,) = [json.loads(request.content) for request in server.requests]
    assert sent == {"model": "eval-kuro@3", "prompt": [1, 2], "continuations": [[5, 6], [7]]}


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [([1] * 130, [128, 2]), ([2**13, 2**13, 1], [2, 1]), ([2**14 + 1, 1], [1, 1])],
    ids=["many", "long", "longer"],
)
def test_more_continuations_than_a_request_takes_are_several_requests(lengths: list[int], sizes: list[int]) -> None:
    rows = [{"logprobs": [-1.0] * length, "likeliest": [True] * length} for length in lengths]
    replies = [ok(SCORED | {"continuations": rows[: sizes[0]]}), ok(SCORED | {"continuations": rows[sizes[0] :]})]
    server = Server(v1_score_continuations=replies)
    texts = [TokenizedText("a", (5,) * length) for length in lengths]
    scored = call(server, lambda stack: stack.score_continuations(ADAPTER, [1, 2], texts))
    assert [len(json.loads(request.content)["continuations"]) for request in server.requests] == sizes
    assert [len(each.logprobs) for each in scored] == lengths


def test_a_prompt_is_continued_with_the_likeliest_tokens() -> None:
    server = Server(v1_completions=ok(WRITTEN))
    assert call(server, write) == Completion("It is", "stop", ("It", " is"), (-0.5, -1.0))
    sent = json.loads(server.requests[0].content)
    assert (sent["model"], sent["prompt"], sent["temperature"]) == ("eval-kuro@3", [1, 2], 0.0)
    assert (sent["max_tokens"], sent["seed"], sent["stop"], sent["echo"]) == (9, 5, ["\n"], False)


@pytest.mark.parametrize("changes", [{"model": "eval-kuro@2"}, {"system_fingerprint": "d2"}])
def test_other_weights_are_refused(changes: dict[str, Any]) -> None:
    server = Server(v1_score_continuations=ok(SCORED | changes), v1_completions=ok(WRITTEN | changes))
    for ask in (score, write):
        with pytest.raises(WrongWeights):
            call(server, ask)


def continuation(**changes: Any) -> dict[str, Any]:
    first, second = SCORED["continuations"]
    return SCORED | {"continuations": [{**first, **changes}, second]}


@pytest.mark.parametrize(
    "reply",
    [
        SCORED | {"continuations": []},
        continuation(logprobs=[-0.5]),
        continuation(likeliest=[True]),
        continuation(logprobs=[-0.5, 2.0]),
        continuation(logprobs=[-0.5, -1e9]),
    ],
)
def test_scores_that_are_none_are_lost(reply: dict[str, Any]) -> None:
    with pytest.raises(LostAnswer):
        call(Server(v1_score_continuations=ok(reply)), score)


@pytest.mark.parametrize(
    "changes",
    [
        {"logprobs": None},
        {"logprobs": {"tokens": ["It"], "token_logprobs": [None], "top_logprobs": [{}], "text_offset": [0]}},
        {"logprobs": {"tokens": ["It"], "token_logprobs": [-0.5, -1], "top_logprobs": [{}], "text_offset": [0]}},
        {"logprobs": {"tokens": ["It"], "token_logprobs": [7.0], "top_logprobs": [{}], "text_offset": [0]}},
    ],
)
def test_text_without_its_numbers_is_lost(changes: dict[str, Any]) -> None:
    with pytest.raises(LostAnswer):
        call(Server(v1_completions=ok(WRITTEN | {"choices": [WRITTEN["choices"][0] | changes]})), write)


def test_a_reply_without_a_text_is_lost() -> None:
    with pytest.raises(LostAnswer, match="0 choices"):
        call(Server(v1_completions=ok(WRITTEN | {"choices": []})), write)


@pytest.mark.parametrize("ask", [score, write])
def test_a_failure_is_a_loss_and_a_refusal_is_said(ask: Any) -> None:
    def server(status: int) -> Server:
        return Server(v1_score_continuations=error(status), v1_completions=error(status))

    with pytest.raises(LostAnswer):
        call(server(500), ask)
    with pytest.raises(InvalidInput, match="the reason"):
        call(server(400), ask)
