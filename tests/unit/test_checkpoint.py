"""A batch as a JSON document and back; what is not exactly that is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from pydantic import ValidationError

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from services.storage.checkpoint import (
    UnreadableCheckpoint,
    changed_by,
    decode,
    encode,
    encode_change,
)
from tests.unit.strategies import batches, batches_in_parts, law

BATCH_ID = UUID("00000000-0000-4000-8000-0000000000b1")

Change = Callable[[dict[str, Any]], object]


def written(batch: Batch, generation: str | None = None) -> bytes:
    return b"".join(encode(batch, generation))


def read(document: bytes) -> Batch:
    batch, _ = decode(document)
    return batch


def change(batch: Batch, *rows: int) -> bytes:
    return b"".join(encode_change(batch, rows))


def a_batch() -> Batch:
    """Two rows: one created, one refused."""
    return Batch(
        id=BATCH_ID,
        directory_url="http://directory.test",
        rows=Rows(
            [
                Row(
                    HospitalRow(1, "Krankenhaus Köln", "1 Main Street", "+49 221 1234"),
                    RowStatus.CREATED,
                    hospital_id=7,
                    seconds=5.25,
                ),
                Row(
                    HospitalRow(2, "病院", "2 Main Street", None),
                    RowStatus.FAILED,
                    error="refused by the directory: name",
                    refused=True,
                    seconds=0.5,
                ),
            ],
        ),
        created_at=datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC),
        updated_at=datetime(2026, 11, 1, 12, 0, 7, tzinfo=UTC),
        status=BatchStatus.FAILED,
        failure_reason="1 row was refused.",
        resume_count=2,
        auto_resumes=1,
        doubtful=frozenset({0}),
        unsettled=frozenset({0}),
        seconds=5.75,
    )


def in_parts(rows: int = 120) -> Batch:
    """Parts of 20 rows, of which the first two were sent."""
    return replace(
        a_batch(),
        rows=Rows(
            Row(HospitalRow(n, f"Clinic {n}", "1 Main St", None)) for n in range(1, rows + 1)
        ),
        part_rows=20,
        opened_parts=2,
        further={1: 2},
        doubtful=frozenset({0, 1, 2, 4}),
        unsettled=frozenset({4}),
    )


class TestRoundTrip:
    @law
    @given(batches)
    def test_what_was_written_is_read(self, batch: Batch):
        assert batch == read(written(batch))

    @law
    @given(batches)
    def test_writing_what_was_read_changes_nothing(self, batch: Batch):
        document = written(batch)

        assert document == written(read(document))

    @law
    @given(batches_in_parts)
    def test_what_was_written_in_parts_is_read(self, batch: Batch):
        assert (batch, "0123abcd") == decode(written(batch, "0123abcd"))

    @law
    @given(batches_in_parts, batches_in_parts)
    def test_a_change_leads_from_any_state_to_any_other(self, before: Batch, after: Batch):
        """Of the same batch: what names it and its file stays."""
        rows = Rows(
            after.row(n) if n <= len(after.rows) else r for n, r in enumerate(before.rows, 1)
        )
        told = before.id, before.directory_url, before.created_at, before.part_rows
        after.id, after.directory_url, after.created_at, after.part_rows = told
        after.opened_parts = before.opened_parts
        after.further, after.doubtful = before.further, before.unsettled
        after.unsettled, after.rows = before.doubtful, rows

        line = change(after, *range(1, len(rows) + 1))

        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert after == changed_by(line, before)

    def test_times_are_kept_to_the_millisecond(self):
        batch = a_batch()
        batch.seconds = 1 / 3

        assert read(written(batch)).seconds == 0.333

    def test_a_batch_that_was_running_is_read_at_rest(self):
        """Monotonic time means nothing to the next process."""
        batch = a_batch()
        batch.running_since, batch.step = 1000.0, "creating hospitals"

        at_rest = read(written(batch))

        assert at_rest.running_since is None
        assert not at_rest.step


class TestTheDocument:
    def test_it_says_everything_in_words(self):
        expected = {
            "version": 1,
            "batch_id": str(BATCH_ID),
            "directory_url": "http://directory.test",
            "file_name": None,
            "owner": None,
            "idempotency_key": None,
            "file_digest": None,
            "status": "failed",
            "failure_reason": "1 row was refused.",
            "created_at": "2026-11-01T12:00:00.123456Z",
            "updated_at": "2026-11-01T12:00:07Z",
            "resume_count": 2,
            "cancelled": False,
            "auto_resumes": 1,
            "doubtful": True,
            "unsettled": True,
            "directory_batches": 1,
            "processing_seconds": 5.75,
            "rows": [
                {
                    "row": 1,
                    "name": "Krankenhaus Köln",
                    "address": "1 Main Street",
                    "phone": "+49 221 1234",
                    "status": "created",
                    "hospital_id": 7,
                    "error": None,
                    "refused": False,
                    "skipped": False,
                    "processing_seconds": 5.25,
                },
                {
                    "row": 2,
                    "name": "病院",
                    "address": "2 Main Street",
                    "phone": None,
                    "status": "failed",
                    "hospital_id": None,
                    "error": "refused by the directory: name",
                    "refused": True,
                    "skipped": False,
                    "processing_seconds": 0.5,
                },
            ],
        }
        assert expected == json.loads(written(a_batch()))

    def test_a_person_can_read_it(self):
        lines = written(a_batch()).decode().splitlines()

        assert ' "version": 1,' in lines
        assert '   "name": "Krankenhaus Köln",' in lines
        assert written(a_batch()).endswith(b"}\n")


class TestTheDocumentOfManyParts:
    def test_it_has_a_line_for_each_row(self):
        lines = written(in_parts(), "0123abcd").decode().splitlines()

        assert ' "generation": "0123abcd",' in lines
        rows = [line for line in lines if line.startswith('  {"row":')]
        assert len(rows) == 120
        assert json.loads(rows[6].rstrip(","))["name"] == "Clinic 7"

    def test_many_parts_take_little_room(self):
        """Each save tells them: a process that died leaves doubts about hundreds."""
        batch = replace(in_parts(20_000), opened_parts=1_000, doubtful=frozenset(range(1_000)))

        assert len(change(batch, 1)) < 1_000

    def test_it_is_written_piece_by_piece(self):
        """Whoever writes thousands of rows lets others run in between."""
        assert max(map(len, encode(in_parts(2_000), "0123abcd"))) < 20_000


class TestRefusedChanges:
    def test_a_row_that_the_batch_does_not_have(self):
        with pytest.raises(UnreadableCheckpoint, match="rows"):
            changed_by(change(in_parts(121), 121), in_parts(120))

    def test_other_parts(self):
        with pytest.raises(UnreadableCheckpoint, match="rows"):
            changed_by(change(replace(in_parts(), part_rows=30), 1), in_parts())

    @pytest.mark.parametrize(
        "changes",
        [{"opened_parts": 7}, {"further": {6: 1}}, {"doubtful": frozenset({6})}],
        ids=["opened", "further", "doubtful"],
    )
    def test_parts_that_the_batch_does_not_have(self, changes: dict[str, Any]):
        with pytest.raises(UnreadableCheckpoint, match=r"^parts: "):
            changed_by(change(replace(in_parts(), **changes)), in_parts())
        with pytest.raises(UnreadableCheckpoint, match="parts"):
            read(written(replace(in_parts(), **changes)))

    @pytest.mark.parametrize("line", [b"", b"{}", b"null", b"[]", b"\xff{}", b'{"rows":[]}'])
    def test_what_is_no_change(self, line: bytes):
        with pytest.raises(UnreadableCheckpoint):
            changed_by(line, in_parts())

    def test_a_generation_that_could_name_another_file(self):
        document = written(in_parts(), "0123abcd").replace(b"0123abcd", b"../../ab")

        with pytest.raises(UnreadableCheckpoint, match=r"^generation: "):
            decode(document)


def first_row(**changes: Any) -> Change:
    return lambda document: document["rows"][0].update(changes)


class TestRefused:
    """A document is believed as a whole or not at all: half a truth could send rows twice."""

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            (lambda document: document.update(version=2), "version"),
            (lambda document: document.update(version="1"), "version"),
            (lambda document: document.pop("version"), "version"),
            (lambda document: document.update(batch_id="b1"), "batch_id"),
            (lambda document: document.pop("batch_id"), "batch_id"),
            (lambda document: document.update(status="done"), "status"),
            (lambda document: document.update(status="validating"), "status"),
            (lambda document: document.update(created_at="yesterday"), "created_at"),
            (lambda document: document.update(created_at="2026-11-01T12:00:00"), "created_at"),
            (lambda document: document.update(updated_at="0001-01-01"), "updated_at"),
            (lambda document: document.update(directory_batches=0), "directory_batches"),
            (lambda document: document.update(directory_batches=3_000_000), "directory_batches"),
            (
                lambda document: document.update(processing_seconds=float("inf")),
                "processing_seconds",
            ),
            (lambda document: document.update(resume_count=-1), "resume_count"),
            (lambda document: document.update(auto_resumes=None), "auto_resumes"),
            (lambda document: document.update(processing_seconds=-1), "processing_seconds"),
            (lambda document: document.pop("doubtful"), "doubtful"),
            (lambda document: document.pop("unsettled"), "unsettled"),
            (lambda document: document.update(unheard_of=1), "unheard_of"),
            (lambda document: document.update(rows=[]), "rows"),
            (lambda document: document.pop("rows"), "rows"),
            (lambda document: document["rows"].reverse(), "document"),
            (lambda document: document["rows"].pop(0), "document"),
            (first_row(row=2), "document"),
            (first_row(row=0), "rows.0.row"),
            (first_row(status="sent"), "rows.0.status"),
            (first_row(status="validating"), "rows.0.status"),
            (first_row(hospital_id=None), "rows.0"),
            (first_row(hospital_id=None, status="created_and_activated"), "rows.0"),
            (first_row(status="pending"), "rows.0"),
            (first_row(status="processing"), "rows.0"),
            (first_row(status="verifying"), "rows.0"),
            (first_row(status="failed"), "rows.0"),
            (first_row(refused=True), "rows.0"),
            (first_row(hospital_id="seven"), "rows.0.hospital_id"),
            (first_row(name=None), "rows.0.name"),
            (first_row(refused=None), "rows.0.refused"),
            (first_row(processing_seconds=-0.1), "rows.0.processing_seconds"),
            (first_row(unheard_of=1), "rows.0.unheard_of"),
            (lambda document: document["rows"][1].update(hospital_id=8), "rows.1"),
            (lambda document: document["rows"][1].pop("refused"), "rows.1.refused"),
        ],
    )
    def test_an_inconsistent_document_says_where(self, change: Change, place: str):
        document = json.loads(written(a_batch()))
        change(document)

        with pytest.raises(UnreadableCheckpoint, match=f"^{place}: "):
            read(json.dumps(document).encode())

    @pytest.mark.parametrize(
        "document",
        [b"", b"\n", b"null", b"[]", b"{}", b"7", b"name,address\n", b"\xff\xfe{}", b"\x00" * 4096],
    )
    def test_what_is_no_batch_at_all_is_refused(self, document: bytes):
        """A disk that lost power may leave zeros."""
        with pytest.raises(UnreadableCheckpoint):
            read(document)

    def test_a_document_torn_anywhere_is_refused(self):
        document = written(a_batch()).rstrip()

        for end in range(len(document)):
            with pytest.raises(UnreadableCheckpoint):
                read(document[:end])

    def test_the_reason_repeats_no_content_of_the_file(self):
        """It goes to the log, where names and phones must not be."""
        document = json.loads(written(a_batch()))
        document["rows"][0] |= {"name": {"secret": "secret"}, "status": "secret"}

        with pytest.raises(UnreadableCheckpoint) as refusal:
            read(json.dumps(document).encode())

        assert "secret" not in str(refusal.value)


def test_what_cannot_be_written_is_not_repeated_in_the_error():
    """The error goes into the log, where no value of a file belongs."""
    batch = a_batch()
    batch.rows.put(replace(batch.rows[0], hospital_id=None))

    with pytest.raises(ValidationError) as met:
        written(batch)

    assert "an id" in str(met.value)
    assert "Krank" not in str(met.value)  # it would be cut short
