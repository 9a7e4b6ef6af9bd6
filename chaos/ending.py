"""Heals everything and brings every batch to its end, as a patient operator would."""

import asyncio
import time

from chaos.inspector import Inspector
from chaos.journal import Journal
from chaos.ledger import Entry, Ledger
from chaos.requests import Requests
from chaos.system import System
from chaos.upstream import Upstream

DEADLINE_S = 150.0  # a backlog of 1,500 rows takes a minute
ROUND_S = 0.3
AT_A_TIME = 20  # batches resumed or taken back in one round


async def heal(service: System, upstream: Upstream, journal: Journal) -> None:
    """End every disturbance: no faults, an empty disk, sound checkpoints, a fresh service."""
    journal.note("the end: everything is healed")
    await upstream.misbehave(())
    await service.restart_plainly()


async def settle(
    service: System, requests: Requests, inspector: Inspector, ledger: Ledger, journal: Journal
) -> None:
    """Resume, correct and abandon until nothing is left to do, or the deadline has passed."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        await inspector.look()
        open_entries = [entry for entry in ledger.entries if entry.kept and not _is_done(entry)]
        if not open_entries:
            break
        await asyncio.gather(*(_go_on(requests, entry) for entry in open_entries[:AT_A_TIME]))
        await asyncio.sleep(ROUND_S)
    for entry in ledger.entries:  # what the service says now, not only what its checkpoints say
        if entry.kept:
            await requests.ask(entry)
    await service.compare_views()
    journal.note("the end: every batch is at rest")


async def _go_on(requests: Requests, entry: Entry) -> None:
    match await requests.ask(entry):
        case "resumable":
            await requests.resume(entry)
        case "failed":
            await requests.correct(entry)
        case "abandoning":
            await requests.abandon(entry)
        case _:
            return


def _is_done(entry: Entry) -> bool:
    return entry.status == "completed"
