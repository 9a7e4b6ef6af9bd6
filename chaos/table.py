"""The result of a run, as a table and as a word: it held, or it failed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from chaos.schedule import Outage
from chaos.verdict import Finding, Wrong
from directory.faults import FaultKind

SHOWN = 20  # findings printed; the journal has all


class Deed(StrEnum):
    """What has to be done often enough, among what is counted."""

    CANCELS = "cancels"
    CORRECTIONS = "corrections"
    SKIPPED_ROWS = "unsound rows skipped"
    JOINED = "uploads sent again that joined their batch"
    RETENTIONS = "batches abandoned by retention"
    PARTS = "files in several parts accepted"
    ENDED_ACTIVATING = "ends while a file in parts was activated"


class SharedDeed(StrEnum):
    """The same of several processes."""

    KILLED_AT_WORK = "kills at work"
    HANDED_OVER = "hand-overs (SIGTERM) with a create in doubt"
    SHORT_FREEZES = "freezes shorter than a lease"
    LONG_FREEZES = "freezes longer than a lease"
    FROZEN_AT_WORK = "freezes at work"
    LEFT_OVER = "batches found left over by a process"
    LOST = "batches that a process noticed to have lost"


def ends_of(process: str, *, by_kill: bool) -> str:
    """Return what the ends of one of several processes are called."""
    return f"{process}: {'kill -9' if by_kill else 'SIGTERM'}"


def times_away(how: Outage) -> str:
    """Return what the times are called when the shared database was away."""
    return f"database {how}"


def due_of(processes: Sequence[str]) -> dict[str, float]:
    """Return what has to be done, and as what share of what is due of each kind of fault."""
    due: dict[str, float] = dict.fromkeys(Deed, 1.0)
    if processes:
        due |= dict.fromkeys(SharedDeed, 0.5)
        due |= {
            ends_of(name, by_kill=by_kill): 0.3 for name in processes for by_kill in (True, False)
        }
        due |= {times_away(how): 0.3 for how in Outage}
    return due


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did and found.

    Attributes:
        least: How many requests must have met each kind of fault, and how often each deed must
            have been done, for the run to say much.
        counts: What was done, by name, in order.
        faulted: Requests that met each kind of fault, as the directory counted them.
        findings: What is wrong with the directory's rows.
        failures: What else went wrong, in words.
        due: The deeds, and the share of `least` that is due of each.
    """

    least: int
    counts: dict[str, int]
    faulted: Counter[str]
    findings: Sequence[Finding]
    failures: Sequence[str]
    due: Mapping[str, float] = field(default_factory=partial(due_of, ()))

    @property
    def wrong(self) -> dict[str, int]:
        """The counts that must be 0."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind.value: found[kind] for kind in Wrong}

    @property
    def too_few(self) -> list[str]:
        """Kinds of faults, and deeds, that occurred too rarely."""
        few = [kind for kind, count in self.met.items() if count < self.least]
        return few + [
            deed
            for deed, share in self.due.items()
            if self.counts.get(deed, 0) < self.least * share
        ]

    @property
    def met(self) -> dict[str, int]:
        """How many requests met each kind of fault."""
        return {kind.value: self.faulted[kind] for kind in FaultKind}

    @property
    def held(self) -> bool:
        return not (self.findings or self.failures or self.too_few)


def lines(result: Result) -> Iterable[str]:
    """Return the table, and below it what is wrong."""
    yield from _section("What was done", result.counts)
    yield from _section("Faults met by requests", result.met)
    yield from _section("Must be 0", result.wrong | {"other failures": len(result.failures)})
    if result.too_few:
        yield f"Too few ({result.least} of each are due): {', '.join(result.too_few)}"
    for finding in list(result.findings)[:SHOWN]:
        yield f"{finding.kind}: {finding.what}"
    for failure in result.failures[:SHOWN]:
        yield f"failure: {failure}"
    yield "It held." if result.held else "It FAILED."


def _section(title: str, counts: dict[str, int]) -> Iterable[str]:
    yield title
    for name, count in counts.items():
        yield f"  {name:<46} {count:>7}"
    yield ""
