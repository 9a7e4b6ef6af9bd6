"""Errors -> `application/problem+json` (RFC 9457), and their place in the OpenAPI document."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from models.api import Problem, RowError
from models.errors import BulkError, FileRejected, Unavailable

MEDIA_TYPE = "application/problem+json"
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


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """Return *problem* as a response."""
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def from_error(error: BulkError, path: str) -> Response:
    """Return an error of the service as a response to a call of *path*."""
    errors = error.errors if isinstance(error, FileRejected) else None
    problem = Problem(
        type=TYPE_PREFIX + error.slug,
        title=error.title,
        status=error.status_code,
        detail=str(error),
        instance=path,
        errors=[RowError.of(finding) for finding in errors] if errors is not None else None,
    )
    headers = {}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return problem_response(problem, headers)


def problems(*errors: type[BulkError], bad_request: bool = False) -> dict[int | str, Any]:
    """Return the `responses=` entry that documents *errors* in OpenAPI.

    Args:
        errors: What the endpoint may answer; several of one status are told together.
        bad_request: It may also answer 422, for a request that is not of the right form.
    """
    described: dict[int, list[str]] = {}
    for error in errors:
        described.setdefault(error.status_code, []).append(error.__doc__ or error.title)
    if bad_request:
        described[422] = ["The request is not of the right form: the detail says what is missing."]
    return {status: _documented(status, texts) for status, texts in sorted(described.items())}


def install(app: FastAPI) -> None:
    """Have every error of *app*, the framework's own too, told as a problem."""
    app.add_exception_handler(BulkError, _bulk_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(Exception, _unforeseen)


def _documented(status: int, texts: list[str]) -> dict[str, Any]:
    example = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=texts[0].split("\n")[0],
        instance="/hospitals/bulk",
    )
    return {
        "description": " Or: ".join(text.split("\n")[0] for text in texts),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": example.model_dump(exclude_none=True),
            }
        },
    }


async def _bulk_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BulkError)
    return from_error(error, request.url.path)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, UploadCutOff):
        response = from_error(error.error, request.url.path)
        response.headers.update(error.headers or {})
        return response
    return problem_response(
        _plain(request, error.status_code, _HINTS.get(error.status_code, str(error.detail))),
        dict(error.headers or {}),
    )


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if place == ["body", "file"]:
        detail = "Send the CSV file as the multipart form field 'file'."
    else:
        detail = f"{' '.join(place)}: {first['msg']}."
    return problem_response(_plain(request, 422, detail))


async def _unforeseen(request: Request, error: Exception) -> Response:
    detail = "Something unforeseen went wrong here; the service's log tells what."
    return problem_response(_plain(request, 500, detail))


def _plain(request: Request, status: int, detail: str) -> Problem:
    return Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.url.path,
    )
