"""A batch's rows -> a CSV file for a person, which gives the same rows back when it is uploaded.

Pure. Spreadsheets take a cell that begins with one of `= + - @` for a formula, so such a cell gets
an apostrophe in front, also one that begins with apostrophes already: the reader of uploads takes
exactly one off again.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from models.row import Row
from services.csv_processor import FORMULA, REPORT_COLUMNS

PIECE_ROWS = 200  # well below a millisecond of work

_FORMULA = re.compile(FORMULA)


def report(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the file piece by piece; it begins with a header, and its lines end in CRLF."""
    yield _lines([REPORT_COLUMNS])
    for start in range(0, len(rows), PIECE_ROWS):
        yield _lines([_cells(row) for row in rows[start : start + PIECE_ROWS]])


def _cells(row: Row) -> tuple[str, ...]:
    hospital = row.hospital
    return (
        str(hospital.row),
        _shown(hospital.name),
        _shown(hospital.address),
        _shown(hospital.phone or ""),
        row.status,
        "" if row.hospital_id is None else _shown(str(row.hospital_id)),
        _shown(row.error or ""),
    )


def _shown(value: str) -> str:
    return "'" + value if _FORMULA.match(value) else value


def _lines(records: Sequence[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(records)  # the end decides what is quoted
    return text.getvalue()
