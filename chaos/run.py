"""One run: start everything, disturb it, heal it, compare."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from chaos.clients import Clients
from chaos.company import Company, names_of
from chaos.ending import heal, settle
from chaos.inspector import Inspector
from chaos.journal import Journal
from chaos.ledger import Ledger
from chaos.requests import Requests
from chaos.scale import ALONE, SEVERAL
from chaos.schedule import schedule
from chaos.service import Service
from chaos.system import System
from chaos.table import Deed, Result, due_of
from chaos.trouble import Trouble
from chaos.upstream import Upstream
from chaos.verdict import Answer
from scripts.processes import DidNotStart

LOOK_EVERY_S = 0.5

# Below the ports that systems give to outgoing connections: one of those must not take ours while
# a server is down.
PORTS = range(20_000, 30_000)


async def run(folder: Path, minutes: float, seed: int, least: int, processes: int = 1) -> Result:
    """Run the real service and directory through *minutes* of trouble.

    Args:
        folder: Where logs, checkpoints and the journal go.
        minutes: How long; healing and comparing come on top.
        seed: Of the schedule.
        least: Requests that must meet each kind of fault, and deeds of each kind.
        processes: Of the service.
    """
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(Journal(folder / "journal.log"))
        return await _run(folder, minutes, seed, least, processes, journal, stack)


async def _run(
    folder: Path,
    minutes: float,
    seed: int,
    least: int,
    processes: int,
    journal: Journal,
    stack: AsyncExitStack,
) -> Result:
    steps = schedule(seed, minutes * 60, processes)
    names = names_of(processes) if processes > 1 else []
    journal.note(f"seed {seed}, {minutes:g} minutes, {len(steps)} steps")
    ports = await _free_ports(1 + processes)
    ledger = Ledger(journal, SEVERAL if names else ALONE)
    upstream = Upstream(folder, ports[0], seed, journal)
    stack.push_async_callback(upstream.close)
    service: System = Service(folder, ports[1], upstream.url, ledger, journal)
    if names:
        luck = Random(f"{seed} company")
        service = Company(folder, names, ports[1:], upstream.url, ledger, journal, luck)
    stack.push_async_callback(service.close)
    requests = Requests(service.url, ledger, journal, service.transport())
    stack.push_async_callback(requests.close)
    clients = Clients(requests, service, ledger, Random(f"{seed} clients"))
    inspector = Inspector(service, upstream, ledger, journal)
    trouble = Trouble(steps, service, upstream, clients, inspector, ledger, journal)

    broken: list[str] = []
    try:
        await upstream.start()
        await trouble.welcome_foreigners()
        await service.start()
        await _alongside(
            trouble.run,
            trouble.inspect_now_and_then,
            clients.tend,
            clients.poll,
            clients.clean,
            _looking(inspector),
        )
        await heal(service, upstream, journal)
        await settle(service, requests, inspector, ledger, journal)
        await inspector.inspect(final=True)
    except* DidNotStart as group:
        broken += [str(error) for error in group.exceptions]
    return Result(
        least=least,
        counts=_counted(ledger, due_of(names), requests.counts, service.counts),
        faulted=await upstream.faulted() if not broken else Counter(),
        findings=list(ledger.findings),
        due=due_of(names),
        failures=broken + service.failures + requests.failures + upstream.failures,
    )


async def _alongside(
    main: Callable[[], Awaitable[None]], *others: Callable[[], Awaitable[None]]
) -> None:
    """Run *main* to its end and *others*, which have none, as long."""

    async def first() -> None:
        await main()
        for task in endless:
            task.cancel()

    async def until_cancelled(other: Callable[[], Awaitable[None]]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await other()

    async with asyncio.TaskGroup() as tasks:
        endless = [tasks.create_task(until_cancelled(other)) for other in others]
        tasks.create_task(first())


def _looking(inspector: Inspector) -> Callable[[], Awaitable[None]]:
    async def look() -> None:
        while True:
            await inspector.look()
            await asyncio.sleep(LOOK_EVERY_S)

    return look


def _counted(ledger: Ledger, due: Iterable[str], *counted: Counter[str]) -> dict[str, int]:
    counts: dict[str, int] = dict.fromkeys(due, 0)
    for counter in counted:
        counts |= dict(sorted(counter.items()))
    entries = ledger.entries
    counts["batches completed"] = sum(entry.status == "completed" for entry in entries)
    counts["completed while the directory forgot (exempt)"] = sum(
        entry.unchecked for entry in entries
    )
    counts["completed, a correction undecided (exempt)"] = sum(
        entry.status == "completed" and entry.undecided for entry in entries
    )
    counts["batches with a damaged checkpoint (apart)"] = sum(entry.damaged for entry in entries)
    counts["uploads refused, loaded all the same"] = sum(
        entry.answer is Answer.REFUSED and entry.status == "completed" for entry in entries
    )
    counts[Deed.RETENTIONS] = sum(entry.retained for entry in entries)
    return counts


async def _free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody uses now, from those that are lent to nobody."""
    free: list[int] = []
    luck = Random(time.time_ns())
    while len(free) < count:
        port = luck.choice(PORTS)
        with contextlib.suppress(OSError):
            server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", port)
            server.close()
            free.append(port)
    return free
