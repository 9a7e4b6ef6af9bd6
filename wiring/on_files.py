"""Wires the service to a folder that it has for itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from config import Settings
from lifecycle import CannotStart
from services.batch_service import BatchService
from services.clock import utc_now
from services.hospital_api import HospitalApi
from services.logs import get_logger
from services.meters import Meters
from services.progress_tracker import ProgressTracker
from services.storage.contract import StorageError, StorageTaken
from services.storage.json_files import JsonFiles
from services.storage.send_log import SendLog
from wiring.service import build_service

logger = get_logger("hospital_bulk")

LOCK_WAIT_S = 2.0  # beyond the grace that a predecessor may take to shut down


@contextlib.asynccontextmanager
async def on_files(
    settings: Settings, api: HospitalApi, meters: Meters
) -> AsyncIterator[BatchService]:
    """Have the service run for a block, on the folder BATCH_STORAGE_DIR.

    Raises:
        CannotStart: Another process has the folder; the message says what to do.
    """
    storage = JsonFiles(settings.batch_storage_dir)
    sends = SendLog(settings.batch_storage_dir, settings.create_rate_limit)
    found = await _open_storage(storage, settings)
    with contextlib.closing(storage), contextlib.closing(sends):
        tracker = ProgressTracker(storage, meters=meters)
        service = build_service(settings, api, tracker, lambda: sends.add(utc_now()), meters)
        await service.start(found, sends.open(utc_now()))
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
