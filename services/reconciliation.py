"""The file's rows against the directory's rows: what to adopt, send and delete.

Pure: it knows no clock and no network. The directory keeps no row numbers, so rows are matched by
content, as a multiset: a file with two identical rows wants two identical hospitals.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from models.hospital import Content, ListedHospital
from models.row import Row, RowStatus


@dataclass(frozen=True, slots=True)
class Plan:
    """What one look at a batch's hospitals asks for.

    Attributes:
        adopt: Row number -> the hospital that is this row's; each id at most once.
        send: Rows that may be sent: never sent before, or proved absent by a settled look.
        stranded: Row number -> its only hospital, which can never become active. To be deleted,
            and the row created anew.
        surplus: Identical copies beyond what the file wants; empty until settled.
        foreign: Hospitals whose content the file does not have; never deleted while running.
        closed: Directory batches with an active hospital: nothing may be added to them, since
            they cannot be activated again.
    """

    adopt: dict[int, ListedHospital]
    send: tuple[int, ...]
    stranded: dict[int, ListedHospital]
    surplus: tuple[ListedHospital, ...]
    foreign: tuple[ListedHospital, ...]
    closed: frozenset[UUID | None]

    @property
    def is_as_file(self) -> bool:
        """Whether the directory has each row once and nothing else, active or not."""
        return not (self.send or self.stranded or self.surplus or self.foreign)

    @property
    def inactive(self) -> Counter[UUID | None]:
        """Directory batches still to be activated, and how many hospitals each has."""
        return Counter(hospital.batch_id for hospital in self.adopt.values() if not hospital.active)


def reconcile(rows: Sequence[Row], listed: Iterable[ListedHospital], *, settled: bool) -> Plan:
    """Return what *listed*, every hospital of all the batch's directory batches, means for *rows*.

    Of identical copies an active one stays, then the one with the smallest id that can still be
    activated.

    Args:
        rows: All rows of the batch. Excluded ones take no part: the directory has none of them.
        listed: The directory's answers, in any order.
        settled: Nothing sent earlier can appear any more: this is a second look, sent after the
            settling time, or nothing ever had an unknown outcome.
    """
    unique = {hospital.id: hospital for hospital in listed}.values()
    closed = frozenset(hospital.batch_id for hospital in unique if hospital.active)
    wanted = _rows_by_content(rows)
    copies = _copies_by_content(unique, closed)
    assigned: dict[int, ListedHospital] = {}
    missing: list[Row] = []
    surplus: list[ListedHospital] = []
    for content, claimants in wanted.items():
        found = copies.pop(content, [])
        assigned.update(_assign(claimants, found[: len(claimants)]))
        surplus += found[len(claimants) :]
        missing += [row for row in claimants if row.hospital.row not in assigned]
    stranded = {n: hospital for n, hospital in assigned.items() if _is_stranded(hospital, closed)}
    sendable = {row.hospital.row for row in missing if settled or row.status is RowStatus.PENDING}
    return Plan(
        adopt={n: hospital for n, hospital in assigned.items() if n not in stranded},
        send=tuple(sorted(sendable)),
        stranded=stranded,
        surplus=tuple(surplus) if settled else (),
        foreign=tuple(hospital for found in copies.values() for hospital in found),
        closed=closed,
    )


def _rows_by_content(rows: Sequence[Row]) -> dict[Content, list[Row]]:
    wanted: dict[Content, list[Row]] = defaultdict(list)
    for row in rows:
        if not row.is_excluded:
            wanted[row.hospital.content].append(row)
    return wanted


def _copies_by_content(
    listed: Iterable[ListedHospital], closed: frozenset[UUID | None]
) -> dict[Content, list[ListedHospital]]:
    """Group by content, best copy first."""
    copies: dict[Content, list[ListedHospital]] = defaultdict(list)

    def rank(copy: ListedHospital) -> tuple[bool, bool, int]:
        return not copy.active, _is_stranded(copy, closed), copy.id

    for hospital in sorted(listed, key=rank):
        copies[hospital.content].append(hospital)
    return dict(copies)


def _is_stranded(hospital: ListedHospital, closed: frozenset[UUID | None]) -> bool:
    """Return whether it was left inactive when its directory batch was activated."""
    return not hospital.active and hospital.batch_id in closed


def _assign(claimants: list[Row], kept: list[ListedHospital]) -> dict[int, ListedHospital]:
    """Give each kept copy to one row: first to the row that knows its id, then in file order."""
    by_id = {hospital.id: hospital for hospital in kept}
    assigned = {
        row.hospital.row: by_id.pop(row.hospital_id)
        for row in claimants
        if row.hospital_id is not None and row.hospital_id in by_id
    }
    open_rows = (row.hospital.row for row in claimants if row.hospital.row not in assigned)
    return assigned | dict(zip(open_rows, by_id.values(), strict=False))
