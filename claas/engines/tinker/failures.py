"""What the service or its SDK refuses, as one line that names the cause and the mend."""

import tinker

from claas.core.errors import BadRequest, ClaasError, Conflict, Forbidden, NotFound, StackError
from claas.engines.tinker.key import KEY_VARIABLE

_SHOWN_CHARACTERS = 300


def failure(what: str, error: Exception, key: str) -> ClaasError:
    """What `error` means for whoever asked for `what`; the key is cut out of whatever the service said."""
    cause = error.__cause__
    if isinstance(error, ValueError) and isinstance(cause, tinker.APIStatusError):
        error = cause  # how the SDK wraps the failure of a result
    said = " ".join(str(error).split()).replace(key, "[key]")[:_SHOWN_CHARACTERS]
    if isinstance(error, tinker.APIStatusError):
        return of_status(what, error.status_code, said)
    if isinstance(error, tinker.RequestFailedError) and error.category == "user":
        return BadRequest(f"Tinker refused {what}: {said}")
    if isinstance(error, tinker.APIConnectionError):
        return StackError(f"Tinker cannot be reached for {what}: {said}; run the same command again when it can")
    return StackError(f"Tinker failed at {what}: {said}; run the same command again")


def of_status(what: str, status: int, said: str) -> ClaasError:
    """What an HTTP status means."""
    if status == 401:
        return Forbidden(f"Tinker does not accept the key for {what} (HTTP 401); check {KEY_VARIABLE}")
    if status == 402:
        return Forbidden(
            f"Tinker asks for payment for {what} (HTTP 402): {said}; add credit, then run the command again"
        )
    if status == 403:
        return Forbidden(f"Tinker does not allow {what} with this key (HTTP 403): {said}")
    if status == 404:
        return NotFound(f"Tinker has not what {what} needs (HTTP 404): {said}; it was deleted there or has expired")
    if status == 409:
        return Conflict(f"Tinker reports a conflict at {what} (HTTP 409): {said}")
    if status == 429:
        return StackError(f"Tinker is limiting {what} (HTTP 429): {said}; wait, then run the same command again")
    if status >= 500:
        return StackError(f"Tinker failed at {what} (HTTP {status}): {said}; run the same command again")
    return BadRequest(f"Tinker refused {what} (HTTP {status}): {said}")
