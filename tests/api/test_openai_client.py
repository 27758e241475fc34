"""OpenAI's own Python client drives a real server in another process."""

import math
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from claas.tiny import WEIGHTS_DIR
from tests.api.conftest import SERVER_KEY

MODEL = "claas-tiny"
Client = Any
"""An `openai.OpenAI`, a package that is imported for as long as the rest of a test takes."""

ASKED: Any = [{"role": "user", "content": "Tell me about coffee."}]


@pytest.fixture(scope="module")
def openai(server: httpx.Client) -> Iterator[Client]:
    from openai import OpenAI

    with OpenAI(base_url=f"{server.base_url}/v1", api_key=SERVER_KEY, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def answered(openai: Client) -> str:
    """The greedy answer that others are held against."""
    return (
        openai.chat.completions.create(model=MODEL, messages=ASKED, temperature=0, max_tokens=40)
        .choices[0]
        .message.content
        or ""
    )


def test_a_chat_is_answered_with_twenty_alternatives_to_each_token(openai: Client, answered: str) -> None:
    reply = openai.chat.completions.create(
        model=MODEL, messages=ASKED, temperature=0, max_tokens=40, logprobs=True, top_logprobs=20
    )
    (choice,) = reply.choices
    assert choice.message.content == answered
    assert choice.finish_reason in ("stop", "length")
    assert choice.logprobs is not None
    tokens = choice.logprobs.content or []
    assert reply.usage is not None
    assert len(tokens) == reply.usage.completion_tokens
    for token in tokens:
        assert len(token.top_logprobs) == 20
        assert (token.top_logprobs[0].token, token.top_logprobs[0].logprob) == (token.token, token.logprob)
        assert bytes(token.bytes or []).decode() == token.token
        assert sum(math.exp(other.logprob) for other in token.top_logprobs) <= 1.0001


def test_seeds_repeat_and_the_choices_of_a_request_differ(openai: Client) -> None:
    replies = [
        openai.chat.completions.create(model=MODEL, messages=ASKED, seed=5, n=4, max_tokens=30, temperature=1.2)
        for _ in range(2)
    ]
    first, second = ([choice.message.content for choice in reply.choices] for reply in replies)
    assert first == second
    assert len(set(first)) == 4


def test_a_stop_string_ends_an_answer_before_it(openai: Client, answered: str) -> None:
    word = answered.split()[4]
    reply = openai.chat.completions.create(
        model=MODEL, messages=ASKED, temperature=0, max_tokens=40, stop=[word, "xyz"]
    )
    assert reply.choices[0].message.content == answered[: answered.index(word)]
    assert reply.choices[0].finish_reason == "stop"


def test_a_streamed_chat_is_the_plain_one_in_parts(openai: Client, answered: str) -> None:
    stream = openai.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        temperature=0,
        max_tokens=40,
        logprobs=True,
        top_logprobs=2,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answered
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason is not None
    assert len(chunks) > 10
    assert {chunk.system_fingerprint for chunk in (*chunks, last)} == {last.system_fingerprint}
    assert (last.choices, last.model) == ([], MODEL)
    assert last.usage is not None
    tokens = [
        token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content or []
    ]
    assert len(tokens) == last.usage.completion_tokens


def test_the_streaming_helper_puts_an_answer_together(openai: Client) -> None:
    hi: Any = [{"role": "user", "content": "hi"}]
    plain = openai.chat.completions.create(model=MODEL, messages=hi, temperature=0).choices[0].message.content
    with openai.chat.completions.stream(model=MODEL, messages=hi, temperature=0) as stream:
        assert stream.get_final_completion().choices[0].message.content == plain


def test_what_gateways_send_along_is_tolerated(openai: Client, answered: str) -> None:
    parts: Any = [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "about coffee."}]
    same = openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": parts}],
        temperature=0,
        max_completion_tokens=40,
        tools=[],
        store=False,
        user="somebody",
        parallel_tool_calls=False,
        stream_options=None,
        frequency_penalty=0,
        extra_body={"metadata": {}, "service_tier": "auto", "top_k": -1, "response_format": {"type": "text"}},
    )
    assert same.choices[0].message.content == answered
    history: Any = [
        {"role": "user", "content": "Hi", "name": "x"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}], "refusal": None, "tool_calls": None},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": parts},
    ]
    reply = openai.chat.completions.create(model=MODEL, messages=history, max_tokens=5)
    assert reply.choices[0].message.content


def test_completions_echo_score_and_take_tokens(openai: Client) -> None:
    texts = ["The sky is blue.", "Bees make honey."]
    echoed = openai.completions.create(model=MODEL, prompt=texts, echo=True, logprobs=1, max_tokens=1, temperature=0)
    assert len(echoed.choices) == 2
    for text, choice in zip(texts, echoed.choices, strict=True):
        assert choice.text.startswith(text)
        assert choice.logprobs is not None
        assert (choice.logprobs.token_logprobs or [0])[0] is None
        assert all(logprob < 0 for logprob in (choice.logprobs.token_logprobs or [])[1:])
        assert "".join(choice.logprobs.tokens or []) == choice.text
        assert [choice.text[offset] for offset in (choice.logprobs.text_offset or [])] == [
            token[0] for token in choice.logprobs.tokens or []
        ]
    from transformers import AutoTokenizer

    ids = [AutoTokenizer.from_pretrained(WEIGHTS_DIR).encode(text) for text in texts]
    again = openai.completions.create(model=MODEL, prompt=ids, echo=True, logprobs=1, max_tokens=1, temperature=0)
    assert [choice.logprobs for choice in again.choices] == [choice.logprobs for choice in echoed.choices]
    whole = openai.completions.create(model=MODEL, prompt=texts[0], echo=True, max_tokens=0)
    assert whole.choices[0].text == texts[0]
    one = openai.completions.create(model=MODEL, prompt=ids[0], max_tokens=6, n=2, seed=1, stop="\n")
    assert len(one.choices) == 2


def test_the_models_are_listed_and_found(openai: Client, server: httpx.Client) -> None:
    server.put("/v1/aliases/house", json={"target": MODEL}).raise_for_status()
    assert [model.id for model in openai.models.list()] == [MODEL, "house"]
    assert openai.models.retrieve("house").id == "house"
    reply = openai.chat.completions.create(model="house", messages=ASKED, max_tokens=1)
    assert reply.model == MODEL


def test_errors_are_the_clients_own_kinds(openai: Client) -> None:
    from openai import AuthenticationError, BadRequestError, ConflictError, NotFoundError, UnprocessableEntityError

    def refused(kind: type[Any], **fields: Any) -> Any:
        with pytest.raises(kind) as caught:
            openai.chat.completions.create(**{"model": MODEL, "messages": ASKED, **fields})
        return caught.value

    assert "unknown model 'nobody'" in refused(NotFoundError, model="nobody").message
    assert refused(BadRequestError, top_logprobs=3).code == "bad_request"
    long: Any = [{"role": "user", "content": "word " * 3000}]
    for stream in (False, True):
        assert refused(BadRequestError, messages=long, stream=stream).code == "context_length_exceeded"
    too_hot = refused(UnprocessableEntityError, temperature=3)
    assert (too_hot.param, too_hot.type) == ("temperature", "invalid_request_error")
    with pytest.raises(BadRequestError, match="window of 2048"):
        openai.completions.create(model=MODEL, prompt=[5] * 2048, max_tokens=1)
    with pytest.raises(AuthenticationError, match="CLAAS_API_KEY"):
        openai.with_options(api_key="wrong").models.list()
    with pytest.raises(ConflictError):
        openai.put(f"/aliases/{MODEL}", body={"target": MODEL}, cast_to=object)


def test_a_prediction_is_counted_and_changes_nothing(openai: Client, answered: str) -> None:
    wholes: list[Any] = [answered, [{"type": "text", "text": answered[:20]}, {"type": "text", "text": answered[20:]}]]
    for content in wholes:
        reply = openai.chat.completions.create(
            model=MODEL,
            messages=ASKED,
            temperature=0,
            max_tokens=40,
            prediction={"type": "content", "content": content},
        )
        assert reply.choices[0].message.content == answered
        assert reply.usage is not None
        assert reply.usage.completion_tokens_details is not None
        details = reply.usage.completion_tokens_details
        assert (details.accepted_prediction_tokens or 0) >= reply.usage.completion_tokens - 1
        assert (details.rejected_prediction_tokens or 0) <= 1
    from openai import UnprocessableEntityError

    with pytest.raises(UnprocessableEntityError, match="prediction"):
        openai.chat.completions.create(
            model=MODEL,
            messages=ASKED,
            prediction={"type": "content", "content": None},
        )
