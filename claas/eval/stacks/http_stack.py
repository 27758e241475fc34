"""A CLaaS API over HTTP as the harness's stack.

Every reply is checked to come from the weights asked for, and every answer to read as its own tokens spell."""

import math
import os
import time
import unicodedata
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from claas.core.errors import InvalidInput, NotFound, StackError
from claas.core.settings import API_KEY_VARIABLE, require_trainable
from claas.core.text import quoted, visible
from claas.eval.stacks.http_client import HttpClient, Malformed, Refused, RequestLost, Retries
from claas.eval.stacks.plain_text import PlainText, lost_or_refused
from claas.eval.stacks.spelling import spelled, spells
from claas.eval.stacks.stack import (
    MOST_TOKENS,
    Answer,
    CompletionScore,
    LostAnswer,
    PromptSize,
    require_weights,
)
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion, utc_now
from claas.results.settings import EvalConfig
from claas.wire.adapters import SERVICE_NAME, LoraInitRequest, LoraList, LoraVersion, ServiceInfo
from claas.wire.chat import ChatMessage, ChatRequest, ChatResponse, Choice, PredictedAnswer, TokenLogprobs
from claas.wire.completions import ScoreRequest, ScoreResponse
from claas.wire.feedback import IDEMPOTENCY_HEADER, FeedbackItem, FeedbackRequest, FeedbackResponse
from claas.wire.tokens import TokenizeRequest, TokenizeResponse


@asynccontextmanager
async def connect(
    base_url: str,
    config: EvalConfig,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    retries: Retries | None = None,
) -> AsyncGenerator["HttpStack", None]:
    """The stack at `base_url`."""
    async with api_client(base_url, config, transport=transport, retries=retries) as client:
        yield await stack_of(client, config)


async def stack_of(client: HttpClient, config: EvalConfig) -> "HttpStack":
    """The stack that a run with `config` asks by `client`."""
    info = await client.get("/", ServiceInfo)
    return HttpStack(client, config.chat_template_kwargs, uses_predictions=info.uses_predictions)


@asynccontextmanager
async def api_client(
    base_url: str,
    config: EvalConfig,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    retries: Retries | None = None,
) -> AsyncGenerator[HttpClient, None]:
    """Requests to `base_url`, once it has introduced itself as a CLaaS API that serves the run's base model."""
    client = HttpClient(
        base_url,
        max_concurrency=config.max_concurrency,
        seed=config.seed,
        timeout_s=None if config.claas_url is None else config.request_timeout_s,
        api_key=os.environ.get(API_KEY_VARIABLE),
        transport=transport,
        retries=retries or Retries(for_s=config.retry_for_s),
    )
    try:
        await _require_claas(client, config)
        yield client
    finally:
        await client.close()


class HttpStack(PlainText):
    """Implements `claas.eval.stacks.stack.Stack`."""

    def __init__(
        self,
        client: HttpClient,
        template_kwargs: Mapping[str, Any] | None = None,
        *,
        uses_predictions: bool = False,
    ) -> None:
        super().__init__(client)
        self._uses_predictions = uses_predictions
        self._template_kwargs = dict(template_kwargs) if template_kwargs else None
        self._rollout_ids: set[str] = set()

    async def base_source(self) -> str | None:
        """What the API introduces itself with."""
        return (await self._client.get("/", ServiceInfo)).base_source

    async def init_adapter(self, lora_id: str, seed: int) -> AdapterVersion:
        """Version 0 of `lora_id`, made now; one that exists is taken only while it has not been trained."""
        request = LoraInitRequest(lora_id=lora_id, seed=seed, if_trained="refuse")
        try:
            made = await self._client.post("/v1/lora/init", request, LoraVersion)
        except Refused as error:
            if error.status != 409:
                raise
            raise InvalidInput(
                f"{self._client.base_url} has no new adapter for this run: {error}; or choose another output_dir or "
                "lora_id_prefix"
            ) from error
        if (made.lora_id, made.version) != (lora_id, 0):
            raise StackError(
                f"{self._client.base_url} was asked for version 0 of {lora_id!r} and made version {made.version} of "
                f"{made.lora_id!r}: something between answers in its place"
            )
        return _version(made)

    async def newest(self, lora_id: str) -> AdapterVersion:
        """The newest version of `lora_id`; `NotFound` when the API has no such adapter."""
        listed = await self._client.get("/v1/lora", LoraList, params={"prefix": lora_id})
        for lora in listed.adapters:
            if lora.lora_id == lora_id:
                return _version(lora)
        raise NotFound(f"{self._client.base_url} has no adapter {lora_id!r}")

    async def answer(
        self,
        adapter: AdapterVersion,
        prompt: str,
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        top_logprobs: int = 0,
        earlier: Sequence[Mapping[str, str]] = (),
        prediction: str = "",
        urgent: bool = False,
    ) -> Answer:
        """Sample one answer to `prompt` from exactly this version."""
        predicted = PredictedAnswer(type="content", content=prediction) if prediction else None
        request = ChatRequest(
            model=adapter.model,
            messages=_turns([*earlier, {"role": "user", "content": prompt}]),
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            logprobs=True,
            top_logprobs=top_logprobs or None,
            prediction=predicted if self._uses_predictions else None,
            priority=-1 if urgent else None,
            chat_template_kwargs=self._template_kwargs,
        )
        with lost_or_refused():
            reply = await self._client.post("/v1/chat/completions", request, ChatResponse, urgent=urgent)
        require_weights(adapter, reply.model, reply.system_fingerprint)
        answer = _answer(reply)
        if answer.rollout_id in self._rollout_ids:
            raise StackError(
                f"{self._client.base_url} gave two answers the same rollout id, {quoted(answer.rollout_id)}: something "
                "between repeats replies, such as a cache, and does not ask the model"
            )
        self._rollout_ids.add(answer.rollout_id)
        return answer

    async def prompt_size(self, messages: Sequence[Mapping[str, str]]) -> PromptSize:
        """How long a conversation is by the API's own chat template."""
        request = TokenizeRequest(messages=_turns(messages), chat_template_kwargs=self._template_kwargs)
        with lost_or_refused():
            reply = await self._client.post("/tokenize", request, TokenizeResponse)
        return PromptSize(reply.count, reply.max_model_len)

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        """Score a completion under exactly this version."""
        request = ScoreRequest(
            model=adapter.model,
            messages=_turns(messages),
            completion=completion,
            chat_template_kwargs=self._template_kwargs,
        )
        with lost_or_refused():
            reply = await self._client.post("/v1/score", request, ScoreResponse)
        require_weights(adapter, reply.model, reply.system_fingerprint)
        return _scored(reply, completion)

    async def give_feedback(self, adapter: AdapterVersion, items: Sequence[FeedbackItem], key: str) -> Receipt:
        """One update of `adapter`, exactly once per idempotency `key`; that key makes it safe to send again."""
        shown = [item.model_copy(update={"response": visible(item.response)}) for item in items]
        request, started = FeedbackRequest(requests=shown), time.monotonic()
        try:
            reply = await self._client.post(
                "/v1/feedback", request, FeedbackResponse, headers={IDEMPOTENCY_HEADER: key}, urgent=True
            )
        except RequestLost as error:
            raise StackError(f"the update of {adapter.model} failed: {error}") from error
        except Refused as error:
            if error.status not in (400, 404, 409):  # others are about what the run was asked for
                raise
            raise StackError(f"the update of {adapter.model} was refused: {error}") from error
        return _receipt(adapter, key, reply, time.monotonic() - started)


async def _require_claas(client: HttpClient, config: EvalConfig) -> None:
    try:
        info = await client.get("/", ServiceInfo)
    except (Refused, Malformed) as error:
        raise _not_claas(client.base_url, str(error)) from error
    if info.name != SERVICE_NAME:
        raise _not_claas(client.base_url, f"it calls itself {info.name!r}")
    if info.base_model != config.base_model:
        raise InvalidInput(
            f"the API at {client.base_url} serves {info.base_model!r}, this run is about {config.base_model!r}; "
            f"add base_model={info.base_model} or start the API with the other model"
        )
    for training in config.trainings:
        require_trainable(info.mode, training)


def _turns(messages: Sequence[Mapping[str, str]]) -> list[ChatMessage]:
    return [ChatMessage.model_validate(dict(message)) for message in messages]


def _not_claas(base_url: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"what answers at {base_url} is not a CLaaS API ({reason}); give claas_url the address at which "
        "python -m claas.api listens"
    )


def _version(lora: LoraVersion) -> AdapterVersion:
    if not lora.digest:
        raise StackError(f"{lora.lora_id} version {lora.version} has no digest, so that nothing tells its weights")
    return AdapterVersion(lora_id=lora.lora_id, version=lora.version, digest=lora.digest)


def _scored(reply: ScoreResponse, completion: str) -> CompletionScore:
    if len(reply.tokens) != reply.completion_tokens:
        raise LostAnswer(f"the reply has {len(reply.tokens)} log probabilities for {reply.completion_tokens} tokens")
    tokens = [TokenLogprobs(token=_as_compared(token), logprob=0.0) for token in reply.tokens]
    if not spells(tokens, _as_compared(completion), stopped=True):
        raise LostAnswer(
            f"another text was scored: asked for {quoted(completion)}, its tokens are {quoted(spelled(tokens))}"
        )
    return CompletionScore(
        logprobs=tuple(reply.logprobs),
        prompt_tokens=reply.prompt_tokens,
        tokens=tuple(reply.tokens),
        prompt_digest=reply.prompt_digest,
    )


def _answer(reply: ChatResponse) -> Answer:
    if not reply.choices:
        raise LostAnswer("the reply has no choices")
    choice = reply.choices[0]
    if choice.logprobs is None or choice.rollout_id is None:
        lacking = "logprobs" if choice.logprobs is None else "rollout_id"
        raise LostAnswer(
            f"the reply lacks its {lacking}, so no model is known to have said {quoted(choice.message.content)}"
        )
    tokens = choice.logprobs.content
    if not tokens:
        raise LostAnswer("the reply has no log probabilities")  # an answer has at least its end-of-turn token
    _require_unaltered(choice, tokens)
    return Answer(
        text=choice.message.content,
        finish_reason=choice.finish_reason,
        rollout_id=choice.rollout_id,
        logprobs=tuple(token.logprob for token in tokens),
        mean_entropy=choice.mean_entropy,
        top_logprobs=tuple(tuple(top.logprob for top in token.top_logprobs) for token in tokens if token.top_logprobs),
        prompt_tokens=reply.usage.prompt_tokens,
        completion_tokens=reply.usage.completion_tokens,
        tokens=tuple(token.token for token in tokens),
    )


def _as_compared(text: str) -> str:
    """A text without what vocabularies may fold before they cut it: the form of its characters, and their case."""
    return unicodedata.normalize("NFKC", text).casefold()


def _require_unaltered(choice: Choice, tokens: Sequence[TokenLogprobs]) -> None:
    """Text and tokens must say the same.

    Where they do not, this one answer is lost, whichever of the two is the true one. The weights are not to blame: the
    reply names the right ones, and what stands between them and us does not change from version to version.
    """
    message, stopped = choice.message, choice.finish_reason == "stop"
    if not spells(tokens, message.content, thinking=message.reasoning_content or "", stopped=stopped):
        raise LostAnswer(
            f"the answer was altered on the way: it reads {quoted(message.content)}, and its tokens "
            f"{quoted(spelled(tokens))}"
        )


def _receipt(adapter: AdapterVersion, key: str, reply: FeedbackResponse, seconds: float) -> Receipt:
    if reply.lora_id != adapter.lora_id or reply.version != adapter.version + 1:
        raise StackError(
            f"the update of {adapter.model} made {reply.lora_id} version {reply.version}: somebody else trains this "
            "adapter too"
        )
    reported = reply.distill_result.metadata
    lost = [name for name, value in reported.items() if not _can_be(name, value)]
    return Receipt(
        step=adapter.version,
        key=key,
        timestamp=utc_now(),
        adapter=AdapterVersion(lora_id=reply.lora_id, version=reply.version, digest=reply.digest),
        sdpo_metrics={name: value for name, value in reported.items() if name not in lost},
        lost_metrics={name: str(reported[name]) for name in lost} or None,
        stack_ms={
            part: took for part, took in reply.timing_ms if took is not None and math.isfinite(took) and took >= 0
        },
        update_s=seconds,
    )


def _can_be(metric: str, value: float) -> bool:
    """Whether a metric of an update is a number and, where that bounds what it means, within those bounds."""
    low, high = (0, MOST_TOKENS) if "tokens" in metric else _BOUNDS.get(metric, (-math.inf, math.inf))
    return math.isfinite(value) and low <= value <= high


_BOUNDS = {
    "adv_abs_mean": (0, math.inf),
    "adv_abs_mean_raw": (0, math.inf),
    "batch_size": (0, MOST_TOKENS),
    "clip_fraction": (0, 1),
    "completion_len": (0, MOST_TOKENS),
    "grad_norm": (0, math.inf),
    "mean_is_ratio": (0, math.inf),
    "steps_per_batch_applied": (0, MOST_TOKENS),
}
"""What counts, shares, ratios and absolute values may be; tokens are counted under several names."""
