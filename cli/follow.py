"""Follows a batch for as long as it takes: over broken connections, and over restarts."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

from cli.client import PAGE_ROWS, CallFailed, Json, NoAnswer, Refused, Service, is_to_wait

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
PATIENCE_S = 600.0  # a restart takes seconds, a deployment minutes

_GIVEN_UP = "What became of the batch is not known here; it does not need this client to go on."


class LostTouch(CallFailed):
    """Nobody answered for too long; what was asked for may well be done, or go on."""


def follow(
    service: Service, batch_id: str, tell: Callable[[str], None], patience_s: float = PATIENCE_S
) -> Iterator[Json]:
    """Yield the progress document after each change; the last one is of a batch that has ended.

    It holds the rows that GET progress would: the first PAGE_ROWS of the file.

    Args:
        tell: Is told, in a sentence, of a connection that broke or came back.
        patience_s: How long to try in vain.

    Raises:
        LostTouch: After *patience_s* without an answer.
        Refused: The batch is gone (404), or the service does not let it be followed.
    """
    link = Link(tell, patience_s, _GIVEN_UP)
    document: Json = {"hospitals": []}
    last_event_id: str | None = None
    while True:
        try:
            with closing(service.events(batch_id, last_event_id)) as events:
                for event in events:
                    link.came()
                    last_event_id = event.id or None
                    document = merged(document, event.document)
                    yield document
                    if event.kind == "done":
                        return
            # Nothing new, or the service stops, or the batch is gone: its progress tells which.
            document = service.progress(batch_id)
            link.answered()
            yield document
            if document["is_completed"]:
                return
            link.broke("The stream of events ended.")
        except NoAnswer as error:
            link.broke(str(error))
        except Refused as error:
            if error.status < 500 and not is_to_wait(error):
                raise
            link.broke(str(error), error.wait_s or 0.0)


def merged(document: Json, change: Json) -> Json:
    """Return *change* with those rows of *document* that it does not have, in order.

    Rows beyond the first page may change too: they are left out.
    """
    changed = [row for row in change["hospitals"] if row["row"] <= PAGE_ROWS]
    rows = {row["row"]: row for row in document["hospitals"] + changed}
    return change | {"hospitals": [rows[number] for number in sorted(rows)]}


class Link:
    """The connection's ups and downs: what is said of them, and when to try again.

    Args:
        tell: Is told, in a sentence, of each.
        patience_s: How long to try in vain.
        given_up: What to say then.
    """

    def __init__(self, tell: Callable[[str], None], patience_s: float, given_up: str) -> None:
        self._tell = tell
        self._patience_s = patience_s
        self.given_up = given_up
        self._pause_s = FIRST_PAUSE_S
        self._is_down = False
        self._unanswered_since_s: float | None = None

    def came(self) -> None:
        """What was wanted came."""
        self.answered()
        if self._is_down:
            self._tell("Connected again.")
        self._is_down = False
        self._pause_s = FIRST_PAUSE_S

    def answered(self) -> None:
        self._unanswered_since_s = None

    def broke(self, reason: str, at_least_s: float = 0.0) -> None:
        """Wait before the next try; LostTouch if it has been tried for too long."""
        now_s = time.monotonic()
        if self._unanswered_since_s is None:
            self._unanswered_since_s = now_s
        if now_s - self._unanswered_since_s >= self._patience_s:
            minutes = self._patience_s / 60
            raise LostTouch(f"{reason} It has been tried for {minutes:g} minutes. {self.given_up}")
        if not self._is_down:
            self._tell(f"{reason} Trying again ...")
        self._is_down = True
        pause_s = max(self._pause_s, min(at_least_s, self._patience_s))
        time.sleep(pause_s)  # noqa: TID251 - a program of its own, without an event loop
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
