"""Hands unfinished batches to processes that have room: procrastinate, a queue in the database.

A job says that a batch is to be taken; it may come twice, or to a process that is too late. Whoever
claims the batch runs it, and a batch that no job speaks of any more is offered again.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ProcrastinateException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from models.errors import BulkError
from services.logs import get_logger
from services.storage.contract import StorageError
from services.storage.database import ATTEMPT_S, OPTIONS, PATIENCE_S
from services.storage.postgres import CHANNEL, LEASE_S

logger = get_logger(__name__)

TASK = "take"
POLL_S = 2.0  # for what nobody was told of
RESTART_S = 1.0
TIDY_S = 60.0  # they are in nobody's way
CONNECTIONS = 2


class _Jobs(JobManager):
    """The engine's jobs; one whose end cannot be noted is removed later, see `Engine.tidy`."""

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        with contextlib.suppress(ProcrastinateException, psycopg.Error):
            await super().finish_job(job, status, delete_job)


class Engine:
    """The queue of one directory's batches.

    Args:
        database_url: Where it is.
        directory_url: Processes that name another directory take none of its batches.
    """

    def __init__(self, database_url: str, directory_url: str) -> None:
        for noisy in ("procrastinate", "psycopg.pool"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)  # the service tells what follows
        self._queue = f"directory-{hashlib.sha256(directory_url.encode()).hexdigest()[:16]}"
        connector = PsycopgConnector(
            conninfo=database_url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=PATIENCE_S,
            reconnect_timeout=ATTEMPT_S,
            kwargs={name: value for name, value in OPTIONS.items() if name != "autocommit"},
        )
        self._app = App(connector=connector)
        self._app.job_manager = _Jobs(self._app.connector)
        self._working: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._taking: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        """Connect; StorageError if that is not possible."""
        try:
            await self._app.open_async()
        except (ProcrastinateException, psycopg.Error) as error:
            raise StorageError(f"the database cannot be reached: {_kind(error)}") from None

    async def aclose(self) -> None:
        """Take no more batches, and give up all connections."""
        self.stop()
        ending = {*self._taking, *([self._working] if self._working else [])}
        if ending:
            await asyncio.wait(ending, timeout=PATIENCE_S)  # the database may be away
        await self._app.close_async()

    async def offer(self, batch_id: UUID) -> None:
        """Have some process take a batch; if that fails it is offered again by whoever sees it."""
        job = self._app.configure_task(TASK, queue=self._queue, queueing_lock=str(batch_id))
        try:
            await job.defer_async(batch_id=str(batch_id))
        except AlreadyEnqueued:
            pass
        except (ProcrastinateException, psycopg.Error) as error:
            logger.warning("batch cannot be queued yet", batch_id=str(batch_id), error=_kind(error))

    def start(self, take: Callable[[UUID], Awaitable[None]], at_once: int) -> None:
        """Begin to take batches.

        Args:
            take: Works on a batch; returns when that has ended.
            at_once: Most batches.
        """

        async def taken(batch_id: str) -> None:
            taking = asyncio.ensure_future(take(UUID(batch_id)))
            self._taking.add(taking)
            taking.add_done_callback(self._taken)
            await asyncio.shield(taking)  # jobs are cancelled when the database goes away

        self._app.task(name=TASK)(taken)
        self._working = asyncio.create_task(self._work(at_once))

    def stop(self) -> None:
        """Take no more batches; the work on those that were taken goes on."""
        self._is_stopping = True
        if self._working is not None:
            self._working.cancel()
        for taking in self._taking:
            taking.cancel()

    def _taken(self, taking: asyncio.Future[None]) -> None:
        self._taking.discard(taking)
        error = None if taking.cancelled() else taking.exception()
        if error is not None and not isinstance(error, BulkError):
            logger.error("unforeseen error", exc_info=error)

    async def _work(self, at_once: int) -> None:
        """Run the engine's worker, which ends whenever the database goes away.

        When this task is cancelled meanwhile, it may report that as a failure, and not end.
        """
        while not self._is_stopping:
            try:
                await self._app.run_worker_async(
                    queues=[self._queue],
                    concurrency=at_once,
                    fetch_job_polling_interval=POLL_S,
                    update_heartbeat_interval=LEASE_S / 3,
                    stalled_worker_timeout=LEASE_S,
                    shutdown_graceful_timeout=0,  # the work itself is not the job's
                    delete_jobs="always",
                    install_signal_handlers=False,
                )
            except (ProcrastinateException, psycopg.Error) as error:
                logger.warning("no batches can be taken yet", error=_kind(error))
            except Exception:
                logger.exception("unforeseen error")
            await asyncio.sleep(RESTART_S)

    async def tidy(self) -> None:
        """Remove the jobs of processes that are gone, for as long as this one lives."""
        jobs = self._app.job_manager
        while True:
            await asyncio.sleep(TIDY_S)
            with contextlib.suppress(ProcrastinateException, psycopg.Error):
                for job in await jobs.get_stalled_jobs(
                    queue=self._queue, seconds_since_heartbeat=LEASE_S
                ):
                    await jobs.finish_job(job, Status.FAILED, delete_job=True)


async def listen(url: str, hear: Callable[[UUID, str], None], hear_all: Callable[[], None]) -> None:
    """Hear what other processes tell of batches, for as long as this one lives.

    Args:
        url: The database's.
        hear: Called with a batch's id and the sender.
        hear_all: Called whenever something may have been missed.
    """
    while True:
        with contextlib.suppress(psycopg.Error, ValueError):  # ValueError: a stranger's notice
            async with await psycopg.AsyncConnection.connect(url, **OPTIONS) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                hear_all()
                async for notice in connection.notifies():
                    batch_id, _, sender = notice.payload.partition(" ")
                    hear(UUID(batch_id), sender)
        await asyncio.sleep(RESTART_S)


def _kind(error: Exception) -> str:
    return type(error.__cause__ or error).__name__
