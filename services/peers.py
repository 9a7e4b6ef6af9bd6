"""The other processes that work on the same batches, if there are any.

What follows asks them nothing: they share a database. `NoPeers` is a process that has its batches
for itself.
"""

from typing import Protocol
from uuid import UUID

from models.batch import Batch
from services.reasons import CannotContinue


class Taken(Exception):
    """Another process works on the batch."""


class Lost(CannotContinue):
    """Another process works by now on a batch that this one ran: nothing more of it may be sent."""

    def __init__(self) -> None:
        super().__init__("Another process goes on with the batch: follow its progress.")


class Peers(Protocol):
    """What has to be agreed with other processes, if there are any.

    Attributes:
        let_go_s: How long the claim on a batch may still be held when it is told to have ended.
        is_away: What they do cannot be known at the moment.
    """

    let_go_s: float

    @property
    def is_away(self) -> bool: ...

    async def take(self, batch: Batch) -> bool:
        """Become the one that works on a batch, and bring what is known of it up to date.

        Returns:
            Whether nothing was under way when it was last let go.

        Raises:
            Taken: Another process works on it.
            BatchNotFound: Another process removed it.
            StorageUnavailable: Nobody knows.
        """

    async def release(self, batch: Batch, *, is_clean: bool) -> None:
        """Let go of a batch; if it is to be run, some process takes it soon.

        Args:
            batch: As it is now.
            is_clean: Nothing of it is under way.
        """

    async def may_send(self, batch_id: UUID) -> None:
        """Return when it is sure that this process still works on a batch.

        Raises:
            Lost: It does not.
            CannotContinue: Another process was asked to cancel the batch.
        """

    async def refresh(self, batch_id: UUID) -> None:
        """Bring what is known of a batch up to date, or leave it if that cannot be had.

        Raises:
            StorageUnavailable: Nothing is known of it, and nobody knows whether there is one.
        """

    async def refresh_upload(self, owner: str | None, idempotency_key: str) -> None:
        """Bring what is known of an upload that names itself up to date.

        Raises:
            StorageUnavailable: Nobody knows whether there is one.
        """

    async def refresh_all(self) -> None:
        """Bring what is known of all batches up to date, or leave it if that cannot be had."""


class SharingPeers(Peers, Protocol):
    """What has to be agreed where any process may run a batch."""

    async def accept(self, batch: Batch) -> None:
        """Have some process take a batch that was stored just now; its client may then be told.

        Raises:
            StorageUnavailable: It is removed, unless somebody took it.
        """

    async def cancel(self, batch: Batch) -> bool:
        """Have a batch cancelled that another process may run; False if it is too late.

        Raises:
            StorageUnavailable: Nobody knows.
        """


class NoPeers:
    """This process has its batches for itself."""

    let_go_s = 0.0
    is_away = False

    async def take(self, batch: Batch) -> bool:
        return True

    async def release(self, batch: Batch, *, is_clean: bool) -> None:
        pass

    async def may_send(self, batch_id: UUID) -> None:
        pass

    async def refresh(self, batch_id: UUID) -> None:
        pass

    async def refresh_upload(self, owner: str | None, idempotency_key: str) -> None:
        pass

    async def refresh_all(self) -> None:
        pass
