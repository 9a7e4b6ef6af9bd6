"""Batches in several parts in a folder: a save costs what changed, and no crash loses one."""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from services.storage.contract import StorageError
from services.storage.json_files import JsonFiles
from tests.unit.strategies import law

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
BATCH_ID = UUID(int=1)
DOCUMENT = f"{BATCH_ID}.json"


def a_batch(rows: int = 40) -> Batch:
    pending = (Row(HospitalRow(n, f"Clinic {n}", "1 Main St", None)) for n in range(1, rows + 1))
    return Batch(
        BATCH_ID,
        "http://directory.test",
        Rows(pending),
        NOON,
        NOON,
        BatchStatus.PROCESSING,
        part_rows=20 if rows > 20 else 2,
    )


def created(batch: Batch, number: int, hospital_id: int = 7) -> Batch:
    """Return the batch after a row was created."""
    after = replace(batch, rows=batch.rows.copy(), opened_parts=batch.parts)
    after.rows.put(replace(batch.row(number), status=RowStatus.CREATED, hospital_id=hospital_id))
    return after


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def journal(folder: Path) -> Path:
    [path] = folder.glob("*.jsonl")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "batches"


@pytest.fixture
def files(folder: Path) -> Iterator[JsonFiles]:
    files = JsonFiles(folder)
    files.open()
    yield files
    files.close()


@pytest.fixture
def saved(files: JsonFiles) -> Batch:
    """A batch that was saved, and again when its second and its third row were created."""
    batch = a_batch()
    files.save(batch, set())
    for number in (2, 3):
        batch = created(batch, number, number)
        files.save(batch, {number})
    return batch


class TestChanges:
    def test_a_save_writes_what_changed(self, files: JsonFiles, folder: Path):
        files.save(a_batch(2_000), set())
        document = (folder / DOCUMENT).read_bytes()

        files.save(created(a_batch(2_000), 1_999), {1_999})

        assert (folder / DOCUMENT).read_bytes() == document
        assert journal(folder).stat().st_size < 1_000
        assert [created(a_batch(2_000), 1_999)] == files.load()

    def test_all_changes_are_loaded(self, files: JsonFiles, saved: Batch):
        assert saved.created_count == 2
        assert [saved] == files.load()

    def test_the_document_is_written_anew_when_the_journal_is_as_large(
        self, files: JsonFiles, folder: Path
    ):
        batch = a_batch()
        files.save(batch, set())
        sizes = []
        for number in range(1, 41):
            batch = created(batch, number, number)
            files.save(batch, {number})
            sizes.append(sum(path.stat().st_size for path in folder.glob("*.jsonl")))

        assert sizes[0] < sizes[1]
        assert 0 in sizes
        assert max(sizes) <= (folder / DOCUMENT).stat().st_size
        assert len(names(folder)) <= 2
        assert [batch] == files.load()

    def test_a_batch_in_one_part_has_a_document_alone(self, files: JsonFiles, folder: Path):
        batch = replace(created(a_batch(), 1), part_rows=None, opened_parts=1)
        files.save(batch, set())
        files.save(batch, {1})

        assert {DOCUMENT} == names(folder)

    def test_what_was_loaded_is_written_whole_first(
        self, files: JsonFiles, folder: Path, saved: Batch
    ):
        """The journal may end in half a line, which nothing may follow."""
        with journal(folder).open("ab") as torn:
            torn.write(b'{"status":"pro')
        files.close()
        successor = JsonFiles(folder)
        successor.open()
        [batch] = successor.load()

        successor.save(created(batch, 4), {4})

        assert {DOCUMENT} == names(folder)
        assert [created(saved, 4)] == successor.load()
        successor.close()


class TestDamage:
    @pytest.mark.parametrize(
        "tail",
        [b"{", b'{"status":"processing","rows":[]}', b"\0" * 600, b'{"status":"p\0\0\0\0]}\n'],
        ids=["torn", "no line break", "zeros", "a hole"],
    )
    def test_a_last_line_that_a_crash_tore_is_passed_over(
        self, files: JsonFiles, folder: Path, saved: Batch, tail: bytes
    ):
        with journal(folder).open("ab") as torn:
            torn.write(tail)

        assert [saved] == files.load()

    @pytest.mark.parametrize("line", [0, 1])
    @pytest.mark.parametrize(
        ("old", "new"),
        [(b'"rows"', b'"r\xefws"'), (b"}\n", b"\n"), (b'"row":', b'"row":9'), (b'{"st', b'{"xt')],
        ids=["flipped bits", "not JSON", "unknown row", "unknown field"],
    )
    def test_a_damaged_journal_is_set_aside_with_its_document_and_both_can_be_taken_back(
        self, files: JsonFiles, folder: Path, saved: Batch, line: int, old: bytes, new: bytes
    ):
        """What follows may say where rows were sent: the beginning would not do."""
        sound, path = journal(folder).read_bytes(), journal(folder)
        lines = sound.splitlines(keepends=True)
        lines[line] = lines[line].replace(old, new)
        path.write_bytes(b"".join(lines))

        assert not files.load()
        assert {f"{DOCUMENT}.set-aside", f"{path.name}.set-aside"} == names(folder)

        (folder / f"{path.name}.set-aside").write_bytes(sound)
        for aside in folder.glob("*.set-aside"):
            aside.rename(aside.with_suffix(""))
        assert [saved] == files.load()

    def test_the_journal_of_a_damaged_document_is_set_aside_with_it(
        self, files: JsonFiles, folder: Path, saved: Batch
    ):
        path = journal(folder)
        (folder / DOCUMENT).write_bytes(b"torn")

        assert saved not in files.load()
        assert {f"{DOCUMENT}.set-aside", f"{path.name}.set-aside"} == names(folder)

    @pytest.mark.usefixtures("saved")
    def test_a_journal_without_a_document_is_set_aside(
        self, files: JsonFiles, folder: Path, caplog: pytest.LogCaptureFixture
    ):
        (folder / DOCUMENT).unlink()
        path = journal(folder)

        assert not files.load()
        assert {f"{path.name}.set-aside"} == names(folder)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]

    def test_the_journal_of_an_earlier_document_is_not_taken_for_the_present_one(
        self, files: JsonFiles, folder: Path, saved: Batch
    ):
        """A crash may come before it is removed, and a copy of the folder may have it."""
        path = journal(folder)
        old = path.read_bytes()
        files.save(a_batch())
        path.write_bytes(old)

        assert [a_batch()] == files.load()
        assert {DOCUMENT} == names(folder)
        assert saved != a_batch()

    def test_a_pair_whose_document_cannot_be_moved_stays_together(
        self, files: JsonFiles, folder: Path, saved: Batch, monkeypatch: pytest.MonkeyPatch
    ):
        path = journal(folder)
        path.write_bytes(b"damaged\n")

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        with monkeypatch.context() as broken:
            broken.setattr(Path, "rename", refuse)
            assert saved not in files.load()

        assert {DOCUMENT, path.name} == names(folder)

    def test_a_journal_that_cannot_be_read_this_time_keeps_its_name(
        self, files: JsonFiles, folder: Path, saved: Batch, monkeypatch: pytest.MonkeyPatch
    ):
        def stumble(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as broken:
            broken.setattr(Path, "open", stumble)
            broken.setattr(Path, "read_bytes", Path.read_bytes)
            assert not files.load()

        assert [saved] == files.load()


@dataclass
class Disk:
    """What a power cut could leave of a folder, followed by every call that orders its writes.

    A file has what it had when it was last flushed, and any beginning of what was written since, or
    zeros; a name stands for what it did when the folder was last flushed, or for what it does now.

    Attributes:
        fails: Which calls fail, by their number.
        on_call: Called before each.
    """

    folder: Path
    fails: frozenset[int] = frozenset()
    on_call: Callable[[], None] = lambda: None
    calls: int = 0
    is_looked_at: bool = False
    held: dict[int, int] = field(default_factory=dict)  # open, so that no number is used again
    names: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    def live(self) -> tuple[dict[str, int], dict[int, bytes]]:
        paths = [path for path in self.folder.iterdir() if path.name != ".lock"]
        at = {path.name: path.stat().st_ino for path in paths}
        for path in paths:
            if at[path.name] not in self.held:
                self.held[at[path.name]] = os.open(path, os.O_RDONLY)
        return at, {at[path.name]: path.read_bytes() for path in paths}

    def after_power_cut(self, luck: Random) -> dict[str, bytes]:
        """Return one of the folders that may be found."""
        at, live = self.live()
        left = {}
        for name in sorted(self.names.keys() | at.keys()):
            file = luck.choice([self.names.get(name), at.get(name)])
            if file is not None:
                flushed, written = self.contents.get(file, b""), live.get(file, b"")
                since = written[len(flushed) :]
                kept = luck.randint(0, len(since))
                zeros = bytes(luck.choice([0, len(since) - kept]))
                left[name] = flushed + since[:kept] + zeros
        return left

    def after_kill(self) -> dict[str, bytes]:
        at, live = self.live()
        return {name: live[file] for name, file in at.items()}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        fsync, move, unlink = os.fsync, os.replace, Path.unlink

        def seen_fsync(handle: int) -> None:
            if not self.is_looked_at:
                self._flush(handle)
                fsync(handle)

        def seen_replace(source: str, target: Path) -> None:
            self._call()
            move(source, target)

        def seen_unlink(path: Path, missing_ok: bool = False) -> None:
            if not self.is_looked_at:
                self._call()
            unlink(path, missing_ok=missing_ok)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", seen_fsync)
            patch.setattr(os, "replace", seen_replace)
            patch.setattr(Path, "unlink", seen_unlink)
            yield
        for handle in self.held.values():
            os.close(handle)

    def _flush(self, handle: int) -> None:
        file, size = os.fstat(handle).st_ino, os.fstat(handle).st_size
        is_folder = file == self.folder.stat().st_ino
        try:
            self._call()
        except OSError:
            if not is_folder:
                os.truncate(handle, size - 5)  # there was no room for more
            raise
        at, live = self.live()
        if is_folder:
            self.names = at
        else:
            self.contents[file] = live[file]

    def look(self) -> None:
        self.is_looked_at = True
        self.on_call()
        self.is_looked_at = False

    def _call(self) -> None:
        self.look()
        self.calls += 1
        if self.calls in self.fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def found_in(left: dict[str, bytes]) -> list[Batch]:
    """Return what a process loads that starts on such a folder."""
    with TemporaryDirectory() as name:
        for file, content in left.items():
            (Path(name) / file).write_bytes(content)
        return JsonFiles(Path(name)).load()


class TestCrashes:
    @settings(law, max_examples=40)  # each tries a hundred crashes
    @given(
        saves=st.lists(st.sets(st.integers(1, 4), max_size=2), min_size=1, max_size=6),
        fails=st.frozensets(st.integers(1, 20), max_size=3),
        seed=st.integers(0, 1 << 32),
    )
    def test_what_is_found_is_never_older_than_the_last_save_that_returned(
        self, saves: list[set[int]], fails: frozenset[int], seed: int
    ):
        luck, states, returned = Random(seed), [a_batch(4)], 0

        def crash() -> None:
            for left in (disk.after_kill(), disk.after_power_cut(luck), disk.after_power_cut(luck)):
                [found] = found_in(left)
                assert found in states[returned:]

        with TemporaryDirectory() as name:
            files = JsonFiles(Path(name))
            files.open()
            files.save(states[0])
            disk = Disk(Path(name), fails, crash)
            disk.names, disk.contents = disk.live()
            with disk.watched():
                changed: set[int] = set()
                for turn, rows in enumerate(saves, start=1):
                    state = replace(states[-1], resume_count=turn)
                    for number in rows:
                        state = created(state, number, turn)
                    states.append(state)
                    changed |= rows
                    with contextlib.suppress(StorageError):
                        files.save(state, changed)
                        returned, changed = turn, set()
                    disk.look()
            files.close()

    @law
    @given(seed=st.integers(0, 1 << 32))
    def test_a_batch_that_is_deleted_is_found_as_it_was_or_not_at_all(self, seed: int):
        """As it once was, it could be loaded again after it was abandoned."""
        luck = Random(seed)
        with TemporaryDirectory() as name:
            files = JsonFiles(Path(name))
            files.open()
            files.save(a_batch(), set())
            last = created(a_batch(), 1)
            disk = Disk(Path(name))
            with disk.watched():
                files.save(last, {1})
                disk.names, disk.contents = disk.live()
                disk.on_call = lambda: [
                    self._check(disk.after_kill(), last),
                    self._check(disk.after_power_cut(luck), last),
                ][0]
                files.delete(BATCH_ID)
            files.close()
            assert not names(Path(name))

    @staticmethod
    def _check(left: dict[str, bytes], last: Batch) -> None:
        assert found_in(left) in ([], [last])


class TestFailures:
    """Nothing is added to what may be half a line, or may belong to another document."""

    @pytest.mark.parametrize("call", [1, 2], ids=["the line", "its name"])
    def test_after_a_failed_change_the_batch_is_written_whole(
        self, files: JsonFiles, folder: Path, call: int
    ):
        files.save(a_batch(), set())
        disk = Disk(folder, frozenset({call}))
        with disk.watched(), pytest.raises(StorageError, match="No space left"):
            files.save(created(a_batch(), 1), {1})

        files.save(created(a_batch(), 2), {1, 2})

        assert {DOCUMENT} == names(folder)
        assert [created(a_batch(), 2)] == files.load()

    @pytest.mark.parametrize("call", [1, 2, 3], ids=["flush", "rename", "flush of the folder"])
    def test_after_a_failed_document_the_batch_is_written_whole(
        self, files: JsonFiles, folder: Path, saved: Batch, call: int
    ):
        disk = Disk(folder, frozenset({call}))
        with disk.watched(), pytest.raises(StorageError, match="No space left"):
            files.save(saved)

        files.save(created(saved, 4), {4})

        assert [created(saved, 4)] == files.load()

    @pytest.mark.parametrize("call", [1, 2, 3, 4])
    def test_a_batch_that_could_not_be_deleted_is_written_whole_again(
        self, files: JsonFiles, folder: Path, saved: Batch, call: int
    ):
        with Disk(folder, frozenset({call})).watched(), pytest.raises(StorageError):
            files.delete(BATCH_ID)

        files.save(saved, set())

        assert [saved] == files.load()
