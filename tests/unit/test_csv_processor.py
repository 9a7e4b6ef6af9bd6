import csv
import io
import re
import tempfile
import tracemalloc
import unicodedata
from typing import BinaryIO, Literal, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.validation import PACKED, CsvContent, Finding
from services import csv_records
from services.csv_processor import (
    REPORT_COLUMNS,
    judge_value,
    read_csv,
)
from services.csv_records import DELIMITERS, MAX_BLANK_LINES, MAX_RECORD_CHARS
from tests.unit.strategies import law, odd_texts

HEADER = "name,address,phone\n"
SOUND = "General Hospital,12 Main Street,555-123-4567\n"
MANY = 1000
FORTY_MB = 40 * 1024 * 1024


def read(text: str | bytes, max_rows: int = MANY) -> CsvContent:
    data = text.encode() if isinstance(text, str) else text
    return read_csv(io.BytesIO(data), max_rows=max_rows)


def found(content: CsvContent) -> list[tuple[int, int, str | None, str]]:
    return [(error.row, error.line, error.column, error.error_type) for error in content.errors]


def only(content: CsvContent) -> Finding:
    (error,) = content.errors
    return error


# Sound files


def test_a_sound_file_gives_its_rows_and_no_findings():
    content = read(HEADER + SOUND + "Clinic,Sea Road 5,\n")

    assert [(row.row, row.name, row.address, row.phone) for row in content.rows] == [
        (1, "General Hospital", "12 Main Street", "555-123-4567"),
        (2, "Clinic", "Sea Road 5", None),
    ]
    assert (content.is_valid, content.total_rows, content.warnings) == (True, 2, ())
    assert (content.info.encoding, content.info.delimiter) == ("utf-8", ",")
    assert content.info.has_header
    assert content.info.size_bytes == len(HEADER + SOUND + "Clinic,Sea Road 5,\n")


def test_the_phone_column_may_be_missing():
    content = read("address,name\nSea Road 5,Clinic\n")

    assert [(row.name, row.address, row.phone) for row in content.rows] == [
        ("Clinic", "Sea Road 5", None)
    ]


@pytest.mark.parametrize("header", [" NAME , Address,\tpHone ", '"name","address","phone"'])
def test_the_header_is_matched_without_case_blanks_and_quotes(header: str):
    assert read(f"{header}\n{SOUND}").is_valid


def test_columns_stand_in_any_order():
    content = read("phone,address,name\n555-123-4567,12 Main Street,General Hospital\n")

    assert content.rows == read(HEADER + SOUND).rows


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_the_delimiter_is_detected_and_reported(delimiter: str):
    header = delimiter.join(["name", "address", "phone"])
    row = delimiter.join(["Clinic", '"a,b;c\td|e"', "5551234567"])

    content = read(f"{header}\n{row}\n")

    assert content.rows[0].address == "a,b;c\td|e"
    assert content.info.delimiter == delimiter


def test_the_delimiter_that_yields_the_required_columns_beats_the_most_frequent_one():
    content = read("name;address;a,b,c,d,e\nClinic;Sea Road 5;x\n")

    assert content.info.delimiter == ";"
    assert len(content.rows) == 1


def test_among_delimiters_that_yield_as_much_the_most_frequent_one_counts():
    content = read("name|street|town|zip,name\nClinic|Sea Road|5|x,y\n")

    assert content.info.delimiter == "|"
    assert found(content) == [(0, 1, "address", "missing_column")]


def test_a_mark_before_a_quoted_header_is_taken_off():
    content = read(b'\xef\xbb\xbf"name","address"\nClinic,Sea Road 5\n')

    assert content.is_valid
    assert content.info.encoding == "utf-8-sig"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_in_any_of_three_ways(end: str):
    content = read((HEADER + SOUND * 3 + "x,y,\n").replace("\n", end))

    assert len(content.rows) == 3
    assert [error.line for error in content.errors] == [5, 5]


def test_mixed_line_ends_are_counted_as_single_lines():
    content = read("name,address\r\nClinic,Sea Road 5\rClinic 2,Sea Road 5\n\r\nx,Sea Road 5\r")

    assert found(content) == [(3, 5, "name", "too_short")]


def test_a_line_end_is_counted_once_wherever_reads_of_the_file_fall():
    padding = "Clinic,Sea Road 5\r\n" * 2000

    for shift in range(1, 20):
        content = read("name,address\r\n" + "x" * shift + padding + "x,Sea Road 5\r\n", 5000)
        assert found(content) == [(2001, 2002, "name", "too_short")]


def test_quoted_values_hold_line_breaks_and_the_next_row_has_its_true_line():
    content = read('name,address\n"Clinic","Sea\r\nRoad\n\n5"\nx,Sea Road 5\n')

    assert content.rows[0].address == "Sea\r\nRoad\n\n5"
    assert found(content) == [(2, 6, "name", "too_short")]


def test_blank_lines_are_no_rows_but_count_as_lines():
    content = read(f"\n  \t\r\n{HEADER}\n \n{SOUND}\n\r\r\nx,Sea Road 5,\n\n")

    assert [row.row for row in content.rows] == [1]
    assert content.total_rows == 2
    assert found(content) == [(2, 10, "name", "too_short")]


def test_a_line_of_delimiters_or_quotes_alone_is_blank_too_and_a_warning():
    """Spreadsheets write empty rows so."""
    content = read(HEADER + ",,\n" + '""\n' + SOUND + " , ,\n")

    assert content.is_valid
    assert content.total_rows == 1
    assert content.warnings == ("Ignored rows without any value: 3, the first is line 2.",)
    assert found(read("name,address,note\n,,remark\n")) == [
        (1, 2, "name", "required"),
        (1, 2, "address", "required"),
    ]


def test_values_are_trimmed():
    row = read("name,address,phone\n\u00a0 Clinic\t, \tSea Road 5 , 5551234567 \n").rows[0]

    assert (row.name, row.address, row.phone) == ("Clinic", "Sea Road 5", "5551234567")


def test_blanks_between_a_delimiter_and_a_quote_do_not_make_the_quotes_part_of_the_value():
    content = read('name, "address"\nClinic, "Sea Road 5, Hull"\n')

    assert content.rows[0].address == "Sea Road 5, Hull"


def test_a_quote_inside_an_unquoted_value_is_an_ordinary_character():
    assert read('name,address\nThe "Old" Clinic,Sea Road 5\n').rows[0].name == 'The "Old" Clinic'


def test_the_stream_is_read_from_its_start_and_stays_open():
    stream = io.BytesIO((HEADER + SOUND).encode())
    stream.seek(5)

    assert read_csv(stream, max_rows=MANY).is_valid
    assert not stream.closed


@pytest.mark.parametrize("max_size", [10, 10_000])
def test_a_spooled_upload_is_read_in_memory_and_on_disk(max_size: int):
    with tempfile.SpooledTemporaryFile(max_size=max_size) as upload:
        upload.write((HEADER + SOUND).encode())

        content = read_csv(cast("BinaryIO", upload), max_rows=MANY)

        assert content.rows == read(HEADER + SOUND).rows
        assert not upload.closed


# Encodings


@pytest.mark.parametrize(
    ("encoding", "mark", "guess"),
    [
        ("utf-16-le", b"\xff\xfe", "utf-16"),
        ("utf-16-be", b"\xfe\xff", "utf-16"),
        ("utf-16-le", b"", "utf-16"),
        ("utf-16-be", b"", "utf-16"),
        ("utf-32-le", b"\xff\xfe\x00\x00", "utf-32"),
        ("utf-32-be", b"\x00\x00\xfe\xff", "utf-32"),
    ],
)
def test_wide_encodings_are_refused_by_name(encoding: str, mark: bytes, guess: str):
    content = read(mark + (HEADER + SOUND).encode(encoding))

    assert found(content) == [(0, 1, None, "encoding")]
    assert f"looks like {guess}: save it as UTF-8" in only(content).message
    assert content.info.encoding == guess


@pytest.mark.parametrize(
    ("late", "encoding", "guess"),
    [
        ("Sea Road 5", "cp1252", "latin-1"),
        ("St Mary’s Road 5", "cp1252", "cp1252"),  # noqa: RUF001 - the point of cp1252
        ("Sea Road 5", "cp1251", None),
    ],
)
def test_narrow_encodings_are_refused_by_name_where_one_can_be_guessed(
    late: str, encoding: str, guess: str | None
):
    early = "Больница,Sea Road 5," if encoding == "cp1251" else "Hôpital Évry,Sea Road 5,"
    content = read((f"{HEADER}{SOUND}{early}\nClinic,{late},\n").encode(encoding))

    assert found(content) == [(0, 3, None, "encoding")]
    assert content.info.encoding == (guess or "unknown")
    says = f"looks like {guess}: save" if guess else "bytes on line 3 that are not UTF-8: save"
    assert says in only(content).message
    assert "�" in str(only(content).value)
    assert [row.row for row in content.rows] == [1]
    assert content.total_rows == 1


@pytest.mark.parametrize(
    "data",
    [
        b"name,address\nH\xc3\xb4pital \xff,Sea Road 5\n",  # partly UTF-8
        b"\xef\xbb\xbfname,address\nH\xf4pital,Sea Road 5\n",  # says that it is UTF-8
        b"name,address\nCl\x81nic,Sea Road 5\n",  # not in cp1252
    ],
)
def test_damaged_text_is_not_called_by_the_name_of_another_encoding(data: bytes):
    content = read(data)

    assert only(content).error_type == "encoding"
    assert content.info.encoding == "unknown"


def test_an_encoding_error_names_the_line_inside_a_record_and_keeps_earlier_findings():
    content = read(b'name,address\nx,Sea Road 5\n"Clinic","Sea\nR\xf4ad"\nx,Sea Road 5\n')

    assert found(content) == [(0, 4, None, "encoding"), (1, 2, "name", "too_short")]


def test_a_wrong_encoding_is_found_in_the_header_and_in_ignored_columns():
    assert found(read(b"name,address,t\xe9l\nClinic,Sea Road 5,1\n")) == [(0, 1, None, "encoding")]
    assert found(read(b"name,address,x\nClinic,Sea Road 5,\xe9\n")) == [(0, 2, None, "encoding")]


def test_one_nul_does_not_make_a_file_wide():
    assert found(read("name,address\nCl\0inic,Sea Road 5\n")) == [
        (1, 2, "name", "control_character")
    ]


# Headers


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n  \t\r"])
def test_an_empty_file_is_a_file_error(data: bytes):
    content = read(data)

    assert found(content) == [(0, 0, None, "empty_file")]
    assert (content.info.has_header, content.info.delimiter) == (False, None)


def test_a_header_without_rows_is_a_file_error():
    content = read(HEADER + "\n\n")

    assert found(content) == [(0, 0, None, "no_rows")]
    assert content.info.has_header


@pytest.mark.parametrize("line", ["Clinic,Sea Road 5,555", "phone,street", "hello", '"'])
def test_without_a_required_column_there_is_no_header_and_no_row_is_judged(line: str):
    content = read(f"\n{line}\n{SOUND}")

    assert content.info.has_header is False
    assert content.info.delimiter is None
    assert (content.total_rows, content.rows) == (0, ())
    assert [error.row for error in content.errors] == [0]
    assert only(content).line == 2


def test_a_missing_header_is_told_what_it_must_look_like():
    error = only(read("Clinic,Sea Road 5\n"))

    assert error.error_type == "missing_header"
    assert "name,address,phone" in error.message
    assert error.value == "Clinic,Sea Road 5"


@pytest.mark.parametrize(("header", "missing"), [("name,tel", "address"), ("address", "name")])
def test_one_missing_required_column_is_named(header: str, missing: str):
    content = read(f"{header}\nx,y\n")

    assert found(content) == [(0, 1, missing, "missing_column")]
    assert missing in only(content).message
    assert content.info.has_header
    assert content.total_rows == 0


def test_a_column_name_that_stands_twice_is_a_file_error():
    content = read("name,Name ,address,x,X,,\nClinic,Clinic,Sea Road 5,,,,\n")

    assert found(content) == [
        (0, 1, "name", "duplicate_column"),
        (0, 1, None, "duplicate_column"),
    ]
    assert [error.value for error in content.errors] == ["name", "x"]
    assert content.total_rows == 0


def test_of_thousands_of_names_that_stand_twice_ten_are_listed_the_known_ones_first():
    pairs = ",".join(f"{number},{number}" for number in range(3000))
    content = read(f"{pairs},name,address,name\nx,y\n")

    assert [error.value for error in content.errors[:2]] == ["name", "0"]
    assert len(content.errors) == 11
    assert "2991 more names" in content.errors[-1].message


def test_a_malformed_header_is_a_file_error():
    assert found(read('"name"x,address\n' + SOUND)) == [(0, 1, None, "malformed_quote")]


def test_unknown_columns_are_ignored_with_one_warning_that_names_them():
    content = read("name,City,address,Beds\nClinic,Hull,Sea Road 5,7\n")

    assert content.is_valid
    assert [row.address for row in content.rows] == ["Sea Road 5"]
    (warning,) = content.warnings
    assert "city, beds" in warning


def test_columns_without_a_name_are_ignored_with_one_warning():
    content = read("name,address,,\nClinic,Sea Road 5,,x\n")

    assert content.is_valid
    (warning,) = content.warnings
    assert "without a name: 2" in warning


def test_the_warning_about_unknown_columns_stays_short():
    header = "name,address," + ",".join(f"{number}{'x' * 200}" for number in range(100))

    (warning,) = read(header + "\n").warnings

    assert len(warning) < 1500
    assert "and 90 more" in warning


@pytest.mark.parametrize(
    ("header", "error_type"),
    [
        ("\ufeff\ufeffname,address", "missing_column"),
        ('"name,address"', "missing_header"),
        ("'name','address'", "missing_header"),
        ("na\u200bme,address", "missing_column"),
        ("n\u0430me,address", "missing_column"),  # a Cyrillic letter
        ("name:address", "missing_header"),
        ("name,address;phone", "missing_column"),
        ("x\nname,address", "missing_header"),
        ("name,address\\n", "missing_column"),
        ("\0name,address", "missing_column"),
    ],
)
def test_a_header_in_disguise_is_no_header(header: str, error_type: str):
    content = read(f"{header}\n{SOUND}")

    assert only(content).error_type == error_type
    assert content.rows == ()


@pytest.mark.parametrize(
    "header",
    [
        "\ufeffname,address,phone",
        '\ufeff"name","address","phone"',
        "\n\n \nname,address,phone",
        "\u00a0Name\u00a0,\u2003ADDRESS,phone\u3000",
        '"name\n",address,phone',
    ],
)
def test_a_header_with_a_mark_quotes_blanks_or_blank_lines_is_one(header: str):
    assert read(f"{header}\n{SOUND}").rows == read(HEADER + SOUND).rows


def test_a_header_that_comes_again_is_a_row_like_any_other():
    """It is told by its phone, and as a duplicate where there is none: nothing is guessed."""
    assert found(read(HEADER + SOUND + HEADER)) == [(2, 3, "phone", "invalid_phone")]
    assert [row.name for row in read("name,address\nname,address\n").rows] == ["name"]


# Rows


def test_a_row_with_too_many_or_too_few_fields_is_told_both_counts():
    content = read(HEADER + "x,Sea Road 5\n" + "Clinic,Sea Road 5,1,2\n" + SOUND)

    assert found(content) == [(1, 2, None, "field_count"), (2, 3, None, "field_count")]
    assert "3 fields" in content.errors[1].message
    assert "has 4" in content.errors[1].message
    assert content.errors[1].value == "Clinic,Sea Road 5,1,2"
    assert [row.row for row in content.rows] == [3]


@pytest.mark.parametrize(
    ("column", "chars", "error_type", "limit"),
    [
        ("name", 0, "required", "2"),
        ("name", 1, "too_short", "2"),
        ("name", 2, None, ""),
        ("name", 255, None, ""),
        ("name", 256, "too_long", "255"),
        ("address", 0, "required", "5"),
        ("address", 4, "too_short", "5"),
        ("address", 5, None, ""),
        ("address", 500, None, ""),
        ("address", 501, "too_long", "500"),
    ],
)
def test_lengths_are_judged_after_trimming(
    column: str, chars: int, error_type: str | None, limit: str
):
    sound = {"name": "Clinic", "address": "Sea Road 5"}
    values = sound | {column: f"  {'é' * chars}  "}

    content = read(f"name,address\n{values['name']},{values['address']}\n")

    assert found(content) == ([(1, 2, column, error_type)] if error_type else [])
    if error_type:
        assert limit in only(content).message
        assert str(chars) in only(content).message or error_type == "required"


@pytest.mark.parametrize(
    "phone",
    [
        "1234567",
        "123456789012345",
        "+1234567",
        "(334) 793-8701",
        "+44 (0) 20.7946-0018",
        "01 39 63 91 33",
        "-1234567.",
        "+(1) 234 567",
    ],
)
def test_a_phone_of_7_to_15_digits_with_separators_is_sound(phone: str):
    assert read(f"{HEADER}Clinic,Sea Road 5,{phone}\n").rows[0].phone == phone


@pytest.mark.parametrize(
    "phone",
    [
        "123456",
        "1234567890123456",
        "n/a",
        "-",
        "12345+67",
        "++1234567",
        "(+1) 234567",
        "1234567 ext 2",
        "1234\t567",
        '"123\n4567"',
        "١٢٣٤٥٦٧",
        "１２３４５６７",  # noqa: RUF001 - digits, but not ASCII ones
        "123\u00a04567",
        "1234567x",
        "+" + "(" * 30_000,
    ],
)
def test_any_other_phone_is_an_error_of_its_column(phone: str):
    assert found(read(f"{HEADER}Clinic,Sea Road 5,{phone}\n")) == [(1, 2, "phone", "invalid_phone")]


def test_a_refused_phone_is_told_how_many_digits_it_has():
    message = only(read(f"{HEADER}Clinic,Sea Road 5,12-34\n")).message

    assert "7 to 15 digits" in message
    assert "characters: 5, digits: 4" in message


@pytest.mark.parametrize("code", [0, 1, 8, 0x0B, 0x0C, 0x0E, 0x1C, 0x1F, 0x7F, 0x80, 0x85, 0x9F])
@pytest.mark.parametrize("form", ["Cl{}inic", "{}Clinic", "Clinic{}"])
def test_a_control_character_is_an_error_even_at_the_edge_of_a_value(code: int, form: str):
    content = read(f"name,address\n{form.format(chr(code))},Sea Road 5\n")

    assert found(content) == [(1, 2, "name", "control_character")]
    assert f"U+{code:04X}" in only(content).message
    assert only(content).value == form.format("�")


@pytest.mark.parametrize("text", ["Cli\tnic", '"Cli\nnic"', "Cli\u2028nic", "Cli\u200bnic", "Ünï"])
def test_tabs_line_breaks_and_other_special_characters_are_no_control_characters(text: str):
    assert read(f"name,address\n{text},Sea Road 5\n").is_valid


def test_control_characters_are_judged_in_each_column_that_is_read_and_in_no_other():
    content = read("name,address,phone,notes\nClinic\0,Sea Road\0 5,1234567\0,\0\n")

    assert found(content) == [
        (1, 2, "name", "control_character"),
        (1, 2, "address", "control_character"),
        (1, 2, "phone", "control_character"),
    ]
    assert read("name,address,notes\nClinic,Sea Road 5,\0\n").is_valid


def test_all_findings_of_a_row_are_reported_and_the_rows_after_it_are_judged():
    content = read(HEADER + ",\0,12\n" + SOUND + "x,Sea Road 5,\n")

    assert found(content) == [
        (1, 2, "name", "required"),
        (1, 2, "address", "control_character"),
        (1, 2, "address", "too_short"),
        (1, 2, "phone", "invalid_phone"),
        (3, 4, "name", "too_short"),
    ]
    assert [row.row for row in content.rows] == [2]


def test_a_value_is_shown_up_to_100_characters():
    long, exact = "x" * 600, "x" * 100

    shown = [e.value for e in read(f"{HEADER}Clinic,{long},{exact}\n").errors]

    assert shown == ["x" * 99 + "…", exact]


def test_a_single_value_can_be_judged_by_the_same_rules():
    (finding,) = judge_value("phone", "n/a", row=3, line=0)

    assert (finding.row, finding.line, finding.error_type) == (3, 0, "invalid_phone")
    assert not list(judge_value("phone", " ", row=3, line=0))


# Quotes and overlong rows


@pytest.mark.parametrize("bad", ['"Clinic"x,Sea Road 5,', 'Clinic,"Sea "Road" 5",', '"Clinic" ,x,'])
def test_a_malformed_quote_is_one_row_error_and_reading_goes_on(bad: str):
    content = read(f"{HEADER}{bad}\n{SOUND}")

    assert found(content) == [(1, 2, None, "malformed_quote")]
    assert "line 2" in only(content).message
    assert only(content).value == bad
    assert [row.row for row in content.rows] == [2]


def test_a_malformed_quote_names_all_lines_that_it_swallowed():
    content = read('name,address\n"Clinic,Sea Road 5\n"Clinic 2","Sea Road 5"\nClinic 3,Sea Road\n')

    assert found(content) == [(1, 2, None, "malformed_quote")]
    assert "lines 2 to 3" in only(content).message
    assert [(row.row, row.name) for row in content.rows] == [(2, "Clinic 3")]


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ('Clinic,"Sea Road 5\nClinic,Sea Road 5\n', 3),
        ('"Clinic\r\nNorth","Sea Road 5\rClinic', 4),
        ('"', 3),
    ],
)
def test_an_unterminated_quote_is_one_error_that_names_the_line_where_it_opened(
    text: str, opened: int
):
    content = read(f"name,address\nClinic,Sea Road 5\n{text}")

    assert found(content) == [(2, 3, None, "unterminated_quote")]
    assert f"opens on line {opened}:" in only(content).message
    assert content.total_rows == 2


def test_an_overlong_row_is_an_error_and_reading_goes_on_with_the_next_line():
    long = "x" * (3 * MAX_RECORD_CHARS)
    content = read(f"{HEADER}{long},Sea Road 5,\n{SOUND}x,Sea Road 5,\n")

    assert found(content) == [(1, 2, None, "row_too_long"), (3, 4, "name", "too_short")]
    assert str(MAX_RECORD_CHARS) in content.errors[0].message
    assert len(content.errors[0].value or "") == 100


def test_a_row_at_the_limit_of_its_length_is_read():
    row = f"Clinic,Sea Road 5,{'x' * (MAX_RECORD_CHARS - 19)}\n"

    assert len(row) == MAX_RECORD_CHARS
    assert read(f"name,address,notes\n{row}").is_valid
    assert found(read(f"name,address,notes\nC{row}")) == [(1, 2, None, "row_too_long")]


def test_after_an_overlong_line_that_leaves_a_quote_open_nothing_is_trusted():
    content = read(f'{HEADER}"{"x" * (2 * MAX_RECORD_CHARS)}\n{SOUND}')

    assert found(content) == [(1, 2, None, "unterminated_quote")]
    assert content.rows == ()


def test_a_quote_that_stays_open_over_too_many_lines_ends_the_reading():
    swallowed = "Sea Road 5\n" * MAX_RECORD_CHARS
    content = read(f'name,address\n"Clinic\n","{swallowed}')

    assert found(content) == [(1, 2, None, "unterminated_quote")]
    assert "opens on line 3:" in only(content).message


def test_an_overlong_first_line_is_a_file_error():
    content = read("name," * MAX_RECORD_CHARS)

    assert found(content) == [(0, 1, None, "row_too_long")]


# Limits and warnings


def test_up_to_the_limit_every_row_is_read():
    assert read(HEADER + SOUND * 20, max_rows=20).is_valid


def test_above_the_limit_reading_stops_one_row_later():
    content = read(HEADER + SOUND * 19 + "x,Sea Road 5,\n" * 10, max_rows=20)

    assert found(content) == [
        (0, 22, None, "too_many_rows"),
        (20, 21, "name", "too_short"),
        (21, 22, "name", "too_short"),
    ]
    assert "more than 20 rows" in content.errors[0].message
    assert content.total_rows == 21


@pytest.mark.parametrize("blank", ["\n", ",\n", '""\n'])
def test_reading_stops_when_there_are_more_blank_lines_than_a_spreadsheet_has_rows(blank: str):
    sheet = HEADER + SOUND + blank * (MAX_BLANK_LINES // 2)

    assert read(sheet).is_valid
    content = read(sheet + blank * MAX_BLANK_LINES)
    assert found(content) == [(0, MAX_BLANK_LINES + 3, None, "too_many_blank_lines")]
    assert [row.name for row in content.rows] == ["General Hospital"]


def test_identical_rows_are_one_warning_for_each_group_and_all_are_kept():
    content = read(
        "name,address,phone\nClinic,Sea Road 5,\nOther,Sea Road 5,\n Clinic ,Sea Road 5,1234567\n"
        "Other,Sea Road 5,\nclinic,Sea Road 5,\nClinic,Sea Road 5,\n"
    )

    assert content.is_valid
    assert len(content.rows) == 6
    first, second = content.warnings
    assert "Rows 1, 3, 6 " in first
    assert "Rows 2, 4 " in second


def test_a_row_with_errors_is_created_nowhere_and_so_is_no_duplicate():
    assert read(HEADER + "Clinic,Sea Road 5,\nClinic,Sea Road 5,1\n").warnings == ()


def test_warnings_about_many_identical_rows_stay_short():
    one_group = read(HEADER + SOUND * 500)
    many_groups = read("name,address\n" + "".join(f"No {n},Sea Road\n" for n in range(99)) * 2)

    (warning,) = one_group.warnings
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 490 more" in warning
    assert len(many_groups.warnings) == 11
    assert many_groups.warnings[-1].startswith("89 more groups")


def test_a_report_loses_the_apostrophes_that_it_was_given():
    escaped = ["1", "'=Clinic", "''-Sea Road 5", "'+441234567890", "failed", "", ""]
    plain = ["2", "'s Lands Clinic", "Sea Road 5", "", "failed", "", ""]
    rows = "".join(",".join(row) + "\n" for row in (escaped, plain))

    report = read(",".join(REPORT_COLUMNS) + "\n" + rows)

    assert [(row.name, row.address, row.phone) for row in report.rows] == [
        ("=Clinic", "'-Sea Road 5", "+441234567890"),
        ("'s Lands Clinic", "Sea Road 5", None),
    ]
    assert read(HEADER + "'=Clinic,'-Sea Road 5,\n").rows[0].name == "'=Clinic"


# Laws

PIECES = st.sampled_from(
    (
        *("name", "address", "phone", "Clinic", "Sea Road 5", "1234567", "x", HEADER, SOUND),
        *(*DELIMITERS, '"', '""', "\n", "\r\n", "\r", " ", "\t", "\0", "\x85", "\ufeff", "é", "😀"),
    )
)
MESSY = st.builds(
    lambda head, pieces, cut: (head + "".join(pieces)).encode()[: -cut or None],
    st.sampled_from(["", HEADER, "name;address\n", "\ufeffaddress\tname\r"]),
    st.lists(PIECES, max_size=40),
    st.integers(0, 3),
)
FILES = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=300).map(lambda tail: HEADER.encode() + tail),
    MESSY,
    st.text(max_size=100).map(lambda tail: (HEADER + tail).encode("utf-8", "surrogatepass")),
    st.text(max_size=100).map(lambda tail: (HEADER + tail).encode("utf-16", "surrogatepass")),
)


@settings(deadline=None)  # a busy machine is no fault of the reader
@given(data=FILES, max_rows=st.integers(1, 5))
@example(data=b"\xff\xfe", max_rows=1)
@example(data=HEADER.encode() + b'"', max_rows=1)
def test_any_bytes_give_a_result_that_holds_together(data: bytes, max_rows: int):
    content = read_csv(io.BytesIO(data), max_rows=max_rows)

    sound = [row.row for row in content.rows]
    faulty = {error.row for error in content.errors} - {0}
    assert sound == sorted(set(sound))
    assert faulty.isdisjoint(sound)
    assert faulty | set(sound) == set(range(1, content.total_rows + 1))
    assert content.total_rows <= max_rows + 1
    assert (content.total_rows > max_rows) == any(
        error.error_type == "too_many_rows" for error in content.errors
    )
    assert bool(content.rows) or bool(content.errors)
    assert content.info.has_header == (content.info.delimiter is not None)
    assert content.info.size_bytes == len(data)
    assert [error.row for error in content.errors] == sorted(e.row for e in content.errors)


@settings(deadline=None)
@given(data=FILES)
def test_every_text_of_a_result_is_short_and_can_be_sent(data: bytes):
    content = read(data)

    for error in content.errors:
        assert len(error.value or "") <= 100
        assert len(error.message) < 400
        (error.message + (error.value or "")).encode()
        assert 0 <= error.line <= len(data) + 1
    for row in content.rows:
        (row.name + row.address + (row.phone or "")).encode()
    for warning in content.warnings:
        assert len(warning.encode()) < 6000


CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
VALUES = st.one_of(
    odd_texts,
    # Sound more often than not, and with something to trim.
    odd_texts.map(lambda text: CONTROLS.sub("", text)).map(
        lambda text: f"\u2003 Sea{text}Road \xa0"
    ),
    st.sampled_from(["", " ", "Clinic", "Sea Road 5", "+44 (1234) 567.890", "123456", "x" * 501]),
)


def is_sound(name: str, address: str, phone: str) -> bool:
    """The rules of the README, said once more in other words."""
    digits = phone.strip().removeprefix("+").translate(str.maketrans("", "", " -()."))
    controls = {unicodedata.category(c) for c in name + address + phone if c not in "\t\r\n"}
    return (
        "Cc" not in controls
        and 2 <= len(name.strip()) <= 255
        and 5 <= len(address.strip()) <= 500
        and (not phone.strip() or (7 <= len(digits) <= 15 and set(digits) <= set("0123456789")))
    )


@law
@given(
    rows=st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=6),
    delimiter=st.sampled_from(DELIMITERS),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONE]),
)
@example([("Clinic", "Sea Road 5", "1234567x")], ",", "\n", csv.QUOTE_ALL)
@example([("\ufeffClinic", "\u202eSea Road", "")], ",", "\n", csv.QUOTE_NONE)
@example([("e\u0301\u1e9e \u2028", "Sea\rRoad\r\n\u20295", "")], ",", "\n", csv.QUOTE_ALL)
def test_what_is_accepted_is_what_pythons_own_reader_reads_and_the_rules_allow(
    rows: list[tuple[str, str, str]], delimiter: str, end: str, quoting: Literal[1, 3]
):
    """Unquoted, values break their rows in every way that a careless program's do."""
    text = io.StringIO(newline="")
    header = delimiter.join(["name", "address", "phone"]) + end
    if quoting == csv.QUOTE_ALL:
        csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    else:
        text.writelines(delimiter.join(row) + end for row in rows)
    file = io.StringIO(header + text.getvalue(), newline="")
    try:
        records = list(csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True))
    except csv.Error:
        assert not read(file.getvalue()).is_valid
        return
    filled = [record for record in records[1:] if any(map(str.strip, record))]

    content = read(file.getvalue())

    sound = [
        (number, *map(str.strip, record))
        for number, record in enumerate(filled, start=1)
        if len(record) == 3 and is_sound(*record)
    ]
    assert [(row.row, row.name, row.address, row.phone or "") for row in content.rows] == sound
    assert content.is_valid == (len(sound) == len(filled) > 0)
    assert content.total_rows == len(filled)


def sound_text(low: int, high: int) -> st.SearchStrategy[str]:
    characters = st.one_of(
        st.characters(exclude_categories=("Cs", "Cc")), st.sampled_from('",;|\t\r\n')
    )
    fits = st.text(characters, min_size=low, max_size=20).map(str.strip)
    return fits.filter(lambda value: low <= len(value) <= high)


@settings(deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            sound_text(2, 255),
            sound_text(5, 500),
            st.one_of(st.just(""), st.from_regex(r"\+?[0-9]{7,15}", fullmatch=True)),
        ),
        min_size=1,
        max_size=8,
    ),
    delimiter=st.sampled_from(DELIMITERS),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_what_a_csv_writer_writes_is_read_back_exactly(
    rows: list[tuple[str, str, str]], delimiter: str, end: str, encoding: str
):
    """
    A writer leaves a line break unquoted that is not its own line end, so everything is quoted
    when a value has one.
    """
    breaks = any(character in "\r\n" for row in rows for value in row for character in value)
    text = io.StringIO(newline="")
    writer = csv.writer(
        text,
        delimiter=delimiter,
        lineterminator=end,
        quoting=csv.QUOTE_ALL if breaks else csv.QUOTE_MINIMAL,
    )
    writer.writerows([("name", "address", "phone"), *rows])

    content = read(text.getvalue().encode(encoding))

    assert content.errors == ()
    assert [(row.name, row.address, row.phone or "") for row in content.rows] == rows
    assert (content.info.delimiter, content.info.encoding) == (delimiter, encoding)


# Bounds


class Endless(io.RawIOBase):
    """A file of 40 MB that is made up while it is read: a beginning, then one piece repeated."""

    def __init__(self, begin: str, repeated: str) -> None:
        self._begin = begin.encode()
        self._repeated = repeated.encode()
        self._position = 0
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (FORTY_MB if whence == io.SEEK_END else 0)
        return self._position

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        size = max(0, min(size, FORTY_MB - self._position))
        text = self._begin[self._position :][:size]
        phase = max(0, self._position - len(self._begin)) % len(self._repeated)
        copies = self._repeated * (size // len(self._repeated) + 2)
        text += copies[phase:][: size - len(text)]
        self._position += size
        self.read_bytes += size
        return text


@pytest.mark.parametrize(
    ("begin", "repeated", "expected"),
    [
        (HEADER, "x", (1, 2, None, "row_too_long")),
        (HEADER, "😀" * 1000, (1, 2, None, "row_too_long")),
        ("", "name,", (0, 1, None, "row_too_long")),
        (
            "name,address," + ",".join(map(chr, range(0x10000, 0x20000))),
            "x",
            (0, 1, None, "row_too_long"),
        ),
        (HEADER + '"', "x", (1, 2, None, "unterminated_quote")),
        (HEADER + '"', "Clinic,Sea Road 5\n", (1, 2, None, "unterminated_quote")),
        (HEADER, '"\n",', (1, 2, None, "unterminated_quote")),
        (HEADER, SOUND, (0, 22, None, "too_many_rows")),
    ],
    ids=[
        "line",
        "wide",
        "header",
        "names",
        "quoted line",
        "quote",
        "quotes over lines",
        "million rows",
    ],
)
def test_forty_megabytes_of_anything_need_little_memory(
    begin: str, repeated: str, expected: tuple[int, int, str | None, str]
):
    stream = Endless(begin, repeated)

    tracemalloc.start()
    try:
        content = read_csv(cast("BinaryIO", stream), max_rows=20)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found(content) == [expected]
    assert peak_bytes < 8 * 1024 * 1024  # half of what one upload may take; its body is the rest
    if expected[3] == "too_many_rows":
        assert stream.read_bytes < 100_000


# Files of many rows


ODD_LINES = (
    "Clinic A,Sea Road 5,555-123-4567",
    '"Clinic, B","Sea Road 6",',
    '"Clinic C","Main\nStreet",',
    '"Clinic D","Main\r\n\r\nStreet",5551234567',
    " , ,",
    "",
    "  ",
    "x,y,z",
    "Clinic E,Sea Road,,",
    'a"b,c "d" e,',
    '"Clinic "F",Sea Road 7,',
    '"never closed,Sea Road 8,',
    "Clinic\x01G,Sea Road 9,",
    "Hôpital\u00a0H,Sea Road 10,",
)


@law
@given(
    lines=st.lists(st.sampled_from(ODD_LINES), max_size=30),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    tail=st.sampled_from([b"", b"\n", b"\xe9,Sea Road 5,\n"]),
    smallest=st.integers(1, 60),
    largest=st.integers(60, 400),
    max_rows=st.integers(1, 30),
)
def test_a_file_is_judged_the_same_in_whatever_pieces_it_is_read(
    lines: list[str], end: str, tail: bytes, smallest: int, largest: int, max_rows: int
):
    """What cannot be read together is read line by line, from the same place on."""
    data = end.join(["name,address,phone", *lines]).encode() + end.encode() + tail

    def judged(sizes: range) -> CsvContent:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_records, "PIECE_CHARS", sizes)
            return read_csv(io.BytesIO(data), max_rows=max_rows, keep_unsound=True)

    assert judged(range(smallest, largest + 1)) == judged(range(1, 2))


def test_only_as_many_sound_rows_are_kept_as_are_asked_for():
    data = (HEADER + SOUND * 400 + "x,y,z\n" + SOUND * 400).encode()
    content = read_csv(io.BytesIO(data), max_rows=MANY, keep_sound=5)

    assert [row.row for row in content.rows] == [1, 2, 3, 4, 5]
    assert (content.total_rows, content.valid_rows) == (801, 800)
    assert content.warnings[0].startswith("Rows 1, 2, 3")


def test_every_finding_of_many_is_listed_in_order_those_about_the_file_first():
    rows = 3 * PACKED
    content = read(HEADER + "x,Sea Road 5,\n" * (rows + 5), max_rows=rows)

    assert [error.row for error in content.errors] == [0, *range(1, rows + 2)]
    assert len(content.errors) == rows + 2
    assert content.errors[-1].line == rows + 2
    assert {error.error_type for error in content.errors} == {"too_many_rows", "too_short"}
