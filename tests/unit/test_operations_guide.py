"""What docs/operations.md and docs/scaling.md tell operators to type, typed."""

import json
import re
import subprocess
import tarfile
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from config import Settings
from database import IMPORTED_SUFFIX
from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from services.storage.checkpoint import encode
from services.storage.json_files import JsonFiles

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
GUIDE = PAGE.read_text()
SCALING = (ROOT / "docs" / "scaling.md").read_text()
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
BATCH = Batch(
    UUID(int=1),
    "http://directory.test",
    Rows(
        [
            Row(
                HospitalRow(1, "Alder Bridge", "12 Alder Lane", None),
                RowStatus.CREATED,
                hospital_id=7,
            )
        ]
    ),
    NOON,
    NOON,
    owner="north",
    idempotency_key="key",
    file_digest="0f",
)
KNOWN_BEFORE_KEYS = {
    *("version", "batch_id", "directory_url", "status", "file_name", "failure_reason"),
    *("created_at", "updated_at", "resume_count", "cancelled", "auto_resumes", "doubtful"),
    *("unsettled", "directory_batches", "processing_seconds", "rows"),
}


def typed(part: str, folder: Path) -> None:
    """Run, in *folder*, the one block of commands of the guide that has *part* in it."""
    blocks = re.findall(r"^ *```\n(.*?)^ *```", GUIDE, re.S | re.M)
    [block] = [block for block in blocks if part in block]
    subprocess.run(["bash", "-euc", textwrap.dedent(block)], cwd=folder, check=True)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A folder of checkpoints with one batch that a service has left."""
    files = JsonFiles(tmp_path / "batch_storage")
    files.open()
    files.save(BATCH)
    files.close()
    return tmp_path / "batch_storage"


IN_PARTS = replace(
    BATCH,
    id=UUID(int=2),
    rows=Rows(Row(HospitalRow(n, "Alder Bridge", "12 Alder Lane", None)) for n in (1, 2, 3)),
    part_rows=2,
)
LATER = replace(IN_PARTS, opened_parts=2, status=BatchStatus.PROCESSING)


@pytest.fixture
def with_parts(storage: Path) -> Path:
    """The same folder with a batch in several parts that has changed since it was written whole."""
    files = JsonFiles(storage)
    files.open()
    files.save(IN_PARTS)
    files.save(LATER, {2})
    files.close()
    return storage


def loaded(storage: Path) -> list[Batch]:
    files = JsonFiles(storage)
    files.open()
    try:
        return files.load()
    finally:
        files.close()


def test_a_roll_back_takes_off_every_field_that_versions_before_keys_refuse(storage: Path):
    typed("batch_storage owner", storage.parent)

    [file] = storage.glob("*.json")
    assert json.loads(file.read_text()).keys() <= KNOWN_BEFORE_KEYS
    [batch] = loaded(storage)
    assert (batch.id, batch.rows, batch.owner) == (BATCH.id, BATCH.rows, None)


def test_what_was_set_aside_is_taken_back(storage: Path):
    [file] = storage.glob("*.json")
    known = file.read_text()
    file.write_text(known.replace('"version"', '"newer": 1, "version"'))
    assert loaded(storage) == []
    [aside] = storage.glob("*.set-aside")
    aside.write_text(known)

    typed("set-aside", storage.parent)

    assert loaded(storage) == [BATCH]


def test_a_back_up_has_the_batches_alone_and_is_put_back(storage: Path):
    (storage / ".recent-sends").touch()

    typed("tar -czf", storage.parent)
    for path in storage.iterdir():
        path.unlink()
    typed("tar -xzf", storage.parent)

    assert [path.name for path in storage.iterdir()] == [f"{BATCH.id}.json"]
    assert loaded(storage) == [BATCH]


def test_a_roll_back_leaves_batches_in_parts_to_the_newer_version(with_parts: Path):
    typed("batch_storage owner", with_parts.parent)

    assert LATER in loaded(with_parts)


def test_a_document_and_its_journal_are_taken_back_together(with_parts: Path):
    for path in with_parts.glob(f"{LATER.id}.*"):
        path.rename(f"{path}.set-aside")
    assert loaded(with_parts) == [BATCH]

    typed("*.set-aside", with_parts.parent)

    assert loaded(with_parts) == [BATCH, LATER]


def test_what_was_imported_into_a_database_is_taken_back(with_parts: Path):
    for path in with_parts.glob("*-*"):
        path.rename(f"{path}{IMPORTED_SUFFIX}")
    assert loaded(with_parts) == []

    [command] = re.findall(r"^\$ (for .+)$", SCALING, re.M)
    subprocess.run(["bash", "-euc", command], cwd=with_parts.parent, check=True)

    assert loaded(with_parts) == [BATCH, LATER]


def test_a_back_up_has_each_journal_before_its_document(with_parts: Path):
    """The other way round, the document could be written anew in between."""
    typed("tar -czf", with_parts.parent)

    with tarfile.open(with_parts.parent / "backup.tar.gz") as backup:
        names = backup.getnames()
    assert [Path(name).suffix for name in names] == [".json", ".jsonl", ".json"]
    for path in with_parts.iterdir():
        path.unlink()
    typed("tar -xzf", with_parts.parent)
    assert loaded(with_parts) == [BATCH, LATER]


def test_the_key_that_is_made_is_one(tmp_path: Path):
    typed("token_urlsafe", tmp_path)
    typed("token_urlsafe", tmp_path)

    keys = Settings(_env_file=None, api_keys_file=tmp_path / "api_keys.txt").api_keys_file
    assert [key.name for key in keys] == ["north", "north"]


def test_a_checkpoint_is_as_large_as_told():
    rows = [
        Row(
            HospitalRow(
                number,
                "Ashcombe Children's Hospital",
                "Ashcombe Road, Sheffield, S3 7LD",
                "0114 496 0117",
            ),
            RowStatus.CREATED_AND_ACTIVATED,
            hospital_id=10_000,
            seconds=5.123,
        )
        for number in range(1, 21)
    ]
    size = sum(
        map(len, encode(Batch(UUID(int=1), "https://directory.example", Rows(rows), NOON, NOON)))
    )

    assert 5.5 * 1024 < size < 7 * 1024
