"""A PostgreSQL database: connections that come back, and the schema that has to be there.

Synchronous: whoever calls runs it off the event loop.
"""

import contextlib
import time
from collections.abc import Iterator
from importlib import resources
from typing import Any, TypeAlias

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from services.storage.contract import StorageError

OLDEST_SERVER = 130000
CONNECTIONS = 5
# A database that restarts is away for a few seconds: so long a caller waits before it is told.
PATIENCE_S = 5.0
ATTEMPT_S = 0.5
READ_PATIENCE_S = 1.0  # who only wants to know is told what was known before
# A server that is gone without a word is noticed after this; one that hangs is waited for.
SILENCE_MS = 10_000
OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "tcp_user_timeout": SILENCE_MS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "application_name": "hospital-bulk",
}
MIGRATING = 7163514  # the advisory lock of whoever changes the schema

Query: TypeAlias = Any  # text of this package only; values go beside it


class SchemaMismatch(Exception):
    """The database cannot be used as it is; the message says what to do."""


class Database:
    """A pool of connections.

    Args:
        url: `postgresql://...`
    """

    def __init__(self, url: str) -> None:
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=CONNECTIONS,
            reconnect_timeout=ATTEMPT_S,
            kwargs=OPTIONS,
            open=False,
        )

    def open(self) -> None:
        """Begin to connect."""
        self._pool.open()

    def close(self) -> None:
        """Give up all connections."""
        self._pool.close()

    def read(self, query: Query, **values: Any) -> list[TupleRow]:
        """Return all rows of a query, soon; StorageError if there is no answer."""
        deadline_s = time.monotonic() + READ_PATIENCE_S
        while True:
            with self._lent(deadline_s) as connection:
                try:
                    return connection.execute(query, values).fetchall()
                except psycopg.OperationalError:  # the connection broke while nobody used it
                    if time.monotonic() > deadline_s:
                        raise

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection[TupleRow]]:
        """Lend a connection that works; each statement is a transaction.

        Raises:
            StorageError: There is none, or what was done with it failed; what came of it is then
                not known.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            with self._lent(deadline_s) as connection:
                if _works(connection):
                    yield connection
                    return
            if time.monotonic() > deadline_s:
                raise StorageError("the database breaks every connection")

    @contextlib.contextmanager
    def _lent(self, deadline_s: float) -> Iterator[Connection[TupleRow]]:
        connection = self._asked_for(deadline_s)
        try:
            with connection:
                yield connection
        except psycopg.Error as error:
            raise StorageError(f"the database failed: {type(error).__name__}") from error
        finally:
            self._pool.putconn(connection)

    def _asked_for(self, deadline_s: float) -> Connection[TupleRow]:
        """Ask for a connection again and again: the pool itself tries ever more seldom."""
        while True:
            try:
                return self._pool.getconn(ATTEMPT_S)
            except PoolTimeout:
                if time.monotonic() > deadline_s:
                    raise StorageError("the database cannot be reached") from None
            except psycopg.Error as error:
                raise StorageError(f"the database failed: {type(error).__name__}") from error

    def one(self, query: Query, **values: Any) -> TupleRow | None:
        """Return the first row of a statement, if any; StorageError if there is no answer."""
        with self.connection() as connection:
            return connection.execute(query, values).fetchone()

    def run(self, query: Query, **values: Any) -> int:
        """Return how many rows a statement changed; StorageError if there is no answer."""
        with self.connection() as connection:
            return connection.execute(query, values).rowcount


def _works(connection: Connection[TupleRow]) -> bool:
    """Return whether the server answers; else what is done next could not be told from not done."""
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


def check_schema(url: str) -> None:
    """Raise SchemaMismatch unless the database has just the schema that this version needs."""
    try:
        with psycopg.connect(url, **OPTIONS) as connection:
            wanted, found = _wanted(), _applied(connection)
    except psycopg.OperationalError as error:
        raise SchemaMismatch(f"DATABASE_URL cannot be reached ({_reason(error)}).") from None
    except psycopg.Error as error:
        raise SchemaMismatch(f"DATABASE_URL cannot be used ({_reason(error)}).") from None
    if missing := [name for name in wanted if name not in found]:
        raise SchemaMismatch(
            f"The database lacks {len(missing)} of {len(wanted)} migrations: run "
            "`python -m database migrate` once, then start again."
        )
    if unknown := found - set(wanted):
        raise SchemaMismatch(
            f"The database was migrated by a newer version of this service ({max(unknown)}): start "
            "that version, or restore the backup from before the migration."
        )


def migrate(url: str) -> list[str]:
    """Bring the database's schema up to date, each migration whole; return what was applied.

    Raises:
        SchemaMismatch: The database cannot be used; what was applied until then stays.
    """
    applied: list[str] = []
    try:
        with psycopg.connect(url, **OPTIONS) as connection:
            if connection.info.server_version < OLDEST_SERVER:
                raise SchemaMismatch("PostgreSQL 13 or newer is needed.")
            if connection.info.parameter_status("server_encoding") != "UTF8":
                raise SchemaMismatch("The database needs the encoding UTF8: make a new one.")
            connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATING,))
            connection.execute(_APPLIED_TABLE)
            if not _applied(connection):
                names = list(_engine())
                _apply(connection, SchemaManager.get_schema(), names)
                applied += names
            found = _applied(connection)
            for name, text in _wanted().items():
                if name not in found:
                    _apply(connection, text, [name])
                    applied.append(name)
    except psycopg.Error as error:
        raise SchemaMismatch(f"The database could not be migrated ({_reason(error)}).") from None
    return applied


def _apply(connection: Connection[TupleRow], text: Query, names: list[str]) -> None:
    with connection.transaction():
        connection.execute(text)
        for name in names:
            connection.execute("INSERT INTO hospital_bulk_migrations VALUES (%s)", (name,))


_APPLIED_TABLE = """
CREATE TABLE IF NOT EXISTS hospital_bulk_migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
)
"""


def _wanted() -> dict[str, Query]:
    """Return name -> SQL of every migration, in order: the engine's, then our own."""
    return _engine() | _files("services.storage.migrations")


def _engine() -> dict[str, Query]:
    """Return those of the engine: an empty database gets what comes of all, in one piece."""
    changes = _files("procrastinate.sql.migrations")
    return {f"engine {name}": text for name, text in changes.items()}


def _files(package: str) -> dict[str, Query]:
    files = [one for one in resources.files(package).iterdir() if one.name.endswith(".sql")]
    files.sort(key=lambda one: one.name)
    return {one.name.removesuffix(".sql"): one.read_text("utf-8") for one in files}


def _applied(connection: Connection[TupleRow]) -> set[str]:
    if connection.execute("SELECT to_regclass('hospital_bulk_migrations')").fetchone() == (None,):
        return set()
    return {name for (name,) in connection.execute("SELECT name FROM hospital_bulk_migrations")}


def _reason(error: psycopg.Error) -> str:
    """Return the first line of what the server or the library says, without the password."""
    if isinstance(error, psycopg.ProgrammingError) and not error.sqlstate:  # it quotes the URL
        return type(error).__name__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
