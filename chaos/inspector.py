"""Compares the directory with the ledger: before each time it forgets, and at the end."""

import time

from chaos.journal import Journal
from chaos.ledger import Ledger
from chaos.system import System
from chaos.upstream import Upstream
from chaos.verdict import judge


class Inspector:
    """Sees what the service keeps and what the directory has."""

    def __init__(
        self, service: System, upstream: Upstream, ledger: Ledger, journal: Journal
    ) -> None:
        self._service = service
        self._upstream = upstream
        self._ledger = ledger
        self._journal = journal

    async def look(self) -> None:
        """See what the service keeps, whether it runs or not."""
        async with self._service.readable():
            self._ledger.see_kept(self._service.kept(), time.time())

    async def inspect(self, *, final: bool) -> None:
        """Compare all that the directory has with all that is known to be due.

        The checkpoints come first: what says `completed` there is in any later list. What
        completes between the two is compared by the next inspection, or, if the directory forgets
        in between, by none (`Entry.unchecked`).
        """
        await self.look()
        standings = self._ledger.standings(time.time())
        listed = await self._upstream.hospitals()
        findings = judge(standings, listed, self._upstream.foreign, final=final)
        completed = sum(
            standing.status == "completed" and not standing.checked for standing in standings
        )
        self._journal.note(
            f"inspected: {len(listed)} hospitals, {completed} completed batches of this life, "
            f"{len(findings)} findings"
        )
        for finding in findings:
            self._ledger.found(finding)
