"""Users: some careful, some impatient. They know only what the service tells them."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime
from random import Random
from typing import Any

import httpx

from chaos.files import csv_of, file_name
from chaos.journal import Journal
from chaos.ledger import Entry, Ledger, Seen
from chaos.schedule import End, Manner, Upload
from chaos.service import Service
from chaos.table import Deed
from chaos.verdict import Answer

PATIENCE_S = 60.0
UNREACHABLE_S = 4.0  # a client tries for so long to connect
ASYNC = {"Prefer": "respond-async"}
BOUNDARY = "chaos"
LOOK_EVERY_S = 0.4
POLL_EVERY_S = 0.15
CLEAN_EVERY_S = 5.0


class _WentAway(Exception):
    """The client broke its request off."""


class Clients:
    """Everybody who talks to the service.

    Attributes:
        counts: What they did.
        failures: Answers that no user should ever get.
    """

    def __init__(self, service: Service, ledger: Ledger, journal: Journal, luck: Random) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._service = service
        self._ledger = ledger
        self._journal = journal
        self._luck = luck
        self._http = httpx.AsyncClient(
            base_url=service.url, trust_env=False, timeout=PATIENCE_S, limits=httpx.Limits()
        )
        self._busy: set[str] = set()  # batches that somebody resumes or abandons

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    # --- Uploads ----------------------------------------------------------------------------------

    async def upload(self, plan: Upload) -> None:
        """Upload a file and note what the client knows afterwards."""
        entry = self._ledger.begin(plan)
        self.counts["uploads"] += 1
        self.counts["rows"] += plan.rows
        try:
            answer = self._understood(await self._send_when_it_serves(plan), entry)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            answer = Answer.NOT_SENT
        except (httpx.HTTPError, _WentAway, TimeoutError):
            answer = Answer.UNKNOWN
        self._ledger.answered(entry, answer, time.time())
        self.counts[f"uploads {answer}"] += 1
        self._journal.note(
            f"upload {plan.number}: {plan.rows} rows, {plan.identical} identical, {plan.manner}: "
            f"{answer}, batch {entry.batch_id}"
        )
        if answer is not Answer.ACCEPTED:
            return
        if plan.cancel_after_s is not None:
            await asyncio.sleep(plan.cancel_after_s)
            await self.cancel(entry)
        if plan.end_after is not None:
            await self._service.end_at_once(plan.end_after, "right after an answer")

    async def _send_when_it_serves(self, plan: Upload) -> httpx.Response:
        """Send the file; again for a while when there was no connection, so nothing was sent."""
        deadline_s = time.monotonic() + UNREACHABLE_S
        while True:
            try:
                return await self._send(plan)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if time.monotonic() >= deadline_s:
                    raise
            await asyncio.sleep(LOOK_EVERY_S)

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
        parameters = {"skip_invalid": "true"} if plan.unsound else {}
        return await self._http.post(
            "/hospitals/bulk", params=parameters, content=body, headers=headers
        )

    def _understood(self, answer: httpx.Response, entry: Entry) -> Answer:
        if answer.status_code in (200, 202):
            self._see(answer.json(), entry)
            self.counts[Deed.SKIPPED_ROWS] += entry.plan.unsound
            return Answer.ACCEPTED
        if answer.status_code != 503:
            self._odd(f"upload {entry.plan.number}", answer)
        return Answer.REFUSED

    # --- What becomes of batches ------------------------------------------------------------------

    async def tend(self) -> None:
        """Resume what is resumable, take back some of it and what has failed; never ends."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                for batch_id in await self._stopped():
                    if batch_id in self._busy:
                        continue
                    work = self._chosen(batch_id)
                    if work is not None:
                        self._busy.add(batch_id)
                        tasks.create_task(self._alone(batch_id, work))

    async def poll(self) -> None:
        """Ask for the progress of this and that batch, and cancel a few; never ends."""
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            kept = [entry for entry in self._ledger.entries if entry.kept]
            if kept:
                entry = self._luck.choice(kept[-30:])
                status = await self.ask(entry)
                if status == "processing" and self._luck.random() < 0.1:
                    await self.cancel(entry)

    async def clean(self) -> None:
        """Have old batches forgotten; never ends."""
        while True:
            await asyncio.sleep(CLEAN_EVERY_S)
            with contextlib.suppress(httpx.HTTPError):
                answer = await self._http.post("/hospitals/progress/cleanup")
                if answer.status_code == 200:
                    self.counts["cleanups"] += 1
                    self.counts["batches cleaned up"] += answer.json()["cleaned"]

    async def ask(self, entry: Entry) -> str | None:
        """Ask for an upload's progress; return the batch's status, None without an answer."""
        progress = await self._progress(entry)
        return None if progress is None else str(progress["status"])

    async def _progress(self, entry: Entry) -> dict[str, Any] | None:
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.get(f"/hospitals/progress/{entry.batch_id}", timeout=10.0)
            if answer.status_code == 200:
                progress: dict[str, Any] = answer.json()
                self._see(progress, entry)
                return progress
            if answer.status_code != 404:  # cleaned up or abandoned meanwhile
                self._odd(f"progress of {entry.batch_id}", answer)
        return None

    async def resume(self, batch_id: str, *, wait: bool = False, patience_s: float = 60.0) -> None:
        """Resume a batch."""
        entry = self._ledger.of_batch(batch_id)
        if entry is None:
            return
        self._ledger.resuming(entry)
        answered = False
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(patience_s):
                answer = await self._http.post(
                    f"/hospitals/resume/{batch_id}", headers={} if wait else ASYNC
                )
            answered = True
            self._journal.note(f"batch {batch_id}: resume answered {answer.status_code}")
            if answer.status_code in (200, 202):
                self.counts["resumes"] += 1
            elif answer.status_code not in (404, 409, 503):
                self._odd(f"resume of {batch_id}", answer)
        self._ledger.resumed(entry, time.time(), answered=answered)

    async def cancel(self, entry: Entry) -> None:
        """Cancel a batch; that others resume it meanwhile is possible."""
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

    async def correct(self, batch_id: str, *, end_after: End | None = None) -> None:
        """Correct every row of a batch that can be.

        Args:
            batch_id: The batch.
            end_after: The service ends as soon as that was told.
        """
        entry = self._ledger.of_batch(batch_id)
        progress = None if entry is None else await self._progress(entry)
        if entry is None or progress is None:
            return
        rows = [row["row"] for row in progress["hospitals"] if row["to_correct"]]
        made = [await self._correct_row(entry, row) for row in rows]
        if any(made) and end_after is not None:
            await self._service.end_at_once(end_after, "right after an answer")

    async def _correct_row(self, entry: Entry, row: int) -> bool:
        """Return whether the service said that the row is corrected."""
        content = self._ledger.correcting(entry, row)
        name, _, phone = content
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.patch(
                f"/hospitals/batch/{entry.batch_id}/rows/{row}", json={"name": name, "phone": phone}
            )
            said = f"correction of row {row} answered {answer.status_code}"
            self._journal.note(f"batch {entry.batch_id}: {said}")
            if answer.status_code == 200:
                self._ledger.corrected(entry, row, content, made=True)
                self.counts[Deed.CORRECTIONS] += 1
                return True
            if answer.status_code in (404, 409):
                self._ledger.corrected(entry, row, content, made=False)
            elif answer.status_code != 503:
                self._odd(f"correction of row {row} of {entry.batch_id}", answer)
        return False

    async def abandon(self, batch_id: str) -> None:
        """Take a batch back."""
        entry = self._ledger.of_batch(batch_id)
        if entry is None:
            return
        entry.taken_back += 1
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.delete(f"/hospitals/batch/{batch_id}/abandon")
            self._journal.note(f"batch {batch_id}: abandon answered {answer.status_code}")
            if answer.status_code == 200:
                entry.abandoned = True
                self.counts["abandons"] += 1
            elif answer.status_code == 409:
                entry.taken_back -= 1  # nothing was deleted, nothing is forgotten
            elif answer.status_code not in (404, 503):
                self._odd(f"abandon of {batch_id}", answer)

    async def _stopped(self) -> list[str]:
        """Return the resumable batches, and those that can only be taken back."""
        stopped = [
            entry.batch_id
            for entry in self._ledger.entries
            if entry.kept and entry.batch_id and entry.status in ("failed", "abandoning")
        ]
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.get("/hospitals/resumable", timeout=10.0)
            if answer.status_code == 200:
                stopped += [batch["batch_id"] for batch in answer.json()]
        return stopped

    def _chosen(self, batch_id: str) -> Coroutine[Any, Any, None] | None:
        entry = self._ledger.of_batch(batch_id)
        if entry is None or entry.plan.neglected:
            return None
        if entry.status in ("failed", "abandoning"):
            return self._chosen_for_failed(entry, batch_id)
        if entry.cancelled_at is not None and self._luck.random() < 0.7:
            return None  # left for a while: does it stay as it is?
        chance = self._luck.random()
        if entry.plan.unsound and chance > 0.8:
            return self._correct(batch_id)
        if chance < 0.25:
            return self.resume(batch_id)
        if chance < 0.35:
            return self.resume(batch_id, wait=True)
        if chance < 0.45:
            return self.resume(batch_id, wait=True, patience_s=self._luck.uniform(0.0, 0.5))
        return self.abandon(batch_id) if chance < 0.55 else None

    def _chosen_for_failed(self, entry: Entry, batch_id: str) -> Coroutine[Any, Any, None] | None:
        chance = self._luck.random()
        if entry.status == "failed" and chance < 0.3:
            return self._correct(batch_id)
        return self.abandon(batch_id) if chance < 0.36 else None

    def _correct(self, batch_id: str) -> Coroutine[Any, Any, None]:
        end = End(by_kill=True) if self._luck.random() < 0.3 else None
        return self.correct(batch_id, end_after=end)

    async def _alone(self, batch_id: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._busy.discard(batch_id)

    # --- What they see ----------------------------------------------------------------------------

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
