"""What is attacked, as its attackers see it: one process on files, or several on a database."""

from collections import Counter
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import httpx

from chaos.ledger import Seen
from chaos.schedule import End, Step


class System(Protocol):
    """The service, however many processes it is.

    Attributes:
        url: Where clients find it.
        counts: What was done to it.
        failures: What it did that it never may, in words.
        visited_until_s: Until when strangers may use up the directory's budget (monotonic).
    """

    url: str
    counts: Counter[str]
    failures: list[str]
    visited_until_s: float

    def transport(self) -> httpx.AsyncBaseTransport | None:
        """Return what takes clients' requests to it; None: the usual way."""

    async def start(self) -> None:
        """Start it and return when it serves."""

    async def befall(self, step: Step) -> None:
        """Do to it what the schedule says."""

    async def end_one(self, end: End, why: str, batch_id: str | None) -> None:
        """End a process now, that which works on a batch if one is named, and start it again."""

    async def end_after_answer(self, end: End, batch_id: str | None) -> None:
        """Do the same after it has told something of a batch."""

    async def restart_plainly(self) -> None:
        """End every disturbance, and have all of it serve."""

    def readable(self) -> AbstractAsyncContextManager[None]:
        """Have what it keeps stay readable for a block."""

    def kept(self) -> list[Seen]:
        """Return every batch that it keeps, while that is `readable`."""

    async def compare_views(self) -> None:
        """Note a failure for each process that tells of a batch otherwise than it is kept."""

    async def close(self) -> None:
        """End it, whatever it does."""
