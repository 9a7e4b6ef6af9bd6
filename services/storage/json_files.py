"""Checkpoints as one JSON document for each batch: `<batch_id>.json`, replaced as a whole.

That of a batch in several parts is large: it has a journal of changes beside it, and is replaced
when that has become as large.

Synchronous: whoever calls runs it off the event loop. One process owns the folder, by a lock
(flock: Linux and macOS) that ends with the process, however it ends.
"""

import contextlib
import fcntl
import os
import secrets
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from uuid import UUID

from models.batch import Batch
from services.logs import get_logger
from services.off_loop import giving_way
from services.storage import durable, journal
from services.storage.checkpoint import UnreadableCheckpoint, decode, encode, encode_change
from services.storage.contract import StorageError, StorageTaken
from services.storage.journal import Journal

logger = get_logger(__name__)

LOCK_NAME = ".lock"
SET_ASIDE_SUFFIX = ".set-aside"


class JsonFiles:
    """The checkpoints in one folder.

    Args:
        folder: Where they are; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None
        self._journals: dict[UUID, Journal] = {}  # of the batches in several parts

    def open(self) -> None:
        """Make the folder and become its owner.

        Raises:
            StorageTaken: Another process owns it.
            StorageError: It cannot be made or written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(str(error.strerror)) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StorageTaken from None
        except OSError as error:
            os.close(lock)
            raise StorageError(f"its file system has no locks ({error.strerror})") from error
        self._lock = lock

    def close(self) -> None:
        """Give the folder up."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def add(self, batch: Batch) -> None:
        """Write a new batch; StorageError if that fails, or the folder is not owned."""
        self.save(batch)

    def save(self, batch: Batch, changed: Collection[int] | None = None) -> bool:
        """Write a batch, see `BatchStorage.save`; no other process is ever asked to cancel it."""
        with self._writing():
            if batch.part_rows is None:
                durable.write(self._path(batch.id), encode(batch))
            elif changed is None or not self._is_added(batch, changed):
                self._write_anew(batch)
        return False

    def delete(self, batch_id: UUID) -> None:
        """Remove a batch's document; StorageError if that fails."""
        with self._writing():
            written = self._journals.get(batch_id)
            if written is not None:
                written.close()
            # The document first: without its journal it would be the batch as it once was.
            durable.remove(self._path(batch_id))
            if written is not None:
                durable.remove(written.path)
                del self._journals[batch_id]

    def check_writable(self) -> None:
        """Raise StorageError unless a document could be written now."""
        with self._writing(), tempfile.TemporaryFile(dir=self._folder) as file:
            file.write(b"\n")
            file.flush()

    def load(self) -> list[Batch]:
        """Return every batch in the folder; set aside, by another name, what cannot be read.

        What is not named like a document or a journal is not ours and stays untouched, except our
        own torn writes.
        """
        for torn in self._folder.glob(f"{durable.TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                torn.unlink()
        journals = self._find_journals()
        documents = sorted(self._folder.glob("*.json"))
        found = [self._load_one(path, journals.pop(path.stem, [])) for path in documents]
        for path in sorted(path for paths in journals.values() for path in paths):
            self._set_aside([path], "its document is missing")
        return [batch for batch in found if batch is not None]

    def _find_journals(self) -> dict[str, list[Path]]:
        found = defaultdict(list)
        for path in self._folder.glob("*.jsonl"):
            if named := journal.NAME.fullmatch(path.name):
                found[named[1]].append(path)
        return found

    def _load_one(self, path: Path, journals: list[Path]) -> Batch | None:
        try:
            batch, generation = decode(path.read_bytes())
            if path.name != f"{batch.id}.json":
                raise UnreadableCheckpoint("its name is not its batch id")
            if generation is not None:
                batch = self._replay(batch, journal.path_beside(path, generation), journals)
        except (UnreadableCheckpoint, IsADirectoryError) as error:
            self._set_aside([path, *journals], str(error))
        except OSError as error:
            # It may be sound: whoever mends the disk or the permissions finds it under its name.
            logger.error(
                "checkpoint cannot be read and is left where it is: its batch is not served until "
                "the service is started again",
                checkpoint=path.name,
                reason=error.strerror,
            )
        else:
            return batch
        return None

    def _replay(self, batch: Batch, written: Path, journals: list[Path]) -> Batch:
        if written in journals:
            batch = journal.replayed(batch, written)
        for superseded in journals:
            if superseded != written:
                with contextlib.suppress(OSError):
                    superseded.unlink()
        self._journals[batch.id] = Journal(written, room=0)  # it may end in half a line
        return batch

    def _set_aside(self, paths: Iterable[Path], reason: str) -> None:
        """Set aside what belongs together, the document first.

        On its own it would be loaded at the next start, as the batch once was.
        """
        for path in paths:
            if not self._is_set_aside(path, reason):
                break
            with contextlib.suppress(OSError):
                durable.sync_folder(self._folder)

    def _is_set_aside(self, path: Path, reason: str) -> bool:
        aside = path.with_name(path.name + SET_ASIDE_SUFFIX)
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"{path.name}{SET_ASIDE_SUFFIX}-{number}")
        try:
            path.rename(aside)
        except OSError:
            logger.error(
                "checkpoint cannot be read and is left alone",
                checkpoint=path.name,
                reason=reason,
            )
            return False
        logger.error(
            "checkpoint cannot be read and is set aside: its batch is not served",
            checkpoint=path.name,
            reason=reason,
            set_aside_as=aside.name,
        )
        return True

    def _is_added(self, batch: Batch, changed: Collection[int]) -> bool:
        """Add what changed to the batch's journal; False if the batch is to be written anew."""
        written = self._journals.get(batch.id)
        if written is None or written.is_closed or len(changed) > len(batch.rows) // 2:
            return False
        return written.add(b"".join(giving_way(encode_change(batch, changed))))

    def _write_anew(self, batch: Batch) -> None:
        generation = secrets.token_hex(4)
        path = self._path(batch.id)
        superseded = self._journals.get(batch.id)
        if superseded is not None:
            superseded.close()  # whatever fails from here on: its document may be gone
        size = durable.write(path, giving_way(encode(batch, generation)))
        self._journals[batch.id] = Journal(journal.path_beside(path, generation), room=size)
        if superseded is not None:
            with contextlib.suppress(OSError):
                superseded.path.unlink(missing_ok=True)

    def _path(self, batch_id: UUID) -> Path:
        return self._folder / f"{batch_id}.json"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._lock is None:
            raise StorageError("the folder could not be opened at the start: restart the service")
        try:
            yield
        except OSError as error:
            raise StorageError(str(error.strerror)) from error
