"""How calls and results cross between the API and the app: as bytes, between ends of one and the same source.

Arguments and results are pickled. Both ends are the user's own, and no bytes are read before it is known that the same
source wrote them.
"""

import hashlib
import pickle
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

Reply: TypeAlias = tuple[str, bytes]
"""The kind of error and what it says, or no kind and the result."""

_PARTS = ("core", "engines", "training")
_KINDS = {
    kind.__name__: kind for kind in (InvalidInput, BadRequest, PromptTooLong, Forbidden, NotFound, Conflict, StackError)
}


@cache
def source() -> str:
    """The version of this installation, and a digest of the source that answers, scores and learns."""
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
