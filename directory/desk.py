"""Where calls are worked on: rate limits, places, the work of a create, and faults."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import nullcontext

from directory.answers import (
    DROPPED,
    REJECTED,
    Answer,
    batch_full,
    cut_in_half,
    html,
    server_error,
)
from directory.calls import Call, Endpoint
from directory.faults import LONGEST_HANG_S, FaultBook, FaultKind, FaultRule
from directory.gate import Gate
from directory.jobs import Jobs
from directory.limits import FixedWindows, limits_of
from directory.operations import Operations
from directory.settings import DirectorySettings
from directory.stats import Stats
from directory.store import HospitalStore

ClientLeaves = Callable[[], Coroutine[None, None, None]]


class Desk:
    """One directory: its rows, its limits, its faults and its work under way.

    At most `settings.workers` calls are worked on at a time. The seconds that a fault adds
    pass on the wire, after the work, and hold no place. All times are those of the running
    loop, so that tests can run it on a virtual clock.
    """

    def __init__(self, settings: DirectorySettings) -> None:
        self.settings = settings
        self.store = HospitalStore(settings.keep)
        self.faults = FaultBook(random.Random(settings.seed).random)
        self.gate = Gate()
        self.stats = Stats()
        self._operations = Operations(self.store, settings.batch_limit)
        self._windows = FixedWindows(limits_of(settings), settings.period)
        self._jobs = Jobs()
        self._places = asyncio.Semaphore(settings.workers)

    async def enter(self) -> Answer | None:
        """Return the answer of a directory that is down or asleep; None when it is there."""
        now_s = _now_s()
        if self.gate.is_down(now_s):
            return DROPPED
        waking = self.gate.knock(now_s)
        if waking is None:
            return None
        if waking.status is not None:
            return html(waking.status)
        await self._jobs.first_of(asyncio.sleep(waking.wait_s))
        return None

    async def answer(self, call: Call, client: str, client_leaves: ClientLeaves) -> Answer:
        """Return what becomes of *call*; its work goes on if this is cancelled.

        Raises:
            ConnectionDropped: The directory was restarted meanwhile.
        """
        fault = self.faults.pick(call)
        in_front = self._meet_in_front(call, fault.rule) if fault is not None else None
        if in_front is not None:
            return in_front
        answer, refused = await self._jobs.outcome(
            self._work(call, client, fault.rule if fault is not None else None)
        )
        if fault is None:
            return answer
        if refused:
            self.faults.give_back(fault)
            return answer
        return await self._deliver(answer, fault.rule, client_leaves)

    def restart(self, down_s: float) -> None:
        """Forget every row and window, end all work unfinished, and be down for a while."""
        self._jobs.end_all()
        self.store.clear()
        self._windows.clear()
        self._places = asyncio.Semaphore(self.settings.workers)
        self.gate.go_down(_now_s() + down_s)

    def _meet_in_front(self, call: Call, rule: FaultRule) -> Answer | None:
        """Return the answer of a fault that strikes before the directory counts a hit."""
        match rule.kind:
            case FaultKind.DROP_BEFORE:
                answer = DROPPED
            case FaultKind.GATEWAY:
                answer = html(rule.status)
            case FaultKind.REFUSE:
                answer = self._refuse(call)
            case FaultKind.REJECT:
                answer = REJECTED
            case _:
                return None
        self.stats.faulted[rule.kind] += 1
        return answer

    async def _work(self, call: Call, client: str, rule: FaultRule | None) -> tuple[Answer, bool]:
        """Return the answer, and whether it is a refusal for the rate."""
        async with self._places:
            now_s = _now_s()
            if not self._windows.admit(client, call.endpoint, now_s):
                return self._refuse(call), True
            if call.endpoint is Endpoint.CREATE:
                self.stats.create_times.append(now_s)
            if rule is None:
                return await self._apply(call), False
            self.stats.faulted[rule.kind] += 1
            return await self._apply_under(rule, call), False

    async def _apply_under(self, rule: FaultRule, call: Call) -> Answer:
        match rule.kind:
            case FaultKind.ERROR_BEFORE:
                return server_error(rule.status)
            case FaultKind.FULL:
                return batch_full(self.settings.batch_limit)
            case FaultKind.PARTIAL:
                return self._operations.activate_half(call, rule.status)
            case FaultKind.LATE | FaultKind.LATE_ERROR | FaultKind.STALL:
                if self._operations.turn_away(call) is None:
                    self._jobs.start(self._finish(call, rule.seconds))
                return DROPPED
            case _:
                return await self._apply(call, keep=rule.kind is not FaultKind.LOSE)

    async def _apply(self, call: Call, *, keep: bool = True) -> Answer:
        full = self._operations.turn_away(call)
        if full is not None:
            return full
        work_s = self.settings.create_seconds if call.endpoint is Endpoint.CREATE else 0.0
        return await self._finish(call, work_s, keep=keep)

    async def _finish(self, call: Call, work_s: float, *, keep: bool = True) -> Answer:
        is_create = call.endpoint is Endpoint.CREATE
        with self.stats.create() if is_create else nullcontext():
            if work_s:
                await asyncio.sleep(work_s)
            answer = self._operations.perform(call, keep=keep)
        self.stats.committed += is_create and keep
        return answer

    async def _deliver(
        self, answer: Answer, rule: FaultRule, client_leaves: ClientLeaves
    ) -> Answer:
        if rule.kind is FaultKind.SLOW:
            await self._jobs.first_of(asyncio.sleep(rule.seconds))
        elif rule.kind is FaultKind.HANG:
            await self._jobs.first_of(asyncio.sleep(rule.seconds), client_leaves())
        elif rule.kind is FaultKind.STALL:
            await self._jobs.first_of(asyncio.sleep(LONGEST_HANG_S), client_leaves())
        return _disguise(answer, rule)

    def _refuse(self, call: Call) -> Answer:
        self.stats.refused[call.endpoint] += 1
        return self._windows.refusal(call.endpoint)


def _disguise(answer: Answer, rule: FaultRule) -> Answer:
    """Return what arrives in the place of *answer* when *rule* strikes on its way."""
    match rule.kind:
        case FaultKind.DROP_AFTER | FaultKind.HANG | FaultKind.LATE | FaultKind.STALL:
            return DROPPED
        case FaultKind.ERROR_AFTER:
            return server_error(rule.status)
        case FaultKind.LATE_ERROR:
            return html(rule.status)
        case FaultKind.GARBLED:
            return html(200)
        case FaultKind.TRUNCATED:
            return cut_in_half(answer)
        case _:
            return answer


def _now_s() -> float:
    return asyncio.get_running_loop().time()
