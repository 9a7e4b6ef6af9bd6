"""Checkpoints as one JSON file for each batch: `<batch_id>.json`, replaced as a whole.

Synchronous: whoever calls runs it off the event loop. One process owns the folder, by a lock
(flock: Linux and macOS) that ends with the process, however it ends.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import UUID

from models.batch import Batch
from services.logs import get_logger
from services.storage.checkpoint import UnreadableCheckpoint, decode, encode

logger = get_logger(__name__)

LOCK_NAME = ".lock"
SET_ASIDE_SUFFIX = ".set-aside"
TEMPORARY_PREFIX = ".writing-"


class StorageError(Exception):
    """The storage cannot be written; nothing that stood there before is lost."""


class StorageTaken(Exception):
    """Another process owns the folder."""


class JsonFiles:
    """The checkpoints in one folder.

    Args:
        folder: Where they are; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

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

    def save(self, batch: Batch, changed: Collection[int] | None = None) -> None:
        """Write *batch* so that a crash at any moment leaves the old or the new document whole.

        Args:
            batch: A snapshot: nothing changes it any more.
            changed: Numbers of all rows that changed since it was last written; None: any may have.

        Raises:
            StorageError: It could not be written, or the folder is not owned.
        """
        with self._writing():
            document = encode(batch)
            handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=TEMPORARY_PREFIX)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(document)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self._path(batch.id))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            self._sync_folder()

    def delete(self, batch_id: UUID) -> None:
        """Remove a batch's document; StorageError if that fails."""
        with self._writing():
            self._path(batch_id).unlink(missing_ok=True)
            self._sync_folder()

    def check_writable(self) -> None:
        """Raise StorageError unless a document could be written now."""
        with self._writing(), tempfile.TemporaryFile(dir=self._folder) as file:
            file.write(b"\n")
            file.flush()

    def load(self) -> list[Batch]:
        """Return every batch in the folder; set aside, by another name, what cannot be read.

        What does not end in `.json` is not ours and stays untouched, except our own torn writes.
        """
        for torn in self._folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                torn.unlink()
        found = (self._load_one(path) for path in sorted(self._folder.glob("*.json")))
        return [batch for batch in found if batch is not None]

    def _load_one(self, path: Path) -> Batch | None:
        try:
            batch = decode(path.read_bytes())
            if path.name != f"{batch.id}.json":
                raise UnreadableCheckpoint("its name is not its batch id")
        except (UnreadableCheckpoint, IsADirectoryError) as error:
            self._set_aside(path, error)
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

    def _set_aside(self, path: Path, reason: Exception) -> None:
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
                reason=str(reason),
            )
            return
        logger.error(
            "checkpoint cannot be read and is set aside: its batch is not served",
            checkpoint=path.name,
            reason=str(reason),
            set_aside_as=aside.name,
        )

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

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
