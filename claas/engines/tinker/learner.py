"""Updates at the service: training the next version of an adapter on a batch of feedback."""

import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import fmean

from pydantic import JsonValue

from claas.core.checks import served_name
from claas.core.concurrency import TEXT_THREADS, Threads, both, together
from claas.core.errors import ClaasError, InvalidInput, NotFound
from claas.core.settings import SFT, TrainingConfig, default_learning_rate, require_trainable
from claas.engines.text import ChatFormat
from claas.engines.tinker.service import OptimizerStep, TinkerService, TrainingRun
from claas.engines.tinker.versions import TinkerStore, TinkerVersion
from claas.engines.types import AdapterSpec, UpdateRequest, Weights
from claas.engines.versioned import Clock, Learner
from claas.training.example import TrainingExample
from claas.training.token_advantages import Advantages, Judged, advantages, as_they_are

_MOST_WARM = 8
_NAME_CHARACTERS = 80
_STATE = re.compile(r"tinker://[^/\s]+/weights/[^/\s]+")
_log = logging.getLogger(__name__)


class TinkerLearner(Learner[TinkerVersion]):
    """Trains versions at the service, and records them here.

    `keep_last` gives up the checkpoints of all but the newest version and the one before it, which a harness may
    still be measuring. The run of an adapter's newest version is kept, so that the next update need not restore it.
    """

    def __init__(
        self,
        service: TinkerService,
        store: TinkerStore,
        chat: ChatFormat,
        base: Weights,
        window: int,
        *,
        keep_last: bool,
    ) -> None:
        super().__init__(base, chat, window, store)
        self._service = service
        self._store = store
        self._keep_last = keep_last
        self._disk = Threads("store", 1)
        self._warm: dict[str, tuple[str, TrainingRun]] = {}
        self._making: set[str] = set()

    async def init(self, spec: AdapterSpec) -> Weights:
        """Make version 0, unless it exists already.

        Raises `Conflict` if the id is taken by another adapter, `InvalidInput` for an unsupported shape.
        """
        _require_shape(spec)
        made = self._store.untrained(spec.lora_id)
        if made is not None and (made.base_model, made.rank, made.seed) == (self.base.base_model, spec.rank, spec.seed):
            return made.weights
        self._store.require_new(spec.lora_id)
        clock = Clock()
        with clock.timing("load"):
            run = await self._service.new_run(spec.rank, spec.seed)
        return (await self._save(run, spec.lora_id, 0, spec.rank, None, {}, clock, spec.seed)).weights

    async def import_adapter(self, lora_id: str, config: Mapping[str, JsonValue], weights: bytes) -> Weights:
        """Raise `InvalidInput`: the service cannot import files."""
        raise InvalidInput("with mode=tinker a checkpoint of the service is imported, by its path: give checkpoint")

    async def import_checkpoint(self, lora_id: str, path: str) -> Weights:
        """Version 0 from a checkpoint of another run, copied, so that deleting the adapter leaves that as it is."""
        if not _STATE.fullmatch(path):
            raise InvalidInput(
                f"checkpoint {path!r} is no training state; give the path of one, tinker://<run>/weights/<name>"
            )
        known = self._store.get(lora_id, 0) if lora_id in self._store.adapters() else None
        if known is not None and known.source == path:
            return known.weights
        self._store.require_new(lora_id)
        info = await self._service.weights_info(path)
        if info.base_model != self.base.base_model or not info.is_lora or info.lora_rank is None:
            kind = "LoRA" if info.is_lora else "full weights"
            raise InvalidInput(
                f"checkpoint {path!r} is {kind} of {info.base_model!r}, not LoRA of {self.base.base_model!r}"
            )
        clock = Clock()
        with clock.timing("load"):
            run = await self._service.restored_run(path)
        return (await self._save(run, lora_id, 0, info.lora_rank, None, {}, clock, source=path)).weights

    async def _next(self, parent: TinkerVersion, number: int, request: UpdateRequest) -> TinkerVersion:
        training = request.training
        require_trainable("tinker", training)
        examples = await TEXT_THREADS.run(lambda: [self._example(item, training) for item in request.items])
        clock = Clock()
        with clock.timing("logprobs"):
            made, run = await both(self._data(examples, parent, training), self._run(parent))
        tokens = int(made.metrics["tokens_processed"])
        loss = "cross_entropy" if training.objective == SFT else "importance_sampling"
        rate = training.learning_rate or default_learning_rate(self.base.base_model)
        with clock.timing("distill"):
            # The service sums over tokens, where the bound is for the gradient of their mean.
            bound = training.max_grad_norm * tokens
            steps = await run.train(made.data, loss, training.steps_per_batch, rate, bound)
        metrics = {**made.metrics, **_step_metrics(steps, tokens), **_billed(examples, training)}
        record = await self._save(run, parent.lora_id, number, parent.rank, request.key, metrics, clock)
        await self._give_up_old(parent.lora_id)
        return record

    async def delete(self, lora_id: str) -> bool:
        """Remove an adapter and delete its checkpoints at the service; False when there was none."""
        self._warm.pop(lora_id, None)
        deleted = await self._disk.run(self._store.delete, lora_id)
        await self.sweep()
        return deleted

    async def export(self, record: TinkerVersion) -> dict[str, bytes]:
        """The files of a version in the format of PEFT."""
        run = await self._service.restored_run(record.state_path)
        path = await run.export(_name(record.lora_id, record.version))
        try:
            return await self._service.files(path)
        finally:
            await self._disk.run(self._store.unneeded, [path])
            await self.sweep()

    async def sweep(self) -> None:
        """Delete unneeded checkpoints at the service. What cannot be deleted now is tried again next time."""
        for path in self._store.all_unneeded():
            if path in self._making:
                continue  # on the list until its version is on record, by an update that is under way
            try:
                await self._service.delete(path)
            except NotFound:
                pass  # it was never made, or is gone
            except ClaasError as error:
                _log.warning("%s stays at Tinker for now: %s", path, error)
                return
            await self._disk.run(self._store.needed, [path])

    async def _data(
        self, examples: Sequence[TrainingExample], parent: TinkerVersion, training: TrainingConfig
    ) -> Advantages:
        """The training data for the service; for SDPO the answers are scored first."""
        if training.objective == SFT:
            return as_they_are(examples)
        judged = await together(self._judged(each, parent) for each in examples)
        return await TEXT_THREADS.run(advantages, examples, judged, training.is_clip)

    async def _judged(self, example: TrainingExample, parent: TinkerVersion) -> Judged:
        """The response's logprobs under the student and the teacher, requested concurrently."""
        student, teacher = await both(
            self._service.logprobs(parent.sampler_path, (*example.prompt_ids, *example.token_ids)),
            self._service.logprobs(None, (*example.teacher_prompt_ids, *example.token_ids)),
        )
        length = len(example.token_ids)
        return Judged(example.logprobs, tuple(student[-length:]), tuple(teacher[-length:]))

    async def _run(self, parent: TinkerVersion) -> TrainingRun:
        """A training run at the state of `parent`. It leaves the cache while it trains, so that a failure drops it."""
        path, run = self._warm.pop(parent.lora_id, ("", None))
        if run is not None and path == parent.state_path:
            return run
        return await self._service.restored_run(parent.state_path)

    async def _save(
        self,
        run: TrainingRun,
        lora_id: str,
        version: int,
        rank: int,
        key: str | None,
        metrics: Mapping[str, float],
        clock: Clock,
        seed: int | None = None,
        source: str | None = None,
    ) -> TinkerVersion:
        """Save the checkpoints of a version and record it."""
        name = _name(lora_id, version)
        expected = run.paths(name)
        await self._disk.run(self._store.unneeded, expected)
        self._making.update(expected)
        try:
            with clock.timing("save"):
                state, sampler = await run.save(name)
            record = TinkerVersion(
                lora_id=lora_id,
                version=version,
                state_path=state,
                sampler_path=sampler,
                base_model=self.base.base_model,
                rank=rank,
                key=key,
                metrics=metrics,
                timing_ms=clock.timing_ms,
                created=datetime.now(UTC).isoformat(),
                seed=seed,
                source=source,
            )
            await self._disk.run(self._store.commit, record)
            await self._disk.run(self._store.needed, expected)
        finally:
            self._making.difference_update(expected)
        self._warm[lora_id] = (record.state_path, run)
        while len(self._warm) > _MOST_WARM:
            del self._warm[next(iter(self._warm))]
        return record

    async def _give_up_old(self, lora_id: str) -> None:
        if self._keep_last:
            for record in self._store.versions(lora_id)[:-2]:
                if record.kept:
                    await self._disk.run(self._store.give_up, record)
        await self.sweep()


def _name(lora_id: str, version: int) -> str:
    """A checkpoint's name, never used before: not even by an update that failed half way."""
    served = served_name(lora_id).replace(".", "-")[:_NAME_CHARACTERS]
    return f"{served}-{version:06d}-{uuid.uuid4().hex[:8]}"


def _require_shape(spec: AdapterSpec) -> None:
    if spec.target_modules is not None:
        raise InvalidInput(
            "target_modules cannot be chosen with mode=tinker, which adapts every linear layer; leave it out"
        )
    if spec.alpha is not None:
        raise InvalidInput("lora_alpha cannot be chosen with mode=tinker, where the service sets it; leave it out")


def _step_metrics(steps: Sequence[OptimizerStep], tokens: int) -> dict[str, float]:
    """Means over the optimiser steps, per response token; what the service does not report is absent."""
    losses = [step.loss_sum / tokens for step in steps if step.loss_sum is not None]
    norms = [step.grad_norm / tokens for step in steps if step.grad_norm is not None]
    metrics = {"steps_per_batch_applied": float(len(steps))}
    if losses:
        metrics["total_loss"] = fmean(losses)
    if norms:
        metrics["grad_norm"] = fmean(norms)
    return metrics


def _billed(examples: Sequence[TrainingExample], training: TrainingConfig) -> dict[str, float]:
    """Tokens that the service reads to score student and teacher, and that it trains on, prompts included."""
    student = sum(len(each.prompt_ids) + len(each.token_ids) for each in examples)
    teacher = sum(len(each.teacher_prompt_ids) + len(each.token_ids) for each in examples)
    scored = 0 if training.objective == SFT else student + teacher
    trained = training.steps_per_batch * (student - len(examples))
    return {"prefill_tokens": float(scored), "trained_tokens": float(trained)}
