"""The service as the terminal sees it: one method, one HTTP exchange; nothing is tried again."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import SSEError, connect_sse

Json = dict[str, Any]

PROBLEM = "application/problem+json"
QUICK = httpx.Timeout(30.0, connect=10.0)
# Where the directory takes part, which may have to wake up and to settle first; and uploads.
SLOW = httpx.Timeout(600.0, connect=10.0)
STREAM = httpx.Timeout(45.0, connect=10.0)  # it has something, if only a comment, every 15 s

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
        is_of_rows: Rows of a file are unsound, each by itself: without them it could be loaded.
    """

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or status))
        self.status = status
        self.problem = problem
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
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, headers=_headers(), timeout=QUICK)

    def close(self) -> None:
        self._http.close()

    def upload(self, file: Path, *, skip_invalid: bool) -> Json:
        """Have a file loaded; return the progress of the batch that was accepted."""
        params = {"skip_invalid": "true"} if skip_invalid else {}
        return self._send_file("/hospitals/bulk", file, params=params, headers=RESPOND_ASYNC)

    def validate(self, file: Path) -> Json:
        """Return everything that is wrong with a file."""
        return self._send_file("/hospitals/validate", file)

    def progress(self, batch_id: str) -> Json:
        """Return where a batch stands."""
        return self._call("GET", f"/hospitals/progress/{batch_id}")

    def resume(self, batch_id: str) -> Json:
        """Go on with a stopped batch; return its progress."""
        return self._call("POST", f"/hospitals/resume/{batch_id}", headers=RESPOND_ASYNC)

    def cancel(self, batch_id: str) -> Json:
        """Have a batch stop; return its progress."""
        return self._call("POST", f"/hospitals/batch/{batch_id}/cancel")

    def abandon(self, batch_id: str) -> Json:
        """Take a stopped batch back; return what was deleted."""
        return self._call("DELETE", f"/hospitals/batch/{batch_id}/abandon", timeout=SLOW)

    def verify(self, batch_id: str) -> Json:
        """Return how the directory differs from a batch's file."""
        return self._call("GET", f"/hospitals/batch/{batch_id}/verify", timeout=SLOW)

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

    def _send_file(self, path: str, file: Path, **request: Any) -> Json:
        form = {"file": (file.name, file.read_bytes(), "text/csv")}
        return self._call("POST", path, files=form, timeout=SLOW, **request)

    def _call(self, method: str, path: str, **request: Any) -> Json:
        answer = self._exchange(method, path, **request)
        with self._told_plainly():
            return _document(answer.content)

    def _exchange(self, method: str, path: str, **request: Any) -> httpx.Response:
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


def _headers() -> dict[str, str]:
    """Return the headers of every request: the place for those that the environment asks for."""
    return {"User-Agent": "hospital-bulk-cli"}


def _check(answer: httpx.Response) -> None:
    """Raise Refused for an error of the service, _NotTheService for anybody else's."""
    if answer.is_success:
        return
    answer.read()
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if kind != PROBLEM:
        raise _NotTheService(f"{answer.status_code} with {kind or 'no content type'}")
    raise Refused(answer.status_code, _document(answer.content))


def _document(content: bytes | str) -> Json:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _NotTheService("no JSON document")
    return document
