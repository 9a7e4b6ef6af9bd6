"""The service as the terminal sees it: one method, one HTTP exchange.

Only what the service asks to come back with later (429: nothing was done) is sent again here.
"""

import json
import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import SSEError, connect_sse

Json = dict[str, Any]

PAGE_ROWS = 1000  # what a progress document holds, from the first row on
PROBLEM = "application/problem+json"
QUICK = httpx.Timeout(30.0, connect=10.0)
# Where the directory takes part, which may have to wake up and to settle first; and uploads.
SLOW = httpx.Timeout(600.0, connect=10.0)
# A large batch takes longer to take back: what becomes of it is asked for then.
TAKING_BACK = httpx.Timeout(120.0, connect=10.0)
# The directory may allow 25 lists a minute, each of one part.
COMPARING = httpx.Timeout(4 * 3600.0, connect=10.0)
STREAM = httpx.Timeout(45.0, connect=10.0)  # it has something, if only a comment, every 15 s

KEY_VARIABLE = "HOSPITAL_BULK_KEY"  # no option: everybody can read the arguments of a process
WAIT_S = 5.0  # when asked to wait without being told how long
PATIENCE_S = 600.0  # the longest that a call waits in all, when asked to

RESPOND_ASYNC = {"Prefer": "respond-async"}
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class CallFailed(Exception):
    """What keeps a command from its end; the message is made of sentences for a person."""


class Refused(CallFailed):
    """The service itself answered with an error.

    Attributes:
        problem: The problem document (RFC 9457).
        status: Its HTTP status.
        advice: What can be typed instead: purposes, and the arguments of commands.
        wait_s: After how many seconds it may be tried again; None if that was not said.
        is_of_rows: Rows of a file are unsound, each by itself: without them it could be loaded.
    """

    def __init__(self, status: int, problem: Json, wait_s: float | None = None) -> None:
        super().__init__(_in_words(status, problem))
        self.status = status
        self.problem = problem
        self.wait_s = wait_s
        self.advice: list[tuple[str, str]] = []

    @property
    def is_of_rows(self) -> bool:
        errors = self.problem.get("errors") or []
        # Nothing was read after a quote that is not closed.
        return bool(errors) and all(
            error["row"] and error["error_type"] != "unterminated_quote" for error in errors
        )


class NoAnswer(CallFailed):
    """No answer of the service came; the message says what came instead.

    Attributes:
        may_have_arrived: Whether the request may have been carried out all the same.
    """

    def __init__(self, message: str, *, may_have_arrived: bool = True) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


class UnusableKey(Exception):
    """What the environment has for a key cannot be one; the message says why, without it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An upload that was accepted.

    Attributes:
        progress: Of its batch.
        is_replay: It was before this time.
    """

    progress: Json
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a batch's stream.

    Attributes:
        kind: `progress`, `rows` or `done`.
        document: A progress document; that of `rows` has only the rows that changed.
        id: For `Last-Event-ID`.
    """

    kind: str
    document: Json
    id: str


class Service:
    """One service.

    Every method raises Refused or NoAnswer when it cannot return what it promises.

    Args:
        url: Where it is, with http:// or https://.
        tell: Is told, in a sentence, of a wait that the service asked for.

    Raises:
        UnusableKey: It could not even be sent.
    """

    def __init__(self, url: str, tell: Callable[[str], None] = lambda _: None) -> None:
        self.url = url
        self._tell = tell
        self._http = httpx.Client(base_url=url, headers=_headers(), timeout=QUICK)

    def close(self) -> None:
        self._http.close()

    def upload(self, file: Path, name: str, *, skip_invalid: bool) -> Accepted:
        """Have a file loaded; sent again under the same *name* it is the same upload."""
        params = {"skip_invalid": "true"} if skip_invalid else {}
        headers = RESPOND_ASYNC | {"Idempotency-Key": name}
        answer = self._send_file("/hospitals/bulk", file, params=params, headers=headers)
        return Accepted(self._read(answer), answer.headers.get("Idempotency-Replayed") == "true")

    def validate(self, file: Path) -> Json:
        """Return everything that is wrong with a file."""
        return self._read(self._send_file("/hospitals/validate", file))

    def progress(self, batch_id: str) -> Json:
        """Return where a batch stands, with its first 1,000 rows."""
        return self._call("GET", f"/hospitals/progress/{batch_id}")

    def failed_rows(self, batch_id: str, limit: int) -> list[Json]:
        """Return the first rows that failed, *limit* of them at most."""
        params: Json = {"only": "failed", "limit": limit}
        page = self._call("GET", f"/hospitals/progress/{batch_id}", params=params)
        return list(page["hospitals"])

    def resume(self, batch_id: str) -> Json:
        """Go on with a stopped batch; return its progress."""
        return self._call("POST", f"/hospitals/resume/{batch_id}", headers=RESPOND_ASYNC)

    def cancel(self, batch_id: str) -> Json:
        """Have a batch stop; return its progress."""
        return self._call("POST", f"/hospitals/batch/{batch_id}/cancel")

    def abandon(self, batch_id: str) -> Json:
        """Take a stopped batch back; return what was deleted."""
        return self._call("DELETE", f"/hospitals/batch/{batch_id}/abandon", timeout=TAKING_BACK)

    def verify(self, batch_id: str) -> Json:
        """Return how the directory differs from a batch's file."""
        return self._call("GET", f"/hospitals/batch/{batch_id}/verify", timeout=COMPARING)

    def correct(self, batch_id: str, row: int, values: dict[str, str]) -> Json:
        """Correct a row that the directory refused, or that was skipped; return the row."""
        return self._call("PATCH", f"/hospitals/batch/{batch_id}/rows/{row}", json=values)

    def batches(self, statuses: list[str], limit: int, cursor: str | None = None) -> Json:
        """Return a page of summaries, newest first, and the cursor of the next."""
        params: Json = {"status": statuses, "limit": limit}
        if cursor is not None:
            params["cursor"] = cursor
        return self._call("GET", "/hospitals/batches", params=params)

    def report(self, batch_id: str, *, only_failed: bool) -> bytes:
        """Return a batch's report as CSV."""
        params = {"only": "failed"} if only_failed else {}
        return self._exchange(
            "GET", f"/hospitals/batch/{batch_id}/report.csv", params=params, timeout=SLOW
        ).content

    def events(self, batch_id: str, last_event_id: str | None) -> Generator[Event]:
        """Yield the events of one connection until it ends; none when there is nothing new."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        with (
            self._told_plainly(),
            connect_sse(
                self._http,
                "GET",
                f"/hospitals/progress/{batch_id}/events",
                headers=headers,
                timeout=STREAM,
            ) as source,
        ):
            if source.response.status_code == httpx.codes.NO_CONTENT:
                return
            _check(source.response)
            for event in source.iter_sse():
                if event.event in ("progress", "rows", "done"):  # not what a later version adds
                    yield Event(event.event, _document(event.data), event.id)

    def _send_file(self, path: str, file: Path, **request: Any) -> httpx.Response:
        form = {"file": (file.name, file.read_bytes(), "text/csv")}
        return self._exchange("POST", path, files=form, timeout=SLOW, **request)

    def _call(self, method: str, path: str, **request: Any) -> Json:
        return self._read(self._exchange(method, path, **request))

    def _read(self, answer: httpx.Response) -> Json:
        with self._told_plainly():
            return _document(answer.content)

    def _exchange(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Return the answer; a service that asks to wait is asked again, within reason."""
        waits_until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._exchange_once(method, path, **request)
            except Refused as refusal:
                if not is_to_wait(refusal):
                    raise
                wait_s = WAIT_S if refusal.wait_s is None else refusal.wait_s
                if time.monotonic() + wait_s > waits_until_s:
                    raise
                self._tell(f"{refusal} Waiting for {wait_s:g} s, as the service asks ...")
                time.sleep(wait_s)  # noqa: TID251 - a program of its own, without an event loop

    def _exchange_once(self, method: str, path: str, **request: Any) -> httpx.Response:
        with self._told_plainly():
            answer = self._http.request(method, path, **request)
            _check(answer)
            return answer

    @contextmanager
    def _told_plainly(self) -> Iterator[None]:
        """Turn what the libraries raise into NoAnswer."""
        try:
            yield
        except (SSEError, _NotTheService) as error:  # an SSEError is a TransportError too
            message = f"What answered at {self.url} does not look like the service ({error})."
            raise NoAnswer(message) from error
        except NEVER_SENT as error:
            message = f"The service at {self.url} cannot be reached ({error or 'no answer'})."
            raise NoAnswer(message, may_have_arrived=False) from error
        except httpx.TimeoutException as error:
            raise NoAnswer(f"The service at {self.url} fell silent.") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            message = f"The connection to the service at {self.url} broke off ({error})."
            raise NoAnswer(message) from error


class _NotTheService(Exception):
    """An answer that the service does not give: a gateway's, or another program's."""


def is_to_wait(refusal: Refused) -> bool:
    """Return whether nothing was done, and the same may be asked for later."""
    return refusal.status == httpx.codes.TOO_MANY_REQUESTS


def _headers() -> dict[str, str]:
    """Return the headers of every request: the place for those that the environment asks for."""
    headers = {"User-Agent": "hospital-bulk-cli"}
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        if not re.fullmatch("[!-~]+", key):  # the library would print it
            raise UnusableKey(f"{KEY_VARIABLE} is no key: it has blanks, or letters beyond ASCII.")
        headers["X-API-Key"] = key
    return headers


def _in_words(status: int, problem: Json) -> str:
    """Return what the service said against a call, as it concerns a person at a terminal."""
    if status != httpx.codes.UNAUTHORIZED:
        return str(problem.get("detail") or problem.get("title") or status)
    if not os.environ.get(KEY_VARIABLE, "").strip():
        return f"The service asks for a key: put yours into the environment as {KEY_VARIABLE}."
    return (
        f"The service does not accept the key that the environment has as {KEY_VARIABLE}: look "
        "whether all of it is there, or ask whoever runs the service for another."
    )


def _check(answer: httpx.Response) -> None:
    """Raise Refused for an error of the service, _NotTheService for anybody else's."""
    if answer.is_success:
        return
    answer.read()
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if kind != PROBLEM:
        raise _NotTheService(f"{answer.status_code} with {kind or 'no content type'}")
    after = answer.headers.get("Retry-After", "")
    wait_s = float(after) if re.fullmatch("[0-9]+", after) else None  # a date is of no use to us
    raise Refused(answer.status_code, _document(answer.content), wait_s)


def _document(content: bytes | str) -> Json:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _NotTheService("no JSON document")
    return document
