"""Errors -> `application/problem+json` (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from models.api import Problem, RowError
from models.errors import (
    BulkError,
    FileRejected,
    FormUnreadable,
    InvalidRequest,
    Later,
    NotReady,
    RowRejected,
)
from routers.addresses import allowed_methods, moved
from routers.pieces import reply_in_pieces

MEDIA_TYPE = "application/problem+json"
SHOWN_CHARS = 100  # of a name that the sender chose
TYPE_PREFIX = "urn:hospital-bulk:problem:"

_HINTS = {
    404: "There is nothing at this address: /docs shows what there is.",
    405: "This address does not take that method: /docs shows which it takes.",
}


class UploadCutOff(HTTPException):
    """Raised while a body is being read, where only the framework's own exceptions get through."""

    def __init__(self, error: BulkError) -> None:
        super().__init__(error.status_code, str(error), headers={"Connection": "close"})
        self.error = error


def problem_of(error: BulkError, path: str) -> Problem:
    """Return what a client is told of *error*, which met a call of *path*."""
    return _problem(error, path, **_extras(error))


def _problem(error: BulkError, path: str, **extras: Any) -> Problem:
    return Problem(
        type=TYPE_PREFIX + error.slug,
        title=error.title,
        status=error.status_code,
        detail=str(error),
        instance=path,
        **extras,
    )


def from_error(error: BulkError, path: str) -> Response:
    """Return an error of the service as a response to a call of *path*."""
    if isinstance(error, FileRejected | RowRejected):
        errors = {"errors": map(RowError.of, error.errors)}
        problem = _problem(error, path)
        return reply_in_pieces(problem, errors, status=error.status_code, media_type=MEDIA_TYPE)
    headers = {}
    if isinstance(error, Later):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return _response(problem_of(error, path), headers)


def plain(
    path: str, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error that says no more than its status, as a response to a call of *path*."""
    problem = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=path,
    )
    return _response(problem, headers)


def install(app: FastAPI) -> None:
    """Have every error of *app*, the framework's own too, told as a problem."""
    app.add_exception_handler(BulkError, _bulk_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)


def _extras(error: BulkError) -> dict[str, Any]:
    match error:
        case FileRejected(errors=errors) | RowRejected(errors=errors):
            return {"errors": [RowError.of(finding) for finding in errors]}
        case NotReady(failing=failing, directory=directory):
            return {"failing": failing, "directory": directory}
        case _:
            return {}


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        problem.model_dump_json(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


async def _bulk_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BulkError)
    return from_error(error, request.url.path)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    match error:
        case UploadCutOff():
            response = from_error(error.error, path)
            response.headers.update(error.headers or {})
        case HTTPException(status_code=400):  # the parser of the body; nothing else here raises it
            response = from_error(_unreadable(request, str(error.detail)), path)
        case HTTPException(status_code=404) if (address := moved(request)) is not None:
            response = Response(status_code=307, headers={"Location": address})
        case HTTPException(status_code=405):
            allowed = {"Allow": allowed_methods(request)}
            response = plain(path, 405, _HINTS[405], allowed)
        case HTTPException(status_code=status):
            detail = _HINTS.get(status, str(error.detail))
            response = plain(path, status, detail, error.headers)
    return response


def _unreadable(request: Request, reason: str) -> BulkError:
    if "json" in request.headers.get("Content-Type", ""):
        return InvalidRequest("The body cannot be read: send it as JSON in UTF-8.")
    return FormUnreadable(reason)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if place == ["body", "file"]:
        detail = "Send the CSV file as the multipart form field 'file'."
    else:
        detail = f"{' '.join(place)[:SHOWN_CHARS]}: {first['msg']}."
    return from_error(InvalidRequest(detail), request.url.path)


def unforeseen(path: str) -> Response:
    """Return what a client is told of a mistake of ours that met a call of *path*."""
    return plain(path, 500, "Something unforeseen went wrong here; the service's log tells what.")
