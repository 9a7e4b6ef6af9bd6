"""The schema that the database has to have: looked at by every start, made by `migrate`."""

from importlib import resources

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import Connection
from psycopg.rows import TupleRow

from services.storage.database import OPTIONS, Query

OLDEST_SERVER = 130000
MIGRATING = 7163514  # the advisory lock of whoever changes the schema


class SchemaMismatch(Exception):
    """The database cannot be used as it is; the message says what to do."""


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
