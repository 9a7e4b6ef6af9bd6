"""The directory's budgets, shared through a database by all processes that name the directory.

An exact sliding log on the database's clock: in any window at most so many turns are taken.
"""

import asyncio
from functools import partial

from services.logs import get_logger
from services.off_loop import off_loop
from services.pacing import Budget, BudgetAway, Budgets, Pace
from services.storage.contract import StorageError
from services.storage.database import Database

logger = get_logger(__name__)


class Turns:
    """The budget of one endpoint; see `pacing.Budget`.

    Args:
        database: Where turns are kept.
        directory_url: Whose endpoint it is.
        lane: Its name.
        pace: What it allows.
    """

    def __init__(self, database: Database, directory_url: str, lane: str, pace: Pace) -> None:
        self._database = database
        self._where = {"directory": directory_url, "lane": lane}
        self._pace = pace

    async def take(self, wanted: int) -> tuple[int, list[float]]:
        values = {"wanted": wanted, "most": self._pace.limit, "period_s": self._pace.period_s}
        try:
            row = await off_loop(partial(self._database.one, _TAKE, **self._where, **values))
        except StorageError:
            raise BudgetAway from None
        assert row is not None
        taken, ages_s = row
        return taken, ages_s or []

    def give_back(self, turns: int) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._give_back, turns)

    def _give_back(self, turns: int) -> None:
        try:
            self._database.run(_GIVE_BACK, turns=turns, **self._where)
        except StorageError:
            logger.debug("turns are not given back", turns=turns)  # they come back with time


def shared_budgets(database: Database, directory_url: str) -> Budgets:
    """Return the budgets of a directory's endpoints."""

    def budget(lane: str, pace: Pace) -> Budget:
        return Turns(database, directory_url, lane, pace)

    return budget


_TAKE = """
SELECT taken, ages_s
FROM hospital_bulk.take_turns(%(directory)s, %(lane)s, %(wanted)s, %(most)s, %(period_s)s)
"""

# The oldest ones: what stays counts for longer than it has to, never for less.
_GIVE_BACK = """
DELETE FROM hospital_bulk.turns WHERE ctid IN (
    SELECT ctid FROM hospital_bulk.turns
    WHERE directory_url = %(directory)s AND lane = %(lane)s
    ORDER BY taken_at LIMIT %(turns)s
    FOR UPDATE SKIP LOCKED
)
"""
