"""The database that several processes of the service share: restarted, killed, frozen, read.

Nobody disturbs it while it is read, so that reading it is quick enough for the event loop.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from chaos.child import Child
from chaos.journal import Journal
from chaos.ledger import Ledger, Seen
from chaos.schedule import DatabaseAway, Outage
from chaos.table import times_away
from scripts.postgres import PostgresServer
from scripts.processes import DidNotStart

KEPT = """
SELECT head,
    (SELECT json_agg(document ORDER BY number) FROM hospital_bulk.rows WHERE batch_id = batches.id)
FROM hospital_bulk.batches
"""


class SharedDatabase:
    """One PostgreSQL server with one database.

    Attributes:
        counts: What was done to it.
        url: Of the database.
    """

    def __init__(self, folder: Path, ledger: Ledger, journal: Journal) -> None:
        self.counts: Counter[str] = Counter()
        self._log = folder / "migrate.log"
        self._ledger = ledger
        self._journal = journal
        self._server = PostgresServer(durable=False)
        self._lock = asyncio.Lock()
        self._reading: psycopg.Connection[tuple[Any, ...]] | None = None
        self.url = self._server.url()

    async def start(self) -> None:
        """Start it, and give it its tables."""
        await asyncio.to_thread(self._server.start)
        settings = {"DATABASE_URL": self.url}
        migrating = await Child.start(["database", "migrate"], settings, self._log, lambda _: None)
        if await migrating.ended() != 0:
            raise DidNotStart(f"The database was not migrated: see {self._log}")

    async def be_away(self, away: DatabaseAway) -> None:
        """Have it be away for a while, unless it is already."""
        if self._lock.locked():
            return self._journal.note(f"database: busy, left alone: {away}")
        async with self._lock:
            began = time.time()
            self._journal.note(f"database: {away.how} for {away.seconds:.1f} s")
            self.counts[times_away(away.how)] += 1
            try:
                await self._be_away(away)
            finally:
                self._ledger.stalled(began, time.time())
                self._journal.note("database: is back")

    async def _be_away(self, away: DatabaseAway) -> None:
        end, begin = {
            Outage.RESTARTED: (self._server.stop, self._server.start),
            Outage.KILLED: (self._server.kill, self._server.start),
            Outage.FROZEN: (self._server.freeze, self._server.thaw),
        }[away.how]
        await asyncio.to_thread(end)
        await asyncio.sleep(away.seconds)
        await asyncio.to_thread(begin)

    @contextlib.asynccontextmanager
    async def readable(self) -> AsyncIterator[None]:
        """Have nobody disturb it for a block."""
        async with self._lock:
            yield

    def kept(self) -> list[Seen]:
        """Return every batch that it has."""
        try:
            return self._read()
        except psycopg.OperationalError:  # the connection is from before it was away
            self._reading = None
            return self._read()

    async def close(self) -> None:
        """Stop it and throw it away."""
        if self._reading is not None:
            self._reading.close()
        await asyncio.to_thread(self._server.close)

    def _read(self) -> list[Seen]:
        if self._reading is None:
            self._reading = psycopg.connect(self.url, autocommit=True)
        return [_seen(*row) for row in self._reading.execute(KEPT)]


def _seen(head: dict[str, Any], rows: list[dict[str, Any]]) -> Seen:
    return Seen(
        batch_id=head["batch_id"],
        status=head["status"],
        updated_at=datetime.fromisoformat(head["updated_at"]).timestamp(),
        file_name=head["file_name"],
        runs=head["resume_count"],
        rows=tuple((row["name"], row["address"], row["phone"] or "") for row in rows),
    )
