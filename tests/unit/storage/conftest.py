"""A database of which the tests set the clock."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from models.batch import Batch
from services.storage.database import Database
from services.storage.postgres import PostgresBatches
from services.storage.schema import migrate
from tests.shared_harness import EMPTY, server
from tests.unit.storage.samples import DIRECTORY, Open, a_batch, in_parts

SETTABLE_CLOCK = """
CREATE TABLE test_clock AS SELECT clock_timestamp() AS now;
CREATE OR REPLACE FUNCTION hospital_bulk.clock() RETURNS timestamptz LANGUAGE sql
    AS 'SELECT now FROM public.test_clock';
"""


@pytest.fixture(scope="module")
def url() -> str:
    url = server().create_database(f"storage_{uuid4().hex}")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SETTABLE_CLOCK)
    return url


@pytest.fixture(scope="module")
def pool(url: str) -> Iterator[Database]:
    database = Database(url)
    database.open()
    yield database
    database.close()


@pytest.fixture
def database(pool: Database) -> Database:
    """An empty database."""
    pool.run(EMPTY)
    pool.run("DELETE FROM procrastinate_jobs")
    return pool


@pytest.fixture
def open_storage(database: Database) -> Open:
    """Have another process use the database."""

    def opened() -> PostgresBatches:
        storage = PostgresBatches(database, DIRECTORY)
        storage.be_seen()
        return storage

    return opened


@pytest.fixture(params=[a_batch, in_parts])
def batch(request: pytest.FixtureRequest) -> Batch:
    made: Batch = request.param()
    return made
