"""What a successor learns of the creates that were sent before it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.send_log import NAME, SendLog
from tests.unit.strategies import law

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def a_log(folder: Path, size: int = 3) -> SendLog:
    return SendLog(folder, size)


def send(log: SendLog, *seconds: float) -> None:
    for second in seconds:
        log.add(NOW + timedelta(seconds=second))


def ages(folder: Path, at: float, size: int = 3) -> list[float]:
    """Return what a successor that starts *at* seconds after NOW is told."""
    successor = a_log(folder, size)
    told = successor.open(NOW + timedelta(seconds=at))
    successor.close()
    return [round(age, 3) for age in told]


def test_a_successor_is_told_how_long_ago_creates_were_sent(tmp_path: Path):
    log = a_log(tmp_path)
    assert log.open(NOW) == []
    send(log, 0, 1.5)

    # Not closed: the process was killed.
    assert ages(tmp_path, at=10) == [10.0, 8.5]


def test_only_the_last_sends_are_kept_in_a_file_that_does_not_grow(tmp_path: Path):
    log = a_log(tmp_path)
    log.open(NOW)
    send(log, *range(100))

    assert ages(tmp_path, at=100) == [3.0, 2.0, 1.0]
    assert (tmp_path / NAME).stat().st_size == 3 * 21
    assert (tmp_path / NAME).stat().st_mode & 0o111 == 0


def test_a_successor_passes_on_what_it_was_told(tmp_path: Path):
    log = a_log(tmp_path)
    log.open(NOW)
    send(log, 0, 1)

    successor = a_log(tmp_path)
    successor.open(NOW + timedelta(seconds=1.5))
    send(successor, 2, 3)

    assert ages(tmp_path, at=10) == [9.0, 8.0, 7.0]


def test_sends_that_lie_ahead_count_as_of_now(tmp_path: Path):
    log = a_log(tmp_path)
    log.open(NOW)
    send(log, 3600)

    assert ages(tmp_path, at=0) == [0.0]
    assert ages(tmp_path, at=5) == [5.0]


def test_another_limit_keeps_as_many_as_it_needs(tmp_path: Path):
    log = a_log(tmp_path, size=5)
    log.open(NOW)
    send(log, 1, 2, 3, 4)

    assert ages(tmp_path, at=10, size=2) == [7.0, 6.0]
    assert ages(tmp_path, at=10, size=9) == [7.0, 6.0]


def test_without_pacing_nothing_is_kept(tmp_path: Path):
    log = a_log(tmp_path, size=0)
    log.open(NOW)
    send(log, 1)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_costs_the_memory_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    log = a_log(tmp_path / "missing")

    assert log.open(NOW) == []
    send(log, 1)
    log.close()

    assert "recent sends are not remembered" in caplog.text


def test_lines_that_a_full_disk_refused_cost_no_other(tmp_path: Path):
    log = a_log(tmp_path)
    log.open(NOW)
    send(log, 0, 1, 2)
    (tmp_path / NAME).write_bytes(b"\0" * 42 + (tmp_path / NAME).read_bytes()[42:])

    assert ages(tmp_path, at=10) == [8.0]


@law
@given(content=st.binary(max_size=200))
def test_whatever_stands_in_the_file_is_no_obstacle(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    folder = tmp_path_factory.mktemp("sends")
    (folder / NAME).write_bytes(content)

    log = a_log(folder)
    told = log.open(NOW)
    send(log, 1)

    assert all(age >= 0 for age in told)
    assert ages(folder, at=1)[-1] == 0.0
