"""The result of a run, as a table and as a word: it held, or it failed."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chaos.verdict import Finding, Wrong
from directory.faults import FaultKind

SHOWN = 20  # findings printed; the journal has all


@dataclass(frozen=True, slots=True)
class Result:
    """What a run did and found.

    Attributes:
        least: How many requests must have met each kind of fault for the run to say much.
        counts: What was done, by name, in order.
        faulted: Requests that met each kind of fault, as the directory counted them.
        findings: What is wrong with the directory's rows.
        failures: What else went wrong, in words.
    """

    least: int
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
        """Kinds of faults that occurred too rarely."""
        return [kind for kind in FaultKind if self.faulted[kind] < self.least]

    @property
    def held(self) -> bool:
        return not (self.findings or self.failures or self.too_few)


def lines(result: Result) -> Iterable[str]:
    """Return the table, and below it what is wrong."""
    yield from _section("What was done", result.counts)
    yield from _section(
        "Faults met by requests", {kind.value: result.faulted[kind] for kind in FaultKind}
    )
    yield from _section("Must be 0", result.wrong | {"other failures": len(result.failures)})
    if result.too_few:
        yield f"Too few faults ({result.least} of each are due): {', '.join(result.too_few)}"
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
