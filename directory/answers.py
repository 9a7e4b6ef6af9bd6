"""What the directory answers, as values: nothing here sends anything."""

import json
from dataclasses import dataclass
from enum import Enum, auto

from pydantic import ValidationError

JSON = b"application/json"
HTML = b"text/html; charset=utf-8"


class Sent(Enum):
    """How much of an answer reaches the client before its connection is dropped."""

    WHOLE = auto()  # all of it, and the connection stays
    HALF = auto()  # the headers and half of the body
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, or the lack of one."""

    status: int
    body: bytes = b""
    media_type: bytes = JSON
    sent: Sent = Sent.WHOLE
    location: bytes | None = None


def as_json(status: int, content: object) -> Answer:
    """Return *content* as an answer in JSON."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Answer(status, text.encode())


def html(status: int) -> Answer:
    """Return a page as a proxy in front of the directory would send it."""
    page = f"<!DOCTYPE html>\n<html><body><h1>{status}</h1></body></html>\n"
    return Answer(status, page.encode(), HTML)


def cut_in_half(answer: Answer) -> Answer:
    """Return a 200 of which only half of the body arrives."""
    return Answer(200, answer.body or b"null", answer.media_type, Sent.HALF)


def server_error(status: int) -> Answer:
    """Return the error of a handler that failed."""
    return as_json(status, {"detail": "Internal Server Error"})


def unprocessable(error: ValidationError) -> Answer:
    """Return the 422 for *error*: the same list of findings FastAPI shows."""
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    return as_json(422, {"detail": findings})


def batch_full(limit: int) -> Answer:
    """Return the 400 for a batch that has its *limit* of rows."""
    return as_json(400, {"detail": f"Batch cannot exceed {limit} hospitals"})


DROPPED = Answer(0, sent=Sent.NOTHING)
OK = as_json(200, {"status": "OK"})
NO_CONTENT = Answer(204)
REJECTED = as_json(
    422, {"detail": [{"type": "value_error", "loc": ["body", "name"], "msg": "not accepted"}]}
)
NO_HOSPITAL = as_json(404, {"detail": "Hospital not found"})
NO_BATCH = as_json(404, {"detail": "No hospitals found with the specified batch ID"})
NO_ROUTE = as_json(404, {"detail": "Not Found"})
WRONG_METHOD = as_json(405, {"detail": "Method Not Allowed"})
ALREADY_ACTIVE = as_json(400, {"detail": "Hospitals of this batch are already active"})
