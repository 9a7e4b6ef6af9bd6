"""A batch's rows compared with what the directory holds of it. Pure.

By content, as a multiset: two identical rows want two identical hospitals.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.hospital import ListedHospital
from models.row import Row
from services.reconciliation import reconcile


@dataclass(frozen=True, slots=True)
class Comparison:
    """In what the directory differs from the file.

    Attributes:
        missing: Rows that no hospital is there for.
        surplus: Copies beyond what the file wants, and hospitals that it does not have.
        inactive: Rows whose hospital is there, but not active, each with that hospital.
    """

    missing: tuple[Row, ...]
    surplus: tuple[ListedHospital, ...]
    inactive: tuple[tuple[Row, ListedHospital], ...]

    @property
    def matches(self) -> bool:
        """Whether the directory holds the file's rows: each one, once, active."""
        return not (self.missing or self.surplus or self.inactive)


def compare(rows: Sequence[Row], listed: Iterable[ListedHospital]) -> Comparison:
    """Return in what *listed*, every hospital of all the batch's directory batches, differs.

    Args:
        rows: All rows of the batch. Excluded ones take no part.
        listed: The directory's answers, in any order.
    """
    plan = reconcile(rows, listed, settled=True)
    found = plan.adopt | plan.stranded
    by_number = {row.hospital.row: row for row in rows}
    return Comparison(
        missing=tuple(by_number[number] for number in plan.send),
        surplus=tuple(sorted((*plan.surplus, *plan.foreign), key=lambda one: one.id)),
        inactive=tuple(
            (by_number[number], found[number])
            for number in sorted(found)
            if not found[number].active
        ),
    )
