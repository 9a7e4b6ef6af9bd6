"""Random rows, lists and batches for property tests.

Contents and ids come from small pools, so that identical rows and identical copies are common.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from models.batch import Batch, BatchStatus
from models.hospital import HospitalRow, ListedHospital
from models.row import DONE_ROWS, Row, Rows, RowStatus

BATCH_ID = UUID("00000000-0000-4000-8000-0000000000b1")
FURTHER_ID = UUID("00000000-0000-4000-8000-0000000000b2")  # of a second directory batch

#: How laws are tried: without the limits of time that a busy machine would miss now and then.
law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_CONTENTS = [
    ("Alpha", "1 Main Street", None),
    ("Alpha", "1 Main Street", ""),
    ("Alpha", "1 Main Street", "5550100"),
    ("Beta", "1 Main Street", None),
]
_FOREIGN = [("Foreign", "9 Elm Street", None), (None, "1 Main Street", None), (None, None, None)]
_IDS = 12  # more than rows, so that some rows know an id that is not listed


def _rows(drawn: list[tuple[tuple[str, str, str | None], RowStatus, bool]], turn: int) -> list[Row]:
    return [
        Row(
            HospitalRow(number, *content),
            status,
            # Five and twelve have no common divisor, so no two rows get the same id.
            hospital_id=(turn + number * 5) % _IDS + 1 if status in DONE_ROWS else None,
            refused=refused and status is RowStatus.FAILED,
        )
        for number, (content, status, refused) in enumerate(drawn, start=1)
    ]


def _hospitals(
    drawn: list[tuple[int, tuple[str | None, str | None, str | None], UUID, bool]],
) -> list[ListedHospital]:
    unique = [
        ListedHospital(n, *content, batch_id, active) for n, content, batch_id, active in drawn
    ]
    return unique + unique[1:2]


#: Rows in file order, in any status; each created one has an id of its own.
rows_of_a_batch = st.builds(
    _rows,
    st.lists(
        st.tuples(st.sampled_from(_CONTENTS), st.sampled_from(RowStatus), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, _IDS - 1),
)

#: What the directory might show of a batch's two directory batches: in any order, with nulls,
#: foreign content and an id shown twice.
lists_of_a_batch = st.lists(
    st.tuples(
        st.integers(1, _IDS),
        st.sampled_from([*_CONTENTS, *_CONTENTS, *_FOREIGN]),
        st.sampled_from([BATCH_ID, BATCH_ID, FURTHER_ID]),
        st.booleans(),
    ),
    unique_by=lambda hospital: hospital[0],
    max_size=8,
).map(_hospitals)

# Of each kind what files have been seen to hold, or programs to stumble over.
_ODD = (
    "\0\x07\x1c\x7f\x85\u0600"  # control characters; one that only formats
    "\u00a0\u1680\u2003\u2028\u2029\u3000"  # blanks that are trimmed, line separators
    "\u00ad\u061c\u200b\u200d\u200f\u202e\u2066\ufeff"  # seen by nobody, or turning the line
    "\u0301\u0e33\u1100\u1161\ufb01\u1e9e\u0130"  # combining; change when cased or normalised
    "\ufdd0\ufffd\ufffe\uffff\ue000\U0001f469\U0010ffff"  # no characters, private, astral
)

#: Values as no person would write them, with what separates values and lines too.
odd_texts = st.text(
    st.one_of(
        st.sampled_from(_ODD),
        st.sampled_from("aB5 \t\",;|\r\n'=+-()"),
        st.characters(codec="utf-8"),
    ),
    max_size=12,
)

_texts = st.text(max_size=20)
_seconds = st.integers(0, 10_000_000).map(lambda milliseconds: milliseconds / 1000)
_times = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - the bounds are naive, the zone is added
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def _worded(
    rows: list[Row], words: list[tuple[str, str, str | None, str | None]], seconds: float
) -> Rows:
    """Give rows any texts instead of the pooled ones, as many as there are."""
    return Rows(
        replace(
            row,
            hospital=HospitalRow(row.hospital.row, name, address, phone),
            error=error,
            seconds=seconds,
        )
        for row, (name, address, phone, error) in zip(rows, words, strict=False)
    )


#: Any batch that a checkpoint can hold; its texts are any that a file can hold.
batches = st.builds(
    Batch,
    id=st.uuids(),
    directory_url=_texts,
    rows=st.builds(
        _worded,
        rows_of_a_batch,
        st.lists(
            st.tuples(_texts, _texts, st.none() | _texts, st.none() | _texts),
            min_size=1,
            max_size=6,
        ),
        _seconds,
    ),
    created_at=_times,
    updated_at=_times,
    status=st.sampled_from([s for s in BatchStatus if s is not BatchStatus.VALIDATING]),
    failure_reason=st.none() | _texts,
    resume_count=st.integers(0, 1000),
    auto_resumes=st.integers(0, 1000),
    doubtful=st.sampled_from([frozenset(), frozenset({0})]),
    unsettled=st.sampled_from([frozenset(), frozenset({0})]),
    further=st.just({}) | st.integers(1, 999).map(lambda number: {0: number}),
    seconds=_seconds,
    running_since=st.none(),
    step=st.just(""),
)


def _in_parts(
    batch: Batch, opened: int, further: dict[int, int], sets: list[frozenset[int]]
) -> Batch:
    """Send the batch in parts of one row."""
    count = len(batch.rows)
    doubtful, unsettled = (frozenset(part for part in parts if part < count) for parts in sets)
    return replace(
        batch,
        part_rows=1,
        opened_parts=min(opened, count),
        further={part: more for part, more in further.items() if part < count},
        doubtful=doubtful,
        unsettled=unsettled,
    )


_parts = st.integers(0, 5)

#: Any batch in several parts that a checkpoint can hold.
batches_in_parts = st.builds(
    _in_parts,
    batches.filter(lambda batch: len(batch.rows) > 1),
    _parts,
    st.dictionaries(_parts, st.integers(1, 999), max_size=3),
    st.lists(st.frozensets(_parts), min_size=2, max_size=2),
)

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _sound(low: int, high: int) -> st.SearchStrategy[str]:
    """Return values that are accepted and stay what they are, with odd beginnings among them."""
    beginnings = st.text("'=+-@\t\r\"", max_size=3)
    plain = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
    texts = st.builds("{}{}".format, beginnings, odd_texts | plain)
    trimmed = texts.map(lambda text: _CONTROLS.sub("", text).strip())
    return trimmed.filter(lambda text: low <= len(text) <= high)


#: Sound rows as they are read: names, addresses and phones, trimmed.
sound_rows = st.lists(
    st.tuples(
        _sound(2, 255),
        _sound(5, 500),
        st.none()
        | st.sampled_from(["+441134960142", "-1234567", "(0113) 496 0142", "+(1) 2345678"]),
    ),
    min_size=1,
    max_size=6,
)
