"""Calls to the Modal app: where it is deployed, and how arguments, results and errors are sent.

Arguments and results are pickled. Both ends are the user's own, and no bytes are read before it is known that the same
source wrote them.
"""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import claas
from claas.core.errors import (
    BadRequest,
    ClaasError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PromptTooLong,
    StackError,
)
from claas.core.settings import default_base_model

APP_VARIABLE = "CLAAS_MODAL_APP"
BASE_MODEL_VARIABLE = "CLAAS_MODAL_BASE_MODEL"
GPU_VARIABLE = "CLAAS_MODAL_GPU"
STORE_VARIABLE = "CLAAS_MODAL_STORE"
NO_GPU = "none"
_MODULE = "claas.engines.modal.app"
_PARTS = ("core", "engines", "training")

_KINDS = {
    kind.__name__: kind for kind in (InvalidInput, BadRequest, PromptTooLong, Forbidden, NotFound, Conflict, StackError)
}


@dataclass(frozen=True)
class Deployment:
    """One app: its name, the base model it serves, the GPU (`none`: a CPU), and where its volume of adapters lies."""

    app: str = "claas"
    base_model: str = default_base_model("modal")
    gpu: str = "L40S"
    store: str = "/adapters"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Deployment":
        """The deployment that the environment describes, with defaults for what it leaves out."""
        return cls(
            app=environment.get(APP_VARIABLE) or cls.app,
            base_model=environment.get(BASE_MODEL_VARIABLE) or cls.base_model,
            gpu=environment.get(GPU_VARIABLE) or cls.gpu,
            store=environment.get(STORE_VARIABLE) or cls.store,
        )

    @property
    def environment(self) -> dict[str, str | None]:
        """The environment variables from which `of` restores this deployment in the container."""
        return {
            APP_VARIABLE: self.app,
            BASE_MODEL_VARIABLE: self.base_model,
            GPU_VARIABLE: self.gpu,
            STORE_VARIABLE: self.store,
        }

    @property
    def command(self) -> str:
        """The command that deploys it."""
        default = Deployment()
        values = (
            (APP_VARIABLE, self.app, default.app),
            (BASE_MODEL_VARIABLE, self.base_model, default.base_model),
            (GPU_VARIABLE, self.gpu, default.gpu),
        )
        chosen = [f"{variable}={value}" for variable, value, usual in values if value != usual]
        return " ".join([*chosen, f"modal deploy -m {_MODULE}"])


Reply: TypeAlias = tuple[str, bytes]
"""The name of an error class and its message, or an empty name and the pickled result."""


@cache
def source() -> str:
    """The version of this installation, with a digest of the source code that samples, scores and trains."""
    root, digest = Path(claas.__file__).parent, hashlib.sha256()
    for path in sorted(path for part in _PARTS for path in (root / part).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{claas.__version__}+{digest.hexdigest()[:12]}"


def packed(value: object) -> bytes:
    """Arguments or a result, to be sent."""
    return pickle.dumps(value)


def unpacked(data: bytes) -> Any:
    """What `packed` was given."""
    return pickle.loads(data)


def refusal(error: ClaasError) -> Reply:
    """One of our errors, to be sent; a kind that means nothing at the other end is a failure of the app."""
    kinds = (kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _KINDS)
    return next(kinds, StackError.__name__), str(error).encode()


def result(reply: Reply) -> Any:
    """What the call returned; raises the error that it raised."""
    kind, data = reply
    if kind:
        raise _KINDS[kind](data.decode())
    return unpacked(data)
