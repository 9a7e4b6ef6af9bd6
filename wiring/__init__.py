"""The composition root: settings in, a service that runs until it is closed out.

Two ways to keep batches: as files, which one process has for itself, or with DATABASE_URL in a
database that any number of processes share. What the second needs is imported for it only.
"""

import contextlib
from collections.abc import AsyncIterator

from config import Settings
from lifecycle import CannotStart
from services.batch_service import BatchService
from services.hospital_api import HospitalApi
from services.meters import Meters
from wiring.on_files import on_files
from wiring.service import open_api


@contextlib.asynccontextmanager
async def running_service(settings: Settings, meters: Meters) -> AsyncIterator[BatchService]:
    """Have the service run for a block; it stops at the end, or when it is told to.

    Raises:
        CannotStart: It cannot; the message says what to do.
    """
    run = on_files if settings.database_url is None else _on_database
    async with run(settings, open_api(settings), meters) as service:
        try:
            yield service
        finally:
            await service.close()


@contextlib.asynccontextmanager
async def _on_database(
    settings: Settings, api: HospitalApi, meters: Meters
) -> AsyncIterator[BatchService]:
    try:
        from wiring.on_database import (
            on_database,
        )  # needs the packages of requirements-postgres.txt
    except ModuleNotFoundError as missing:
        raise CannotStart(
            f"DATABASE_URL is set, but {missing.name} is not installed: "
            "pip install -r requirements-postgres.txt."
        ) from None
    async with on_database(settings, api, meters) as service:
        yield service
