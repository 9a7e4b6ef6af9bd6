"""What the service does unasked: go on after a crash, finish abandons, forget old batches."""

import asyncio
import logging
from dataclasses import dataclass

from models.batch import INTERRUPTED, Batch, BatchStatus, RowStatus
from models.errors import BatchConflict, StorageUnavailable
from services import clock
from services.abandonment import Abandonment
from services.batch_runner import BatchRunner
from services.claims import Claims
from services.progress_tracker import ProgressTracker
from services.reasons import CannotContinue, Interrupted, cancelled, other_directory

logger = logging.getLogger(__name__)

MAX_AUTO_RESUMES = 3  # without a row created in between; then a person should look
CLEANUP_INTERVAL_S = 600.0


@dataclass(frozen=True, slots=True)
class HouseRules:
    """What is kept and what goes on by itself.

    Attributes:
        directory_url: Batches of another directory are not touched.
        auto_resume: Go on at start with what was interrupted.
        keep_completed_s: Completed batches are forgotten at this age, in seconds.
    """

    directory_url: str
    auto_resume: bool
    keep_completed_s: float


class Housekeeping:
    """Recovers at start and cleans up from time to time."""

    def __init__(
        self,
        tracker: ProgressTracker,
        claims: Claims,
        runner: BatchRunner,
        abandonment: Abandonment,
        rules: HouseRules,
    ) -> None:
        self._tracker = tracker
        self._claims = claims
        self._runner = runner
        self._abandonment = abandonment
        self._rules = rules

    def recover(self, batches: list[Batch]) -> None:
        """Take over what an earlier process left."""
        self._tracker.restore(batches)
        for batch in batches:
            if batch.status in INTERRUPTED:
                self._recover_one(batch)
        self._take_up_abandons()

    async def cleanup(self) -> int:
        """Forget old completed batches and take up unfinished abandons; return how many went."""
        oldest_s = clock.now_s() - self._rules.keep_completed_s
        self._take_up_abandons()
        old = [
            batch
            for batch in self._tracker.all()
            if batch.status is BatchStatus.COMPLETED and batch.changed_s <= oldest_s
        ]
        return sum([await self._forget(batch) for batch in old])

    async def clean_regularly(self) -> None:
        """Clean up for as long as the service runs."""
        while True:
            await asyncio.sleep(CLEANUP_INTERVAL_S)
            try:
                cleaned = await self.cleanup()
            except Exception:
                logger.exception("cleanup failed; it is tried again in %g s", CLEANUP_INTERVAL_S)
                continue
            if cleaned:
                logger.info("%d old completed batches forgotten", cleaned)

    def _recover_one(self, batch: Batch) -> None:
        """Treat every row whose creation is not recorded as sent: the checkpoint may be older."""
        batch.doubtful = batch.unsettled = True
        for row in batch.rows:
            if not row.is_done and not row.is_excluded:
                self._tracker.set_row(
                    batch, row.hospital.row, RowStatus.VERIFYING, error="the service was stopped"
                )
        reason = self._why_not_resumed(batch)
        if reason is not None:
            batch.failure_reason = reason
            self._tracker.set_status(batch, BatchStatus.RESUMABLE)
            logger.warning("batch %s: resumable: %s", batch.id, reason)
            return
        batch.resume_count += 1
        batch.running_since = clock.now_s()
        self._tracker.set_status(batch, BatchStatus.PROCESSING)
        logger.info("batch %s: goes on after an interruption", batch.id)
        self._claims.start(batch.id, self._runner.run(batch, again=True, automatic=True))

    def _why_not_resumed(self, batch: Batch) -> str | None:
        if batch.directory_url != self._rules.directory_url:
            return other_directory(batch)
        if batch.cancelled:
            return cancelled().reason
        if not self._rules.auto_resume:
            return "The service was stopped while the batch ran: resume it."
        if batch.auto_resumes >= MAX_AUTO_RESUMES:
            return (
                f"{MAX_AUTO_RESUMES} automatic resumes created no row: "
                "see the service's log, then resume the batch."
            )
        return None

    def _take_up_abandons(self) -> None:
        for batch in self._tracker.all():
            if batch.status is BatchStatus.ABANDONING and batch.id not in self._claims:
                self._claims.start(batch.id, self._abandon(batch))

    async def _abandon(self, batch: Batch) -> None:
        """Abandon with nobody waiting; what fails is taken up again by the next cleanup."""
        if batch.directory_url != self._rules.directory_url:
            logger.warning("batch %s: not abandoned: %s", batch.id, other_directory(batch))
            return
        try:
            await self._abandonment.abandon(batch)
        except (BatchConflict, StorageUnavailable, CannotContinue) as error:
            logger.warning("batch %s: still to be abandoned: %s", batch.id, error)
        except Interrupted:
            return

    async def _forget(self, batch: Batch) -> bool:
        if batch.id in self._claims or batch.id not in self._tracker:
            return False  # somebody else is at it, or was
        with self._claims.taken(batch.id):
            try:
                await self._tracker.forget(batch)
            except StorageUnavailable:
                return False
        return True
