"""One feedback transaction: find the recorded answers, train on exactly those, once per idempotency key."""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

from claas.api.feedback_records import FailureLogged, FeedbackLog, KeyUse, UsedKeys
from claas.api.models import own_id
from claas.api.prompts import conversation, last_user_text, require_size
from claas.api.rollouts import RolloutStore, is_answer_to, is_part_of
from claas.core.checks import adapter_id
from claas.core.concurrency import TEXT_THREADS
from claas.core.errors import BadRequest, Conflict, InvalidInput, NotFound
from claas.core.settings import SDPO, require_trainable
from claas.core.text import quoted, visible_key
from claas.engines.base import Engine, Sleeper
from claas.engines.types import Conversation, TrainingItem, Update, UpdateRequest
from claas.wire.feedback import (
    DistillResult,
    FeedbackItem,
    FeedbackLogEntry,
    FeedbackRequest,
    FeedbackResponse,
    FeedbackTiming,
    LoggedItem,
    Orchestration,
    PauseState,
    Rollout,
)


class Feedback:
    """Turns feedback into updates. A request refused before the engine is called has trained nothing."""

    def __init__(
        self, engine: Engine, mode: str, rollouts: RolloutStore, used_keys: UsedKeys, log: FeedbackLog
    ) -> None:
        self._engine = engine
        self._mode = mode
        self._rollouts = rollouts
        self._used_keys = used_keys
        self._log = log
        self._under_way: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def give(self, request: FeedbackRequest, key: str | None) -> FeedbackResponse:
        """Make one update of one adapter and return its receipt.

        A `key` used before gets its first receipt again, also while the first use is under way, and trains nothing;
        used for other feedback it raises `Conflict`. Without a key every request is a new one.
        """
        _require_one_batch(request.requests)
        require_trainable(self._mode, request.requests[0].training)
        lora_id = await own_id(self._engine, request.requests[0].lora_id)
        await self._engine.resolve(lora_id, request.from_version)
        items = [item.model_copy(update={"lora_id": lora_id}) for item in request.requests]
        if key is None:
            return await self._train(await self._find_all(items), request, f"unkeyed-{uuid4().hex}")
        lock = self._under_way.setdefault(key, asyncio.Lock())
        async with lock:
            return await self._train_once(items, request, key)

    async def _train_once(self, items: Sequence[FeedbackItem], request: FeedbackRequest, key: str) -> FeedbackResponse:
        fingerprint = fingerprint_of(items, request.from_version)
        used = await self._used(key)
        if used is not None and used.fingerprint != fingerprint:
            trained = "" if used.response is not None else ", of which no update is on record"
            raise Conflict(f"idempotency key {key!r} was used for other feedback{trained}; use a new key")
        if used is not None and used.response is not None:
            return used.response
        matched = await self._find_all(items)
        # Written before training, so that even after a crash the key cannot be used for other feedback.
        await self._used_keys.write(KeyUse(key=key, fingerprint=fingerprint))
        response = await self._train(matched, request, key)
        await self._used_keys.write(KeyUse(key=key, fingerprint=fingerprint, response=response))
        return response

    async def _used(self, key: str) -> KeyUse | None:
        """The earlier use of the key; also None if the version that it made was deleted with its adapter."""
        used = await self._used_keys.find(key)
        if used is None or used.response is None:
            return used
        try:
            weights = await self._engine.resolve(used.response.lora_id, used.response.version)
        except NotFound:
            return None
        return used if weights.digest == used.response.digest else None

    async def _train(self, matched: "Sequence[_Matched]", request: FeedbackRequest, key: str) -> FeedbackResponse:
        started = time.perf_counter()
        lora_id, training = matched[0].item.lora_id, matched[0].item.training
        request_id = f"feedback-{uuid4().hex}"
        path = self._log.path_of(request_id)
        entry = FeedbackLogEntry(
            request_id=request_id,
            idempotency_key=key,
            time=datetime.now(UTC),
            lora_id=lora_id,
            training=training,
            items=[_logged(each) for each in matched],
            from_version=request.from_version,
        )
        async with FailureLogged(self._log, path, entry):
            taught = [await _training_item(self._engine, each) for each in matched]
            async with _asleep(self._engine, request.orchestration) as pause:
                update = await self._engine.update(UpdateRequest(lora_id, taught, training, key, request.from_version))
        response = _response(update, pause, request_id, lora_id, str(path), started, len(matched))
        await self._log.write(path, _finished(entry, update, response))
        return response

    async def _find_all(self, items: Sequence[FeedbackItem]) -> "list[_Matched]":
        return [_Matched(item, await self._find(item, f"requests.{index}")) for index, item in enumerate(items)]

    async def _find(self, item: FeedbackItem, where: str) -> Rollout:
        if item.rollout_id is None:
            return await self._find_by_text(item, where)
        rollout = await self._rollouts.with_id(item.rollout_id)
        if rollout is None:
            raise NotFound(f"{where}: unknown rollout_id {item.rollout_id!r}; nothing was trained")
        await _require_agreement(item, rollout, where)
        return rollout

    async def _find_by_text(self, item: FeedbackItem, where: str) -> Rollout:
        rollout = await self._rollouts.answered_by(item.lora_id, item.response, item.prompt)
        if rollout is not None:
            return rollout
        if longer := await self._rollouts.answered_more(item.lora_id, item.response, item.prompt):
            raise _only_a_part(item, longer, where)
        raise NotFound(
            f"{where}: neither {item.lora_id!r} nor the base model is on record with this response to this prompt; "
            "nothing was trained"
        )


async def _require_agreement(item: FeedbackItem, rollout: Rollout, where: str) -> None:
    """Refuse a `rollout_id` whose recorded answer differs from the item in its text, prompt or adapter."""
    if await TEXT_THREADS.run(visible_key, rollout.content) != await TEXT_THREADS.run(visible_key, item.response):
        raise BadRequest(
            f"{where}: rollout {item.rollout_id!r} showed another text than this response; it was altered on "
            "the way, nothing was trained"
        )
    if not await TEXT_THREADS.run(is_answer_to, item.prompt, rollout):
        if is_part_of(item.prompt, rollout):
            raise _only_a_part(item, rollout, where)
        raise BadRequest(
            f"{where}: rollout {item.rollout_id!r} answered {quoted(last_user_text(rollout.messages))}, not "
            f"{quoted(item.prompt)}; nothing was trained"
        )
    if rollout.lora_id not in (item.lora_id, None):
        raise BadRequest(
            f"{where}: rollout {item.rollout_id!r} was sampled from {rollout.model!r}, not from "
            f"{item.lora_id!r} or the base model; nothing was trained"
        )


def _only_a_part(item: FeedbackItem, rollout: Rollout, where: str) -> InvalidInput:
    return InvalidInput(
        f"{where}.prompt: {quoted(item.prompt)} is only a part of what was asked, "
        f"{quoted(last_user_text(rollout.messages))}; send all of it; nothing was trained"
    )


@dataclass(frozen=True)
class _Matched:
    """An item of feedback and the recorded answer it is about."""

    item: FeedbackItem
    rollout: Rollout


def _require_one_batch(items: Sequence[FeedbackItem]) -> None:
    first = items[0]
    adapter_id(first.lora_id)
    for index, item in enumerate(items):
        if item.lora_id != first.lora_id:
            raise BadRequest(
                "all requests of a batch must share lora_id; "
                f"requests.0 has {first.lora_id!r}, requests.{index} has {item.lora_id!r}"
            )
        if item.training != first.training:
            raise BadRequest(
                "all requests of a batch must share training; "
                f"requests.0 has {first.training}, requests.{index} has {item.training}"
            )


def fingerprint_of(items: Sequence[FeedbackItem], from_version: int | None = None) -> str:
    """A digest of the feedback, its settings and the texts that it is about, whichever recordings match them.

    Newer fields are left out where they are unset, so that keys used with earlier versions are still recognised.
    """
    digest = hashlib.sha256()
    for item in items:
        left_out: dict[str, Any] = {"rollout_id": True}
        if item.conversation is None:
            left_out["conversation"] = True
        if item.training.objective == SDPO:
            left_out["training"] = {"objective"}
        digest.update(item.model_dump_json(exclude=left_out).encode() + b"\n")
    if from_version is not None:
        digest.update(b"%d" % from_version)
    return digest.hexdigest()


async def _training_item(engine: Engine, matched: _Matched) -> TrainingItem:
    rollout, named = matched.rollout, matched.item.conversation
    if named is None:
        messages = Conversation(tuple(rollout.messages), rollout.chat_template_kwargs)
        prompt_ids = tuple(rollout.prompt_ids)
    else:
        messages = conversation(named, rollout.chat_template_kwargs)
        require_size(engine, sum(len(turn["content"]) for turn in messages))
        prompt_ids = (await engine.encode(messages)).ids
    return TrainingItem(
        messages=messages,
        prompt_ids=prompt_ids,
        token_ids=tuple(rollout.token_ids),
        logprobs=tuple(rollout.logprobs),
        feedback=matched.item.feedback,
    )


def _logged(matched: _Matched) -> LoggedItem:
    item, rollout = matched.item, matched.rollout
    return LoggedItem(
        prompt=item.prompt,
        response=item.response,
        feedback=item.feedback,
        rollout_id=rollout.id,
        model=rollout.model,
        conversation=item.conversation,
    )


@dataclass
class _Pause:
    """Whether the engine's server slept and was woken, and the milliseconds that each took."""

    slept: bool = False
    woke: bool = False
    timing_ms: dict[str, float] = field(default_factory=dict[str, float])


@asynccontextmanager
async def _asleep(engine: Engine, wanted: Orchestration) -> AsyncGenerator[_Pause]:
    """Let the engine's server sleep during this block, if that is requested and possible."""
    pause = _Pause()
    if not (wanted.sleep_before and isinstance(engine, Sleeper)):
        yield pause
        return
    began = time.perf_counter()
    pause.slept, now = await engine.sleep(wanted.sleep_level), wanted.wake_on_failure
    pause.timing_ms["sleep"] = 1000 * (time.perf_counter() - began)
    try:
        yield pause
        now = wanted.wake_after
    finally:
        began = time.perf_counter()
        pause.woke = pause.slept and await engine.wake(now)
        pause.timing_ms["wake"] = 1000 * (time.perf_counter() - began)


def _response(
    update: Update, pause: _Pause, request_id: str, lora_id: str, log_path: str, started: float, batch_size: int
) -> FeedbackResponse:
    return FeedbackResponse(
        request_id=request_id,
        lora_id=lora_id,
        version=update.weights.version,
        digest=update.weights.digest,
        distill_result=DistillResult(lora_id=lora_id, metadata=_numbers(update.metrics)),
        vllm=PauseState(slept=pause.slept, woke=pause.woke),
        feedback_log_path=log_path,
        timing_ms=_timing({**update.timing_ms, **pause.timing_ms}, total=1000 * (time.perf_counter() - started)),
        batch_size=batch_size,
    )


def _timing(phases: Mapping[str, float], total: float) -> FeedbackTiming:
    """The engine's phases, None for one it does not have, and the time of the whole transaction."""
    return FeedbackTiming(
        sleep=phases.get("sleep"),
        wake=phases.get("wake"),
        distill=phases.get("distill"),
        save=phases.get("save"),
        logprobs=phases.get("logprobs"),
        total=total,
    )


def _finished(entry: FeedbackLogEntry, update: Update, response: FeedbackResponse) -> FeedbackLogEntry:
    lost = [f"{name} was {value}" for name, value in update.metrics.items() if not math.isfinite(value)]
    return entry.model_copy(
        update={
            "version": response.version,
            "digest": response.digest,
            "replayed": update.replayed,
            "metrics": response.distill_result.metadata,
            "timing_ms": response.timing_ms,
            "errors": lost,
        }
    )


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that are finite: JSON cannot represent the others."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
