"""Batches in a PostgreSQL database that several processes share.

Whoever works on a batch holds it, for as long as its process is seen. Each holder has a greater
number than the one before (a fencing token): what an earlier holder writes is refused.

Synchronous: whoever calls runs it off the event loop.
"""

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg.errors import UniqueViolation

from models.batch import ENDED, INTERRUPTED, Batch, BatchStatus
from models.outlook import Outlook
from models.row import Row, Rows
from services.off_loop import giving_way
from services.storage.checkpoint import (
    ROWS_A_PIECE,
    UnreadableCheckpoint,
    decode_head,
    decode_row,
    encode_head,
    encode_row,
)
from services.storage.contract import AlreadyUploaded, LostBatch, StorageError
from services.storage.database import Database

CHANNEL = "hospital_bulk"
# A process that was not seen for this long lost its batches; it is seen every third of it.
LEASE_S = 6.0
FORGET_PROCESSES_AFTER = "1 day"

CANCELLABLE = [str(BatchStatus.INITIALIZING), str(BatchStatus.PROCESSING)]
UNFINISHED = [*map(str, INTERRUPTED), str(BatchStatus.ABANDONING)]


@dataclass(frozen=True, slots=True)
class Claim:
    """What holding a batch begins with.

    Attributes:
        is_clean: Nothing was under way when it was last let go, and its state was written.
        cancelled: Somebody wants no further row sent.
    """

    is_clean: bool
    cancelled: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a batch since a version of it.

    Attributes:
        head: All but its rows; its `rows` is empty.
        rows: The rows that changed since.
        version: That of the batch as it is now.
        is_held: A process works on it.
        told: What that process last told of it.
        age_s: How long ago that was, in seconds.
    """

    head: Batch
    rows: list[Row]
    version: int
    is_held: bool
    told: Outlook
    age_s: float


class NotStored(Exception):
    """There is no such batch."""


class Unreadable(StorageError):
    """What is stored of the batch is damaged, or of another version of the service."""


@dataclass(slots=True)
class _Hold:
    fence: int
    cancelled: bool  # as the database has it


class PostgresBatches:
    """The batches of one database, as one process has them.

    Args:
        database: Its connections.
        directory_url: The directory of this process, which knows no batches of others.
        sign: A connection of its own for what must not wait: the sign that this process lives.
    """

    def __init__(
        self, database: Database, directory_url: str, sign: Database | None = None
    ) -> None:
        self._database = database
        self._sign = sign or database
        self._has_left = False
        self._leaving = threading.Lock()  # whether it is still to be seen
        self._directory_url = directory_url
        self._me = uuid4()
        self._holds: dict[UUID, _Hold] = {}
        self._in_exchange: set[UUID] = set()  # being claimed, or let go of
        self._refused: set[UUID] = set()  # that may be stored all the same
        self._deciding = threading.Lock()  # whether a new batch is accepted or removed

    @property
    def me(self) -> str:
        """What this process calls itself when it tells of a change."""
        return str(self._me)

    def holds(self, batch_id: UUID) -> bool:
        """Return whether this process works on the batch, as far as it knows."""
        return batch_id in self._holds

    def add(self, batch: Batch) -> None:
        """Store a new batch, held by this process until it is known to be stored.

        One that may be stored though this failed is removed as soon as the database can be reached:
        who uploaded it is told that it was refused, and must not find it loaded.

        Raises:
            AlreadyUploaded: There is one of its owner and idempotency key.
            StorageError: It may be stored or not.
        """
        hold = self._holds[batch.id] = _Hold(fence=1, cancelled=False)
        try:
            self._insert(batch, holder=self._me, fence=hold.fence, is_clean=True)
        except AlreadyUploaded:
            del self._holds[batch.id]
            raise
        except StorageError:
            self._refused.add(batch.id)
            raise

    def accept(self, batch_id: UUID) -> None:
        """Let any process take a batch that was stored just now: its client may be told.

        Raises:
            StorageError: Nobody knows; it is removed as soon as the database can be reached, unless
                somebody took it.
        """
        self._holds.pop(batch_id, None)
        with self._deciding:
            self._refused.discard(batch_id)
            try:
                self._release_new(batch_id)
            except StorageError:
                self._refused.add(batch_id)
                raise

    def _release_new(self, batch_id: UUID) -> None:
        about = {"id": batch_id, "me": self._me, "fence": 1}
        is_released = self._database.run(_RELEASE, is_clean=True, **about)
        # An earlier try may have done it, though its answer was lost.
        if not is_released and self._database.one(_IS_THERE, id=batch_id) is None:
            raise StorageError("the batch was removed")

    def bring(self, batch: Batch) -> None:
        """Store a batch of another storage, for any process to take; nothing if it is there.

        Raises:
            AlreadyUploaded: There is another of its owner and idempotency key.
            StorageError: It may be stored or not.
        """
        self._insert(batch, holder=None, fence=1, is_clean=batch.status in ENDED)

    def _insert(self, batch: Batch, **how: Any) -> None:
        try:
            self._database.run(_ADD, **how, **self._values(batch, range(1, len(batch.rows) + 1)))
        except StorageError as error:
            if isinstance(error.__cause__, UniqueViolation):
                raise AlreadyUploaded from None
            raise

    def save(self, batch: Batch, changed: Collection[int] | None = None) -> bool:
        """Write a batch that this process holds; return whether somebody wants it cancelled.

        Args:
            batch: A snapshot: nothing changes it any more.
            changed: Numbers of all rows that changed since it was last written; None: any may have.

        Raises:
            LostBatch: Another process holds it by now; nothing was written.
            StorageError: It may be written or not.
        """
        hold = self._hold(batch.id)
        numbers = range(1, len(batch.rows) + 1) if changed is None else changed
        values = self._values(batch, numbers)
        reset = hold.cancelled and not batch.cancelled
        row = self._database.one(_SAVE, fence=hold.fence, reset=reset, **values)
        if row is None:
            raise self._lost(batch.id)
        hold.cancelled = row[0]
        return hold.cancelled

    def delete(self, batch_id: UUID) -> None:
        """Remove a batch that this process holds, or that is not there; LostBatch, StorageError."""
        hold = self._hold(batch_id)
        about = {"id": batch_id, "me": self._me, "fence": hold.fence}
        if not self._database.run(_DELETE, **about) and self._database.one(_IS_THERE, id=batch_id):
            raise self._lost(batch_id)
        self._holds.pop(batch_id, None)
        self._refused.discard(batch_id)

    def check_writable(self) -> None:
        """Raise StorageError unless a batch could be stored now."""
        if self._database.read(_IS_READ_ONLY) != [(False,)]:
            raise StorageError("the database takes no changes")

    def claim(self, batch_id: UUID) -> Claim | None:
        """Hold a batch from now on; None if another process holds it, or it is not there."""
        self._in_exchange.add(batch_id)
        try:
            about = {"id": batch_id, "lease_s": LEASE_S}
            row = self._database.one(_CLAIM, **about, **self._knowing())
            if row is None:
                return None
            fence, is_clean, cancelled, _ = row
            self._holds[batch_id] = _Hold(fence, cancelled)
            return Claim(is_clean, cancelled)
        finally:
            self._in_exchange.discard(batch_id)

    def release(self, batch_id: UUID, *, is_clean: bool) -> int | None:
        """Hold a batch no more: another process may have it at once, or soon if this fails.

        Args:
            batch_id: The batch's.
            is_clean: Nothing is under way, and its state is written.

        Returns:
            The version that it has then; None if it was lost.

        Raises:
            StorageError: It is given up by the next `be_seen` that succeeds.
        """
        self._in_exchange.add(batch_id)
        try:
            hold = self._holds.pop(batch_id, None)
            if hold is None:
                return None
            about = {"id": batch_id, "me": self._me, "fence": hold.fence}
            row = self._database.one(_RELEASE, is_clean=is_clean, **about)
            return None if row is None else int(row[0])
        finally:
            self._in_exchange.discard(batch_id)

    def check(self) -> dict[UUID, bool]:
        """Return all batches that this process still holds: whether somebody wants each cancelled.

        Raises:
            StorageError: Nobody knows.
        """
        holds = self._holds.copy()
        found = self._database.read(_MINE, me=self._me)
        fences = {batch_id: (fence, cancelled) for batch_id, fence, cancelled in found}
        kept = {one: hold for one, hold in holds.items() if one in fences}
        return {one: fences[one][1] for one, hold in kept.items() if fences[one][0] == hold.fence}

    def cancel(self, batch_id: UUID) -> bool:
        """Have no further row of a batch sent, whoever holds it; False if it is too late."""
        about = {"id": batch_id, "me": self._me, "statuses": CANCELLABLE}
        return bool(self._database.run(_CANCEL, **about))

    def versions(self) -> dict[UUID, int]:
        """Return the version of every batch, but of those that may still turn out to be refused."""
        versions: dict[UUID, int] = dict(self._database.read(_VERSIONS, **self._knowing()))
        for batch_id in tuple(self._refused):
            versions.pop(batch_id, None)
        return versions

    def uploaded_as(self, owner: str | None, idempotency_key: str) -> UUID | None:
        """Return the batch that *owner* uploaded under a key of their own, if there is one."""
        about = {"owner": owner or "", "key": idempotency_key}
        found = self._database.read(_UPLOADED, **about, **self._knowing())
        return found[0][0] if found and found[0][0] not in self._refused else None

    def _knowing(self) -> dict[str, Any]:
        return {"me": self._me, "directory": self._directory_url}

    def read(self, batch_id: UUID, since: int = 0) -> Stored | None:
        """Return what changed of a batch since a version; None if nothing did.

        Args:
            batch_id: The batch's.
            since: The version that is known; 0: none, so all of it is read.

        Raises:
            NotStored: There is no such batch.
            Unreadable: It is not served.
            StorageError: It cannot be read now.
        """
        found = self._database.read(_READ, id=batch_id, since=since, **self._knowing())
        if not found or batch_id in self._refused:
            raise NotStored
        head, rows, version, cancelled, is_held, step, eta_s, age_s = found[0]
        if head is None:
            return None
        try:
            batch = decode_head(head, Rows(()))
            batch.cancelled = cancelled
            changed = [decode_row(row) for row in giving_way(rows or (), every=ROWS_A_PIECE)]
        except UnreadableCheckpoint as error:
            raise Unreadable(f"batch {batch_id}: {error}") from None
        return Stored(batch, changed, version, is_held, Outlook(step, eta_s), age_s)

    def be_seen(self) -> None:
        """Show that this process lives, after giving up what it holds only by the database's word.

        What it refused is removed, and what it was given, or gave up, in an exchange that failed is
        let go of: else nobody could ever have it.
        """
        if self._refused and self._deciding.acquire(blocking=False):  # else the next time
            try:
                self._remove_refused()
            finally:
                self._deciding.release()
        self._give_up_strays()
        with self._leaving:
            if not self._has_left:
                self._sign.run(_BE_SEEN, me=self._me, forget=FORGET_PROCESSES_AFTER)

    def _remove_refused(self) -> None:
        for batch_id in tuple(self._refused):
            self._sign.run(_DELETE_UNTAKEN, id=batch_id, me=self._me)
            self._refused.discard(batch_id)
            self._holds.pop(batch_id, None)

    def _give_up_strays(self) -> None:
        mine = self._sign.read(_MINE, me=self._me)
        # Looked at after it: what is claimed meanwhile stays.
        held = {*self._holds, *self._in_exchange}
        for batch_id, fence, _ in mine:
            if batch_id not in held:
                self._sign.run(_GIVE_UP, id=batch_id, me=self._me, fence=fence)

    def leave(self) -> None:
        """Show that this process is gone: what it held may be taken at once."""
        with self._leaving:
            self._has_left = True
            self._sign.run("DELETE FROM hospital_bulk.processes WHERE id = %(me)s", me=self._me)

    def free_unseen(self) -> int:
        """Have nobody hold what is held by processes that were not seen for as long as the lease.

        The state of these batches is not clean: whoever takes them looks at the directory first. An
        upload of which the client was not told is removed.

        Returns:
            How many batches there were.
        """
        about = {"me": self._me, "lease_s": LEASE_S}
        self._sign.run(_DROP_UNACCEPTED, **about)
        return self._sign.run(_FREE_UNSEEN, **about)

    def left_over(self) -> list[UUID]:
        """Return the unfinished batches of this directory that nobody holds, or is to take.

        An abandonment that was not cut off is not among them: it failed, and the next cleanup tries
        it again.
        """
        about = {"directory": self._directory_url, "statuses": UNFINISHED}
        return [batch_id for (batch_id,) in self._database.read(_LEFT_OVER, **about)]

    def _hold(self, batch_id: UUID) -> _Hold:
        try:
            return self._holds[batch_id]
        except KeyError:
            raise LostBatch from None

    def _lost(self, batch_id: UUID) -> LostBatch:
        self._holds.pop(batch_id, None)
        return LostBatch()

    def _values(self, batch: Batch, numbers: Collection[int]) -> dict[str, Any]:
        step, eta_s = (batch.told.step, batch.told.eta_s) if batch.told else (batch.step, None)
        return {
            "id": batch.id,
            "me": self._me,
            "directory": batch.directory_url,
            "owner": batch.owner,
            "key": batch.idempotency_key,
            "status": batch.status,
            "cancelled": batch.cancelled,
            "head": encode_head(batch),
            "step": step,
            "eta_s": eta_s,
            "numbers": list(numbers),
            "documents": list(_documents(batch, numbers)),
        }


def _documents(batch: Batch, numbers: Collection[int]) -> Iterator[str]:
    return (encode_row(batch.row(number)) for number in giving_way(numbers, every=ROWS_A_PIECE))


# Who is told of a change, and by whom: nobody has to look for what it did itself.
_TELL = f"pg_notify('{CHANNEL}', %(id)s::text || ' ' || %(me)s::text)"

_ADD = f"""
WITH added AS (
    INSERT INTO hospital_bulk.batches
        (id, directory_url, owner, idempotency_key, status, cancelled, head, saved_at, holder,
        fence, is_clean)
    VALUES (%(id)s, %(directory)s, %(owner)s, %(key)s, %(status)s, %(cancelled)s, %(head)s,
        hospital_bulk.clock(), %(holder)s, %(fence)s, %(is_clean)s)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), written AS (
    INSERT INTO hospital_bulk.rows (batch_id, number, version, document)
    SELECT added.id, number, 1, document::json
    FROM added, unnest(%(numbers)s::integer[], %(documents)s::text[]) AS row (number, document)
)
SELECT {_TELL} FROM added
"""

_SAVE = f"""
WITH saved AS (
    UPDATE hospital_bulk.batches
    SET status = %(status)s, head = %(head)s, step = %(step)s, eta_s = %(eta_s)s,
        saved_at = hospital_bulk.clock(), version = version + 1,
        cancelled = %(cancelled)s OR (cancelled AND NOT %(reset)s)
    WHERE id = %(id)s AND holder = %(me)s AND fence = %(fence)s
    RETURNING id, version, cancelled
), written AS (
    INSERT INTO hospital_bulk.rows (batch_id, number, version, document)
    SELECT saved.id, number, saved.version, document::json
    FROM saved, unnest(%(numbers)s::integer[], %(documents)s::text[]) AS row (number, document)
    ON CONFLICT (batch_id, number)
    DO UPDATE SET version = excluded.version, document = excluded.document
)
SELECT cancelled, {_TELL} FROM saved
"""

_DELETE = f"""
WITH gone AS (
    DELETE FROM hospital_bulk.batches
    WHERE id = %(id)s AND holder = %(me)s AND fence = %(fence)s
    RETURNING id
)
SELECT {_TELL} FROM gone
"""

_DELETE_UNTAKEN = f"""
WITH gone AS (
    DELETE FROM hospital_bulk.batches
    WHERE id = %(id)s AND fence = 1 AND (holder IS NULL OR holder = %(me)s)
    RETURNING id
)
SELECT {_TELL} FROM gone
"""

_IS_FREE = """
(holder IS NULL OR NOT EXISTS (
    SELECT FROM hospital_bulk.processes
    WHERE processes.id = holder
    AND abs(extract(epoch FROM hospital_bulk.clock() - seen_at)) < %(lease_s)s
))
"""


# Of one that its process still holds since the upload, the client was not told: nobody else may
# tell that it was accepted, or run it.
_IS_KNOWN = """
directory_url = %(directory)s AND (fence <> 1 OR holder IS NULL OR holder = %(me)s)
"""

_CLAIM = f"""
WITH before AS (
    SELECT id, is_clean FROM hospital_bulk.batches
    WHERE id = %(id)s AND (holder = %(me)s OR {_IS_FREE}) AND {_IS_KNOWN}
    FOR UPDATE
)
UPDATE hospital_bulk.batches AS batch
SET holder = %(me)s, fence = fence + 1, is_clean = false, version = version + 1
FROM before WHERE batch.id = before.id
RETURNING fence, before.is_clean, cancelled, {_TELL}
"""

_RELEASE = f"""
WITH released AS (
    UPDATE hospital_bulk.batches
    SET holder = NULL, is_clean = %(is_clean)s, version = version + 1
    WHERE id = %(id)s AND holder = %(me)s AND fence = %(fence)s
    RETURNING version
)
SELECT version, {_TELL} FROM released
"""

_MINE = "SELECT id, fence, cancelled FROM hospital_bulk.batches WHERE holder = %(me)s"

_GIVE_UP = """
UPDATE hospital_bulk.batches SET holder = NULL, version = version + 1
WHERE id = %(id)s AND holder = %(me)s AND fence = %(fence)s
"""

_CANCEL = f"""
WITH cancelled AS (
    UPDATE hospital_bulk.batches SET cancelled = true, version = version + 1
    WHERE id = %(id)s AND status = ANY(%(statuses)s)
    RETURNING id
)
SELECT {_TELL} FROM cancelled
"""

_VERSIONS = f"SELECT id, version FROM hospital_bulk.batches WHERE {_IS_KNOWN}"

_UPLOADED = f"""
SELECT id FROM hospital_bulk.batches
WHERE coalesce(owner, '') = %(owner)s AND idempotency_key = %(key)s AND {_IS_KNOWN}
"""

_READ = f"""
SELECT CASE WHEN version > %(since)s THEN head::text END,
    (SELECT array_agg(document::text ORDER BY number) FROM hospital_bulk.rows
        WHERE batch_id = batches.id AND rows.version > %(since)s),
    version, cancelled, holder IS NOT NULL, step, eta_s,
    extract(epoch FROM hospital_bulk.clock() - saved_at)::double precision
FROM hospital_bulk.batches WHERE id = %(id)s AND {_IS_KNOWN}
"""

_IS_READ_ONLY = """
SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean
"""

_IS_THERE = "SELECT 1 FROM hospital_bulk.batches WHERE id = %(id)s"

_BE_SEEN = """
WITH old AS (
    DELETE FROM hospital_bulk.processes
    WHERE seen_at < hospital_bulk.clock() - %(forget)s::interval AND id <> %(me)s
)
INSERT INTO hospital_bulk.processes VALUES (%(me)s, hospital_bulk.clock())
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
"""

_DROP_UNACCEPTED = f"""
DELETE FROM hospital_bulk.batches WHERE fence = 1 AND holder <> %(me)s AND {_IS_FREE}
"""

_FREE_UNSEEN = f"""
WITH freed AS (
    UPDATE hospital_bulk.batches SET holder = NULL, version = version + 1
    WHERE holder IS NOT NULL AND {_IS_FREE}
    RETURNING id
)
SELECT {_TELL.replace("%(id)s", "id")} FROM freed
"""

_LEFT_OVER = """
SELECT id FROM hospital_bulk.batches
WHERE directory_url = %(directory)s AND status = ANY(%(statuses)s) AND holder IS NULL
AND NOT (status = 'abandoning' AND is_clean)
AND NOT EXISTS (
    SELECT FROM procrastinate_jobs
    WHERE procrastinate_jobs.status = 'todo' AND queueing_lock = batches.id::text
)
ORDER BY saved_at
"""
