"""The HTTP stack against servers that misbehave in every known way."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from claas.core.errors import InvalidInput, NotFound, StackError
from claas.core.training_config import TrainingConfig
from claas.eval.stack import Adapter, FeedbackOn, LostAnswer, WrongWeights
from claas.eval.stacks.http_client import HttpClient, Retries
from claas.eval.stacks.http_stack import HttpStack, connect
from claas.eval.types import EvalConfig

ADAPTER = Adapter("eval/kuro", 3, "d3", "eval-kuro@3")
INFO = {"name": "claas", "version": "1", "mode": "local", "base_model": "claas-tiny"}
AT_ONCE = Retries(attempts=3, first_delay_s=0.0)
Reply = httpx.Response | Exception


def chat(**changes: Any) -> dict[str, Any]:
    token = {"token": "Hi", "logprob": -0.5, "top_logprobs": [{"token": "Hi", "logprob": -0.5}]}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "Hi"},
        "finish_reason": "stop",
        "logprobs": {"content": [token]},
        "rollout_id": "r1",
        "mean_entropy": 0.7,
    }
    reply = {
        "id": "c1",
        "created": 1,
        "model": "eval-kuro@3",
        "choices": [choice | changes.pop("choice", {})],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5},
        "system_fingerprint": "d3",
    }
    return reply | changes


SCORE = {
    "model": "eval-kuro@3",
    "system_fingerprint": "d3",
    "tokens": ["Hi", "<end>"],
    "logprobs": [-0.5, -0.1],
    "prompt_tokens": 4,
    "completion_tokens": 2,
    "logprob_sum": -0.6,
}
RECEIPT = {
    "request_id": "f1",
    "lora_id": "eval/kuro",
    "version": 4,
    "digest": "d4",
    "distill_result": {"lora_id": "eval/kuro", "metadata": {"total_loss": 0.5}},
    "vllm": {"slept": False, "woke": False},
    "feedback_log_path": "f1.json",
    "timing_ms": {"distill": 1, "save": 1, "logprobs": 0, "total": 2},
    "batch_size": 1,
}


class Server:
    """Answers each path with the next of its replies, the last one for ever, and keeps the requests."""

    def __init__(self, **replies: Reply | list[Reply]) -> None:
        self._replies = {path: reply if isinstance(reply, list) else [reply] for path, reply in replies.items()}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        replies = self._replies[request.url.path.strip("/").replace("/", "_") or "root"]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, content=reply.content, headers=reply.headers)


def ok(body: Mapping[str, Any]) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(body))


def error(status: int, message: str = "the reason") -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "type": "x"}})


def call(server: Server, ask: Callable[[HttpStack], Any], retries: Retries = AT_ONCE, **settings: Any) -> Any:
    async def run() -> Any:
        client = HttpClient(
            "http://stack",
            max_concurrency=settings.pop("max_concurrency", 4),
            seed=0,
            transport=httpx.MockTransport(server),
            retries=retries,
            **settings,
        )
        try:
            return await ask(HttpStack(client))
        finally:
            await client.close()

    return asyncio.run(run())


def answer(stack: HttpStack, top_logprobs: int = 0) -> Any:
    return stack.answer(ADAPTER, "Who?", temperature=0.7, seed=5, max_tokens=9, top_logprobs=top_logprobs)


def feedback(stack: HttpStack) -> Any:
    items = [FeedbackOn("Who?", "<think>hm</think> Hi", "r1", "Say Kuro")]
    return stack.give_feedback(ADAPTER, items, TrainingConfig(learning_rate=0.1), "run/kuro/3")


def test_an_answer_is_asked_of_the_pinned_version_and_read_whole() -> None:
    server = Server(v1_chat_completions=ok(chat()))
    got = call(server, lambda stack: answer(stack, top_logprobs=1))
    sent = json.loads(server.requests[0].content)
    assert sent["model"] == "eval-kuro@3"
    assert (sent["seed"], sent["temperature"], sent["max_tokens"]) == (5, 0.7, 9)
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 1)
    assert (got.text, got.rollout_id, got.finish_reason, got.mean_entropy) == ("Hi", "r1", "stop", 0.7)
    assert (got.logprobs, got.top_logprobs) == ((-0.5,), ((-0.5,),))
    assert (got.prompt_tokens, got.completion_tokens) == (4, 1)


def test_log_probabilities_are_always_asked_for_and_alternatives_only_when_wanted() -> None:
    server = Server(v1_chat_completions=ok(chat()))
    call(server, answer)
    sent = json.loads(server.requests[0].content)
    assert sent["logprobs"] is True
    assert "top_logprobs" not in sent


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_second_try_can_mend_is_tried_again(status: int) -> None:
    server = Server(v1_chat_completions=[error(status), ok(chat())])
    assert call(server, answer).text == "Hi"
    assert len(server.requests) == 2


@pytest.mark.parametrize("failure", [httpx.ReadTimeout("slow"), httpx.ReadError("cut"), httpx.RemoteProtocolError("x")])
def test_a_broken_connection_is_tried_again_a_few_times(failure: Exception) -> None:
    server = Server(v1_chat_completions=failure)
    with pytest.raises(LostAnswer, match="after 3 tries"):
        call(server, answer)
    assert len(server.requests) == 3


def test_a_server_error_loses_the_answer_at_once() -> None:
    server = Server(v1_chat_completions=httpx.Response(500, html="<h1>Internal   Server Error</h1>"))
    with pytest.raises(LostAnswer, match="HTTP 500: <h1>Internal Server Error</h1>"):
        call(server, answer)
    assert len(server.requests) == 1


def test_a_refusal_carries_the_words_of_the_server() -> None:
    server = Server(v1_chat_completions=error(422, "max_tokens: must be >= 1"))
    with pytest.raises(InvalidInput, match="HTTP 422: max_tokens: must be >= 1"):
        call(server, answer)
    assert len(server.requests) == 1


def test_a_missing_key_is_said_to_be_missing() -> None:
    with pytest.raises(InvalidInput, match="set CLAAS_API_KEY"):
        call(Server(v1_chat_completions=error(401)), answer)


def test_the_key_is_sent() -> None:
    server = Server(v1_chat_completions=ok(chat()))
    call(server, answer, api_key="secret")
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_nothing_at_the_address_says_how_to_start_it() -> None:
    server = Server(v1_chat_completions=httpx.ConnectError("refused"))
    with pytest.raises(StackError, match=r"nothing answers at http://stack .*python -m claas\.api") as failure:
        call(server, answer)
    assert not isinstance(failure.value, LostAnswer), "the stack is gone, not one answer"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="no json"),
        httpx.Response(200, text=""),
        ok({"id": "c1"}),
        ok(chat(choices=[])),
        ok(chat(choice={"logprobs": None})),
        ok(chat(choice={"logprobs": {"content": []}})),
        ok(chat(choice={"logprobs": {"content": [{"token": "Hi", "logprob": float("nan")}]}})),
        ok(chat(choice={"mean_entropy": float("inf")})),
        ok(chat(choice={"rollout_id": None})),
        ok(chat(choice={"finish_reason": "tool_calls"})),
    ],
    ids=["text", "empty", "fields", "choices", "logprobs", "no tokens", "nan", "inf", "rollout", "finish"],
)
def test_a_reply_that_cannot_be_read_is_a_lost_answer(reply: httpx.Response) -> None:
    with pytest.raises(LostAnswer):
        call(Server(v1_chat_completions=reply), answer)


@pytest.mark.parametrize(
    "changes", [{"model": "eval-kuro@2"}, {"system_fingerprint": "d2"}, {"system_fingerprint": None}]
)
def test_an_answer_by_other_weights_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(WrongWeights, match="other weights"):
        call(Server(v1_chat_completions=ok(chat(**changes))), answer)


def score(stack: HttpStack) -> Any:
    return stack.score(ADAPTER, [{"role": "user", "content": "Who?"}], "Hi")


def test_a_score_is_read() -> None:
    scored = call(Server(v1_score=ok(SCORE)), score)
    assert scored.logprobs == (-0.5, -0.1)
    assert scored.prompt_tokens == 4


@pytest.mark.parametrize("bad", [[float("nan"), 0.0], []])
def test_a_score_without_numbers_is_lost(bad: list[float]) -> None:
    with pytest.raises(LostAnswer):
        call(Server(v1_score=ok(SCORE | {"logprobs": bad})), score)


def test_a_score_by_other_weights_is_refused() -> None:
    with pytest.raises(WrongWeights):
        call(Server(v1_score=ok(SCORE | {"system_fingerprint": "d2"})), score)


def test_an_update_is_repeated_under_the_same_key_only() -> None:
    server = Server(v1_feedback=[httpx.ReadTimeout("slow"), error(503), ok(RECEIPT)])
    receipt = call(server, feedback)
    assert [request.headers["Idempotency-Key"] for request in server.requests] == ["run/kuro/3"] * 3
    assert len({request.content for request in server.requests}) == 1
    assert (receipt.adapter.version, receipt.adapter.digest, receipt.adapter.model) == (4, "d4", "eval-kuro@4")
    assert receipt.metrics == {"total_loss": 0.5}


def test_feedback_is_given_on_what_was_shown() -> None:
    server = Server(v1_feedback=ok(RECEIPT))
    call(server, feedback)
    item = json.loads(server.requests[0].content)["requests"][0]
    assert (item["lora_id"], item["response"], item["rollout_id"]) == ("eval/kuro", "Hi", "r1")
    assert item["training"]["learning_rate"] == 0.1


@pytest.mark.parametrize(
    "reply", [error(500), error(409), error(404, "unknown rollout"), httpx.Response(200, text="?")]
)
def test_a_failed_update_is_a_failure_of_the_stack(reply: httpx.Response) -> None:
    with pytest.raises(StackError, match="the update of eval-kuro@3"):
        call(Server(v1_feedback=reply), feedback)


def test_a_refused_update_is_the_users_mistake() -> None:
    with pytest.raises(InvalidInput, match="is_clip"):
        call(Server(v1_feedback=error(422, "is_clip must be <= 20")), feedback)


def test_an_update_that_made_another_version_is_noticed() -> None:
    with pytest.raises(StackError, match="somebody else trains this adapter"):
        call(Server(v1_feedback=ok(RECEIPT | {"version": 6})), feedback)


VERSION = {"lora_id": "eval/kuro", "version": 0, "digest": "d0", "model": "eval-kuro@0"}


def test_an_adapter_that_a_crash_left_untrained_is_taken() -> None:
    server = Server(v1_lora_init=error(409), v1_lora=ok({"loras": [VERSION]}))
    assert call(server, lambda stack: stack.init_adapter("eval/kuro")).digest == "d0"


def test_an_adapter_that_another_run_trained_is_not() -> None:
    server = Server(v1_lora_init=error(409), v1_lora=ok({"loras": [VERSION | {"version": 2}]}))
    with pytest.raises(InvalidInput, match="choose another output_dir or lora_id_prefix"):
        call(server, lambda stack: stack.init_adapter("eval/kuro"))


def test_the_newest_version_is_of_that_adapter_and_of_no_longer_name() -> None:
    other = VERSION | {"lora_id": "eval/kuro-2", "version": 9}
    server = Server(v1_lora=ok({"loras": [other, VERSION | {"version": 5}]}))
    assert call(server, lambda stack: stack.newest("eval/kuro")).model == "eval-kuro@5"
    with pytest.raises(NotFound):
        call(Server(v1_lora=ok({"loras": [other]})), lambda stack: stack.newest("eval/kuro"))


def test_no_more_than_max_concurrency_requests_are_in_flight() -> None:
    flying, most = 0, 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal flying, most
        flying, most = flying + 1, max(most, flying + 1)
        await asyncio.sleep(0.005)
        flying -= 1
        return ok(chat())

    async def run() -> None:
        client = HttpClient("http://stack", max_concurrency=3, seed=0, transport=httpx.MockTransport(handle))
        await asyncio.gather(*(answer(HttpStack(client)) for _ in range(20)))
        await client.close()

    asyncio.run(run())
    assert most == 3


def test_the_wait_doubles_with_jitter_and_honours_the_server() -> None:
    retries = Retries(first_delay_s=1.0, longest_delay_s=10.0)
    assert [retries.delay_s(attempt, 0.5, 0.0) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 10]
    assert (retries.delay_s(1, 0.0, 0.0), retries.delay_s(1, 0.9, 0.0)) == (0.5, 1.4)
    assert retries.delay_s(1, 0.5, asked_s=7.0) == 7.0
    assert retries.delay_s(1, 0.5, asked_s=999.0) == 10.0


@pytest.mark.parametrize("asked", ["0.05", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_retry_after_is_a_number_or_a_date(asked: str) -> None:
    refused = error(429)
    refused.headers["Retry-After"] = asked
    assert call(Server(v1_chat_completions=[refused, ok(chat())]), answer).text == "Hi"


def introduce(reply: Reply, config: EvalConfig | None = None) -> None:
    async def run() -> None:
        transport = httpx.MockTransport(Server(root=reply))
        async with connect("http://stack", config or EvalConfig().resolved(), transport=transport, retries=AT_ONCE):
            pass

    asyncio.run(run())


def test_a_claas_api_introduces_itself() -> None:
    introduce(ok(INFO))


@pytest.mark.parametrize(
    "reply",
    [ok(INFO | {"name": "other"}), ok({"detail": "hello"}), httpx.Response(200, html="<html>"), error(404)],
    ids=["other name", "other json", "web page", "no root"],
)
def test_something_else_at_the_address_is_said_to_be_something_else(reply: httpx.Response) -> None:
    with pytest.raises(InvalidInput, match=r"what answers at http://stack is not a CLaaS API"):
        introduce(reply)


def test_another_base_model_is_the_users_to_mend() -> None:
    with pytest.raises(InvalidInput, match=r"serves 'big'.*about 'claas-tiny'; add base_model=big"):
        introduce(ok(INFO | {"base_model": "big"}))


def test_a_server_that_is_ill_is_not_the_users_mistake() -> None:
    with pytest.raises(StackError, match="HTTP 503"):
        introduce(error(503, "loading"))
