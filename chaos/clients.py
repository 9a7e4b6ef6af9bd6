"""Users: some careful, some impatient, some negligent."""

import asyncio
import time
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeAlias

from chaos.ledger import Entry, Ledger
from chaos.requests import Requests
from chaos.scale import PART_ROWS
from chaos.schedule import End, Upload
from chaos.system import System
from chaos.table import Deed
from chaos.verdict import Answer

LOOK_EVERY_S = 0.4
POLL_EVERY_S = 0.15
CLEAN_EVERY_S = 5.0
CANCELLED = 0.04  # of the batches that are asked for and run
LEFT_CANCELLED = 0.7  # of the looks at a cancelled batch: does it stay as it is?
KILLED_AFTER_CORRECTION = 0.3
ENDED_ACTIVATING = 0.9
UNDER_WAY = ("processing", "activating")

Work: TypeAlias = Coroutine[Any, Any, None]


class Clients:
    """Everybody who talks to the service, and what they choose to do."""

    def __init__(self, requests: Requests, service: System, ledger: Ledger, luck: Random) -> None:
        self._requests = requests
        self._service = service
        self._ledger = ledger
        self._luck = luck
        self._busy: set[str] = set()  # batches that somebody resumes, corrects or abandons

    async def upload(self, plan: Upload) -> None:
        """Upload a file, cancel its batch if so planned, and have the service end after it."""
        entry = await self._requests.upload(plan)
        if entry.answer is not Answer.ACCEPTED:
            return
        if plan.cancel_after_s is not None:
            await asyncio.sleep(plan.cancel_after_s)
            await self._requests.cancel(entry)
        if plan.end_after is not None:
            await self._end(plan.end_after, entry)

    async def tend(self) -> None:
        """Resume and correct what has stopped, and take back some of it; never ends."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                for entry in await self._stopped():
                    if entry.batch_id is None or entry.batch_id in self._busy:
                        continue
                    work = self._chosen(entry)
                    if work is not None:
                        self._busy.add(entry.batch_id)
                        tasks.create_task(self._alone(entry.batch_id, work))

    async def poll(self) -> None:
        """Ask for the progress of this and that batch, and cancel a few; never ends.

        Of some whose parts are being activated the service is ended: some are active, some not.
        """
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            kept = [entry for entry in self._ledger.entries if entry.kept]
            if kept:
                under_way = [entry for entry in kept if entry.status in UNDER_WAY]
                in_parts = [entry for entry in under_way if entry.plan.rows > PART_ROWS]
                groups = [group for group in (kept, under_way, in_parts, in_parts) if group]
                entry = self._luck.choice(self._luck.choice(groups)[-30:])
                status = await self._requests.ask(entry)
                if status == "processing" and self._luck.random() < CANCELLED:
                    await self._requests.cancel(entry)
                if status == "activating" and entry.plan.rows > PART_ROWS:
                    await self._end_while_activating(entry)

    async def _end_while_activating(self, entry: Entry) -> None:
        if self._luck.random() < ENDED_ACTIVATING:
            self._service.counts[Deed.ENDED_ACTIVATING] += 1
            end = End(by_kill=self._luck.random() < 0.7)
            await self._service.end_one(end, "while parts were activated", entry.batch_id)

    async def clean(self) -> None:
        """Have old batches forgotten and abandoned; never ends."""
        while True:
            await asyncio.sleep(CLEAN_EVERY_S)
            await self._requests.clean()

    async def _stopped(self) -> list[Entry]:
        """Return the batches that somebody should see to."""
        stopped = [
            entry
            for entry in self._ledger.entries
            if entry.kept and entry.status in ("failed", "abandoning")
        ]
        stopped += [entry for entry in await self._requests.resumable() if entry not in stopped]
        return [
            entry
            for entry in stopped
            # Whoever uploads it may be about to send it again: taken back, it would be loaded anew.
            if not (entry.plan.neglected or entry.answer is Answer.OPEN)
            if entry.sent_until <= time.time()
        ]

    def _chosen(self, entry: Entry) -> Work | None:
        if entry.status in ("failed", "abandoning"):
            return self._chosen_for_failed(entry)
        if entry.cancelled_at is not None and self._luck.random() < LEFT_CANCELLED:
            return None
        if entry.plan.unsound and self._luck.random() < 0.3:
            return self._correct(entry)
        return self._chosen_for_resumable(entry)

    def _chosen_for_failed(self, entry: Entry) -> Work | None:
        chance = self._luck.random()
        if entry.status == "failed" and chance < 0.4:
            return self._correct(entry)
        return self._requests.abandon(entry) if chance < 0.46 else None

    def _chosen_for_resumable(self, entry: Entry) -> Work | None:
        chance = self._luck.random()
        if chance < 0.25:
            return self._requests.resume(entry)
        if chance < 0.35:
            return self._requests.resume(entry, wait=True)
        if chance < 0.45:
            patience_s = self._luck.uniform(0.0, 0.5)
            return self._requests.resume(entry, wait=True, patience_s=patience_s)
        return self._requests.abandon(entry) if chance < 0.55 else None

    async def _correct(self, entry: Entry) -> None:
        """Correct what can be; at times the service ends as soon as that was told."""
        if await self._requests.correct(entry) and self._luck.random() < KILLED_AFTER_CORRECTION:
            await self._end(End(by_kill=True), entry)

    async def _alone(self, batch_id: str, work: Work) -> None:
        try:
            await work
        finally:
            self._busy.discard(batch_id)

    async def _end(self, end: End, entry: Entry) -> None:
        await self._service.end_after_answer(end, entry.batch_id)
