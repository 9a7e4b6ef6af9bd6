"""What is done and when, drawn from one seed before anything starts.

Each track has its own luck, so a longer run begins as a shorter one does, and a change of one
track leaves the others alone. What actors do in answer to what they see (resume, correct, abandon)
is drawn as it comes, and is not repeatable to the moment.

What is provably outside the promise is not drawn: late work later than `scale.LATE_S` (see there),
somebody who changes our own batches in the directory, bits that flip in a checkpoint so that it
still reads well (it is made to be mended with an editor, so it has no checksum), and more rows
than the directory keeps.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import takewhile
from operator import itemgetter
from random import Random
from typing import Any, TypeAlias

from chaos.files import Content, contents
from chaos.scale import FROZEN_S, LATE_S, LEASE_S, PART_ROWS, PATIENCE_S
from directory.calls import Endpoint
from directory.faults import FaultKind

Rule: TypeAlias = dict[str, Any]


class Manner(StrEnum):
    """How a client uploads."""

    WAITS = "waits"  # for the end of the batch
    ASYNC = "async"  # Prefer: respond-async
    LEAVES = "leaves"  # sends all of the file, waits a little and goes away
    BREAKS_OFF = "breaks off"  # goes away in the middle of the file


class Damage(StrEnum):
    """What becomes of a checkpoint while the service is down."""

    CUT_OFF = "cut off"
    FLIPPED = "flipped"
    EMPTIED = "emptied"
    OTHER_VERSION = "other version"


@dataclass(frozen=True, slots=True)
class End:
    """How a service process ends: by which signal, and how long after its start began."""

    by_kill: bool
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A client uploads a file."""

    number: int
    rows: int
    identical: int
    manner: Manner
    patience_s: float  # of a client that leaves
    end_after: End | None  # the service ends as soon as the last answer is there
    unsound: int = 0  # rows that the service is told to skip
    cancel_after_s: float | None = None  # of one that does not wait: after it was accepted
    neglected: bool = False  # nobody sees to what has stopped, until retention does
    named: bool = False  # by an Idempotency-Key, under which it is sent again without an answer

    @property
    def contents(self) -> tuple[Content, ...]:
        return contents(self.number, self.rows, self.identical, self.unsound)


@dataclass(frozen=True, slots=True)
class Faults:
    """The directory misbehaves by these rules too."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Bounce:
    """The service ends and is started again.

    Attributes:
        down_s: How long it is down.
        damages: What happens to checkpoints meanwhile, each with the luck (0 to 1) that says which.
        starts_cut_short: Starts that end like this before the one that lasts.
        part_rows: DIRECTORY_BATCH_LIMIT from then on; what was uploaded before keeps its parts.
    """

    end: End
    down_s: float
    damages: tuple[tuple[Damage, float], ...]
    starts_cut_short: tuple[End, ...]
    part_rows: int


@dataclass(frozen=True, slots=True)
class Forgetting:
    """The directory restarts and forgets: by its own order, or as a process that is killed."""

    by_kill: bool
    down_s: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """The directory falls asleep; requests wait for it, or get *status* with HTML."""

    wake_s: float
    status: int | None


@dataclass(frozen=True, slots=True)
class Strangers:
    """Others use up the directory's budget of our address."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FullDisk:
    """No file of the service may grow beyond *limit* bytes."""

    seconds: float
    limit: int


@dataclass(frozen=True, slots=True)
class Restart:
    """One of several processes ends and is started again.

    Attributes:
        process: Which, counted from 0.
        down_s: How long it is down.
        starts_cut_short: Starts that end like this before the one that lasts.
        part_rows: Its DIRECTORY_BATCH_LIMIT from then on.
        run_batches: Its RUN_BATCHES from then on, if it is no worker.
        sending: Not before it works on a batch, if it does so soon.
    """

    process: int
    end: End
    down_s: float
    starts_cut_short: tuple[End, ...]
    part_rows: int
    run_batches: bool
    sending: bool


@dataclass(frozen=True, slots=True)
class Freeze:
    """One of several processes does nothing for a while, then goes on as if nothing had been."""

    process: int
    seconds: float
    sending: bool  # as of a restart


class Outage(StrEnum):
    """What becomes of the database that several processes share."""

    RESTARTED = "restarted"  # in good order, ending all connections
    KILLED = "killed"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class DatabaseAway:
    """The database is away for a while."""

    how: Outage
    seconds: float


OfAny: TypeAlias = Upload | Faults | Forgetting | Sleep | Strangers
OfOne: TypeAlias = Bounce | FullDisk  # a service of one process, which keeps batches as files
OfSeveral: TypeAlias = Restart | Freeze | DatabaseAway  # of several, which share a database
Step: TypeAlias = OfAny | OfOne | OfSeveral
Track: TypeAlias = Callable[[Random], Iterator[tuple[float, Step]]]


@dataclass(frozen=True, slots=True)
class Timed:
    """A step and its time, in seconds from the start."""

    at_s: float
    step: Step


def schedule(seed: int, seconds: float, processes: int = 1) -> list[Timed]:
    """Return everything that is done within *seconds*, in order of time.

    Args:
        seed: Of the luck.
        seconds: How long it goes on.
        processes: Of the service; with several of them those and their database are disturbed.
    """
    tracks: dict[str, Track] = {
        track.__name__: track for track in (_uploads, _faults, _forgettings, _sleeps, _strangers)
    }
    if processes == 1:
        tracks |= {track.__name__: track for track in (_bounces, _full_disks)}
    else:
        for number in range(processes):
            tracks[f"restarts {number}"] = partial(_restarts, number)
            tracks[f"freezes {number}"] = partial(_freezes, number)
        tracks["outages"] = _outages
    timed = [track(Random(f"{seed} {name}")) for name, track in sorted(tracks.items())]
    merged = heapq.merge(*timed, key=itemgetter(0))
    return [Timed(*entry) for entry in takewhile(lambda entry: entry[0] < seconds, merged)]


def rules_of(kind: FaultKind, endpoint: Endpoint, luck: Random) -> Rule:
    """Return a rule for *kind* at *endpoint* with the details that the kind leaves open."""
    rule: Rule = {"kind": kind, "endpoint": endpoint, "times": luck.choice((1, 1, 1, 2))}
    match kind:
        case FaultKind.ERROR_BEFORE | FaultKind.ERROR_AFTER | FaultKind.PARTIAL:
            rule["status"] = luck.choice((500, 502, 503, 504))
        case FaultKind.LATE_ERROR:
            rule["status"] = luck.choice((500, 502, 503))
            rule["seconds"] = LATE_S * luck.choice((0.2, 0.5, 0.8, 1.0))
        case FaultKind.LATE:
            rule["seconds"] = LATE_S * luck.choice((0.2, 0.5, 0.8, 1.0))
        case FaultKind.STALL:
            rule["seconds"] = PATIENCE_S + LATE_S * luck.choice((0.1, 0.3, 0.5))
        case FaultKind.SLOW:
            rule["seconds"] = luck.choice((0.2, 0.7, 1.5))  # beyond the service's patience too
        case FaultKind.GATEWAY:
            rule["status"] = luck.choice((301, 403, 404))
        case FaultKind.REJECT:
            rule["times"] = 1
        case _:
            pass
    return rule


def late_create() -> Rule:
    """Return a rule for the create that tempts most to send it again: to whoever takes over."""
    return {"kind": FaultKind.LATE, "endpoint": Endpoint.CREATE, "times": 1, "seconds": LATE_S}


# --- The tracks: endless, each with its own luck --------------------------------------------------

BUSY = (Endpoint.CREATE, Endpoint.CREATE, Endpoint.CREATE, Endpoint.LIST_BATCH, Endpoint.ACTIVATE)
# The service gets and deletes single hospitals only to remove surplus copies, and changes or lists
# all of them never. Surplus copies come of late work beyond the promise alone.
RARE = (Endpoint.ROOT, Endpoint.DELETE_BATCH)
ENDS_AFTER_ANSWERS = (None, End(by_kill=True), End(by_kill=False))
ONE_ENDPOINT = (FaultKind.REJECT, FaultKind.FULL, FaultKind.PARTIAL)


def _uploads(luck: Random) -> Iterator[tuple[float, Upload]]:
    at_s, number = 0.0, 0
    while True:
        at_s += luck.expovariate(1 / 1.1)
        number += 1
        rows = luck.choice((1, 1, 2, 3, 5, 8, 20, 30))
        identical = luck.choice((0, 0, 2, 3)) if rows >= 3 else 0
        manner = luck.choices(list(Manner), (5, 7, 3, 1))[0]
        cancel_after_s = luck.choice((None, None, None, 0.0, luck.uniform(0.0, 0.6)))
        if manner is not Manner.ASYNC:
            cancel_after_s = None
        yield (
            at_s,
            Upload(
                number=number,
                rows=rows,
                identical=identical,
                manner=manner,
                patience_s=luck.uniform(0.0, 0.5),
                # Often right after a cancel: what it told has to be on disk by then.
                end_after=luck.choices(
                    ENDS_AFTER_ANSWERS, (18, 2, 1) if cancel_after_s is None else (2, 3, 1)
                )[0],
                unsound=min(luck.choice((0, 0, 0, 1, 2)), rows - max(identical, 1)),
                cancel_after_s=cancel_after_s,
                neglected=luck.random() < 0.3,
                named=luck.random() < 0.5,
            ),
        )


def _faults(luck: Random) -> Iterator[tuple[float, Faults]]:
    """Every second a few or many: among many, a batch that waits for one outlives another."""
    deck: list[Rule] = []
    for second in range(1, 10**9):
        number = luck.choice((1, 2, 2, 3, 9))
        if len(deck) < number:
            deck += _deck(luck)
        yield float(second), Faults(tuple(deck.pop(0) for _ in range(number)))


def _deck(luck: Random) -> list[Rule]:
    """Every kind at every endpoint where it makes sense, shuffled: none is left to luck alone."""
    general = [kind for kind in FaultKind if kind not in ONE_ENDPOINT]
    pairs = [(kind, endpoint) for kind in general for endpoint in (*BUSY, luck.choice(RARE))]
    pairs += [(FaultKind.REJECT, Endpoint.CREATE)] * 8 + [(FaultKind.FULL, Endpoint.CREATE)] * 8
    # What tempts most to send a row twice.
    pairs += [(FaultKind.LATE, Endpoint.CREATE), (FaultKind.LATE_ERROR, Endpoint.CREATE)] * 4
    pairs += [(FaultKind.PARTIAL, Endpoint.ACTIVATE)] * 15
    pairs += [(FaultKind.SLOW, Endpoint.ACTIVATE)] * 8  # so that some end in the middle of it
    luck.shuffle(pairs)
    return [rules_of(kind, endpoint, luck) for kind, endpoint in pairs]


def _bounces(luck: Random) -> Iterator[tuple[float, Bounce]]:
    at_s = 1.0
    while True:
        # Calm spells in between: under a backlog every row waits so long that late work is past.
        at_s += luck.choice((luck.uniform(2.0, 6.0),) * 3 + (luck.uniform(8.0, 14.0),))
        down_s = luck.choice((0.0, 0.0, luck.uniform(0.0, 1.5)))
        in_start = luck.choice((0, 0, 0, 1, 1, 2))
        yield (
            at_s,
            Bounce(
                end=End(by_kill=luck.random() < 0.65),
                down_s=down_s,
                damages=tuple(
                    (damage, luck.random())
                    for damage in luck.sample(list(Damage), luck.choice((0, 0, 0, 1, 2)))
                ),
                starts_cut_short=tuple(
                    End(by_kill=luck.random() < 0.7, after_s=luck.uniform(0.0, 1.5))
                    for _ in range(in_start)
                ),
                part_rows=luck.choice((PART_ROWS, PART_ROWS, PART_ROWS - 2)),
            ),
        )


def _forgettings(luck: Random) -> Iterator[tuple[float, Forgetting]]:
    at_s = 4.0
    while True:
        at_s += luck.uniform(8.0, 18.0)
        down_s = luck.choice((0.0, luck.uniform(0.1, 2.0), luck.uniform(2.0, 4.0)))
        yield at_s, Forgetting(by_kill=luck.random() < 0.5, down_s=down_s)


def _sleeps(luck: Random) -> Iterator[tuple[float, Sleep]]:
    at_s = 2.0
    while True:
        at_s += luck.uniform(6.0, 16.0)
        yield at_s, Sleep(luck.uniform(0.3, 2.5), luck.choice((None, None, 502, 503)))


def _strangers(luck: Random) -> Iterator[tuple[float, Strangers]]:
    at_s = 5.0
    while True:
        at_s += luck.uniform(12.0, 30.0)
        # The long one outlasts the five windows after which a batch becomes resumable.
        yield at_s, Strangers(luck.choice((1.0, 2.0, 3.0, 9.0)))


def _full_disks(luck: Random) -> Iterator[tuple[float, FullDisk]]:
    at_s = 3.0
    while True:
        at_s += luck.uniform(9.0, 22.0)
        # 0: nothing at all; the others: the checkpoint of a small batch, but not of a large one.
        yield at_s, FullDisk(luck.uniform(0.5, 4.0), luck.choice((0, 900, 2000)))


def _restarts(process: int, luck: Random) -> Iterator[tuple[float, Restart]]:
    at_s = 2.0 * process - 4.0  # the first ones come soon: short runs shall have some
    while True:
        at_s += luck.choice(
            (luck.uniform(6.0, 12.0), luck.uniform(18.0, 30.0))
        )  # to take over takes calm
        in_start = luck.choice((0, 0, 0, 0, 1, 2))
        yield (
            at_s,
            Restart(
                process,
                end=End(by_kill=luck.random() < 0.5),
                down_s=luck.choice((0.0, 0.0, luck.uniform(0.0, 1.5), luck.uniform(5.0, 8.0))),
                starts_cut_short=tuple(
                    End(by_kill=luck.random() < 0.7, after_s=luck.uniform(0.0, 2.0))
                    for _ in range(in_start)
                ),
                part_rows=luck.choice((PART_ROWS, PART_ROWS, PART_ROWS - 2)),
                run_batches=luck.random() < 0.75,
                sending=luck.random() < 0.6,
            ),
        )


def _freezes(process: int, luck: Random) -> Iterator[tuple[float, Freeze]]:
    at_s = process - 9.0
    while True:
        at_s += luck.uniform(12.0, 28.0)
        seconds = luck.choice((luck.uniform(0.2, 4.0), luck.uniform(LEASE_S + 1.0, FROZEN_S)))
        yield at_s, Freeze(process, seconds, sending=luck.random() < 0.8)


def _outages(luck: Random) -> Iterator[tuple[float, DatabaseAway]]:
    """Rare enough: while it is away, and as long as a lease after that, nobody takes over."""
    at_s = -2.0
    while True:
        for how in luck.sample(list(Outage), len(Outage)):  # none is left to luck alone
            at_s += luck.choice((luck.uniform(6.0, 12.0), luck.uniform(14.0, 26.0)))
            yield at_s, DatabaseAway(how, luck.choice((0.0, luck.uniform(0.3, 4.0))))
