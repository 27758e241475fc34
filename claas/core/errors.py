"""One error type per kind of failure, so that every boundary (HTTP status, exit code) maps it in one place."""

from enum import IntEnum
from typing import Self

from claas.core.redaction import without_secrets


class ExitCode(IntEnum):
    """How `claas.eval`, `claas.api` and the commands of `claas.bench` end."""

    COMPLETE = 0, "complete; with claas.api: stopped by a signal"
    BUG = 1, "a bug, whose traceback is shown"
    MISTAKE = (
        2,
        "a mistake in the command or its settings, named in one line with what to do about it; claas.bench.probe: also "
        "a regression, whose tasks stand on standard output",
    )
    RESUMABLE = (
        3,
        "the stack failed, SIGTERM ended the run, or a benchmark dropped under halt_on_regression=true; claas.eval "
        "prints the command that continues it; claas.bench.judge: also calls that were lost, or a budget that is used "
        "up",
    )
    NOT_PASSED = 4, "fail_on_verdict=true, and the verdict is not pass; claas.bench.compare: DISCARD"
    MIXED = 5, "claas.bench.compare: MIXED"
    INTERRUPTED = 130, "interrupted with Ctrl-C; claas.eval prints the command that continues the run"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member


class ClaasError(Exception):
    """A failure whose message is written for a person: it names the cause and, where there is one, the remedy.

    It is shown, recorded and sent to services, whatever a server has said in it: no key and no password is in it.
    """

    def __init__(self, *told: object) -> None:
        super().__init__(*(without_secrets(each) if isinstance(each, str) else each for each in told))


class InvalidInput(ClaasError, ValueError):
    """The caller's mistake: a bad value, an unknown name, a malformed file. HTTP 422, exit code 2.

    Also a ValueError, so that pydantic reports it with the field it came from.
    """


class BadRequest(InvalidInput):
    """A request whose parts are valid one by one but do not fit together. HTTP 400, exit code 2."""


class PromptTooLong(BadRequest):
    """A prompt that, with its answer, exceeds the model's context window. HTTP 400, exit code 2."""


class Forbidden(ClaasError):
    """A valid request that this stack's configuration does not allow. HTTP 403, exit code 2."""


class NotFound(ClaasError):
    """The request names something that does not exist: an adapter, a version, a rollout. HTTP 404, exit code 2."""


class Conflict(ClaasError):
    """Another operation holds what this one needs, or the state contradicts it. HTTP 409, exit code 2."""


class StackError(ClaasError):
    """The stack failed: dead server, failed update, full disk. The run can be resumed. HTTP 503, exit code 3."""


class MissingExtra(ClaasError):
    """An optional dependency is not installed; the message says what to install. HTTP 501, exit code 2."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'claas[{extra}]'")


BREAKDOWNS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""Exceptions that a user's own verifier or metric may raise because of a bug in it."""
