"""Updates: from the newest version of an adapter and a batch of feedback to its next version, exactly once."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import torch
from peft import PeftModel
from torch import Tensor

from claas.core.errors import PromptTooLong, StackError
from claas.core.settings import TrainingConfig, default_learning_rate
from claas.engines.base import AdapterSpec, TrainingItem, Update, Weights
from claas.engines.local.lora import LoraShape, config_json, from_bytes, new_tensors, to_bytes, wrap
from claas.engines.local.model import LoadedModel
from claas.engines.local.versions import ADAPTER, ADAPTER_CONFIG, OPTIMIZER, VersionRecord, VersionStore, require_base
from claas.engines.store import Clock
from claas.training.item import Item, with_hindsight
from claas.training.update import (
    load_optimizer_tensors,
    new_optimizer,
    optimizer_tensors,
    run_update,
    trainable_parameters,
)


class Learner:
    """Makes versions. One thread at a time; the model it trains shares the base parameters with all others."""

    def __init__(self, base: LoadedModel, store: VersionStore) -> None:
        self._base = base
        self._store = store
        self._wrapped: tuple[LoraShape, PeftModel] | None = None

    def init(self, spec: AdapterSpec) -> Weights:
        """Version 0. Raises `Conflict` where the id is taken."""
        self._store.require_new(spec.lora_id)
        shape = LoraShape.of(spec, self._base.model)
        tensors = new_tensors(shape, self._base.model, spec.seed)
        return self._save(spec.lora_id, 0, shape, tensors, {}, None, {}, Clock()).weights

    def update(self, lora_id: str, items: Sequence[TrainingItem], training: TrainingConfig, key: str) -> Update:
        """The receipt of the version that `key` made, now or before. A failure leaves the newest one as it was."""
        for record in self._store.versions(lora_id):
            if record.key == key:
                return Update(record.weights, record.metrics, record.timing_ms, replayed=True)
        newest = self._store.get(lora_id)
        require_base(newest, self._base)
        shape = LoraShape(newest.rank, newest.alpha, newest.target_modules)
        clock = Clock()
        with clock.timing("load"):
            model = self._model(shape)
            _load(model, from_bytes(self._store.read_adapter(newest)))
            rate = training.learning_rate or default_learning_rate(self._base.weights.base_model)
            optimizer = new_optimizer(trainable_parameters(model), rate)
            state = self._store.read_optimizer(newest)
            load_optimizer_tensors(optimizer, {} if state is None else from_bytes(state))
        with clock.timing("distill"):
            metrics = run_update(model, optimizer, [self._item(item, training) for item in items], training)
        tensors, state = _tensors(model), optimizer_tensors(optimizer)
        record = self._save(lora_id, newest.version + 1, shape, tensors, state, key, metrics, clock)
        return Update(record.weights, record.metrics, record.timing_ms)

    def _model(self, shape: LoraShape) -> PeftModel:
        """The base model with an adapter of `shape`, whose values are whatever was trained last."""
        if self._wrapped is None or self._wrapped[0] != shape:
            self._wrapped = (shape, wrap(self._base.share(), shape))
        return self._wrapped[1]

    def _item(self, item: TrainingItem, training: TrainingConfig) -> Item:
        teacher = with_hindsight(item.messages, item.feedback, training.feedback_repetitions)
        aligned = Item(item.prompt_ids, tuple(self._base.chat.prompt_ids(teacher)), item.token_ids, item.logprobs)
        if aligned.longest > self._base.window:
            raise PromptTooLong(
                f"prompt, feedback and response come to {aligned.longest} tokens, beyond the window of "
                f"{self._base.window} tokens of {self._base.weights.base_model}; nothing was trained"
            )
        return aligned

    def _save(
        self,
        lora_id: str,
        version: int,
        shape: LoraShape,
        tensors: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        key: str | None,
        metrics: Mapping[str, float],
        clock: Clock,
    ) -> VersionRecord:
        """Write a version and make it the newest, in one step."""
        with self._store.staging(lora_id) as staging:
            with clock.timing("save"):
                digest = staging.write(ADAPTER, to_bytes(tensors))
                optimizer_digest = staging.write(OPTIMIZER, to_bytes(optimizer)) if optimizer else None
                staging.write(ADAPTER_CONFIG, config_json(shape, self._base.weights.base_model))
            record = VersionRecord(
                lora_id=lora_id,
                version=version,
                digest=digest,
                optimizer_digest=optimizer_digest,
                base_model=self._base.weights.base_model,
                base_digest=self._base.weights.digest,
                rank=shape.rank,
                alpha=shape.alpha,
                target_modules=shape.target_modules,
                key=key,
                metrics=metrics,
                timing_ms=clock.timing_ms,
                created=datetime.now(UTC).isoformat(),
            )
            self._store.commit(record)
        return record


@torch.no_grad()
def _load(model: PeftModel, tensors: Mapping[str, Tensor]) -> None:
    """Set the adapter's parameters. Raises `StackError` where names or shapes do not fit."""
    parameters = {_file_name(name): parameter for name, parameter in trainable_parameters(model)}
    fits = parameters.keys() == tensors.keys()
    if not fits or any(parameters[name].shape != tensor.shape for name, tensor in tensors.items()):
        raise StackError("the stored adapter does not fit the base model: its layers or their sizes differ")
    for name, parameter in parameters.items():
        parameter.copy_(tensors[name])


def _tensors(model: PeftModel) -> dict[str, Tensor]:
    """Copies of the adapter's parameters, in CPU memory."""
    return {
        _file_name(name): parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in trainable_parameters(model)
    }


def _file_name(parameter: str) -> str:
    """A parameter's name in PEFT's files, which leave out the name that the adapter has in memory."""
    return parameter.replace(".default.weight", ".weight")
