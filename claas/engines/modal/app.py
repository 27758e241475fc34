"""The app that the user deploys: `modal deploy -m claas.engines.modal.app`.

One container at a time, so that one engine writes the volume. A call that is made after a pause starts it, and it stops
when nothing was asked for a while. What is deployed, and where, is described by `claas.engines.modal.rpc`.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import requires
from pathlib import Path

import modal

import claas
from claas.core.errors import ClaasError, StackError
from claas.core.text import one_line
from claas.engines.base import Engine
from claas.engines.modal.rpc import NO_GPU, Deployment, Reply, packed, refusal, source, unpacked
from claas.engines.store import ADAPTER_CONFIG, ADAPTER_WEIGHTS

_log = logging.getLogger(__name__)
_Call = Callable[..., Awaitable[object]]
_MODELS = "/models"
_CALLS_AT_ONCE = 256
_IDLE_S = 300
_CALL_S = 1800
_LOCK_S = 600.0
_COMMIT_PAUSES_S = (0.1, 0.5, 2.0)


@dataclass(frozen=True)
class AppDescription:
    """What an app serves."""

    base_model: str
    window: int
    longest_prompt: int
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
            message = " ".join(f"{type(error).__name__}: {error}".split())
            return refusal(StackError(f"the app on Modal failed at {method}: {message[:300]}; its log has the details"))

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
    """The callable methods, by name."""

    async def describe() -> AppDescription:
        device = (await engine.health()).detail.get("device", "")
        return AppDescription(engine.base_model, engine.window, engine.longest_prompt, str(device))

    async def export(lora_id: str, version: int) -> dict[str, bytes]:
        directory = await engine.export_adapter(lora_id, version)
        return await asyncio.to_thread(
            lambda: {name: (directory / name).read_bytes() for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
        )

    own: list[_Call] = [
        engine.encode,
        engine.decode,
        engine.tokenizer_info,
        engine.resolve,
        engine.sample,
        engine.score,
        engine.read,
        engine.score_continuations,
        engine.update,
        engine.init_adapter,
        engine.import_adapter,
        engine.list_adapters,
        engine.delete_adapter,
    ]
    return {"describe": describe, "export": export} | {call.__name__: call for call in own}


def _image() -> modal.Image:
    """The `local` extra, at the versions of constraints.txt where there is one; then this package as it is here."""
    image = modal.Image.debian_slim()
    if not modal.is_local():
        return image
    constraints = Path(claas.__file__).parents[1] / "constraints.txt"
    options = ""
    if constraints.exists():
        image = image.add_local_file(constraints, "/constraints.txt", copy=True)
        options = "--constraint /constraints.txt"
    image = image.uv_pip_install(_requirements(), extra_options=options)
    return image.add_local_python_source("claas", ignore=["**/*.pyc"])


def _requirements() -> list[str]:
    """What `pip install 'claas[local]'` would install beside claas."""
    listed = [line.partition("; extra == ") for line in requires("claas") or ()]
    return [requirement for requirement, _, extra in listed if extra.strip("'\"") in ("", "local")]


deployment = Deployment.of(os.environ)
app = modal.App(deployment.app)
adapters = modal.Volume.from_name(f"{deployment.app}-adapters", create_if_missing=True)
models = modal.Volume.from_name("claas-models", create_if_missing=True)


@app.cls(
    image=_image(),
    include_source=False,
    gpu=None if deployment.gpu == NO_GPU else deployment.gpu,
    volumes={deployment.store: adapters, _MODELS: models},
    env={**deployment.environment, "HF_HOME": _MODELS},
    max_containers=1,
    scaledown_window=_IDLE_S,
    timeout=_CALL_S,
)
@modal.concurrent(max_inputs=_CALLS_AT_ONCE)
class Remote:
    """Hosts the local engine."""

    @cached_property
    def host(self) -> Host:
        """The host of this container, made by the first call."""
        return Host(_open_engine, Deployment.of(os.environ).command)

    @modal.method()
    async def ask(self, caller: str, method: str, arguments: bytes) -> Reply:
        """The reply to one call: see `claas.engines.modal.rpc`."""
        return await self.host.answer(caller, method, arguments)

    @modal.exit()  # pyright: ignore[reportUnknownMemberType]  # untyped there
    async def close(self) -> None:
        """Stop the engine's threads."""
        await self.host.close()


def _open_engine() -> Engine:
    from claas.engines.local.engine import LocalEngine

    chosen = Deployment.of(os.environ)
    return LocalEngine.open(chosen.base_model, Path(chosen.store) / "versions", lock_timeout_s=_LOCK_S, persist=_commit)


def _commit() -> None:
    """Make what was written to the volume durable. Modal refuses while a file on it is being read, so try again."""
    for pause_s in (*_COMMIT_PAUSES_S, None):
        try:
            adapters.commit()
            return
        except (RuntimeError, modal.Error) as error:
            if pause_s is None:
                raise StackError(
                    f"Modal did not commit the volume of adapters: {one_line(error)}; run the same command again"
                ) from error
            time.sleep(pause_s)
