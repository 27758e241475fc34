"""Every failure as an HTTP status and OpenAI's error body, decided here and nowhere else."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from claas.core.errors import (
    BadRequest,
    ClaasError,
    Conflict,
    Forbidden,
    InvalidInput,
    MissingExtra,
    NotFound,
    PromptTooLong,
    StackError,
)
from claas.wire.adapters import ErrorBody, ErrorDetail

STATUS_OF: dict[type[ClaasError], tuple[int, str]] = {
    BadRequest: (400, "bad_request"),
    PromptTooLong: (400, "context_length_exceeded"),
    InvalidInput: (422, "invalid_value"),
    Forbidden: (403, "forbidden"),
    NotFound: (404, "not_found"),
    Conflict: (409, "conflict"),
    StackError: (503, "stack_error"),
    MissingExtra: (501, "missing_extra"),
}
"""The status and `code` of each error class; subclasses inherit those of their nearest parent."""

_CODE_OF_STATUS = {401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_SHOWN_ERRORS = 5
_SHOWN_CHARACTERS = 200
_LONGEST_MESSAGE = 1500


def error_response(
    status: int,
    message: str,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in OpenAI's shape."""
    return reply(_body(status, message, code or _CODE_OF_STATUS.get(status), param), status, headers)


def error_body(error: ClaasError) -> tuple[int, ErrorBody]:
    """The status and the OpenAI error body of one of our own errors."""
    status, code = next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)
    return status, _body(status, str(error), code)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every failure inside `app` in OpenAI's shape."""
    app.add_exception_handler(ClaasError, _claas_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _claas_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClaasError)
    status, body = error_body(error)
    return reply(body, status)


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
    shown = [_said_of(problem) + _known_beside(problem, request) for problem in problems[:_SHOWN_ERRORS]]
    if len(problems) > _SHOWN_ERRORS:
        shown.append(f"and {len(problems) - _SHOWN_ERRORS} more")
    return error_response(422, "; ".join(shown), code="invalid_value", param=_field(problems[0]))


def _body(status: int, message: str, code: str | None, param: str | None = None) -> ErrorBody:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    message = _printable(message, _LONGEST_MESSAGE)
    return ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code), detail=message)


def _said_of(problem: Mapping[str, Any]) -> str:
    """The field, what is wrong with it, and its value; our own checks put the value into their message."""
    message = "unknown field" if problem["type"] in _UNKNOWN else str(problem["msg"]).removeprefix("Value error, ")
    said = f"{_field(problem)}: {message}"
    if problem["type"] in ("missing", "value_error"):
        return said
    return f"{said}, got {_printable(repr(problem['input']), _SHOWN_CHARACTERS)}"


def _field(problem: Mapping[str, Any]) -> str:
    """`requests.0.training` of ("body", "requests", 0, "training"); the name alone of a query or header."""
    where = [str(part) for part in problem["loc"]]
    return _printable(".".join(where[1:]) or where[0], _SHOWN_CHARACTERS)


def _known_beside(problem: Mapping[str, Any], request: Request) -> str:
    """For an unknown field, the one that may be meant, or else all known fields."""
    if problem["type"] not in _UNKNOWN or problem["loc"][0] != "body":
        return ""
    kind: Any = request.scope["route"].body_field.field_info.annotation
    *where, name = problem["loc"][1:]
    for part in where:
        kind = get_args(kind)[0] if isinstance(part, int) else get_type_hints(kind)[part]
    known = list(kind.model_fields if issubclass(kind, BaseModel) else kind.__dataclass_fields__)
    close = difflib.get_close_matches(str(name)[:_SHOWN_CHARACTERS], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _printable(text: str, at_most: int) -> str:
    """Text that a client may have sent, as it may be said back: its middle left out, what is not printable escaped."""
    if len(text) > at_most:
        text = f"{text[: at_most // 2]} ... {text[-at_most // 2 :]}"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def reply(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON."""
    return Response(body.model_dump_json(), status, headers, media_type="application/json")


def reply_of_choices(body: BaseModel, choices: Iterable[BaseModel]) -> Response:
    """`body`, whose `choices` are none yet, with these, each written by itself: others are served between them."""
    written = ",".join(choice.model_dump_json() for choice in choices)
    content = body.model_dump_json().replace('"choices":[]', f'"choices":[{written}]', 1)
    return Response(content, media_type="application/json")
