"""A PostgreSQL database: connections that come back when it does.

Synchronous: whoever calls runs it off the event loop.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any, TypeAlias

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from services.storage.contract import StorageError

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

Query: TypeAlias = Any  # text of this package only; values go beside it


class Database:
    """A pool of connections.

    Args:
        url: `postgresql://...`
        connections: Most of them.
    """

    def __init__(self, url: str, connections: int = CONNECTIONS) -> None:
        self._pool = ConnectionPool(
            url,
            min_size=1,
            max_size=connections,
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
