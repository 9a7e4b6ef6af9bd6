"""What the directory should have, against what it has. Pure: it asks nobody.

Rows are traced by their content, which names their upload, not by their batch: one upload may go
into several directory batches.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from chaos.files import Content

Hospital: TypeAlias = Mapping[str, Any]  # as the directory lists it


class Wrong(StrEnum):
    """The counts that must be 0."""

    MISSING = "missing"
    DOUBLED = "doubled"
    INACTIVE = "inactive"
    FOREIGN_TOUCHED = "foreign rows touched"
    LOST = "lost batches"
    WENT_ON = "cancelled batches that went on"
    UNDONE = "corrections undone"


class Due(StrEnum):
    """What the directory has to hold of an upload."""

    WHOLE = "each row, once, active"
    NOTHING = "no row"
    ANYTHING = "anything"  # not decided yet, damaged, or forgotten by a restarted directory
    LOST = "lost"  # accepted, and neither loaded nor taken back


class Answer(StrEnum):
    """What the client of an upload knows."""

    OPEN = "not answered yet"
    NOT_SENT = "not sent"  # no connection
    REFUSED = "refused"
    ACCEPTED = "accepted"
    UNKNOWN = "unknown"  # the connection broke before the answer


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one upload when the directory is compared with it.

    Attributes:
        upload: Its number.
        rows: What the directory is to have of it, once it is completed.
        others: Other contents that its rows once had, or were to get by a correction.
        undecided: Whether a row was corrected is not known.
        answer: What its client was told.
        batch_id: Its batch, if there ever was one.
        status: The batch's status when it was last seen.
        kept: The service still has the batch.
        checked: Its completion is another listing's business: the directory has forgotten since.
        taken_back: An abandon was asked for and not refused, or it was stopped for so long that
            the service takes it back unasked.
        damaged: Its checkpoint was damaged and not mended.
        handled: The service has long been done with its request.
    """

    upload: int
    rows: tuple[Content, ...]
    answer: Answer
    batch_id: str | None = None
    status: str | None = None
    others: tuple[Content, ...] = ()
    undecided: bool = False
    kept: bool = False
    checked: bool = False
    taken_back: bool = False
    damaged: bool = False
    handled: bool = False

    def __str__(self) -> str:
        return (
            f"upload {self.upload} ({self.answer}), batch {self.batch_id}, status {self.status}, "
            f"{'kept' if self.kept else 'not kept'}"
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, said so that a person can find it in the journal and the logs."""

    kind: Wrong
    what: str


def due(standing: Standing, *, final: bool) -> Due:
    """Return what the directory has to hold of an upload now.

    Args:
        standing: What is known of it.
        final: Everything has been resumed or taken back that could be: nothing is under way.
    """
    if standing.status == "completed":
        return Due.ANYTHING if standing.checked or standing.undecided else Due.WHOLE
    if standing.damaged:
        return Due.ANYTHING
    if standing.kept:
        return Due.LOST if final else Due.ANYTHING
    if standing.taken_back or standing.answer in (Answer.REFUSED, Answer.NOT_SENT):
        return Due.NOTHING
    if standing.batch_id is not None or standing.answer is Answer.ACCEPTED:
        return Due.LOST  # at any time: it is on disk before anybody is told of it
    return Due.NOTHING if final or standing.handled else Due.ANYTHING


def judge(
    standings: Sequence[Standing],
    listed: Iterable[Hospital],
    foreign: Mapping[int, Hospital],
    *,
    final: bool,
) -> list[Finding]:
    """Return everything that is wrong with *listed*, which is all that the directory has.

    Args:
        standings: Every upload so far.
        listed: The directory's hospitals.
        foreign: Hospitals that are none of ours, by id, as they were put there.
        final: See `due`.
    """
    by_id = {hospital["id"]: hospital for hospital in listed}
    findings = _foreign_touched(by_id, foreign)
    ours: dict[Content, list[Hospital]] = {}
    for number, hospital in by_id.items():
        if number not in foreign:
            ours.setdefault(content_of(hospital), []).append(hospital)
    for standing in standings:
        findings += _about(standing, ours, final=final)
    known = {content for standing in standings for content in (*standing.rows, *standing.others)}
    for content, held in ours.items():
        if content not in known:
            what = f"{content}: nobody wants it there: {_shown(held)}"
            findings.append(Finding(Wrong.DOUBLED, what))
    return findings


def content_of(hospital: Hospital) -> Content:
    """Return what *hospital* is recognised by."""
    return (hospital["name"] or "", hospital["address"] or "", hospital["phone"] or "")


def _foreign_touched(
    by_id: Mapping[int, Hospital], foreign: Mapping[int, Hospital]
) -> list[Finding]:
    return [
        Finding(Wrong.FOREIGN_TOUCHED, f"was {dict(hospital)}, is {by_id.get(number)}")
        for number, hospital in foreign.items()
        if by_id.get(number) != hospital
    ]


def _about(
    standing: Standing, ours: Mapping[Content, list[Hospital]], *, final: bool
) -> list[Finding]:
    match due(standing, final=final):
        case Due.WHOLE:
            return _unlike(standing, Counter(standing.rows), ours)
        case Due.NOTHING:
            return _unlike(standing, Counter(), ours)
        case Due.LOST:
            return [Finding(Wrong.LOST, str(standing))]
        case Due.ANYTHING:
            return []


def _unlike(
    standing: Standing, wanted: Counter[Content], ours: Mapping[Content, list[Hospital]]
) -> list[Finding]:
    findings: list[Finding] = []
    for content in dict.fromkeys((*standing.rows, *standing.others)):
        held = ours.get(content, [])
        where = f"{content} of {standing}: {_shown(held)}"
        difference = len(held) - wanted[content]
        if difference:
            kind = Wrong.DOUBLED if difference > 0 else Wrong.MISSING
            what = f"{where}, wanted {wanted[content]}"
            each = range(1, abs(difference) + 1)
            findings += [Finding(kind, f"{what} ({n} of {len(each)})") for n in each]
        if wanted[content]:
            findings += [
                Finding(Wrong.INACTIVE, f"hospital {hospital['id']}: {where}")
                for hospital in held
                if not hospital["active"]
            ]
    return findings


def _shown(held: Sequence[Hospital]) -> str:
    copies = ", ".join(
        f"{copy['id']} in {copy['creation_batch_id']}{'' if copy['active'] else ' (inactive)'}"
        for copy in held
    )
    return f"the directory has {copies or 'none'}"
