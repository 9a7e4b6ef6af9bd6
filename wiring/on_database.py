"""Wires the service to a database that it shares with other processes."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from config import Settings
from lifecycle import CannotStart
from models.errors import StorageUnavailable
from services.batch_service import BatchService
from services.database_peers import DatabasePeers
from services.engine import Engine, listen
from services.hospital_api import HospitalApi
from services.logs import get_logger
from services.meters import Meters
from services.progress_tracker import ProgressTracker
from services.storage.contract import StorageError
from services.storage.database import Database
from services.storage.postgres import PostgresBatches
from services.storage.schema import SchemaMismatch, check_schema
from services.storage.turns import shared_budgets
from wiring.service import Sharing, build_service

logger = get_logger("hospital_bulk")

HANGING_S = 5.0  # beyond the grace
THREADS = 32  # those that wait for a database which hangs leave some to others


@contextlib.asynccontextmanager
async def on_database(
    settings: Settings, api: HospitalApi, meters: Meters
) -> AsyncIterator[BatchService]:
    """Have the service run for a block, on the database of DATABASE_URL.

    Raises:
        CannotStart: It cannot; the message says what to do.
    """
    assert settings.database_url is not None
    url, directory_url = settings.database_url.get_secret_value(), settings.hospital_api_base_url
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    try:
        await asyncio.to_thread(check_schema, url)
    except SchemaMismatch as mismatch:
        raise CannotStart(str(mismatch)) from None
    database, sign, engine = Database(url), Database(url, 1), Engine(url, directory_url)
    storage = PostgresBatches(database, directory_url, sign)
    tracker = ProgressTracker(storage, meters=meters)
    peers = DatabasePeers(storage, tracker, engine.offer, meters)
    sharing = Sharing(shared_budgets(database, directory_url), peers)
    service = build_service(settings, api, tracker, _nothing, meters, sharing)
    with contextlib.closing(database), contextlib.closing(sign):
        database.open()
        sign.open()
        async with contextlib.aclosing(engine):
            try:
                await engine.open()
                await asyncio.to_thread(storage.be_seen)
                await peers.refresh_all()
            except (StorageError, StorageUnavailable) as error:
                raise CannotStart(f"DATABASE_URL cannot be used: {error}.") from None
            logger.info(
                "beside other processes",
                process=storage.me,
                pid=os.getpid(),
                directory=directory_url,
                runs_batches=settings.run_batches,
            )
            await service.start([])
            if settings.run_batches:
                engine.start(service.take, settings.max_queued_batches)
            async with _beside(
                peers.be_seen(),
                peers.keep_up(takes_over=settings.run_batches),
                peers.follow(),
                listen(url, peers.hear, peers.hear_all),
                engine.tidy(),
                _stop_with(service, engine, settings.shutdown_grace_seconds + HANGING_S),
            ):
                yield service
            with contextlib.suppress(StorageError):
                await asyncio.to_thread(storage.leave)


@contextlib.asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have *work* done for as long as a block lasts."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _stop_with(service: BatchService, engine: Engine, at_most_s: float) -> None:
    """Take no more batches when the service stops; and end, however long the database hangs."""
    await service.wait_until_stopping()
    engine.stop()
    # A thread that waits for the database cannot be ended. Nothing is lost: it is as if killed.
    last_resort = threading.Timer(at_most_s, os._exit, (1,))
    last_resort.daemon = True
    last_resort.start()


def _nothing() -> None:
    """The shared budgets remember creates."""
