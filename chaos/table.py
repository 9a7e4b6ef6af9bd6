"""The result of a run, as a table and as a word: it held, or it failed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chaos.schedule import PARTIAL_ACTIVATIONS
from chaos.verdict import Finding, Wrong
from directory.faults import FaultKind

LEAST_FAULTS = 10  # of each kind ...
FULL_RUN_MINUTES = 5.0  # ... in a run at least this long
SHOWN = 20  # findings printed; the journal has all


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did and found.

    Attributes:
        minutes: How long it was disturbed.
        counts: What was done, by name, in order.
        faulted: Requests that met each kind of fault, as the directory counted them.
        findings: What is wrong with the directory's rows.
        failures: What else went wrong, in words.
    """

    minutes: float
    counts: dict[str, int]
    faulted: Counter[str]
    findings: Sequence[Finding]
    failures: Sequence[str]

    @property
    def wrong(self) -> dict[str, int]:
        """The five counts that must be 0."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind.value: found[kind] for kind in Wrong}

    @property
    def too_few(self) -> list[FaultKind]:
        """Kinds of faults that occurred too rarely for the run to say much."""
        if self.minutes < FULL_RUN_MINUTES:
            return []
        return [kind for kind in kinds() if self.faulted[kind] < LEAST_FAULTS]

    @property
    def held(self) -> bool:
        return not (self.findings or self.failures or self.too_few)


def kinds() -> list[FaultKind]:
    """Return the kinds of faults that a run injects."""
    return [kind for kind in FaultKind if PARTIAL_ACTIVATIONS or kind is not FaultKind.PARTIAL]


def lines(result: Result) -> Iterable[str]:
    """Return the table, and below it what is wrong."""
    yield from _section("What was done", result.counts)
    yield from _section(
        "Faults met by requests", {kind.value: result.faulted[kind] for kind in kinds()}
    )
    yield from _section("Must be 0", result.wrong | {"other failures": len(result.failures)})
    if result.too_few:
        yield f"Too few faults ({LEAST_FAULTS} of each are due): {', '.join(result.too_few)}"
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
