"""A report gives back what was uploaded, whatever the values begin with, and holds no formula."""

import csv
import io
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.hospital import HospitalRow
from models.row import Row, RowStatus
from models.validation import CsvContent
from services.csv_processor import ADDRESS_CHARS, NAME_CHARS, REPORT_COLUMNS, read_csv
from services.csv_records import DELIMITERS
from services.csv_report import PIECE_ROWS, report
from tests.unit.strategies import law, odd_texts, sound_rows

Values = tuple[str, str, str | None]

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rows_of(values: list[Values], **fate: Any) -> list[Row]:
    return [Row(HospitalRow(n, *each), **fate) for n, each in enumerate(values, start=1)]


def written(rows: list[Row]) -> str:
    return "".join(report(rows))


def read(text: str) -> CsvContent:
    return read_csv(io.BytesIO(text.encode()), max_rows=1000)


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def values_of(content: CsvContent) -> list[Values]:
    assert content.errors == ()
    return [(row.name, row.address, row.phone) for row in content.rows]


def test_a_report_says_what_became_of_each_row():
    rows = [
        Row(
            HospitalRow(1, "Clinic", "Sea Road 5, Hove", "555-123-4567"),
            RowStatus.CREATED_AND_ACTIVATED,
            hospital_id=7,
        ),
        Row(
            HospitalRow(2, "-Clinic", "'=Road 5", None),
            RowStatus.FAILED,
            error='refused: "name"\nis odd',
            refused=True,
        ),
    ]

    assert written(rows) == (
        "row,name,address,phone,status,hospital_id,error\r\n"
        '1,Clinic,"Sea Road 5, Hove",555-123-4567,created_and_activated,7,\r\n'
        '2,\'-Clinic,\'\'=Road 5,,failed,,"refused: ""name""\nis odd"\r\n'
    )


@law
@given(sound_rows, odd_texts)
@example([("=1+1", "'=Sea Road", "+44 1234567")], "=error")
@example([("''@x", "'s Lane 5", None), ("' x", "'\t=Road", "-1234567")], "'-")
@example([('"Clinic"', 'Sea "Road" 5', "(123) 4567")], '"')
@example([("a\rb", "Sea\r\n5,;|\t\n-Road", None)], "\r\n=x")
def test_an_uploaded_report_gives_the_same_values_back(values: list[Values], error: str):
    first = values_of(read(written(rows_of(values, error=error))))
    second = values_of(read(written(rows_of(first, error=error))))

    assert first == values
    assert second == values


@law
@given(
    sound_rows,
    st.sampled_from(DELIMITERS),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    st.permutations(range(len(REPORT_COLUMNS) + 2)),
)
def test_a_report_that_a_spreadsheet_saved_gives_the_same_values_back(
    values: list[Values], delimiter: str, end: str, mark: str, quoting: Any, order: list[int]
):
    """It saves with other delimiters, ends and quotes; people move columns and add their own."""
    records = cells(written(rows_of(values, error="=odd")))
    records = [[*record, "note" if not n else "=1", ""] for n, record in enumerate(records)]
    file = io.StringIO(newline="")
    if any("\r" in cell for record in records for cell in record):
        quoting = csv.QUOTE_ALL  # a lone one is the end of a line to nobody but Python
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(
        [record[n] for n in order] for record in records
    )

    assert values_of(read(mark + file.getvalue())) == values


@law
@given(
    st.lists(st.tuples(odd_texts, odd_texts, st.none() | odd_texts), max_size=5),
    st.none() | odd_texts,
    st.none() | st.integers(),
)
@example([("", "", "")], "\t=x", -5)
def test_no_cell_begins_like_a_formula_and_the_file_is_whole(
    values: list[Values], error: str | None, hospital_id: int | None
):
    """Also of values that break the rules, which skipped rows have."""
    rows = rows_of(values, error=error, hospital_id=hospital_id)

    header, *records = cells(written(rows))

    assert tuple(header) == REPORT_COLUMNS
    assert [record[0] for record in records] == [str(row.hospital.row) for row in rows]
    assert all(len(record) == len(REPORT_COLUMNS) for record in records)
    for cell in (cell for record in records for cell in record):
        assert not cell.startswith(FORMULA)


def test_the_longest_rows_fit_into_a_record_again():
    longest = ('"' * NAME_CHARS[-1], '"' * ADDRESS_CHARS[-1], "+" + "1" * 15)
    rows = rows_of([longest], error='"' * 2000)

    assert values_of(read(written(rows))) == [longest]


@pytest.mark.parametrize("many", [0, 1, PIECE_ROWS, PIECE_ROWS + 1, 3 * PIECE_ROWS])
def test_a_large_report_comes_in_pieces_and_whole(many: int):
    rows = rows_of([(f"Clinic {n}", "Sea Road 5", None) for n in range(many)])

    pieces = list(report(rows))

    assert max(piece.count("\n") for piece in pieces) <= PIECE_ROWS
    assert [record[0] for record in cells("".join(pieces))[1:]] == [str(n + 1) for n in range(many)]


def test_a_file_with_some_of_a_reports_columns_keeps_its_apostrophes():
    """Only a report has been given any."""
    assert values_of(read("name,address,phone,status\n'=Clinic,'-Sea Road 5,,\n")) == [
        ("'=Clinic", "'-Sea Road 5", None)
    ]
