"""The app's end: calls that came over the wire, answered by an engine that is opened by the first of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from claas.core.errors import ClaasError, StackError
from claas.engines.base import Engine
from claas.engines.modal.crossing import Reply, packed, refusal, source, unpacked
from claas.engines.peft_directory import CONFIG, WEIGHTS

_log = logging.getLogger(__name__)

_Call = Callable[..., Awaitable[object]]


@dataclass(frozen=True)
class Served:
    """What an app says of itself."""

    base_model: str
    window: int
    device: str


class Host:
    """Answers calls with one engine. `deploy` is the command that deploys the app.

    Whatever goes wrong becomes a reply, also when the engine cannot be opened: a container that raised while it starts
    would be started again and again, and the caller would not learn why.
    """

    def __init__(self, open_engine: Callable[[], Engine], deploy: str) -> None:
        self._open = open_engine
        self._deploy = deploy
        self._opening = asyncio.Lock()
        self._engine: Engine | None = None

    async def answer(self, caller: str, method: str, arguments: bytes) -> Reply:
        """The reply to one call of a caller whose source is `caller`."""
        try:
            self._require_same_source(caller)
            call = _calls(await self._opened())[method]
            return "", packed(await call(*unpacked(arguments)))
        except ClaasError as error:
            return refusal(error)
        except Exception as error:  # the boundary of the container's process
            _log.exception("%s failed", method)
            said = " ".join(f"{type(error).__name__}: {error}".split())
            return refusal(StackError(f"the app on Modal failed at {method}: {said[:300]}; its log has the details"))

    async def close(self) -> None:
        """Close the engine, if it was opened."""
        if self._engine is not None:
            await self._engine.close()

    async def _opened(self) -> Engine:
        async with self._opening:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._open)
            return self._engine

    def _require_same_source(self, caller: str) -> None:
        if caller != source():
            raise StackError(
                f"the app on Modal was deployed from another source of claas ({source()}) than is asking it "
                f"({caller}); deploy it again with: {self._deploy}; then run the same command again"
            )


def _calls(engine: Engine) -> dict[str, _Call]:
    """What can be called, by name."""

    async def describe() -> Served:
        device = (await engine.health()).detail.get("device", "")
        return Served(engine.base_model, engine.window, str(device))

    async def export(lora_id: str, version: int) -> dict[str, bytes]:
        directory = await engine.export_adapter(lora_id, version)
        return await asyncio.to_thread(lambda: {name: (directory / name).read_bytes() for name in (CONFIG, WEIGHTS)})

    own: list[_Call] = [
        engine.encode,
        engine.decode,
        engine.resolve,
        engine.sample,
        engine.score,
        engine.read,
        engine.update,
        engine.init_adapter,
        engine.list_adapters,
        engine.delete_adapter,
    ]
    return {"describe": describe, "export": export} | {call.__name__: call for call in own}
