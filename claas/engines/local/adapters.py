"""The weights that requests ask for, ready to run: the base model's always, the adapters' as recently used."""

import asyncio
from collections import OrderedDict

from claas.core.errors import Conflict
from claas.engines.base import Weights
from claas.engines.local.linear import linear_op
from claas.engines.local.lora import LoraShape, base_weights, from_bytes, prepared
from claas.engines.local.model import BaseModel, matrix_of, output_head
from claas.engines.local.routing import ModelWeights
from claas.engines.local.versions import VersionRecord, VersionStore

_KEPT = 12


class Adapters:
    """Loads versions from the store, checked against their digest, and keeps the most recently used ones."""

    def __init__(self, base: BaseModel, store: VersionStore) -> None:
        self._base = base
        self._store = store
        self._loading = asyncio.Lock()
        self._ready: OrderedDict[tuple[str, int, str], ModelWeights] = OrderedDict()
        self._base_ready = base_weights(base.model, pack=base.small)
        self.head = linear_op(*matrix_of(output_head(base.model)), pack=base.small)

    async def get(self, weights: Weights) -> ModelWeights:
        """Exactly the weights named, whatever has happened to the adapter's id since; read from disk in a thread."""
        if weights.lora_id is None:
            return self._base_ready
        key = (weights.lora_id, weights.version, weights.digest)
        ready = self._ready.get(key)
        if ready is None:
            async with self._loading:  # all who ask for a new version wait for the first of them to load it
                ready = self._ready.get(key) or await asyncio.to_thread(self._load, weights.lora_id, weights)
                self._ready[key] = ready
                while len(self._ready) > _KEPT:
                    self._ready.popitem(last=False)
        self._ready.move_to_end(key)
        return ready

    def _load(self, lora_id: str, weights: Weights) -> ModelWeights:
        record = self._store.get(lora_id, weights.version)
        require_same(record, weights, self._base)
        shape = LoraShape(record.rank, record.alpha, record.target_modules)
        tensors = from_bytes(self._store.read_adapter(record))
        return prepared(shape, tensors, self._base.model, self._base_ready, merge=self._base.small)


def require_same(record: VersionRecord, weights: Weights, base: BaseModel) -> None:
    """Raise `Conflict` where the stored version is not the one asked for, or was trained on another base model."""
    if record.digest != weights.digest:
        raise Conflict(f"{weights.name} is no longer what it was: its adapter was deleted and made again")
    require_base(record, base)


def require_base(record: VersionRecord, base: BaseModel) -> None:
    """Raise `Conflict` where the version was trained on another base model than the one that runs."""
    if record.base_digest != base.weights.digest:
        raise Conflict(
            f"{record.weights.name} was trained on other weights of {record.base_model!r} than the running base model "
            f"{base.weights.base_model!r} has"
        )
