"""Objects that configuration names by import path (`_target_`), with errors a user can act on."""

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from claas.core.errors import InvalidInput


def build(config: Mapping[str, Any], where: str) -> Any:
    """The object that `config` describes; modules in the working directory can be named. `where` leads every error."""
    target = config.get("_target_")
    if not isinstance(target, str):
        raise InvalidInput(f"{where}: _target_ must name a class, as in `_target_: my_module.MyClass`")
    try:
        with _working_directory_importable():
            return instantiate(dict(config), _convert_="all")
    except InstantiationException as error:
        raise InvalidInput(f"{where}: cannot make {target}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The deepest cause, in one line; what we said ourselves of a cause is better than the cause."""
    while not isinstance(error, InvalidInput) and (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    text = " ".join(str(error).split())
    return text if isinstance(error, InvalidInput) else f"{type(error).__name__}: {text}"


@contextmanager
def _working_directory_importable() -> Generator[None, None, None]:
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
