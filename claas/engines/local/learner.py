"""Updates on this machine: training the next version of an adapter on a batch of feedback."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

from peft import PeftModel
from pydantic import JsonValue
from torch import Tensor

from claas.core.errors import ClaasError
from claas.core.settings import default_learning_rate
from claas.engines.local.imported import imported
from claas.engines.local.lora import (
    LoraShape,
    config_json,
    file_name,
    from_bytes,
    load_adapter,
    new_tensors,
    to_bytes,
    wrap,
)
from claas.engines.local.memory import give_back
from claas.engines.local.model import LoadedModel
from claas.engines.local.threads import Inbox, Workers, answering
from claas.engines.local.versions import OPTIMIZER, LocalStore, LocalVersion
from claas.engines.store import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from claas.engines.types import AdapterSpec, UpdateRequest, Weights
from claas.engines.versioned import Clock, Learner
from claas.training.update import (
    load_optimizer_tensors,
    new_optimizer,
    optimizer_tensors,
    run_update,
    trainable_parameters,
)

T = TypeVar("T")


@dataclass(eq=False)
class LearnJob(Generic[T]):
    """Work for the learning thread; `what` names it in errors."""

    what: str
    work: Callable[[], T]
    result: Future[T] = field(default_factory=Future[T])


class LocalLearner(Learner[LocalVersion]):
    """Trains in a thread of its own; the model that it trains shares the base parameters with all others."""

    def __init__(self, base: LoadedModel, store: LocalStore) -> None:
        super().__init__(base.weights, base.chat, base.window, store)
        self._model = base
        self._store = store
        self._thread = Workers[LearnJob[Any]]("learning", [_serve])
        self._wrapped: tuple[LoraShape, PeftModel] | None = None

    async def init(self, spec: AdapterSpec) -> Weights:
        """Make version 0, unless it exists already. Raises `Conflict` if the id is taken by another adapter."""
        return (await self._in_thread("making the adapter", lambda: self._first(spec))).weights

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Make version 0 from the weights of an adapter in PEFT's format, unless it exists already."""
        work = partial(self._imported, lora_id, config, weights)
        return (await self._in_thread("importing the adapter", work)).weights

    async def delete(self, lora_id: str) -> bool:
        """Remove an adapter and all its versions; False when there was none."""
        return await self._in_thread("deleting the adapter", lambda: self._store.delete(lora_id))

    @property
    def trouble(self) -> str | None:
        """Why the learning thread has ended; None while it runs."""
        return self._thread.trouble

    def close(self) -> None:
        """Finish the update in progress, and start no other."""
        self._thread.close()

    async def _next(self, parent: LocalVersion, number: int, request: UpdateRequest) -> LocalVersion:
        return await self._in_thread("the update", lambda: self._trained(parent, number, request))

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        job = LearnJob(what, work)
        self._thread.submit(job)
        return await asyncio.wrap_future(job.result)

    def _first(self, spec: AdapterSpec) -> LocalVersion:
        shape = LoraShape.of(spec, self._model)
        tensors = new_tensors(shape, self._model.model, spec.seed)
        return self._begun(spec.lora_id, shape, to_bytes(tensors), self._store.untrained(spec.lora_id))

    def _imported(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> LocalVersion:
        shape, kept = imported(config, weights, self._model)
        known = self._store.get(lora_id, 0) if lora_id in self._store.adapters() else None
        return self._begun(lora_id, shape, kept, known)

    def _begun(self, lora_id: str, shape: LoraShape, weights: bytes, known: LocalVersion | None) -> LocalVersion:
        """Save version 0, or return `known` if it is the same."""
        digest = hashlib.sha256(weights).hexdigest()
        if known is not None and (known.shape, known.digest, known.base_digest) == (shape, digest, self.base.digest):
            return known
        self._store.require_new(lora_id)
        self._adapted(shape)  # so that a shape that cannot be trained is refused now
        return self._save(lora_id, 0, shape, weights, {}, None, {}, Clock())

    def _trained(self, parent: LocalVersion, number: int, request: UpdateRequest) -> LocalVersion:
        training, clock = request.training, Clock()
        with clock.timing("load"):
            model = self._adapted(parent.shape)
            load_adapter(model, from_bytes(self._store.read_adapter(parent)))
            rate = training.learning_rate or default_learning_rate(self.base.base_model)
            optimizer = new_optimizer(trainable_parameters(model), rate)
            state = self._store.read_optimizer(parent)
            load_optimizer_tensors(optimizer, {} if state is None else from_bytes(state))
        with clock.timing("distill"):
            give_back()  # what answers took: an update takes as much again
            examples = [self._example(item, training) for item in request.items]
            metrics = run_update(model, optimizer, examples, training)
            give_back()
        tensors, state = _tensors(model), optimizer_tensors(optimizer)
        return self._save(parent.lora_id, number, parent.shape, to_bytes(tensors), state, request.key, metrics, clock)

    def _adapted(self, shape: LoraShape) -> PeftModel:
        """The base model with an adapter of `shape`, which still has the values trained last."""
        if self._wrapped is None or self._wrapped[0] != shape:
            self._wrapped = (shape, wrap(self._model, shape))
        return self._wrapped[1]

    def _save(
        self,
        lora_id: str,
        version: int,
        shape: LoraShape,
        weights: bytes,
        optimizer: Mapping[str, Tensor],
        key: str | None,
        metrics: Mapping[str, float],
        clock: Clock,
    ) -> LocalVersion:
        """Write a version and make it the newest, atomically."""
        with self._store.staging(lora_id) as staging:
            with clock.timing("save"):
                digest = staging.write(ADAPTER_WEIGHTS, weights)
                optimizer_digest = staging.write(OPTIMIZER, to_bytes(optimizer)) if optimizer else None
                staging.write(ADAPTER_CONFIG, config_json(shape, self._model))
            record = LocalVersion(
                lora_id=lora_id,
                version=version,
                digest=digest,
                optimizer_digest=optimizer_digest,
                base_model=self.base.base_model,
                base_digest=self.base.digest,
                rank=shape.rank,
                alpha=shape.alpha,
                target_modules=shape.target_modules,
                rslora=shape.rslora,
                key=key,
                metrics=metrics,
                timing_ms=clock.timing_ms,
                created=datetime.now(UTC).isoformat(),
            )
            self._store.commit(record)
        return record


def _serve(inbox: Inbox[LearnJob[Any]]) -> None:
    while (arrived := inbox.take(1, wait=True)) is not None:
        for job in arrived:
            if job.result.set_running_or_notify_cancel():
                try:
                    with answering(job.what):
                        done = job.work()
                except ClaasError as error:
                    job.result.set_exception(error)
                else:
                    job.result.set_result(done)


def _tensors(model: PeftModel) -> dict[str, Tensor]:
    """Copies of the adapter's parameters, in CPU memory."""
    return {
        file_name(name): parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in trainable_parameters(model)
    }
