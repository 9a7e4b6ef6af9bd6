"""A service, a directory and a crowd: one round of load at a time, and what is left of each."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.crowd import Crowd, Load, Seen, until
from benchmarks.footprint import Footprint, footprint
from scripts.processes import Server

# Quick and unlimited, so that the service is what is loaded.
QUICK_DIRECTORY = (
    *("--create-seconds", "0.02", "--create-limit", "0", "--lookup-limit", "0"),
    *("--root-limit", "0", "--keep", "0"),
)
UNPACED = {"create_rate_limit": 0, "progress_cleanup_hours": 0, "max_requests_per_second": 0}
HASTE = 60  # refused clients come back after 1 s, not 60
KEPT_ALIVE = 20  # connections to the directory that may stay open for the next request
REST_S = 20.0


@dataclass(frozen=True, slots=True)
class Round:
    """One round of load.

    Attributes:
        load: What the crowd did.
        seen: What its clients saw.
        held: The directory's hospitals after it.
        cleaned: Batches that a cleanup forgot then.
        stored: Batches that still have a checkpoint.
        left: What the service's process still holds, with all clients gone.
    """

    load: Load
    seen: Seen
    held: list[dict[str, Any]]
    cleaned: int
    stored: set[str]
    left: Footprint


class Stage:
    """One service of which nobody else is a client."""

    def __init__(self, service: Server, directory: Server, storage: Path) -> None:
        self.crowd = Crowd(service.url, storage, haste=HASTE)
        self._service = service
        self._control = f"{directory.url}/_directory"

    def play(self, load: Load, name: str, *, slow_s: float = 0.0) -> Round:
        """Play one round with hospitals called *name*, each created *slow_s* seconds later."""
        slow = {"endpoint": "create", "kind": "slow", "seconds": slow_s}
        httpx.put(f"{self._control}/faults", json=[slow] if slow_s else []).raise_for_status()
        httpx.post(f"{self._control}/restart", json={}).raise_for_status()  # forgets other rounds
        seen = asyncio.run(self.crowd.play(load, name))
        held = httpx.get(f"{self._control}/hospitals").raise_for_status().json()
        cleaned = asyncio.run(self.crowd.cleanup())
        return Round(load, seen, held, cleaned, self.crowd.stored(), self.rest())

    def rest(self) -> Footprint:
        """Look at the service when it has noticed that all clients are gone."""

        async def resting() -> Footprint:
            async with asyncio.timeout(REST_S):
                await until(lambda: footprint(self._service).clients == 0)
            return footprint(self._service)

        return asyncio.run(resting())
