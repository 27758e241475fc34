"""What Modal or its package refuses, as one line that names the cause and the mend."""

from modal import exception

from claas.core.errors import ClaasError, Forbidden, StackError
from claas.core.secrets import MODAL_VARIABLES
from claas.engines.modal.deployment import Deployment

_SHOWN_CHARACTERS = 300


def failure(what: str, error: Exception, app: str, base_model: str) -> ClaasError:
    """What `error` means for whoever asked `app` for `what`."""
    said = " ".join(str(error).split())[:_SHOWN_CHARACTERS] or type(error).__name__
    if isinstance(error, exception.AuthError):
        return Forbidden(
            f"Modal does not accept the credentials for {what}: {said}; run `modal setup`, or check "
            f"{' and '.join(MODAL_VARIABLES)}"
        )
    if isinstance(error, exception.PermissionDeniedError):
        return Forbidden(f"Modal does not allow {what} with these credentials: {said}")
    if isinstance(error, exception.NotFoundError):
        return StackError(
            f"app {app!r} is not deployed on Modal ({said}); deploy it with: {Deployment(app, base_model).command}; "
            "then run the same command again"
        )
    if isinstance(error, exception.ResourceExhaustedError):
        return StackError(f"Modal is limiting {what}: {said}; wait, then run the same command again")
    if isinstance(error, exception.FunctionTimeoutError):
        return StackError(f"Modal stopped {what}, which took longer than the app allows; run the same command again")
    if isinstance(error, exception.ConnectionError | exception.ServiceError):
        return StackError(f"Modal cannot be reached for {what}: {said}; run the same command again when it can")
    return StackError(
        f"Modal failed at {what}: {said}; `modal app logs {app}` may say why; then run the same command again"
    )
