"""What the routers call: validate, submit, resume, abandon, clean up; and the service's life.

Whether a batch is the caller's to name was seen to before its id came here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID, uuid4

from models.batch import ENDED, STOPPED, Batch, BatchStatus
from models.caller import Caller
from models.errors import (
    BatchConflict,
    DirectoryUnreachable,
    KeyReused,
    QueueFull,
    ShuttingDown,
    StorageUnavailable,
    TooManyBatches,
)
from models.outlook import Outlook
from models.row import Row
from models.validation import PREVIEW_ROWS, CsvContent
from services import clock
from services.abandonment import Abandonment
from services.batch_list import Page, Place, page
from services.claims import Claims
from services.comparison import Comparison
from services.correction import correct
from services.csv_processor import read_csv
from services.directory_waker import DirectoryState
from services.execution import Execution
from services.housekeeping import Cleanup, Housekeeping
from services.idempotency import UploadTurns, digest_of
from services.logs import get_logger
from services.outlook import UNHEARD, Now, outlook
from services.patient_directory import PatientDirectory
from services.peers import Peers, Taken
from services.progress_tracker import ProgressTracker
from services.reasons import CannotContinue, Interrupted, other_directory
from services.refusals import cannot_abandon, cannot_cancel, cannot_resume
from services.storage.contract import AlreadyUploaded
from services.uploads import Submission, Upload, rows_of
from services.verification import verify
from services.watchers import Hear

logger = get_logger(__name__)

MOMENT_S = 2.0  # in which another process has stored an upload, or given up
LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """What the service accepts and keeps.

    Attributes:
        directory_url: The directory that new batches go to.
        max_rows: Most rows of a file.
        part_rows: Most rows of a directory batch; a larger file is sent in parts.
        max_batches: Most batches that have not ended.
        max_batches_per_owner: Most of them that one key brought.
        shutdown_grace_s: How long rows under way may take when the service stops.
    """

    directory_url: str
    max_rows: int
    part_rows: int
    max_batches: int
    max_batches_per_owner: int
    shutdown_grace_s: float


@dataclass(frozen=True, slots=True)
class Resumption:
    """A resumed batch, and its rows as they were before."""

    batch: Batch
    before: tuple[Row, ...]

    def handled(self) -> list[Row]:
        """Return the rows that this resume sent, looked up or created anew, as they are now."""
        return [
            now
            for was, now in zip(self.before, self.batch.rows, strict=True)
            if not (was.is_done or was.is_excluded) or was.hospital_id != now.hospital_id
        ]


class BatchService:
    """The bulk service of one process, alone or beside others."""

    def __init__(
        self,
        tracker: ProgressTracker,
        directory: PatientDirectory,
        execution: Execution,
        abandonment: Abandonment,
        claims: Claims,
        housekeeping: Housekeeping,
        rules: ServiceRules,
        peers: Peers,
    ) -> None:
        self._tracker = tracker
        self._directory = directory
        self._execution = execution
        self._abandonment = abandonment
        self._rules = rules
        self._claims = claims
        self._housekeeping = housekeeping
        self._peers = peers
        self._turns = UploadTurns()
        self._cleaner: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def wait_until_stopping(self) -> None:
        """Return when the service begins to stop."""
        await self._stopping.wait()

    async def refresh(self, batch_id: UUID) -> None:
        """Bring what is known of a batch up to date with what other processes did to it."""
        await self._peers.refresh(batch_id)

    async def refresh_all(self) -> None:
        """Bring what is known of all batches up to date with what other processes did."""
        await self._peers.refresh_all()

    def get(self, batch_id: UUID) -> Batch:
        """Return a batch; BatchNotFound if there is none of that id."""
        return self._tracker.get(batch_id)

    def outlook(self, batch: Batch) -> Outlook:
        """Tell what a batch is doing right now, and how long it will take."""
        if self._peers.is_away and batch.status not in ENDED:
            return UNHEARD
        if batch.told is not None:
            return batch.told.later(clock.now_s() - batch.told_s)
        return self.outlook_here(batch)

    def outlook_here(self, batch: Batch) -> Outlook:
        """Tell the same of a batch of this process, whether others can be asked or not."""
        now = Now(clock.now_s(), self._tracker.wall_clock())
        return outlook(batch, self._directory.traffic(batch), now)

    def loading_s(self, rows: int) -> float:
        """Tell how many seconds a file of so many rows takes if nothing else is loaded."""
        return (
            self._directory.loading_s(rows, parts=-(-rows // self._rules.part_rows))
            if rows
            else 0.0
        )

    def watch(self, batch_id: UUID, hear: Hear) -> Callable[[], None]:
        """Have *hear* called at every change of what is told of a batch; return what ends that."""
        return self._tracker.watchers.add(batch_id, hear)

    def resumable(self, caller: Caller) -> list[Batch]:
        """Return the caller's batches that a resume can finish, oldest first."""
        theirs = self._tracker.seen_by(caller)
        return [batch for batch in theirs if batch.status is BatchStatus.RESUMABLE]

    def page(
        self, caller: Caller, statuses: Collection[BatchStatus], after: Place | None, limit: int
    ) -> Page:
        """Return one page of the caller's batches, newest first; see `batch_list.page`."""
        return page(self._tracker.seen_by(caller), statuses=statuses, after=after, limit=limit)

    async def validate(self, file: BinaryIO) -> CsvContent:
        """Check a file; nothing is stored or sent."""
        if self.is_stopping:
            raise ShuttingDown
        return await asyncio.to_thread(
            read_csv, file, max_rows=self._rules.max_rows, keep_sound=PREVIEW_ROWS
        )

    async def submit(self, upload: Upload) -> Submission:
        """Accept a file: its batch is durable when this returns, and runs.

        Of an upload that names itself, sent again, the batch is returned as it is now; nothing is
        started.

        Raises:
            FileRejected: It has errors.
            KeyReused: Another file was uploaded under its name.
            TooManyBatches, Unavailable: Nothing was stored.
        """
        if upload.idempotency_key is None:
            return Submission(await self._accept(upload, None))
        digest = await asyncio.to_thread(digest_of, upload.file)
        async with self._turns.turn(upload.owner, upload.idempotency_key):
            await self._peers.refresh_upload(upload.owner, upload.idempotency_key)
            known = self._tracker.uploaded_as(upload.owner, upload.idempotency_key)
            if known is None:
                try:
                    return Submission(await self._accept(upload, digest))
                except AlreadyUploaded:
                    known = await self._uploaded_elsewhere(upload.owner, upload.idempotency_key)
        if known.file_digest != digest:
            raise KeyReused
        logger.info("upload sent again", batch_id=str(known.id), status=known.status)
        return Submission(known, is_replay=True)

    async def _uploaded_elsewhere(self, owner: str | None, key: str) -> Batch:
        """Return the batch that another process takes under that name in this very moment."""
        deadline_s = clock.now_s() + MOMENT_S
        while clock.now_s() < deadline_s:
            await self._peers.refresh_upload(owner, key)
            known = self._tracker.uploaded_as(owner, key)
            if known is not None:
                return known
            await asyncio.sleep(LOOK_AGAIN_S)
        raise StorageUnavailable  # it may still be refused there

    async def _accept(self, upload: Upload, digest: str | None) -> Batch:
        self._check_room(upload.owner)
        rows = await asyncio.to_thread(rows_of, upload, self._rules.max_rows)
        now, part_rows = self._tracker.wall_clock(), self._rules.part_rows
        is_large = len(rows) > part_rows
        batch = Batch(
            id=uuid4(),
            directory_url=self._rules.directory_url,
            rows=rows,
            part_rows=part_rows if is_large else None,
            opened_parts=0 if is_large else 1,
            created_at=now,
            updated_at=now,
            file_name=upload.name,
            owner=upload.owner,
            idempotency_key=upload.idempotency_key,
            file_digest=digest,
            changed_s=clock.now_s(),
        )
        self._check_room(upload.owner)
        await self._execution.accept(batch)
        logger.info("batch accepted", batch_id=str(batch.id), rows=len(batch.rows))
        return batch

    async def resume(self, batch_id: UUID) -> Resumption:
        """Go on with a resumable batch; it runs when this returns.

        Raises:
            BatchNotFound, BatchConflict, TooManyBatches, Unavailable: It is what it was.
        """
        batch = self._tracker.get(batch_id)
        async with self._claimed(batch, _RESUMABLE, cannot_resume):
            self._check_directory(batch)
            self._check_room(batch.owner, besides=batch)
            before = tuple(batch.rows)
            await self._tracker.announce(
                batch,
                BatchStatus.PROCESSING,
                failure_reason=None,
                resume_count=batch.resume_count + 1,
                cancelled=False,
                auto_resumes=0,
                running_since=clock.now_s(),
            )
            self._execution.go_on(batch)
        logger.info("batch resumed", batch_id=str(batch.id))
        return Resumption(batch, before)

    async def cancel(self, batch_id: UUID) -> Batch:
        """Send no further row of a running batch; it ends as resumable when those under way have.

        Raises:
            BatchNotFound, BatchConflict: It is what it was.
            StorageUnavailable: No further row is sent, but a restart would go on with it.
        """
        batch = self._tracker.get(batch_id)
        if batch.status not in _CANCELLABLE:
            raise BatchConflict(cannot_cancel(batch))
        await self._execution.cancel(batch)
        if batch.status in (BatchStatus.COMPLETED, BatchStatus.FAILED):  # it ended meanwhile
            raise BatchConflict(cannot_cancel(batch))
        logger.info("batch cancelled", batch_id=str(batch.id))
        return batch

    async def correct(self, batch_id: UUID, number: int, changes: Mapping[str, str]) -> Row:
        """Give a row that was refused or skipped other values; see `correction.correct`.

        Raises:
            BatchNotFound, RowNotFound, BatchConflict, RowRejected, StorageUnavailable: Nothing was
                changed.
        """
        batch = self._tracker.get(batch_id)
        return await correct(batch, number, changes, self._tracker, self._claims)

    async def wait(self, batch: Batch) -> bool:
        """Wait for the batch's run; False if the batch has not ended: the service is stopping.

        One that is at rest, or being abandoned, is not waited for.
        """
        await self._execution.wait(batch, self._stopping)
        return batch.status in ENDED

    async def abandon(self, batch_id: UUID) -> int:
        """Delete the batch's hospitals and forget it; return how many were deleted.

        Raises:
            BatchNotFound: There is none.
            BatchConflict, Unavailable: It is what it was, or `abandoning` and taken up again later.
        """
        batch = self._tracker.get(batch_id)
        async with self._claimed(batch, _ABANDONABLE, cannot_abandon):
            self._check_directory(batch)
            if self.is_stopping:
                raise ShuttingDown
            # A task of its own: it goes on when the client goes away.
            task = self._claims.start(batch, self._abandon(batch))
        await self._claims.wait(batch_id)
        if task.cancelled():
            raise ShuttingDown
        return task.result()

    async def verify(self, batch_id: UUID) -> Comparison:
        """Compare what the directory holds of a batch at rest with its file; change nothing.

        Raises:
            BatchNotFound, BatchConflict, Unavailable: There is nothing to say.
        """
        batch = self._tracker.get(batch_id)
        if self._execution.is_worked_on(batch):
            raise BatchConflict("The batch is being worked on: compare it when it has ended.")
        self._check_directory(batch)
        if self.is_stopping:
            raise ShuttingDown
        updated_at = batch.updated_at
        compared = await verify(batch, self._directory, self._stopping)
        if self._tracker.get(batch_id).updated_at != updated_at:
            raise BatchConflict("The batch changed while it was compared: try again.")
        return compared

    async def cleanup(self, caller: Caller) -> Cleanup:
        """Forget the caller's old completed batches, and have old stopped ones abandoned soon."""
        if self.is_stopping:
            raise ShuttingDown
        return await self._housekeeping.cleanup(caller)

    async def is_storage_writable(self) -> bool:
        """Return whether a batch could be stored now."""
        return await self._tracker.check_writable()

    async def directory_state(self) -> DirectoryState:
        """Tell how the directory looked at most a few seconds ago."""
        return await self._directory.waker.state()

    async def take(self, batch_id: UUID) -> None:
        """Go on with an unfinished batch that no process works on; return when that has ended."""
        if not self.is_stopping:
            await self._housekeeping.take(batch_id)

    async def start(self, batches: list[Batch], send_ages_s: Iterable[float] = ()) -> None:
        """Begin to serve, going on with what an earlier process left.

        Args:
            batches: Its checkpoints.
            send_ages_s: How many seconds ago it sent its last creates.
        """
        self._directory.remember_creates(send_ages_s)
        await self._housekeeping.recover(batches)
        self._cleaner = asyncio.create_task(self._housekeeping.clean_regularly())

    def stop(self) -> None:
        """Send no further row; what is under way gets the grace, then is left to the next start."""
        if self.is_stopping:
            return
        self._stopping.set()
        logger.info("stopping", batches_under_way=len(self._claims))
        if self._cleaner is not None:
            self._cleaner.cancel()
        self._directory.stop()
        loop = asyncio.get_running_loop()
        loop.call_later(self._rules.shutdown_grace_s, self._claims.cancel_all)

    async def close(self) -> None:
        """Stop, wait for what is under way, and write every checkpoint."""
        self.stop()
        await self._claims.wait_for_all()
        await self._tracker.flush()
        await self._directory.close()

    @asynccontextmanager
    async def _claimed(
        self, batch: Batch, statuses: Set[BatchStatus], refusal: Callable[[Batch], str]
    ) -> AsyncIterator[None]:
        """Hold the claim on a batch for a block.

        Raises:
            BatchConflict: With *refusal*: it is held, or in none of *statuses*.
        """
        if batch.status not in statuses:  # without a claim, which others would hear of
            raise BatchConflict(refusal(batch))
        try:
            async with self._claims.taken(batch):
                if batch.status not in statuses:
                    raise BatchConflict(refusal(batch))
                yield
        except Taken:
            raise BatchConflict(refusal(batch)) from None

    async def _abandon(self, batch: Batch) -> int:
        try:
            return await self._abandonment.abandon(batch)
        except CannotContinue as stop:
            raise DirectoryUnreachable(
                f"{stop.cause}. Nothing was forgotten; abandon the batch again later."
            ) from None
        except Interrupted:
            raise ShuttingDown from None

    def _check_room(self, owner: str | None, besides: Batch | None = None) -> None:
        """Raise unless one more batch may wait, of *owner* too if a key brought it.

        Args:
            owner: The key's name.
            besides: The batch itself, if it is known already.
        """
        if self.is_stopping:
            raise ShuttingDown
        held = [batch for batch in self._execution.under_way() if batch is not besides]
        if len(held) >= self._rules.max_batches:
            raise QueueFull(self._rules.max_batches, self._ends_in_s(held[0]))
        theirs = [batch for batch in held if batch.owner == owner]
        if owner is not None and len(theirs) >= self._rules.max_batches_per_owner:
            raise TooManyBatches(self._rules.max_batches_per_owner, self._ends_in_s(theirs[0]))

    def _ends_in_s(self, batch: Batch) -> float | None:
        """Tell when a batch will make room, in seconds; None if that is not known."""
        return self.outlook(batch).eta_s

    def _check_directory(self, batch: Batch) -> None:
        if batch.directory_url != self._rules.directory_url:
            raise BatchConflict(other_directory(batch))


_RESUMABLE = frozenset({BatchStatus.RESUMABLE})
_ABANDONABLE = STOPPED | {BatchStatus.ABANDONING}
_CANCELLABLE = frozenset({BatchStatus.INITIALIZING, BatchStatus.PROCESSING})
