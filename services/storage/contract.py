"""What keeping batches means, whichever way they are kept.

Synchronous: whoever calls runs it off the event loop.
"""

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

from models.batch import Batch


class StorageError(Exception):
    """The storage cannot be read or written; nothing that stood there before is lost."""


class StorageTaken(Exception):
    """Another process owns the folder."""


class LostBatch(StorageError):
    """Another process works on the batch by now: nothing of it may be written or sent here."""


class AlreadyUploaded(StorageError):
    """Another process stored a batch of the same owner under the same idempotency key."""


class BatchStorage(Protocol):
    """Where batches are kept. What a call did is durable when it returns."""

    def add(self, batch: Batch) -> None:
        """Store a new batch.

        Raises:
            AlreadyUploaded: There is one of its owner and idempotency key.
            StorageError: It may be stored or not.
        """

    def save(self, batch: Batch, changed: Collection[int] | None = None) -> bool:
        """Write a batch, so that a crash at any moment leaves the old or the new state whole.

        Args:
            batch: A snapshot: nothing changes it any more.
            changed: Numbers of all rows that changed since it was last written; None: any may have.

        Returns:
            Whether another process was asked to cancel it.

        Raises:
            LostBatch: Another process works on it by now; nothing was written.
            StorageError: It may be written or not.
        """

    def delete(self, batch_id: UUID) -> None:
        """Remove a batch; LostBatch, StorageError."""

    def check_writable(self) -> None:
        """Raise StorageError unless a batch could be stored now."""
