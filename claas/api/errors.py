"""Every failure as an HTTP status and OpenAI's error body, decided here and nowhere else."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from claas.core.errors import (
    BadRequest,
    ClaasError,
    Conflict,
    Forbidden,
    InvalidInput,
    MissingExtra,
    NotFound,
    StackError,
)
from claas.wire.service import ErrorBody, ErrorDetail

STATUS_OF: dict[type[ClaasError], tuple[int, str]] = {
    BadRequest: (400, "bad_request"),
    InvalidInput: (422, "invalid_value"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "not_found"),
    Conflict: (409, "conflict"),
    StackError: (503, "stack_error"),
    MissingExtra: (501, "missing_extra"),
}
"""Status and `code` of each kind of error; of a subclass, those of the nearest class above it."""

_CODE_OF_STATUS = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_SHOWN_ERRORS = 5
_SHOWN_CHARACTERS = 200


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    detail = ErrorDetail(message=message, type=kind, param=param, code=code or _CODE_OF_STATUS.get(status))
    return Response(
        ErrorBody(error=detail).model_dump_json(),
        status_code=status,
        media_type="application/json",
        headers=dict(headers or {}),
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every failure inside `app` in OpenAI's shape."""
    app.add_exception_handler(ClaasError, _claas_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _claas_error(request: Request, error: Exception) -> Response:
    status, code = next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)
    return error_response(status, str(error), code=code)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code in (404, 405):
        message = f"{error.detail}: {request.method} {request.url.path}"
    return error_response(error.status_code, message, headers=error.headers)


async def _bug(request: Request, error: Exception) -> Response:
    return error_response(500, f"internal error: {type(error).__name__}; the server's log has the details")


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems: Sequence[dict[str, Any]] = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return error_response(400, "the body is not JSON", code="invalid_json")
    shown = [_said_of(problem) for problem in problems[:_SHOWN_ERRORS]]
    if len(problems) > _SHOWN_ERRORS:
        shown.append(f"and {len(problems) - _SHOWN_ERRORS} more")
    return error_response(422, "; ".join(shown), code="invalid_value", param=_field(problems[0]))


def _said_of(problem: Mapping[str, Any]) -> str:
    """The field, what is wrong with it, and its value; our own checks put the value into their message."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    said = f"{_field(problem)}: {message}"
    if problem["type"] in ("missing", "value_error"):
        return said
    return f"{said}, got {_shortened(repr(problem['input']))}"


def _field(problem: Mapping[str, Any]) -> str:
    """`requests.0.training` of ("body", "requests", 0, "training"); the name alone of a query or header."""
    where = [str(part) for part in problem["loc"]]
    return ".".join(where[1:]) or where[0]


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
