"""Which weights a model name means: the base model, an adapter's newest version, or one version of it."""

import re

from claas.core.checks import served_name
from claas.core.errors import Conflict, NotFound
from claas.engines.base import Engine, Weights

_VERSIONED = re.compile(r"(?P<name>.+?)(?:@(?P<version>[0-9]{1,9}))?")


class Models:
    """Names as clients use them: `claas-tiny`, `eval-concise`, `eval-concise@7`, and the id `eval/concise` itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lora_ids: dict[str, str] = {}

    async def weights(self, model: str) -> Weights:
        """The weights that `model` means now; `NotFound` lists the known names."""
        if model == self._engine.base_model:
            return await self._engine.resolve(None)
        match = _VERSIONED.fullmatch(model)
        if match is None:
            raise await self._unknown(model)
        name, version = match["name"], match["version"]
        lora_id = self._lora_ids.get(name) or await self._look_up(name, model)
        try:
            return await self._engine.resolve(lora_id, None if version is None else int(version))
        except NotFound:
            self._lora_ids.pop(name, None)
            raise

    async def names(self) -> list[str]:
        """Every name without a version: the base model, then the adapters."""
        adapters = await self._engine.list_adapters()
        return [self._engine.base_model, *(served_name(w.lora_id) for w in adapters if w.lora_id)]

    async def require_free(self, lora_id: str) -> None:
        """Refuse an id whose served name already means something else."""
        name = served_name(lora_id)
        if self._engine.base_model in (lora_id, name):
            raise Conflict(f"adapter id {lora_id!r} would be served under the base model's name; choose another")
        for weights in await self._engine.list_adapters():
            if weights.lora_id and weights.lora_id != lora_id and served_name(weights.lora_id) == name:
                raise Conflict(
                    f"adapter id {lora_id!r} would be served as {name!r}, the name of {weights.lora_id!r}; "
                    "choose another"
                )

    def forget(self, lora_id: str) -> None:
        """Drop what was remembered of an adapter that was deleted."""
        self._lora_ids = {name: known for name, known in self._lora_ids.items() if known != lora_id}

    async def _look_up(self, name: str, model: str) -> str:
        ids = [weights.lora_id for weights in await self._engine.list_adapters() if weights.lora_id]
        found = [name] if name in ids else [lora_id for lora_id in ids if served_name(lora_id) == name]
        if not found:
            raise await self._unknown(model)
        if len(found) > 1:
            raise Conflict(f"model {model!r} could be any of {', '.join(found)}; use the id itself")
        self._lora_ids[name] = found[0]
        return found[0]

    async def _unknown(self, model: str) -> NotFound:
        return NotFound(f"unknown model {model!r}; known: {', '.join(await self.names())}")
