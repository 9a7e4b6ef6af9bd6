"""The directory as a run wants it: paced, woken, asked again where asking again is harmless.

Only questions are repeated here. A create, an activation or a delete is one exchange, whose outcome
the caller judges.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, assert_never
from uuid import UUID

from models.batch import Batch
from models.hospital import HospitalRow, ListedHospital
from models.outcome import (
    Absent,
    ActivateOutcome,
    CreateOutcome,
    DeleteBatchOutcome,
    DeleteOutcome,
    Found,
    Listed,
    ListOutcome,
    NotSent,
    RateLimited,
    StillActive,
    Unexpected,
    Unknown,
)
from models.outlook import Traffic
from services import clock
from services.directory_waker import DirectoryWaker
from services.hospital_api import HospitalApi
from services.meters import Meters
from services.pacing import Budgets, Lane, Pace, TurnUnused
from services.peers import Peers
from services.reasons import turned_away

USUAL_CREATE_S = 5.0  # by the directory's design, until one was seen
# A turn is for a request that leaves at once; this is within the margin of a rate window. What
# comes too late, as after a moment without the database, asks for another turn, but not for ever:
# the worst that can happen is a 429.
PROMPT_S = 0.3
PROMPT_TRIES = 2


@dataclass(frozen=True, slots=True)
class Look:
    """A batch's hospitals as they were between two monotonic times, in seconds."""

    hospitals: tuple[ListedHospital, ...]
    sent_s: float
    answered_s: float


class Lanes:
    """One lane for each endpoint: the directory counts each on its own.

    A create holds its permit for 5 s, the others for milliseconds. They have permits of their own,
    few enough to keep within the 40 requests that the directory works on at a time, so that the
    end of one batch does not wait behind the creates of another. Looks that only compare get half
    of the budget, before they wait in the common lane: however many ask, batches find their way.
    """

    def __init__(
        self,
        create: Pace,
        lookup: Pace,
        max_in_flight: int,
        note_create: Callable[[], None],
        changed: Callable[[], None],
        creates_to_come: Callable[[UUID], int],
        creates_elsewhere: Callable[[], Sequence[int]],
        meters: Meters,
        budgets: Budgets | None = None,
    ) -> None:
        def lane(name: str, pace: Pace, permits: int, **how: Any) -> Lane:
            budget = None if budgets is None else budgets(name, pace)
            return Lane(
                pace, permits, name=name, note_refusal=meters.rate_limited, budget=budget, **how
            )

        few = min(4, max_in_flight)
        half = replace(lookup, limit=math.ceil(lookup.limit / 2))
        self.create = lane(
            "create",
            create,
            max_in_flight,
            note_send=note_create,
            changed=changed,
            to_come=creates_to_come,
            elsewhere=creates_elsewhere,
            usual_s=USUAL_CREATE_S,
        )
        self.look = lane("look", lookup, few, changed=changed)
        self.verify = Lane(half, few, name="verify")  # its requests go through `look`
        self.find = lane("find", lookup, few)
        self.delete = lane("delete", lookup, few)
        self.delete_batch = lane("delete_batch", lookup, few)
        self.activate = lane("activate", lookup, few, changed=changed)

    def close(self) -> None:
        """Let nothing leave any more."""
        changes = (self.create, self.delete, self.delete_batch, self.activate)
        for lane in (*changes, self.look, self.verify, self.find):
            lane.close()


class PatientDirectory:
    """One directory, for all batches of the process.

    Args:
        api: Its exchanges.
        lanes: Its budgets.
        waker: Whether it is awake.
        meters: Where creates are counted.
        peers: Asked before each change whether the batch is still this process's.
    """

    def __init__(
        self,
        api: HospitalApi,
        lanes: Lanes,
        waker: DirectoryWaker,
        meters: Meters,
        peers: Peers,
    ) -> None:
        self._api = api
        self._lanes = lanes
        self._meters = meters
        self._peers = peers
        self.waker = waker

    def stop(self) -> None:
        """Send no further create and end every wait; look-ups and activations may still go."""
        self.waker.stop()
        self._lanes.create.close()

    async def close(self) -> None:
        """Give up all connections."""
        self.waker.close()
        self._lanes.close()
        await self._api.close()

    def remember_creates(self, ages_s: Iterable[float]) -> None:
        """Count creates that an earlier process sent, that many seconds ago."""
        self._lanes.create.remember(ages_s)

    def loading_s(self, rows: int, parts: int) -> float:
        """Tell how many seconds a file takes if nothing else is loaded."""
        # A look follows each activation; the last parts and the oldest were looked at just before.
        return self._lanes.create.takes_s(rows) + self._lanes.look.takes_s(parts + 2)

    def traffic(self, batch: Batch) -> Traffic:
        """Tell what a batch has on the way."""
        lanes = self._lanes
        return Traffic(
            creates=lanes.create.standing(batch.id),
            lookups=lanes.look.standing(batch.id) or lanes.activate.standing(batch.id),
            usual_s=lanes.create.usual_s,
            answered_in_s=lanes.create.answered_in_s(batch.id),
            activated_in_s=lanes.look.last_in_s(batch.inactive_parts) if batch.parts > 1 else 0.0,
            silent_since_s=self.waker.silent_since_s,
        )

    def withdraw(self, batch_id: UUID) -> None:
        """Send none of the batch's creates that still wait for their turn."""
        self._lanes.create.withdraw(batch_id)

    async def create(
        self,
        batch_id: UUID,
        directory_batch_id: UUID,
        hospital: HospitalRow,
        *,
        preparing: Callable[[], Awaitable[None]],
        sending: Callable[[], None],
        answered: Callable[[CreateOutcome, float], None],
    ) -> CreateOutcome:
        """Send one row when its turn comes.

        A row refused with 429 goes again by itself; RateLimited is returned when that is in vain.

        Args:
            batch_id: The batch that waits for its turn.
            directory_batch_id: The directory batch that the row goes to.
            hospital: The row.
            preparing: Awaited when the turn has come, before each send.
            sending: Called immediately before each send.
            answered: Called with each outcome, 429s too, and the seconds it took.

        Raises:
            TurnWithdrawn: It was not sent and will not be.
        """

        tries = 0

        async def exchange() -> CreateOutcome:
            began_s = clock.now_s()
            await preparing()
            await self._peers.may_send(batch_id)
            if clock.now_s() - began_s > PROMPT_S and tries < PROMPT_TRIES:
                raise TurnUnused
            sending()
            started_s = clock.now_s()
            outcome = self.waker.noted(await self._api.create(directory_batch_id, hospital))
            seconds = clock.now_s() - started_s
            self._meters.create_ended(outcome, seconds)
            answered(outcome, seconds)
            return outcome

        while True:
            try:
                return await self._lanes.create.send(batch_id, exchange)
            except TurnUnused:
                tries += 1

    async def look(self, batch_id: UUID, directory_batch_ids: Sequence[UUID]) -> Look:
        """List all hospitals of some directory batches; CannotContinue after the wake timeout."""
        looks = [await self._list(batch_id, one) for one in directory_batch_ids]
        hospitals = tuple(hospital for look in looks for hospital in look.hospitals)
        return Look(hospitals, looks[0].sent_s, looks[-1].answered_s)

    async def look_aside(self, batch: Batch) -> tuple[ListedHospital, ...]:
        """List all of the batch's hospitals for somebody who only wants to know; runs go before."""
        looks = [
            await self._lanes.verify.send(batch.id, partial(self._list, batch.id, one))
            for one in batch.opened_directory_batch_ids
        ]
        return tuple(hospital for look in looks for hospital in look.hospitals)

    async def _list(self, batch_id: UUID, directory_batch_id: UUID) -> Look:
        """List one directory batch, as often as it takes."""
        sent_s = 0.0

        async def exchange() -> ListOutcome:
            nonlocal sent_s
            sent_s = clock.now_s()  # when it leaves, not when it began to wait for its turn
            return self.waker.noted(await self._api.list_batch(directory_batch_id))

        failing_since_s: float | None = None
        failures = 0
        while True:
            outcome = await self._lanes.look.send(batch_id, exchange)
            match outcome:
                case Listed(hospitals):
                    return Look(hospitals, sent_s, clock.now_s())
                case RateLimited() | Unexpected():
                    raise turned_away(outcome)
                case NotSent(reason) | Unknown(reason):
                    failing_since_s = clock.now_s() if failing_since_s is None else failing_since_s
                    failures += 1
                    await self.waker.back_off(failures, failing_since_s, reason)
                case _:
                    assert_never(outcome)

    async def activate(self, batch_id: UUID, directory_batch_id: UUID) -> ActivateOutcome:
        """Activate one directory batch: one exchange."""

        async def exchange() -> ActivateOutcome:
            await self._peers.may_send(batch_id)
            return await self._api.activate(directory_batch_id)

        return self.waker.noted(await self._lanes.activate.send(batch_id, exchange))

    async def delete_copy(self, batch_id: UUID, copy: ListedHospital) -> DeleteOutcome:
        """Delete one hospital if its id still means that very hospital; else Absent.

        Ids count from 1 again after the directory restarts, so the id is looked up at once before.
        """

        async def look_and_delete() -> DeleteOutcome:
            found = await self._lanes.find.send(batch_id, lambda: self._api.find(copy.id))
            if not isinstance(found, Found):
                return found
            if found.hospital != copy:
                return Absent()
            await self._peers.may_send(batch_id)
            return await self._api.delete(copy.id)

        return self.waker.noted(await self._lanes.delete.send(batch_id, look_and_delete))

    async def delete_batch(self, batch_id: UUID, directory_batch_id: UUID) -> DeleteBatchOutcome:
        """Delete all of a directory batch, unless one of its hospitals is active.

        It would delete active ones too, so it is looked at immediately before each try: a request
        may wait for minutes, for its turn or after a 429.
        """

        async def look_and_delete() -> DeleteBatchOutcome:
            listed = await self._lanes.look.send(
                batch_id, lambda: self._api.list_batch(directory_batch_id)
            )
            if not isinstance(listed, Listed):
                return listed
            active = tuple(hospital.id for hospital in listed.hospitals if hospital.active)
            if active:
                return StillActive(active)
            await self._peers.may_send(batch_id)
            return await self._api.delete_batch(directory_batch_id)

        outcome = await self._lanes.delete_batch.send(batch_id, look_and_delete)
        return outcome if isinstance(outcome, StillActive) else self.waker.noted(outcome)
