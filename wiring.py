"""The composition root: settings in, a service that runs until it is closed out.

Two ways to keep batches: as files, which one process has for itself, or with DATABASE_URL in a
database that any number of processes share. What the second needs is imported for it only.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from config import Settings
from lifecycle import CannotStart
from services.abandonment import Abandonment
from services.batch_run import RunPolicy
from services.batch_runner import BatchRunner
from services.batch_service import BatchService, ServiceRules
from services.claims import Claims
from services.clock import utc_now
from services.directory_waker import DirectoryWaker
from services.hospital_api import HospitalApi
from services.housekeeping import Housekeeping, HouseRules
from services.logs import get_logger
from services.meters import Meters
from services.pacing import Budgets, Pace
from services.patient_directory import Lanes, PatientDirectory
from services.peers import NoPeers, Peers
from services.progress_tracker import ProgressTracker
from services.storage.contract import StorageError, StorageTaken
from services.storage.json_files import JsonFiles
from services.storage.send_log import SendLog

logger = get_logger("hospital_bulk")

LOCK_WAIT_S = 2.0  # beyond the grace that a predecessor may take to shut down


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a process shares with others.

    Attributes:
        budgets: Those of the directory's endpoints.
        peers: The others.
    """

    budgets: Budgets
    peers: Peers


def build_service(
    settings: Settings,
    api: HospitalApi,
    tracker: ProgressTracker,
    note_create: Callable[[], None],
    meters: Meters | None = None,
    sharing: Sharing | None = None,
) -> BatchService:
    """Wire the service: the one place where settings become values.

    Args:
        settings: What was set.
        api: The directory.
        tracker: What is known of batches.
        note_create: Called immediately before each create leaves.
        meters: What is counted.
        sharing: What is shared with other processes; None: nothing.
    """
    meters = meters or Meters()
    margin_s = settings.rate_limit_margin_seconds
    window_s = settings.rate_limit_period_seconds + margin_s
    lookup_limit = settings.lookup_rate_limit if settings.create_rate_limit else 0
    meters.show_batches(tracker.count)
    lanes = Lanes(
        create=Pace(settings.create_rate_limit, window_s),
        lookup=Pace(lookup_limit, window_s),
        max_in_flight=settings.max_concurrent_requests,
        note_create=note_create,
        changed=tracker.watchers.tell_all,
        creates_to_come=tracker.pending_rows,
        creates_elsewhere=tracker.pending_elsewhere if sharing else tuple,
        meters=meters,
        budgets=sharing.budgets if sharing else None,
    )
    meters.show_creates(
        waiting=lambda: lanes.create.waiting,
        under_way=lambda: lanes.create.under_way,
        budget_left=lambda: lanes.create.turns_left,
    )
    waker = DirectoryWaker(api, settings.wake_timeout_seconds, tracker.watchers.tell_all)
    peers = sharing.peers if sharing else NoPeers()
    directory = PatientDirectory(api, lanes, waker, meters, peers)
    policy = RunPolicy(
        settings.settle_seconds, settings.max_attempts, settings.max_concurrent_requests
    )
    runner = BatchRunner(directory, tracker, policy, meters)
    abandonment = Abandonment(directory, tracker, settings.settle_seconds)
    claims = Claims(peers, hands_over=settings.auto_resume)
    house_rules = HouseRules(
        directory_url=settings.hospital_api_base_url,
        auto_resume=settings.auto_resume,
        keep_completed_s=settings.progress_cleanup_hours * 3600,
        keep_stopped_s=settings.resumable_retention_hours * 3600,
    )
    rules = ServiceRules(
        directory_url=settings.hospital_api_base_url,
        max_rows=settings.max_csv_size,
        part_rows=settings.directory_batch_limit,
        max_batches=settings.max_queued_batches,
        max_batches_per_owner=settings.max_batches_per_caller,
        shutdown_grace_s=settings.shutdown_grace_seconds,
    )
    housekeeping = Housekeeping(tracker, claims, runner, abandonment, house_rules, peers)
    service = BatchService(
        tracker, directory, runner, abandonment, claims, housekeeping, rules, peers
    )
    if sharing:
        tracker.outlook = service.outlook
        tracker.cancelled_elsewhere = runner.cancel
        tracker.lost = runner.lose
    return service


@contextlib.asynccontextmanager
async def running_service(settings: Settings, meters: Meters) -> AsyncIterator[BatchService]:
    """Have the service run for a block; it stops at the end, or when it is told to.

    Raises:
        CannotStart: It cannot; the message says what to do.
    """
    run = _on_files if settings.database_url is None else _on_database
    async with run(settings, meters) as service:
        try:
            yield service
        finally:
            await service.close()


def _api(settings: Settings) -> HospitalApi:
    return HospitalApi(
        settings.hospital_api_base_url,
        timeout_s=settings.http_timeout_seconds,
        connect_timeout_s=settings.http_connect_timeout_seconds,
    )


@contextlib.asynccontextmanager
async def _on_files(settings: Settings, meters: Meters) -> AsyncIterator[BatchService]:
    storage = JsonFiles(settings.batch_storage_dir)
    sends = SendLog(settings.batch_storage_dir, settings.create_rate_limit)
    found = await _open_storage(storage, settings)
    with contextlib.closing(storage), contextlib.closing(sends):
        tracker = ProgressTracker(storage, meters=meters)
        service = build_service(
            settings, _api(settings), tracker, lambda: sends.add(utc_now()), meters
        )
        await service.start(found, sends.open(utc_now()))
        yield service


@contextlib.asynccontextmanager
async def _on_database(settings: Settings, meters: Meters) -> AsyncIterator[BatchService]:
    try:
        import shared_wiring  # needs the packages of requirements-postgres.txt
    except ModuleNotFoundError as missing:
        raise CannotStart(
            f"DATABASE_URL is set, but {missing.name} is not installed: "
            "pip install -r requirements-postgres.txt."
        ) from None
    async with shared_wiring.on_database(settings, _api(settings), meters) as service:
        yield service


async def _open_storage(storage: JsonFiles, settings: Settings) -> list[Any]:
    """Become the storage's owner and load it, waiting for a predecessor that shuts down."""
    deadline_s = asyncio.get_running_loop().time() + settings.shutdown_grace_seconds + LOCK_WAIT_S
    while True:
        try:
            await asyncio.to_thread(storage.open)
            return await asyncio.to_thread(storage.load)
        except StorageError as error:
            logger.error(
                "BATCH_STORAGE_DIR cannot be used: uploads are refused until it can and the "
                "service is restarted",
                folder=str(settings.batch_storage_dir),
                reason=str(error),
            )
            return []
        except StorageTaken:
            if asyncio.get_running_loop().time() >= deadline_s:
                raise CannotStart(
                    f"Another process uses BATCH_STORAGE_DIR ({settings.batch_storage_dir}): stop "
                    "it, or give this one another folder. One process owns a folder (uvicorn "
                    "--workers 1)."
                ) from None
            await asyncio.sleep(0.2)
