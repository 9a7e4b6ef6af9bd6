"""Files as hospital registries publish them, and the same rows in awkward containers."""

from pathlib import Path

import pytest

from models.validation import CsvContent
from services.csv_processor import read_csv

REGISTRY = Path(__file__).parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not REGISTRY.is_dir(), reason="the registry files are not here")

SOUND = [
    ("us_20.csv", 20, ",", "utf-8"),
    ("us_5000.csv", 5320, ",", "utf-8"),
    ("uk_20.csv", 20, ",", "utf-8"),
    ("fr_idf_semicolon_bom_crlf.csv", 1223, ";", "utf-8-sig"),
    ("messy/duplicated_rows.csv", 9, ",", "utf-8"),
    ("messy/blank_lines_middle.csv", 6, ",", "utf-8"),
    ("messy/formula_injection.csv", 7, ",", "utf-8"),
    ("messy/header_case_spaces.csv", 8, ",", "utf-8"),
    ("messy/header_reordered.csv", 8, ",", "utf-8"),
    ("messy/mixed_eol.csv", 8, ",", "utf-8"),
    ("messy/quoted_newlines_crlf.csv", 8, ",", "utf-8"),
    ("messy/semicolon.csv", 8, ";", "utf-8"),
    ("messy/tab.csv", 8, "\t", "utf-8"),
    ("messy/trailing_commas.csv", 8, ",", "utf-8"),
    ("messy/utf8_bom.csv", 12, ",", "utf-8-sig"),
    ("messy/utf8_bom_quoted_header.csv", 12, ",", "utf-8-sig"),
]
FAULTY: list[tuple[str, int, list[tuple[int, str | None, str]]]] = [
    ("uk_nhs.csv", 1234, [(605, "phone", "invalid_phone"), (714, "phone", "invalid_phone")]),
    ("messy/address_600.csv", 3, [(2, "address", "too_long")]),
    ("messy/cp1252_nonascii.csv", 0, [(0, None, "encoding")]),
    ("messy/empty.csv", 0, [(0, None, "empty_file")]),
    ("messy/header_only.csv", 0, [(0, None, "no_rows")]),
    ("messy/latin1_semicolon_crlf.csv", 0, [(0, None, "encoding")]),
    ("messy/name_300.csv", 3, [(2, "name", "too_long")]),
    ("messy/no_header.csv", 0, [(0, None, "missing_header")]),
    ("messy/nul_byte.csv", 5, [(2, "name", "control_character")]),
    ("messy/phone_na.csv", 8, [(row, "phone", "invalid_phone") for row in range(1, 9)]),
    ("messy/ragged.csv", 7, [(row, None, "field_count") for row in range(2, 7)]),
    ("messy/unterminated_quote_eof.csv", 3, [(3, None, "unterminated_quote")]),
    ("messy/utf16le_bom.csv", 0, [(0, None, "encoding")]),
]


def read(name: str) -> CsvContent:
    with (REGISTRY / name).open("rb") as file:
        return read_csv(file, max_rows=10_000)


def found(content: CsvContent) -> list[tuple[int, str | None, str]]:
    return [(error.row, error.column, error.error_type) for error in content.errors]


@pytest.mark.parametrize(("name", "rows", "delimiter", "encoding"), SOUND)
def test_a_sound_file_is_accepted_with_all_its_rows(
    name: str, rows: int, delimiter: str, encoding: str
):
    content = read(name)

    assert found(content) == []
    assert (len(content.rows), content.total_rows) == (rows, rows)
    assert (content.info.delimiter, content.info.encoding) == (delimiter, encoding)
    assert content.info.size_bytes == (REGISTRY / name).stat().st_size


@pytest.mark.parametrize(("name", "total_rows", "expected"), FAULTY)
def test_a_faulty_file_is_told_each_fault_and_keeps_its_sound_rows(
    name: str, total_rows: int, expected: list[tuple[int, str | None, str]]
):
    content = read(name)

    assert found(content) == expected
    assert content.total_rows == total_rows
    assert len(content.rows) == total_rows - len({row for row, _, _ in expected if row})


def test_every_file_of_the_folder_is_judged_above():
    judged = {row[0] for row in SOUND} | {row[0] for row in FAULTY}

    assert judged == {str(file.relative_to(REGISTRY)) for file in REGISTRY.rglob("*.csv")}


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("messy/cp1252_nonascii.csv", "cp1252"),
        ("messy/latin1_semicolon_crlf.csv", "latin-1"),
        ("messy/utf16le_bom.csv", "utf-16"),
    ],
)
def test_an_encoding_is_refused_by_its_name(name: str, guess: str):
    assert f"looks like {guess}: save it as UTF-8" in read(name).errors[0].message


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("us_5000.csv", ["1675, 3895"]),
        ("fr_idf_semicolon_bom_crlf.csv", ["32, 788"]),
        ("messy/duplicated_rows.csv", ["1, 5", "2, 6, 8", "3, 9"]),
    ],
)
def test_rows_that_stand_twice_are_warned_of(name: str, rows: list[str]):
    warnings = read(name).warnings

    assert len(warnings) == len(rows)
    assert all(f"Rows {twice} " in warning for twice, warning in zip(rows, warnings, strict=True))
