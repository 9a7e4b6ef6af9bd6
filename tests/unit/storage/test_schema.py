"""The schema that is made, looked at and refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from services.storage import schema
from services.storage.schema import SchemaMismatch, check_schema, migrate
from tests.shared_harness import server


class TestSchema:
    @pytest.fixture
    def fresh(self) -> Iterator[str]:
        yield server().create_database("fresh")
        server().drop_database("fresh")

    def test_a_database_is_migrated_once(self, fresh: str):
        with pytest.raises(SchemaMismatch, match=r"lacks (\d+) of \1 .*database migrate"):
            check_schema(fresh)

        assert "0001_batches" in migrate(fresh)
        assert migrate(fresh) == []

        check_schema(fresh)

    def test_many_may_migrate_at_once(self, fresh: str):
        with ThreadPoolExecutor(3) as threads:
            applied = list(threads.map(migrate, [fresh] * 3))

        assert sorted(map(bool, applied)) == [False, False, True]
        check_schema(fresh)

    def test_a_migration_is_applied_whole_or_not_at_all(
        self, fresh: str, monkeypatch: pytest.MonkeyPatch
    ):
        migrate(fresh)
        wanted = schema._wanted()
        broken = wanted | {"0002_next": "CREATE TABLE half (); SELECT 1/0;"}
        monkeypatch.setattr(schema, "_wanted", lambda: broken)
        with pytest.raises(SchemaMismatch, match="could not be migrated"):
            migrate(fresh)
        with pytest.raises(SchemaMismatch, match="lacks 1 of"):
            check_schema(fresh)

        monkeypatch.setattr(
            schema, "_wanted", lambda: wanted | {"0002_next": "CREATE TABLE half ()"}
        )

        assert migrate(fresh) == ["0002_next"]
        check_schema(fresh)

    def test_a_database_of_a_newer_version_is_refused(self, fresh: str):
        migrate(fresh)
        with psycopg.connect(fresh, autocommit=True) as connection:
            connection.execute("INSERT INTO hospital_bulk_migrations VALUES ('0999_later')")

        with pytest.raises(SchemaMismatch, match=r"newer version of this service \(0999_later\)"):
            check_schema(fresh)

    def test_one_that_cannot_be_reached_is_told_without_the_password(self):
        url = "postgresql://postgres:s3cret@127.0.0.1:1/any"
        for work in (check_schema, migrate):
            with pytest.raises(SchemaMismatch) as told:
                work(url)
            assert "s3cret" not in str(told.value)
