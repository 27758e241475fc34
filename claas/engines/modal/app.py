"""The app that the user deploys: `modal deploy -m claas.engines.modal.app`.

One container at a time, so that one engine writes the volume. A call that is made after a pause starts it, and it stops
when nothing was asked for a while. What is deployed, and where, is said by `claas.engines.modal.deployment`.
"""

import os
import time
from functools import cached_property
from importlib.metadata import requires
from pathlib import Path

import modal

import claas
from claas.core.errors import StackError
from claas.engines.base import Engine
from claas.engines.modal.crossing import Reply
from claas.engines.modal.deployment import NO_GPU, Deployment
from claas.engines.modal.host import Host

_MODELS = "/models"
_CALLS_AT_ONCE = 256
_IDLE_S = 300
_CALL_S = 1800
_LOCK_S = 600.0
_COMMIT_PAUSES_S = (0.1, 0.5, 2.0)


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
        """Of this container, which the first call makes."""
        return Host(_open_engine, Deployment.of(os.environ).command)

    @modal.method()
    async def ask(self, caller: str, method: str, arguments: bytes) -> Reply:
        """The reply to one call: see `claas.engines.modal.crossing`."""
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
                said = " ".join(str(error).split())[:300]
                raise StackError(
                    f"Modal did not commit the volume of adapters: {said}; run the same command again"
                ) from error
            time.sleep(pause_s)
