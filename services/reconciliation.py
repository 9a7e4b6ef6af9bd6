"""The file's rows against the directory's rows: what to adopt, send, delete and wait for.

Pure: it knows no clock and no network. The directory keeps no row numbers, so rows are matched by
content, as a multiset: a file with two identical rows wants two identical hospitals.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.batch import Row, RowStatus
from models.hospital import Content, ListedHospital


@dataclass(frozen=True, slots=True)
class Plan:
    """What one look at a directory batch asks for.

    Attributes:
        adopt: Row number -> the hospital that is this row's; each id at most once.
        send: Rows proved absent, never adopted by anything: they may be sent.
        wait: Rows not shown that may still appear: not sent before a settled look.
        delete: Surplus identical copies; empty until settled.
        foreign: Hospitals whose content the file does not have; never deleted while running.
        stranded: Rows that this directory batch can never hold active: it has an active row,
            so nothing may be added to it and it cannot be activated again.
    """

    adopt: dict[int, ListedHospital]
    send: tuple[int, ...]
    wait: tuple[int, ...]
    delete: tuple[ListedHospital, ...]
    foreign: tuple[ListedHospital, ...]
    stranded: tuple[int, ...]

    @property
    def all_active(self) -> bool:
        """True when every adopted hospital is active."""
        return all(hospital.active for hospital in self.adopt.values())


def reconcile(rows: Sequence[Row], listed: Iterable[ListedHospital], *, settled: bool) -> Plan:
    """Return what *listed*, every hospital of the batch, means for *rows*.

    Of identical copies an active one stays, then the one with the smallest id.

    Args:
        rows: All rows of the batch. Refused ones take no part: the directory has none of them.
        listed: The directory's answer, in any order.
        settled: Nothing sent earlier can appear any more: this is a second look, sent after the
            settling time, or nothing ever had an unknown outcome.
    """
    wanted = _rows_by_content(rows)
    copies = _copies_by_content(listed)
    adopt: dict[int, ListedHospital] = {}
    missing: list[Row] = []
    surplus: list[ListedHospital] = []
    for content, claimants in wanted.items():
        found = copies.pop(content, [])
        adopt.update(_assign(claimants, found[: len(claimants)]))
        surplus += found[len(claimants) :]
        missing += [row for row in claimants if row.hospital.row not in adopt]
    foreign = tuple(hospital for found in copies.values() for hospital in found)

    # An active surplus copy would have been kept, so that it need not be asked for.
    has_active = any(hospital.active for hospital in [*adopt.values(), *foreign])
    send = [row.hospital.row for row in missing if settled or row.status is RowStatus.PENDING]
    wait = [row.hospital.row for row in missing if row.hospital.row not in set(send)]
    inactive = [number for number, hospital in adopt.items() if not hospital.active]
    return Plan(
        adopt=adopt,
        send=() if has_active else tuple(sorted(send)),
        wait=tuple(sorted(wait)),
        delete=tuple(surplus) if settled else (),
        foreign=foreign,
        stranded=tuple(sorted(send + inactive)) if has_active else (),
    )


def _rows_by_content(rows: Sequence[Row]) -> dict[Content, list[Row]]:
    wanted: dict[Content, list[Row]] = defaultdict(list)
    for row in rows:
        if not row.refused:
            wanted[row.hospital.content].append(row)
    return wanted


def _copies_by_content(listed: Iterable[ListedHospital]) -> dict[Content, list[ListedHospital]]:
    """Group by content, best copy first; an id that is listed twice counts once."""
    copies: dict[Content, list[ListedHospital]] = defaultdict(list)
    unique = {hospital.id: hospital for hospital in listed}
    for hospital in sorted(unique.values(), key=lambda copy: (not copy.active, copy.id)):
        copies[hospital.content].append(hospital)
    return dict(copies)


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
