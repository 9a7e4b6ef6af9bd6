"""The application: settings in, everything built and wired, `app` out."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI

from config import BadSetting, Settings, load_settings
from connections import guarded_connections
from lifecycle import CannotStart, PlainStartFailure, stopped_by_signals
from routers import (
    access,
    batches,
    bulk,
    dashboard,
    documentation,
    metrics,
    middleware,
    openapi,
    problem,
    progress,
    reports,
    system,
)
from routers.event_stream import Feeds
from routers.progress_document import FirstPages
from services.abandonment import Abandonment
from services.batch_run import RunPolicy
from services.batch_runner import BatchRunner
from services.batch_service import BatchService, ServiceRules
from services.claims import Claims
from services.clock import WallClock, utc_now
from services.directory_waker import DirectoryWaker
from services.hospital_api import HospitalApi
from services.housekeeping import Housekeeping, HouseRules
from services.logs import configure, get_logger, is_served
from services.meters import Meters
from services.pacing import Pace
from services.patient_directory import Lanes, PatientDirectory
from services.progress_tracker import ProgressTracker
from services.storage.json_files import JsonFiles, StorageError, StorageTaken
from services.storage.send_log import SendLog

logger = get_logger("hospital_bulk")

LOCK_WAIT_S = 2.0  # beyond the grace that a predecessor may take to shut down
MIN_UPLOAD_BYTES = 1024 * 1024
BYTES_A_ROW = 1024  # a long row in a script of three bytes a letter


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application; BadSetting if a setting cannot be right."""
    settings = settings or load_settings()
    app = FastAPI(
        title=settings.app_name,
        version=settings.app_version,
        summary="Loads CSV files of hospitals into the Hospital Directory: each row, once, active.",
        description=DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,  # routers/addresses.py does it
        docs_url=None,  # routers/documentation.py has both pages
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.keys = settings.keys
    app.state.open_paths = access.open_paths(settings)
    app.state.max_upload_bytes = settings.max_upload_bytes or max(
        MIN_UPLOAD_BYTES, settings.max_csv_size * BYTES_A_ROW
    )
    app.state.large_file_turn = asyncio.Lock()
    app.state.feeds = Feeds()
    app.state.pages = FirstPages()
    app.state.meters = Meters(settings.app_version)
    app.state.meters.show_event_streams(lambda: app.state.feeds.watchers)
    problem.install(app)
    # In the order in which addresses are compared with them: that which is asked most comes first.
    parts = (progress, system, metrics, bulk, reports, batches, dashboard, documentation)
    for part in parts:
        app.include_router(part.router)
    middleware.install(app, settings)
    app.add_middleware(PlainStartFailure)
    openapi.install(app)
    return app


DESCRIPTION = """
Upload a CSV file; every row is created in the directory concurrently, then all are activated
together. **When a batch says `completed`, the directory holds the file's rows: each one, once,
active**, whatever failed on the way. A batch that could not be completed says why; resume it, or
abandon it and its hospitals are deleted.
"""


def build_service(
    settings: Settings,
    api: HospitalApi,
    storage: JsonFiles,
    sends: SendLog,
    wall_clock: WallClock = utc_now,
    meters: Meters | None = None,
) -> BatchService:
    """Wire the service: the one place where settings become values."""
    meters = meters or Meters()
    margin_s = settings.rate_limit_margin_seconds
    window_s = settings.rate_limit_period_seconds + margin_s
    lookup_limit = settings.lookup_rate_limit if settings.create_rate_limit else 0
    tracker = ProgressTracker(storage, wall_clock, meters)
    meters.show_batches(tracker.count)
    lanes = Lanes(
        create=Pace(settings.create_rate_limit, window_s),
        lookup=Pace(lookup_limit, window_s),
        max_in_flight=settings.max_concurrent_requests,
        note_create=lambda: sends.add(wall_clock()),
        changed=tracker.watchers.tell_all,
        creates_to_come=tracker.pending_rows,
        meters=meters,
    )
    meters.show_creates(
        waiting=lambda: lanes.create.waiting,
        under_way=lambda: lanes.create.under_way,
        budget_left=lambda: lanes.create.turns_left,
    )
    waker = DirectoryWaker(api, settings.wake_timeout_seconds, tracker.watchers.tell_all)
    directory = PatientDirectory(api, lanes, waker, meters)
    policy = RunPolicy(
        settings.settle_seconds, settings.max_attempts, settings.max_concurrent_requests
    )
    runner = BatchRunner(directory, tracker, policy, meters)
    abandonment = Abandonment(directory, tracker, settings.settle_seconds)
    claims = Claims()
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
    housekeeping = Housekeeping(tracker, claims, runner, abandonment, house_rules)
    return BatchService(tracker, directory, runner, abandonment, claims, housekeeping, rules)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    configure(settings.log_level, settings.log_format)
    _tell_who_may_call(settings)
    storage = JsonFiles(settings.batch_storage_dir)
    sends = SendLog(settings.batch_storage_dir, settings.create_rate_limit)
    try:
        found = await _open_storage(storage, settings)
    except CannotStart as failure:
        app.state.start_failure = str(failure)
        raise
    api = HospitalApi(
        settings.hospital_api_base_url,
        timeout_s=settings.http_timeout_seconds,
        connect_timeout_s=settings.http_connect_timeout_seconds,
    )
    service = build_service(settings, api, storage, sends, meters=app.state.meters)
    app.state.service = service
    service.start(found, sends.open(utc_now()))
    try:
        async with guarded_connections(
            settings.header_timeout_seconds, settings.body_timeout_seconds
        ):
            with stopped_by_signals(service, settings.shutdown_grace_seconds):
                yield
    finally:
        try:
            await service.close()
        finally:
            sends.close()
            storage.close()


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


def _tell_who_may_call(settings: Settings) -> None:
    names = {key.name for key in settings.keys}
    if names:
        logger.info("whoever calls needs a key", names=len(names))
    else:
        logger.warning("open: anybody may call; set API_KEYS")


def _app() -> FastAPI:
    try:
        settings = load_settings()
        if is_served():  # what the server tells before the lifespan has the form of all else
            configure(settings.log_level, settings.log_format)
        return create_app(settings)
    except BadSetting as error:
        sys.exit(f"Cannot start: {error}")


app = _app()
