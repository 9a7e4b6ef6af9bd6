"""Checkpoints in a folder: whole after any crash, and nothing in the folder stops a start."""

import errno
import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from services.storage.checkpoint import encode
from services.storage.contract import StorageError, StorageTaken
from services.storage.json_files import JsonFiles

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
FIRST_ID, SECOND_ID = (UUID(int=number) for number in (1, 2))


HOLD_THE_LOCK = """
import fcntl, sys, threading
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
threading.Event().wait()
"""


class PowerCut(BaseException):
    """The process ends here."""


def a_batch(batch_id: UUID = FIRST_ID, status: BatchStatus = BatchStatus.PROCESSING) -> Batch:
    rows = [Row(HospitalRow(1, "A", "A Street", None), RowStatus.CREATED, hospital_id=7)]
    return Batch(batch_id, "http://directory.test", Rows(rows), NOON, NOON, status)


def written(batch: Batch) -> bytes:
    return b"".join(encode(batch))


def names(folder: Path) -> set[str]:
    """What is in the folder, apart from the lock."""
    return {path.name for path in folder.iterdir()} - {".lock"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "batches"


@pytest.fixture
def files(folder: Path) -> Iterator[JsonFiles]:
    files = JsonFiles(folder)
    files.open()
    yield files
    files.close()


class TestSavingAndLoading:
    def test_what_was_saved_is_loaded(self, files: JsonFiles):
        first, second = a_batch(FIRST_ID), a_batch(SECOND_ID, BatchStatus.COMPLETED)

        files.save(second)
        files.save(first)

        assert [first, second] == files.load()

    def test_the_last_save_counts(self, files: JsonFiles, folder: Path):
        files.save(a_batch(status=BatchStatus.PROCESSING))
        files.save(a_batch(status=BatchStatus.COMPLETED))

        assert [a_batch(status=BatchStatus.COMPLETED)] == files.load()
        assert {f"{FIRST_ID}.json"} == names(folder)

    def test_the_next_process_loads_what_this_one_saved(self, files: JsonFiles, folder: Path):
        files.save(a_batch())
        files.close()
        successor = JsonFiles(folder)
        successor.open()

        loaded = successor.load()
        successor.close()

        assert [a_batch()] == loaded

    def test_a_new_folder_holds_nothing(self, files: JsonFiles):
        assert not files.load()

    def test_a_folder_is_made_with_those_above_it(self, tmp_path: Path):
        files = JsonFiles(tmp_path / "a" / "b")

        files.open()
        files.save(a_batch())

        assert [a_batch()] == files.load()
        files.close()

    def test_a_deleted_batch_is_gone(self, files: JsonFiles, folder: Path):
        files.save(a_batch(FIRST_ID))
        files.save(a_batch(SECOND_ID))

        files.delete(FIRST_ID)

        assert [a_batch(SECOND_ID)] == files.load()
        assert {f"{SECOND_ID}.json"} == names(folder)

    def test_deleting_what_is_not_there_is_no_error(self, files: JsonFiles):
        files.delete(FIRST_ID)

        assert not files.load()

    def test_checking_leaves_nothing_behind(self, files: JsonFiles, folder: Path):
        files.check_writable()

        assert not names(folder)


class TestCrashes:
    def test_a_crash_before_the_rename_leaves_the_old_document(
        self, files: JsonFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        files.save(a_batch(status=BatchStatus.PROCESSING))

        def cut(*_: object) -> None:
            raise PowerCut

        monkeypatch.setattr(os, "replace", cut)
        with pytest.raises(PowerCut):
            files.save(a_batch(status=BatchStatus.COMPLETED))

        assert {f"{FIRST_ID}.json"} == names(folder)
        assert [a_batch(status=BatchStatus.PROCESSING)] == files.load()

    def test_a_write_that_fails_half_way_leaves_the_old_document(
        self, files: JsonFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        files.save(a_batch(status=BatchStatus.PROCESSING))

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            files.save(a_batch(status=BatchStatus.COMPLETED))

        assert {f"{FIRST_ID}.json"} == names(folder)
        assert [a_batch(status=BatchStatus.PROCESSING)] == files.load()

    def test_the_document_is_written_beside_its_place_and_on_disk_before_it_gets_there(
        self, files: JsonFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """Renamed before the sync, a power cut could leave an empty file in its place."""
        steps: list[str] = []
        fsync, replace = os.fsync, os.replace

        def seen_fsync(handle: int) -> None:
            synced = os.fstat(handle)
            if synced.st_ino == folder.stat().st_ino:
                steps.append("sync the folder")
            else:
                steps.append(f"sync a file, whole: {synced.st_size == len(written(a_batch()))}")
            fsync(handle)

        def seen_replace(source: str, target: Path) -> None:
            steps.append(f"rename in the folder: {Path(source).parent == target.parent == folder}")
            replace(source, target)

        monkeypatch.setattr(os, "fsync", seen_fsync)
        monkeypatch.setattr(os, "replace", seen_replace)

        files.save(a_batch())

        expected = ["sync a file, whole: True", "rename in the folder: True", "sync the folder"]
        assert expected == steps

    def test_a_delete_is_on_disk_when_it_returns(
        self, files: JsonFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """An abandoned batch must not come back."""
        files.save(a_batch())
        left: list[set[str]] = []
        monkeypatch.setattr(os, "fsync", lambda _: left.append(names(folder)))

        files.delete(FIRST_ID)

        assert [set()] == left

    def test_torn_writes_of_a_dead_process_are_removed(self, files: JsonFiles, folder: Path):
        files.save(a_batch())
        (folder / ".writing-abc123").write_bytes(written(a_batch())[:40])
        (folder / ".writing-def456").write_bytes(b"")

        assert [a_batch()] == files.load()
        assert {f"{FIRST_ID}.json"} == names(folder)


class TestSettingAside:
    """No file may stop the start or hide other batches, and none is lost."""

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(written(a_batch())[:-40], id="torn"),
            pytest.param(b"", id="empty"),
            pytest.param(b"\x00" * 512, id="zeros"),
            pytest.param(b'{"name": "package", "version": "1.0.0"}', id="foreign"),
            pytest.param(b"[]", id="foreign list"),
            pytest.param(written(a_batch()).replace(b'"version": 1', b'"version": 2'), id="newer"),
            pytest.param(written(a_batch(SECOND_ID)), id="another batch's name"),
            pytest.param("Köln".encode("latin-1"), id="not UTF-8"),
            pytest.param(written(a_batch()).decode().encode("utf-16"), id="UTF-16"),
        ],
    )
    def test_a_file_that_cannot_be_read_is_set_aside_and_the_others_are_loaded(
        self, files: JsonFiles, folder: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ):
        other = a_batch(UUID(int=3))
        files.save(other)
        (folder / f"{FIRST_ID}.json").write_bytes(content)

        loaded = files.load()

        aside = f"{FIRST_ID}.json.set-aside"
        assert [other] == loaded
        assert {f"{other.id}.json", aside} == names(folder)
        assert content == (folder / aside).read_bytes()
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert f"{FIRST_ID}.json" in caplog.text
        assert aside in caplog.text

    def test_a_name_that_is_no_batch_id_is_set_aside(self, files: JsonFiles, folder: Path):
        (folder / "notes.json").write_bytes(written(a_batch()))

        assert not files.load()
        assert {"notes.json.set-aside"} == names(folder)

    def test_a_copy_under_another_spelling_of_the_id_is_set_aside(
        self, files: JsonFiles, folder: Path
    ):
        """Two documents of one batch would overwrite each other."""
        batch_id = UUID("00000000-0000-4000-8000-0000000000b1")
        files.save(a_batch(batch_id))
        copy = f"{batch_id.hex}.json"
        (folder / copy).write_bytes(written(a_batch(batch_id)))

        assert [a_batch(batch_id)] == files.load()
        assert {f"{batch_id}.json", f"{copy}.set-aside"} == names(folder)

    def test_a_folder_named_like_a_checkpoint_is_set_aside_whole(
        self, files: JsonFiles, folder: Path
    ):
        files.save(a_batch(SECOND_ID))
        (folder / f"{FIRST_ID}.json").mkdir()
        (folder / f"{FIRST_ID}.json" / "kept").write_text("kept")

        assert [a_batch(SECOND_ID)] == files.load()
        assert (folder / f"{FIRST_ID}.json.set-aside" / "kept").exists()

    def test_names_set_aside_do_not_overwrite_each_other(self, files: JsonFiles, folder: Path):
        for content in ("first", "second", "third"):
            (folder / f"{FIRST_ID}.json").write_text(content)
            files.load()

        kept = {path.name: path.read_text() for path in folder.glob("*.set-aside*")}
        aside = f"{FIRST_ID}.json.set-aside"
        assert {aside: "first", f"{aside}-2": "second", f"{aside}-3": "third"} == kept

    def test_what_was_set_aside_is_not_loaded_or_moved_again(self, files: JsonFiles, folder: Path):
        (folder / f"{FIRST_ID}.json").write_text("torn")
        files.load()

        assert not files.load()
        assert {f"{FIRST_ID}.json.set-aside"} == names(folder)

    def test_the_id_of_a_batch_set_aside_can_be_saved_again(self, files: JsonFiles, folder: Path):
        (folder / f"{FIRST_ID}.json").write_text("torn")
        files.load()

        files.save(a_batch())

        assert [a_batch()] == files.load()

    def test_a_file_that_cannot_be_moved_is_left_alone_and_the_others_are_loaded(
        self,
        files: JsonFiles,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ):
        files.save(a_batch(SECOND_ID))
        (folder / f"{FIRST_ID}.json").write_text("torn")

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(Path, "rename", refuse)

        assert [a_batch(SECOND_ID)] == files.load()
        assert "left alone" in caplog.text

    def test_other_files_are_not_touched(self, files: JsonFiles, folder: Path):
        others = {".gitkeep", "README.md", "old.json.bak", "a.jsonl", "batch.JSON.txt", ".writing"}
        for name in others:
            (folder / name).write_text(name)
        (folder / "folder").mkdir()
        (folder / "folder" / f"{FIRST_ID}.json").write_bytes(written(a_batch()))

        assert not files.load()
        assert {*others, "folder"} == names(folder)
        assert {f"{FIRST_ID}.json"} == names(folder / "folder")
        assert others == {(folder / name).read_text() for name in others}

    def test_a_sound_document_that_could_not_be_read_this_time_keeps_its_name(
        self, files: JsonFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """Too many open files, a network disk that stumbles: the next start can serve the batch."""
        files.save(a_batch())

        def stumble(_: Path) -> bytes:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(Path, "read_bytes", stumble)
        files.load()

        assert {f"{FIRST_ID}.json"} == names(folder)


class TestOwning:
    def test_a_second_opener_is_told_that_the_folder_is_taken(self, files: JsonFiles, folder: Path):
        with pytest.raises(StorageTaken):
            JsonFiles(folder).open()

        files.save(a_batch())

        assert [a_batch()] == files.load()

    def test_a_closed_folder_can_be_opened_by_another(self, files: JsonFiles, folder: Path):
        files.close()
        successor = JsonFiles(folder)

        successor.open()
        successor.save(a_batch())

        assert [a_batch()] == successor.load()
        successor.close()

    def test_the_lock_ends_with_the_process_that_holds_it(self, folder: Path):
        """A killed process must not keep its successor out."""
        folder.mkdir()
        files = JsonFiles(folder)
        with subprocess.Popen(
            [sys.executable, "-c", HOLD_THE_LOCK, str(folder / ".lock")], stdout=subprocess.PIPE
        ) as owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"held\n"
            with pytest.raises(StorageTaken):
                files.open()
            owner.kill()

        files.open()

        files.check_writable()
        files.close()

    def test_closing_twice_is_no_error(self, files: JsonFiles):
        files.close()
        files.close()

    @pytest.mark.parametrize("call", ["save", "delete", "check_writable"])
    def test_nothing_is_written_by_who_does_not_own_the_folder(self, folder: Path, call: str):
        folder.mkdir()
        arguments: dict[str, tuple[Any, ...]] = {"save": (a_batch(),), "delete": (FIRST_ID,)}
        (folder / f"{FIRST_ID}.json").write_text("another's")

        with pytest.raises(StorageError, match="restart"):
            getattr(JsonFiles(folder), call)(*arguments.get(call, ()))

        assert (folder / f"{FIRST_ID}.json").read_text() == "another's"

    def test_a_file_system_without_locks_is_not_said_to_be_taken(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """The advice to stop the other process would lead nowhere."""

        def unsupported(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", unsupported)

        with pytest.raises(StorageError, match="lock"):
            JsonFiles(folder).open()


class TestAFolderThatCannotBeUsed:
    def test_a_file_in_its_place_is_a_storage_error(self, folder: Path):
        folder.write_text("not a folder")

        with pytest.raises(StorageError, match="File exists"):
            JsonFiles(folder).open()

    def test_a_file_above_it_is_a_storage_error(self, folder: Path):
        folder.write_text("not a folder")

        with pytest.raises(StorageError, match="Not a directory"):
            JsonFiles(folder / "below").open()

    @pytest.mark.parametrize("call", ["save", "delete", "check_writable"])
    def test_a_folder_that_vanished_is_a_storage_error(
        self, files: JsonFiles, folder: Path, call: str
    ):
        arguments: dict[str, tuple[Any, ...]] = {"save": (a_batch(),), "delete": (FIRST_ID,)}
        (folder / ".lock").unlink()
        folder.rmdir()

        with pytest.raises(StorageError, match="No such file or directory"):
            getattr(files, call)(*arguments.get(call, ()))

    def test_it_can_be_opened_once_it_is_mended(self, folder: Path):
        folder.write_text("not a folder")
        files = JsonFiles(folder)
        with pytest.raises(StorageError):
            files.open()

        folder.unlink()
        files.open()

        files.check_writable()
        files.close()
