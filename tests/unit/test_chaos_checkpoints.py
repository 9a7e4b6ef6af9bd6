"""Damage that a chaos run does to checkpoints: always noticed by the service, and mendable."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from chaos.checkpoints import Checkpoints
from chaos.files import contents, file_name
from chaos.schedule import Damage
from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows
from services.storage.json_files import JsonFiles

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BATCH = Batch(
    id=UUID("5bf93dff-57f1-4b96-90bd-fde99cbd8324"),
    directory_url="http://directory.test",
    rows=Rows(
        Row(HospitalRow(number, name, address, phone or None))
        for number, (name, address, phone) in enumerate(contents(1, 3, 0), 1)
    ),
    created_at=NOW,
    updated_at=NOW,
    file_name=file_name(1),
    resume_count=2,
)


@pytest.fixture
def stored(tmp_path: Path) -> Checkpoints:
    storage = JsonFiles(tmp_path)
    storage.open()
    storage.save(BATCH)
    storage.close()
    return Checkpoints(tmp_path)


IN_PARTS = replace(BATCH, part_rows=2)
LAST_CONTENT = ("Corrected", "1 Main Street", "5550100")
LAST = replace(
    IN_PARTS,
    status=BatchStatus.PROCESSING,
    resume_count=3,
    rows=Rows([*BATCH.rows[:2], Row(HospitalRow(3, *LAST_CONTENT))]),
)


@pytest.fixture
def with_journal(tmp_path: Path) -> Checkpoints:
    storage = JsonFiles(tmp_path)
    storage.open()
    storage.save(IN_PARTS)
    storage.save(LAST, {3})
    storage.close()
    return Checkpoints(tmp_path)


def loaded(checkpoints: Checkpoints) -> list[Batch]:
    storage = JsonFiles(checkpoints.folder)
    storage.open()
    try:
        return storage.load()
    finally:
        storage.close()


def test_a_checkpoint_is_read_as_the_service_wrote_it(stored: Checkpoints):
    [seen] = stored.kept(known=())

    assert seen.batch_id == str(BATCH.id)
    assert seen.status == BATCH.status
    assert seen.updated_at == NOW.timestamp()
    assert seen.file_name == BATCH.file_name
    assert seen.runs == BATCH.resume_count
    assert seen.rows == contents(1, 3, 0)


@pytest.mark.parametrize("luck", [0.0, 0.1, 0.35, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("damage", list(Damage))
def test_a_damaged_checkpoint_is_set_aside_and_can_be_mended_unless_it_is_empty(
    stored: Checkpoints, damage: Damage, luck: float
):
    damaged = stored.damage(damage, luck)
    before = loaded(stored)
    mended = stored.mend()

    assert damaged == str(BATCH.id)
    assert before == []
    assert mended == ([] if damage is Damage.EMPTIED else [damaged])
    assert loaded(stored) == ([] if damage is Damage.EMPTIED else [BATCH])


def test_a_checkpoint_is_damaged_once(stored: Checkpoints):
    stored.damage(Damage.FLIPPED, 0.5)

    assert stored.damage(Damage.CUT_OFF, 0.5) is None


def test_a_journal_is_read_as_the_service_wrote_it(with_journal: Checkpoints):
    [seen] = with_journal.kept(known=())

    assert (seen.status, seen.runs) == (LAST.status, 3)
    assert seen.rows == (*contents(1, 3, 0)[:2], LAST_CONTENT)


@pytest.mark.parametrize("luck", [0.0, 0.1, 0.35, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("damage", list(Damage))
def test_a_damaged_pair_is_set_aside_and_can_be_mended_unless_it_is_empty(
    with_journal: Checkpoints, damage: Damage, luck: float
):
    damaged = with_journal.damage(damage, luck)
    before = loaded(with_journal)
    mended = with_journal.mend()

    assert damaged == str(BATCH.id)
    assert before == []
    assert mended == ([] if damage is Damage.EMPTIED else [damaged])
    assert loaded(with_journal) == ([] if damage is Damage.EMPTIED else [LAST])
