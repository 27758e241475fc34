"""Which weights a model name means: the base model, an adapter's newest version, one version of it, or an alias."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

from claas.api.aliases import Aliases
from claas.core.checks import name_and_version, served_name
from claas.core.errors import Conflict, InvalidInput, NotFound, StackError
from claas.core.text import quoted
from claas.engines.base import Engine
from claas.engines.types import Weights


class Models:
    """Model names as clients use them: `claas-tiny`, `eval-concise`, `eval-concise@7`, the id `eval/concise`, an alias.

    Every name is unambiguous: one that would shadow another is refused.
    """

    def __init__(self, engine: Engine, aliases: Aliases) -> None:
        self._engine = engine
        self._aliases = aliases
        self._lora_ids: dict[str, str] = {}
        self._naming = asyncio.Lock()
        self._being_made: list[str] = []

    async def weights(self, model: str) -> Weights:
        """The weights that `model` currently refers to; `NotFound` lists the known names."""
        target = self._aliases.target(model)
        if target is None:
            return await self._own_weights(model)
        try:
            return await self._own_weights(target)
        except NotFound as error:
            raise NotFound(f"alias {model!r} means {target!r}, which is gone: {error}") from error

    async def names(self) -> list[str]:
        """All names without a version: the base model, the adapters, and aliases that are not dangling."""
        return [
            *await self._own_names(),
            *[name for name in self._aliases.names() if await self._means_something(name)],
        ]

    async def alias(self, name: str) -> tuple[str, Weights]:
        """The target of an alias and its current weights; `NotFound` if there is no such alias, or it is dangling."""
        target = self._aliases.target(name)
        if target is None:
            raise NotFound(f"no alias {name!r}; known: {', '.join(self._aliases.names()) or 'none'}")
        return target, await self.weights(name)

    async def set_alias(self, name: str, target: str) -> Weights:
        """Point `name` to `target`, a known name that is not an alias itself, and return its weights."""
        async with self._naming:
            if self._aliases.target(target) is not None:
                raise Conflict(f"target {target!r} is an alias itself; name what it stands for")
            weights = await self._own_weights(target)
            base_model, *adapters = await self._own_names()
            if name == base_model or {name, _without_second_name(name)} & {*adapters, *self._being_made}:
                raise Conflict(f"{name!r} is a name of the base model or of an adapter; choose another alias")
            await self._aliases.put(name, target)
            return weights

    async def remove_alias(self, name: str) -> bool:
        """Remove an alias; False if there was none."""
        async with self._naming:
            return await self._aliases.remove(name)

    @asynccontextmanager
    async def making(self, lora_id: str) -> AsyncGenerator[None]:
        """Refuse an id whose served name is taken, and reserve that name inside the block."""
        name = served_name(lora_id)
        async with self._naming:
            await self._require_free(lora_id, name)
            self._being_made.append(name)
        try:
            yield
        finally:
            self._being_made.remove(name)

    async def untrained_id(self, lora_id: str) -> str:
        """The id itself, or where it has been trained the first of `<id>-anew-2`, `-anew-3`, ... that has not."""
        trained = {weights.lora_id for weights in await self._engine.list_adapters(lora_id) if weights.version > 0}
        fresh = (f"{lora_id}-anew-{number}" for number in itertools.count(2))
        return next(each for each in itertools.chain([lora_id], fresh) if each not in trained)

    def forget(self, lora_id: str) -> None:
        """Drop what was remembered of an adapter that was deleted. Its aliases stay, and mean nothing until reset."""
        self._lora_ids = {name: adapter for name, adapter in self._lora_ids.items() if adapter != lora_id}

    async def _own_weights(self, model: str) -> Weights:
        """The weights of a name that is not an alias."""
        if model == self._engine.base_model:
            return await self._engine.resolve(None)
        name, version = name_and_version(model) or (model, None)
        lora_id = self._lora_ids.get(name) or await self._look_up(name, model)
        try:
            return await self._engine.resolve(lora_id, version)
        except NotFound:
            self._lora_ids.pop(name, None)
            raise

    async def _own_names(self) -> list[str]:
        adapters = await self._engine.list_adapters()
        return [self._engine.base_model, *(served_name(w.lora_id) for w in adapters if w.lora_id)]

    async def _means_something(self, alias: str) -> bool:
        await asyncio.sleep(0)  # of thousands, each is looked up in its turn
        try:
            await self.weights(alias)
        except (NotFound, Conflict, StackError):
            return False
        return True

    async def _require_free(self, lora_id: str, name: str) -> None:
        if self._engine.base_model in (lora_id, name):
            raise Conflict(f"adapter id {lora_id!r} would be served under the base model's name; choose another")
        others = [weights.lora_id for weights in await self._engine.list_adapters() if weights.lora_id]
        if lora_id in others:
            return
        for called in (name, *(name + ending for ending in _SECOND_NAMES)):
            if called in self._aliases:
                raise Conflict(f"adapter id {lora_id!r} would be called {called!r}, which is an alias; choose another")
        for other in others:
            if served_name(other) in (name, _without_second_name(name)):
                raise Conflict(
                    f"adapter id {lora_id!r} would be served as {name!r}, a name of {other!r}; choose another"
                )

    async def _look_up(self, name: str, model: str) -> str:
        ids = [weights.lora_id for weights in await self._engine.list_adapters() if weights.lora_id]
        meant = _called(name, ids) or _called(_without_second_name(name), ids)
        if not meant:
            with suppress(NotFound, InvalidInput):
                await self._engine.resolve(name)  # an adapter that cannot be read is not listed, and says why
            raise await self._unknown(model)
        if len(meant) > 1:
            raise Conflict(f"model {model!r} could be any of {', '.join(meant)}; use the id itself")
        self._lora_ids[name] = meant[0]
        return meant[0]

    async def _unknown(self, model: str) -> NotFound:
        return NotFound(
            f"unknown model {quoted(model)}; known: {', '.join([*await self._own_names(), *self._aliases.names()])}"
        )


_SECOND_NAMES = ("-latest", "-init")
"""What kfallah/CLaaS adds to an adapter's id: its `user/a-init`, also called `user/a-latest`, is `user/a` here."""


def _without_second_name(name: str) -> str:
    for ending in _SECOND_NAMES:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


async def own_id(engine: Engine, lora_id: str) -> str:
    """The id of the adapter that a client calls `lora_id`; an unknown id is returned unchanged."""
    first = _without_second_name(lora_id)
    if first == lora_id:
        return lora_id
    known = {weights.lora_id for weights in await engine.list_adapters(first)}
    return first if first in known and lora_id not in known else lora_id


def _called(name: str, ids: Sequence[str]) -> list[str]:
    """The adapters with this id, or else with this served name."""
    return [name] if name in ids else [lora_id for lora_id in ids if served_name(lora_id) == name]
