"""The requests that users make, one method each, and what the answers tell the ledger."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx

from chaos.files import csv_of, file_name
from chaos.journal import Journal
from chaos.ledger import Entry, Ledger, Seen
from chaos.scale import PART_ROWS
from chaos.schedule import Manner, Upload
from chaos.table import Deed
from chaos.verdict import Answer

PATIENCE_S = 60.0
UNREACHABLE_S = 4.0  # a client tries for so long to connect
TRY_EVERY_S = 0.4
TIMES_AGAIN = 15  # a service that is down comes back meanwhile
ASYNC = {"Prefer": "respond-async"}
BOUNDARY = "chaos"


class _WentAway(Exception):
    """The client broke its request off."""


class Requests:
    """Requests to the service, by people who know only what it tells them.

    Attributes:
        counts: What was asked for and answered.
        failures: Answers that no user should ever get.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        journal: Journal,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        # Of several processes one that knows nothing of a batch may not reach their database.
        self._no_progress = (404, 503) if transport else (404,)
        self._ledger = ledger
        self._journal = journal
        self._http = httpx.AsyncClient(
            base_url=url,
            trust_env=False,
            timeout=PATIENCE_S,
            limits=httpx.Limits(),
            transport=transport,
        )

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    # --- Uploads ----------------------------------------------------------------------------------

    async def upload(self, plan: Upload) -> Entry:
        """Upload a file and note what the client knows afterwards."""
        entry = self._ledger.begin(plan)
        self.counts["uploads"] += 1
        self.counts["rows"] += plan.rows
        try:
            answer = self._understood(await self._send_when_it_serves(plan), entry)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            answer = Answer.NOT_SENT
        except (httpx.HTTPError, _WentAway, TimeoutError):
            self._ledger.unanswered(entry, time.time())
            answer = await self._send_again(entry) if plan.named else Answer.UNKNOWN
        self._ledger.answered(entry, answer, time.time())
        self.counts[f"uploads {answer}"] += 1
        self._journal.note(
            f"upload {plan.number}: {plan.rows} rows, {plan.identical} identical, {plan.manner}: "
            f"{answer}, batch {entry.batch_id}"
        )
        return entry

    async def _send_again(self, entry: Entry) -> Answer:
        """Send an upload again under its name; a second batch of it is for the ledger to find."""
        plan = replace(entry.plan, manner=Manner.ASYNC)
        for _ in range(TIMES_AGAIN):
            await asyncio.sleep(TRY_EVERY_S)
            if not entry.would_join(time.time()):
                break
            try:
                answer = await self._send(plan)
            except httpx.HTTPError:
                self._ledger.unanswered(entry, time.time())
            else:
                self._journal.note(f"upload {plan.number}: again, answered {answer.status_code}")
                if self._understood(answer, entry) is Answer.ACCEPTED:
                    is_known = answer.headers.get("Idempotency-Replayed") == "true"
                    self.counts[Deed.JOINED if is_known else "uploads that arrived late"] += 1
                    return Answer.ACCEPTED
        return Answer.UNKNOWN

    async def _send_when_it_serves(self, plan: Upload) -> httpx.Response:
        """Send the file; again for a while when there was no connection, so nothing was sent."""
        deadline_s = time.monotonic() + UNREACHABLE_S
        while True:
            try:
                return await self._send(plan)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if time.monotonic() >= deadline_s:
                    raise
            await asyncio.sleep(TRY_EVERY_S)

    async def _send(self, plan: Upload) -> httpx.Response:
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        body = _multipart(csv_of(plan.contents), file_name(plan.number))
        if plan.manner is Manner.BREAKS_OFF:
            headers["Content-Length"] = str(len(body))
            return await self._post(plan, headers, _broken_off(body, plan.patience_s))
        if plan.manner is Manner.ASYNC:
            headers |= ASYNC
        patience_s = plan.patience_s if plan.manner is Manner.LEAVES else None
        async with asyncio.timeout(patience_s):
            return await self._post(plan, headers, body)

    async def _post(
        self, plan: Upload, headers: dict[str, str], body: bytes | AsyncIterator[bytes]
    ) -> httpx.Response:
        if plan.named:
            headers = headers | {"Idempotency-Key": file_name(plan.number)}
        parameters = {"skip_invalid": "true"} if plan.unsound else {}
        return await self._http.post(
            "/hospitals/bulk", params=parameters, content=body, headers=headers
        )

    def _understood(self, answer: httpx.Response, entry: Entry) -> Answer:
        if answer.status_code in (200, 202):
            self._see(answer.json(), entry)
            self.counts[Deed.SKIPPED_ROWS] += entry.plan.unsound
            self.counts[Deed.PARTS] += entry.plan.rows > PART_ROWS
            return Answer.ACCEPTED
        if answer.status_code != 503:
            self._odd(f"upload {entry.plan.number}", answer)
        return Answer.REFUSED

    # --- One batch --------------------------------------------------------------------------------

    async def ask(self, entry: Entry) -> str | None:
        """Ask for an upload's progress; return the batch's status, None without an answer."""
        progress = await self.progress(entry)
        return None if progress is None else str(progress["status"])

    async def progress(self, entry: Entry) -> dict[str, Any] | None:
        """Ask for an upload's progress; None without an answer."""
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.get(f"/hospitals/progress/{entry.batch_id}", timeout=10.0)
            if answer.status_code == 200:
                progress: dict[str, Any] = answer.json()
                self._see(progress, entry)
                return progress
            if answer.status_code not in self._no_progress:  # cleaned up or abandoned meanwhile
                self._odd(f"progress of {entry.batch_id}", answer)
        return None

    async def resume(
        self, entry: Entry, *, wait: bool = False, patience_s: float = PATIENCE_S
    ) -> None:
        """Resume a batch."""
        self._ledger.resuming(entry)
        answered = False
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(patience_s):
                answer = await self._http.post(
                    f"/hospitals/resume/{entry.batch_id}", headers={} if wait else ASYNC
                )
            answered = True
            self._journal.note(f"batch {entry.batch_id}: resume answered {answer.status_code}")
            if answer.status_code in (200, 202):
                self.counts["resumes"] += 1
            elif answer.status_code not in (404, 409, 503):
                self._odd(f"resume of {entry.batch_id}", answer)
        self._ledger.resumed(entry, time.time(), answered=answered)

    async def cancel(self, entry: Entry) -> None:
        """Cancel a batch, which others may resume meanwhile."""
        asked_at = time.time()
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.post(f"/hospitals/batch/{entry.batch_id}/cancel")
            self._journal.note(f"batch {entry.batch_id}: cancel answered {answer.status_code}")
            if answer.status_code == 202:
                run = answer.json()["resume_count"]
                self._ledger.cancelled(entry, asked_at, time.time(), run)
                self.counts[Deed.CANCELS] += 1
            elif answer.status_code not in (404, 409, 503):
                self._odd(f"cancel of {entry.batch_id}", answer)

    async def correct(self, entry: Entry) -> bool:
        """Correct every row that can be; return whether any was."""
        progress = await self.progress(entry)
        rows = progress["hospitals"] if progress else ()
        return any([await self._correct(entry, row["row"]) for row in rows if row["to_correct"]])

    async def _correct(self, entry: Entry, row: int) -> bool:
        content = self._ledger.correcting(entry, row)
        name, _, phone = content
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.patch(
                f"/hospitals/batch/{entry.batch_id}/rows/{row}", json={"name": name, "phone": phone}
            )
            what = f"correction of row {row}"
            self._journal.note(f"batch {entry.batch_id}: {what} answered {answer.status_code}")
            if answer.status_code == 200:
                self._ledger.corrected(entry, row, content, made=True)
                self.counts[Deed.CORRECTIONS] += 1
                return True
            if answer.status_code in (404, 409):
                self._ledger.corrected(entry, row, content, made=False)
            elif answer.status_code != 503:
                self._odd(f"{what} of {entry.batch_id}", answer)
        return False

    async def abandon(self, entry: Entry) -> None:
        """Take a batch back."""
        entry.taken_back += 1
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.delete(f"/hospitals/batch/{entry.batch_id}/abandon")
            self._journal.note(f"batch {entry.batch_id}: abandon answered {answer.status_code}")
            if answer.status_code == 200:
                entry.abandoned = True
                self.counts["abandons"] += 1
            elif answer.status_code == 409:
                entry.taken_back -= 1  # nothing was deleted, nothing is forgotten
            elif answer.status_code not in (404, 503):
                self._odd(f"abandon of {entry.batch_id}", answer)

    # --- All batches ------------------------------------------------------------------------------

    async def resumable(self) -> list[Entry]:
        """Return the batches that can be resumed, of those that are known."""
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.get("/hospitals/resumable", timeout=10.0)
            if answer.status_code == 200:
                known = [self._ledger.of_batch(batch["batch_id"]) for batch in answer.json()]
                return [entry for entry in known if entry is not None]
        return []

    async def clean(self) -> None:
        """Have old batches forgotten and abandoned."""
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.post("/hospitals/progress/cleanup")
            if answer.status_code == 200:
                self.counts["cleanups"] += 1
                self.counts["batches cleaned up"] += answer.json()["cleaned"]

    # --- What is told -----------------------------------------------------------------------------

    def _see(self, told: dict[str, Any], entry: Entry) -> None:
        """Note a progress, or a result, which has no time: `completed` holds from now on."""
        name, batch_id = file_name(entry.plan.number), told["batch_id"]
        if "updated_at" in told:
            updated_at = datetime.fromisoformat(told["updated_at"]).timestamp()
            told_name, runs = told["file_name"], told["resume_count"]
            self._ledger.see(Seen(batch_id, told["status"], updated_at, told_name, runs))
        elif told["status"] == "completed":
            self._ledger.see(Seen(batch_id, "completed", time.time(), name))
        else:
            self._ledger.learn(entry, batch_id)

    def _odd(self, what: str, answer: httpx.Response) -> None:
        failure = f"{what} was answered {answer.status_code}: {answer.text[:300]}"
        self.failures.append(failure)
        self._journal.note(f"WRONG {failure}")


def _multipart(content: bytes, name: str) -> bytes:
    head = (
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
        f'name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'
    )
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


async def _broken_off(body: bytes, after_s: float) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    await asyncio.sleep(after_s)
    raise _WentAway
