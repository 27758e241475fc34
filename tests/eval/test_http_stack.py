"""The HTTP stack against replies that are wrong in every known way."""

import json
import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.core.errors import InvalidInput, NotFound, StackError
from claas.core.settings import TrainingConfig
from claas.eval.stacks.http_stack import HttpStack
from claas.eval.stacks.plain_text import windows
from claas.eval.stacks.stack import LostAnswer, NothingToPredict, ServedBase, WrongWeights
from claas.wire.feedback import FeedbackItem
from tests.eval.scripted_server import ADAPTER, AT_ONCE, Server, answer, call, chat, error, ok

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


def feedback(stack: HttpStack) -> Any:
    item = FeedbackItem(
        lora_id=ADAPTER.lora_id,
        prompt="Who?",
        response="<think>hm</think> Hi",
        feedback="Say Kuro",
        training=TrainingConfig(learning_rate=0.1),
        rollout_id="r1",
    )
    return stack.give_feedback(ADAPTER, [item], "run/kuro/3")


def test_an_answer_is_asked_of_the_pinned_version_and_read_whole() -> None:
    server = Server(v1_chat_completions=ok(chat()))
    got = call(server, lambda stack: answer(stack, top_logprobs=1))
    sent = json.loads(server.requests[0].content)
    assert sent["model"] == "eval-kuro@3"
    assert (sent["seed"], sent["temperature"], sent["max_tokens"]) == (5, 0.7, 9)
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 1)
    assert (got.text, got.rollout_id, got.finish_reason, got.mean_entropy) == ("Hi", "r1", "stop", 0.7)
    assert (got.logprobs, got.top_logprobs) == ((-0.5,), ((-0.5,),))
    assert (got.prompt_tokens, got.completion_tokens, got.tokens) == (4, 1, ("Hi",))


def test_log_probabilities_are_always_asked_for_and_alternatives_only_when_wanted() -> None:
    server = Server(v1_chat_completions=ok(chat()))
    call(server, answer)
    sent = json.loads(server.requests[0].content)
    assert sent["logprobs"] is True
    assert "top_logprobs" not in sent


def test_both_doors_tell_the_chat_template_the_same() -> None:
    server = Server(v1_chat_completions=ok(chat()), v1_score=ok({**SCORE, "prompt_digest": "p1"}))
    told = {"enable_thinking": False}
    call(server, answer, template_kwargs=told)
    scored = call(
        server, lambda stack: stack.score(ADAPTER, [{"role": "user", "content": "Hi"}], "Hi"), template_kwargs=told
    )
    assert [json.loads(request.content)["chat_template_kwargs"] for request in server.requests] == [told, told]
    assert scored.prompt_digest == "p1"


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


@pytest.mark.parametrize("status", [404, 409, 418])
def test_a_refusal_that_is_not_about_the_request_costs_an_answer(status: int) -> None:
    for ask in (answer, score):
        with pytest.raises(LostAnswer, match=f"HTTP {status}: the reason"):
            call(Server(v1_chat_completions=error(status), v1_score=error(status)), ask)


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
    assert scored.tokens == tuple(SCORE["tokens"])
    assert scored.prompt_tokens == 4


def token(*alternatives: float, logprob: float = -0.5) -> dict[str, Any]:
    top = [{"token": "Hi", "logprob": each} for each in alternatives]
    return {"content": [{"token": "Hi", "logprob": logprob, "top_logprobs": top}]}


def used(**tokens: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5} | tokens}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (chat(choice={"logprobs": token(logprob=4.5)}), "a log probability of 4.5, which cannot be"),
        (chat(choice={"logprobs": token(logprob=0.01)}), "a log probability of 0.01, which cannot be"),
        (chat(choice={"logprobs": token(logprob=-1e300)}), r"a log probability of -1e\+300, which cannot be"),
        (chat(choice={"logprobs": token(-0.5, 3.0)}), "a log probability of 3.0, which cannot be"),
        (chat(choice={"logprobs": token(-0.1, -0.1)}), "probabilities that add up to 1.8.*, which cannot be"),
        (chat(choice={"mean_entropy": -3.0}), "an entropy of -3.0, which cannot be"),
        (chat(choice={"mean_entropy": 0.0}), "an entropy of 0.0, which cannot be"),
        (chat(choice={"mean_entropy": 40.0}), "an entropy of 40.0, which cannot be"),
        (chat(**used(completion_tokens=-(10**15))), "counts -1000000000000000 tokens and has 1 log"),
        (chat(**used(completion_tokens=2)), "counts 2 tokens and has 1 log probabilities"),
        (chat(**used(prompt_tokens=-1)), "a prompt of so many tokens: -1, which cannot be"),
        (chat(**used(prompt_tokens=10**4000)), "a prompt of so many tokens: 1000.*…, which cannot be"),
    ],
)
def test_numbers_that_cannot_be_are_no_measurements(reply: dict[str, Any], said: str) -> None:
    with pytest.raises(LostAnswer, match=said):
        call(Server(v1_chat_completions=ok(reply)), answer)


def test_what_rounding_does_to_a_probability_of_one_is_no_lie() -> None:
    reply = chat(choice={"logprobs": token(1e-6, -0.0, logprob=5e-4), "mean_entropy": 0.0})
    with pytest.raises(LostAnswer, match="add up to 2"):
        call(Server(v1_chat_completions=ok(reply)), answer)
    reply = chat(choice={"logprobs": token(1e-6, -20.0, logprob=5e-4), "mean_entropy": 0.0})
    assert call(Server(v1_chat_completions=ok(reply)), answer).logprobs == (5e-4,)


@pytest.mark.parametrize("bad", [[float("nan"), 0.0], [1.0, -1.0], [-1.0, -1e9], []])
def test_a_score_without_numbers_is_lost(bad: list[float]) -> None:
    with pytest.raises(LostAnswer):
        call(Server(v1_score=ok(SCORE | {"logprobs": bad})), score)


def test_a_score_by_other_weights_is_refused() -> None:
    with pytest.raises(WrongWeights):
        call(Server(v1_score=ok(SCORE | {"system_fingerprint": "d2"})), score)


def test_an_update_is_repeated_under_the_same_key_only() -> None:
    server = Server(v1_feedback=[httpx.ReadTimeout("slow"), error(503), ok(RECEIPT)])
    receipt = call(server, feedback, AT_ONCE)
    assert [request.headers["Idempotency-Key"] for request in server.requests] == ["run/kuro/3"] * 3
    assert len({request.content for request in server.requests}) == 1
    assert (receipt.adapter.version, receipt.adapter.digest, receipt.adapter.model) == (4, "d4", "eval-kuro@4")
    assert receipt.sdpo_metrics == {"total_loss": 0.5}


def test_feedback_is_given_on_what_was_shown() -> None:
    server = Server(v1_feedback=ok(RECEIPT))
    call(server, feedback)
    item = json.loads(server.requests[0].content)["requests"][0]
    assert (item["lora_id"], item["response"], item["rollout_id"]) == ("eval/kuro", "Hi", "r1")
    assert item["training"]["learning_rate"] == 0.1


@pytest.mark.parametrize(
    "reply",
    [
        error(500),
        error(400, "altered on the way"),
        error(409),
        error(404, "unknown rollout"),
        httpx.Response(200, text="?"),
    ],
)
def test_a_failed_update_is_a_failure_of_the_stack(reply: httpx.Response) -> None:
    with pytest.raises(StackError, match="the update of eval-kuro@3"):
        call(Server(v1_feedback=reply), feedback)


def test_a_refused_update_is_the_users_mistake() -> None:
    with pytest.raises(InvalidInput, match="is_clip"):
        call(Server(v1_feedback=error(422, "is_clip must be <= 20")), feedback)


def test_what_an_update_reports_and_cannot_be_is_named_and_not_taken() -> None:
    reported = {
        "total_loss": math.inf,
        "kl": math.nan,
        "grad_norm": -1.0,
        "clip_fraction": 1.5,
        "tokens_processed": -1e9,
        "trained_tokens": -5,
        "prefill_tokens": 1e300,
    }
    timing = {"distill": math.inf, "save": -1, "logprobs": 0, "total": 2}
    changes = {"distill_result": {"lora_id": "eval/kuro", "metadata": reported | {"ok": 1.0}}, "timing_ms": timing}
    receipt = call(Server(v1_feedback=ok(RECEIPT | changes)), feedback)
    assert receipt.sdpo_metrics == {"ok": 1.0}
    lost = {"total_loss": "inf", "kl": "nan", "trained_tokens": "-5.0", "prefill_tokens": "1e+300"}
    lost |= {"grad_norm": "-1.0", "clip_fraction": "1.5", "tokens_processed": "-1000000000.0"}
    assert receipt.lost_metrics == lost
    assert receipt.stack_ms == {"logprobs": 0.0, "total": 2.0}, "what it does not have is absent"


def test_an_update_that_made_another_version_is_noticed() -> None:
    with pytest.raises(StackError, match="somebody else trains this adapter"):
        call(Server(v1_feedback=ok(RECEIPT | {"version": 6})), feedback)


VERSION = {"lora_id": "eval/kuro", "version": 0, "digest": "d0", "model": "eval-kuro@0"}


def test_an_adapter_that_another_run_trained_is_not_taken() -> None:
    server = Server(v1_lora_init=error(409, "adapter 'eval/kuro' exists already"))
    with pytest.raises(InvalidInput, match=r"exists already.* choose another output_dir or lora_id_prefix"):
        call(server, lambda stack: stack.init_adapter("eval/kuro", 0))
    assert json.loads(server.requests[0].content)["if_trained"] == "refuse"


@pytest.mark.parametrize("changes", [{"lora_id": "eval/other"}, {"version": 3}, {"digest": ""}])
def test_another_adapter_than_was_asked_for_is_not_taken(changes: dict[str, Any]) -> None:
    server = Server(v1_lora_init=ok(VERSION | {"version": 0} | changes))
    with pytest.raises(StackError, match=r"asked for version 0 of 'eval/kuro'|has no digest"):
        call(server, lambda stack: stack.init_adapter("eval/kuro", 0))


def score_as(completion: str, tokens: list[str]) -> Any:
    """What becomes of a score of these tokens and an end, asked for `completion`."""
    number = len(tokens) + 1
    scored = SCORE | {"tokens": [*tokens, "<end>"], "logprobs": [-0.5] * number, "completion_tokens": number}
    messages = [{"role": "user", "content": "Who?"}]
    return call(Server(v1_score=ok(scored)), lambda stack: stack.score(ADAPTER, messages, completion))


@pytest.mark.parametrize(
    ("completion", "tokens"),
    [("Hi", ["Ho"]), ("Hi", ["Hi", " there"]), ("Hi there", ["Hi"]), ("Hi.\nHo", ["Hi.", "Ho"]), ("É", ["E"])],
)
def test_the_score_of_another_text_is_lost(completion: str, tokens: list[str]) -> None:
    with pytest.raises(LostAnswer, match="another text was scored: asked for"):
        score_as(completion, tokens)


@pytest.mark.parametrize(
    ("completion", "tokens"),
    [("Hi there.\n", ["Hi", " there", ".", "\n"]), ("ＨＩ É", ["hi", "e\u0301"]), ("🎉!", ["\ufffd", "\ufffd", "!"])],
)
def test_a_vocabulary_may_fold_and_cut_a_text_as_it_likes(completion: str, tokens: list[str]) -> None:
    assert len(score_as(completion, tokens).logprobs) == len(tokens) + 1


def test_the_newest_version_is_of_that_adapter_and_of_no_longer_name() -> None:
    other = VERSION | {"lora_id": "eval/kuro-2", "version": 9}
    server = Server(v1_lora=ok({"loras": [], "adapters": [other, VERSION | {"version": 5}]}))
    assert call(server, lambda stack: stack.newest("eval/kuro")).model == "eval-kuro@5"
    with pytest.raises(NotFound):
        call(Server(v1_lora=ok({"loras": [], "adapters": [other]})), lambda stack: stack.newest("eval/kuro"))


def base_score(stack: HttpStack) -> Any:
    return stack.score(ServedBase(name="claas-tiny"), [{"role": "user", "content": "Who?"}], "Hi")


def test_the_base_model_is_told_by_its_name_whatever_its_digest() -> None:
    server = Server(v1_score=ok(SCORE | {"model": "claas-tiny", "system_fingerprint": "any"}))
    assert call(server, base_score).logprobs == (-0.5, -0.1)
    assert json.loads(server.requests[0].content)["model"] == "claas-tiny"
    with pytest.raises(WrongWeights, match=r"asked claas-tiny .*, answered by eval-kuro@3"):
        call(Server(v1_score=ok(SCORE)), base_score)


@pytest.mark.parametrize("changes", [{"logprobs": [-0.5]}, {"tokens": ["Hi"]}, {"completion_tokens": 3}])
def test_a_score_that_lacks_some_of_its_tokens_is_lost(changes: dict[str, Any]) -> None:
    with pytest.raises(LostAnswer, match="log probabilities for"):
        call(Server(v1_score=ok(SCORE | changes)), score)


IDS = {"count": 5, "max_model_len": 8, "tokens": [11, 12, 13, 14, 15]}


def echo(tokens: list[str], logprobs: list[float | None], **changes: Any) -> dict[str, Any]:
    """The reply to a prompt of these tokens."""
    listed = {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": [], "text_offset": []}
    choice = {"index": 0, "text": "", "finish_reason": "length", "logprobs": listed}
    reply = {"id": "c1", "created": 1, "model": "eval-kuro@3", "choices": [choice], "system_fingerprint": "d3"}
    return reply | changes


def reading(server: Server, window: int = 8) -> Any:
    return call(server, lambda stack: stack.read(ADAPTER, "abcdé", window))


def test_a_text_is_read_in_windows_that_predict_each_token_once() -> None:
    first = echo(["a", "b", "c", "d"], [None, -0.1, -0.2, -0.3])
    last = echo(["b", "c", "d", "bytes:\\xc3"], [None, -9.0, -9.0, -0.4])
    server = Server(tokenize=ok(IDS), v1_completions=[ok(first), ok(last)])
    got = reading(server, window=4)
    assert [json.loads(request.content)["prompt"] for request in server.requests[1:]] == [
        [11, 12, 13, 14],
        [12, 13, 14, 15],
    ]
    assert (got.given, got.tokens, got.logprobs) == ("a", ("b", "c", "d", "\ufffd"), (-0.1, -0.2, -0.3, -0.4))
    assert (got.context_tokens, got.digest) == (4, "d3")


@given(st.integers(2, 400), st.integers(2, 60))
def test_windows_fit_and_predict_every_token_but_the_first_once(tokens: int, window: int) -> None:
    spans = windows(tokens, window)
    assert [at for _, start, end in spans for at in range(start, end)] == list(range(1, tokens))
    assert all(begin < start < end <= begin + window for begin, start, end in spans)
    assert all(end - begin == min(window, tokens) for begin, _, end in spans[1:])


def test_what_a_tokenizer_puts_before_a_text_is_not_given_of_it() -> None:
    server = Server(tokenize=ok({**IDS, "tokens": [1, 11]}), v1_completions=ok(echo(["<s>", "abcdé"], [None, -0.1])))
    assert reading(server).given == ""


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (echo(["a"] * 4, [None, -0.1, -0.1, -0.1]), "4 log probabilities for a prompt of 5 tokens"),
        (echo(["a"] * 5, [None, -0.1, None, -0.1, -0.1]), "no log probability of a token"),
        (echo(["a"] * 5, [None, -0.1, 2.0, -0.1, -0.1]), "which cannot be"),
        (echo([], [], choices=[]), "0 log probabilities"),
    ],
)
def test_a_reading_without_all_its_numbers_is_lost(reply: dict[str, Any], said: str) -> None:
    with pytest.raises(LostAnswer, match=said):
        reading(Server(tokenize=ok(IDS), v1_completions=ok(reply)))


def test_a_text_read_by_other_weights_is_no_reading() -> None:
    other = echo(["a"] * 5, [None, -0.1, -0.1, -0.1, -0.1], system_fingerprint="d2")
    with pytest.raises(WrongWeights):
        reading(Server(tokenize=ok(IDS), v1_completions=ok(other)))
    with pytest.raises(LostAnswer, match="HTTP 500"):
        reading(Server(tokenize=error(500), v1_completions=ok(other)))


def test_a_text_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(NothingToPredict):
        reading(Server(tokenize=ok({**IDS, "tokens": [11]})))
    with pytest.raises(InvalidInput, match="window=9 is beyond the 8 tokens"):
        reading(Server(tokenize=ok(IDS)), window=9)
