"""Streams of server-sent events: what the watchers of a batch are told, and how it reaches them.

Every change is encoded once, however many watch. Nothing is queued for a watcher: one that falls
behind is told where the batch stands when it comes back.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from starlette.types import Receive, Scope, Send

from models.api import PAGE_ROWS
from models.batch import ENDED, Batch
from models.errors import BatchNotFound
from routers.problem import UploadCutOff
from routers.progress_document import changes_json, progress_json
from services import clock
from services.batch_service import BatchService

GATHER_S = 0.005  # what changes together, as a wave of rows that leaves, is told together ...
EVERY_S = 0.05  # ... and the next change not sooner than this after the last one
# 1,000 rows take 5 ms to tell: so long, ten times, everything else has its turn.
PAUSES = 10
KEEP_ALIVE_S = 15.0
KEEP_ALIVE = b": still here\n\n"


def event_id(updated_at: datetime) -> str:
    """Return the id of an event that tells of a batch as it is since *updated_at*.

    It is made of what outlives the process: a client may come back after a restart.
    """
    return str(clock.epoch_us(updated_at))


def done_id(updated_at: datetime) -> str:
    """Return the id of the `done` event of a batch that ended at *updated_at*."""
    return f"{event_id(updated_at)}-done"


class _Look:
    """Where a batch stood at one moment, with its first rows."""

    def __init__(self, service: BatchService, batch: Batch) -> None:
        self._json = progress_json(service, batch)
        self._updated_at = batch.updated_at
        self.at_s = clock.now_s()

    @cached_property
    def as_progress(self) -> bytes:
        return _event("progress", event_id(self._updated_at), self._json)

    @cached_property
    def as_done(self) -> bytes:
        return _event("done", done_id(self._updated_at), self._json)


class Feed:
    """One batch as all of its watchers see it. Changes are numbered, and only the last is kept."""

    def __init__(self, service: BatchService, batch: Batch) -> None:
        self._service = service
        self._batch = batch
        self._newest: _Look | None = None  # since the last change was told
        self._ended = self._end()
        self._told_at_s = clock.now_s()
        self._was_correctable = batch.is_correctable
        self._rows: set[int] = set()  # that changed since
        self._number = 0
        self._change = b""
        self._pause_s = EVERY_S
        self._changed = asyncio.Event()
        self._due: asyncio.TimerHandle | None = None
        self._stop_hearing = service.watch(batch.id, self._hear)
        self.watchers = 0

    def close(self) -> None:
        """Let go of the batch."""
        self._stop_hearing()
        if self._due is not None:
            self._due.cancel()

    async def events(self) -> AsyncGenerator[bytes]:
        """Tell one watcher the whole progress, then each change; end when the batch has."""
        if self._due is not None:
            self._tell()  # at once: nobody begins with less than what was true when it asked
        seen = None
        while not self._is_forgotten:
            if seen != self._number:
                news = self._change if seen == self._number - 1 else self._whole()
                seen = self._number
                yield news
            elif self._ended is not None:
                yield self._ended.as_done
                return
            elif not await self._wait():
                yield KEEP_ALIVE

    def _hear(self, row: int | None) -> None:
        """Tell soon that something changed."""
        if row is not None:
            self._rows.add(row)
        if self._due is None:
            at_s = max(self._told_at_s + self._pause_s, clock.now_s() + GATHER_S)
            self._due = asyncio.get_running_loop().call_at(at_s, self._tell)

    @property
    def _is_forgotten(self) -> bool:
        try:
            return self._service.get(self._batch.id) is not self._batch
        except BatchNotFound:
            return True

    def _look(self) -> _Look:
        return _Look(self._service, self._batch)

    def _end(self) -> _Look | None:
        return self._look() if self._batch.status in ENDED else None

    def _whole(self) -> bytes:
        """Return everything, as of now: seconds go by also when nothing changes."""
        if self._ended is not None:
            return self._ended.as_progress
        if self._newest is None or clock.now_s() >= self._newest.at_s + EVERY_S:
            self._newest = self._look()
        return self._newest.as_progress

    def _tell(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._told_at_s = clock.now_s()
        self._newest, self._ended = None, self._end()
        rows = self._changed_rows()
        self._change = self._whole() if len(rows) > PAGE_ROWS else self._as_rows(rows)
        self._number += 1
        self._pause_s = max(EVERY_S, (clock.now_s() - self._told_at_s) * PAUSES)
        self._changed.set()
        self._changed = asyncio.Event()

    def _changed_rows(self) -> list[int]:
        """Return the numbers of the rows that are not as they were told, and begin anew."""
        numbers, self._rows = self._rows, set()
        if self._batch.is_correctable is not self._was_correctable:
            self._was_correctable = self._batch.is_correctable
            numbers |= {row.hospital.row for row in self._batch.rows if row.is_excluded}
        return sorted(numbers)

    def _as_rows(self, numbers: list[int]) -> bytes:
        changes = changes_json(self._service, self._batch, map(self._batch.row, numbers))
        return _event("rows", event_id(self._batch.updated_at), changes)

    async def _wait(self) -> bool:
        """Return True at the next change, False when it is time for a sign of life."""
        try:
            async with asyncio.timeout(KEEP_ALIVE_S):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


class Feeds:
    """The batches that are watched."""

    def __init__(self) -> None:
        self._feeds: dict[UUID, Feed] = {}

    @property
    def watchers(self) -> int:
        """How many watch any batch."""
        return sum(feed.watchers for feed in self._feeds.values())

    @contextmanager
    def joined(self, service: BatchService, batch: Batch) -> Iterator[Feed]:
        """Watch a batch for a block, together with whoever else does."""
        if batch.id not in self._feeds:
            self._feeds[batch.id] = Feed(service, batch)
        feed = self._feeds[batch.id]
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self._feeds[batch.id]
                feed.close()


async def get_feeds(request: Request) -> Feeds:
    """Return what the watchers of all batches share."""
    feeds: Feeds = request.app.state.feeds
    return feeds


FeedsDep = Annotated[Feeds, Depends(get_feeds)]


class EventStream(Response):
    """A stream that ends with its batch, its client or the service, whichever is first."""

    media_type = "text/event-stream"

    def __init__(self, feeds: Feeds, service: BatchService, batch: Batch) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # a proxy holds nothing
        super().__init__(headers=headers)
        del self.headers["Content-Length"]
        self._feeds = feeds
        self._service = service
        self._batch = batch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._feeds.joined(self._service, self._batch) as feed:
            await _until_first(
                self._tell(feed, send), _left(receive), self._service.wait_until_stopping()
            )
        with suppress(OSError):  # how some servers say that the client is gone
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, feed: Feed, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        with suppress(OSError):
            await send(start)
            async with aclosing(feed.events()) as events:
                async for event in events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})


async def _left(receive: Receive) -> None:
    """Return when the client is gone, or sends what is not wanted."""
    with suppress(UploadCutOff):
        while (await receive())["type"] != "http.disconnect":
            pass


async def _until_first(*ends: Coroutine[Any, Any, None]) -> None:
    """Return when one of *ends* does; the others are cancelled."""
    tasks = [asyncio.create_task(end) for end in ends]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _event(kind: str, identity: str, data: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (kind.encode(), identity.encode(), data)
