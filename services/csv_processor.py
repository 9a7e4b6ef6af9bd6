"""The bytes of an upload -> its sound rows, and every finding with row, column and line.

Pure: it reads the stream it is given, once and piece by piece, and knows no clock, no settings and
no network. It never raises on any content: whatever is wrong with a file is a finding.
"""

import codecs
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, islice
from operator import itemgetter, not_
from typing import BinaryIO, TypeAlias

from models.hospital import HospitalRow
from models.validation import CsvContent, FileInfo, Finding, Findings
from services.csv_records import (
    DELIMITERS,
    MAX_BLANK_LINES,
    MAX_RECORD_CHARS,
    UNDECODED,
    Fault,
    Lines,
    NotUtf8,
    Records,
    TooManyBlankLines,
    likeness,
    narrow_encoding,
    read_records,
    wide_encoding,
)

COLUMNS = ("name", "address", "phone")
NAME_CHARS = range(2, 256)
ADDRESS_CHARS = range(5, 501)
REQUIRED = {"name": NAME_CHARS, "address": ADDRESS_CHARS}
REPORT_COLUMNS = ("row", "name", "address", "phone", "status", "hospital_id", "error")
SHOWN_CHARS = 100  # of a value
SHOWN_ITEMS = 10  # of a list in a warning, and of the names that stand twice
HINT_CHARS = 64 * 1024  # read beyond the first undecodable line, for a better guess

# Possessive: no part can match otherwise, and a third of the time is saved.
PHONE = re.compile(r"\+?(?:[ ().-]*+[0-9]){7,15}+[ ().-]*+")
# Surrogates too: JSON can hold one alone, which no encoding can write.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
FORMULA = r"'*[=+@\t\r-]"  # how a cell begins that a spreadsheet would take for a formula
REPORT_ESCAPE = re.compile(f"^'(?={FORMULA})")
MESSAGES = {
    "encoding": "The file {looks}: save it as UTF-8 and upload it again.",
    "empty_file": "Upload a file with a header and at least one row: this one is empty.",
    "missing_header": "Begin the file with a line that names its columns: name,address,phone.",
    "missing_column": "Add the column {column} to the first line, or correct its name there.",
    "duplicate_column": "Rename or remove all but one of the {times} columns named {value}.",
    "duplicate_columns": "Rename or remove the columns of {more} more names that stand more than"
    " once.",
    "no_rows": "Add at least one row below the header.",
    "too_many_rows": "The file has more than {max_rows} rows: split it, or have MAX_CSV_SIZE"
    " raised.",
    "too_many_blank_lines": "Remove the empty lines: the file has more than {blank_lines} of them.",
    "field_count": "Give the row {wanted} fields like the header, it has {fields}: a value that"
    " holds the delimiter stands in quotes.",
    "row_too_long": "Shorten {where}: it has more than {limit} characters.",
    "malformed_quote": "Mend the quotes on {where}: a quote inside a quoted value is written twice,"
    " and only a delimiter or the end of the line follows the closing one.",
    "unterminated_quote": "Close the quote that opens on {where}: it is open until the file ends or"
    " for more than {limit} characters, and nothing after it was read.",
    "control_character": "Remove the control character U+{code:04X} from the {column}.",
    "required": "Fill in the {column}: it is empty and needs {low} to {high} characters.",
    "too_short": "Write the {column} in full, with at least {low} characters: its length is"
    " {chars}.",
    "too_long": "Shorten the {column}: it has {chars} characters and may have {high}.",
    "invalid_phone": "Write the phone as 7 to 15 digits with an optional + in front and space"
    " - ( ) . between them, or leave it empty: characters: {chars}, digits: {digits}.",
}

Values: TypeAlias = tuple[str, ...]  # of COLUMNS, in their order


def read_csv(
    stream: BinaryIO, *, max_rows: int, keep_sound: int | None = None, keep_unsound: bool = False
) -> CsvContent:
    """Read the seekable *stream* from its start and return what it holds; it stays open.

    Args:
        stream: The file.
        max_rows: Above it reading stops after one row more, judged and counted like the others.
        keep_sound: Return no more than the first so many sound rows; None: all.
        keep_unsound: Return the rows with errors too.
    """
    size_bytes = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(256)
    marked = head.startswith(codecs.BOM_UTF8)
    stream.seek(len(codecs.BOM_UTF8) if marked else 0)
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
    encoding = "utf-8-sig" if marked else "utf-8"
    keep_sound = max_rows + 1 if keep_sound is None else keep_sound
    reading = _Reading(text, max_rows, encoding, keep_sound, keep_unsound=keep_unsound)
    try:
        reading.run(head)
    finally:
        text.detach()  # or it would close the stream when it is collected
    return CsvContent(
        rows=tuple(reading.rows),
        unsound=tuple(reading.unsound),
        total_rows=reading.total_rows,
        valid_rows=reading.valid_rows,
        errors=reading.errors,
        warnings=(*reading.warnings, *reading.twins.warnings()),
        info=FileInfo(size_bytes, reading.encoding, reading.delimiter, bool(reading.delimiter)),
    )


def hospital_row(row: int, values: Values) -> HospitalRow:
    """Return *values* as the row of that number, trimmed."""
    name, address, phone = map(str.strip, values)
    return HospitalRow(row, name, address, phone or None)


def judge_values(values: Values, *, row: int, line: int) -> list[Finding]:
    """Return everything that is wrong with the *values* of one row; empty if it is sound."""
    return [
        finding
        for column, value in zip(COLUMNS, values, strict=True)
        for finding in judge_value(column, value, row=row, line=line)
    ]


def judge_value(column: str, value: str, *, row: int, line: int) -> Iterator[Finding]:
    """Yield everything that is wrong with a *value* as the file has it, not yet trimmed."""
    place = (row, line, column, value)
    control = CONTROL.search(value)
    value = value.strip()
    if control:
        yield _finding("control_character", *place, code=ord(control[0]))
    if column == "phone":
        if value and not control and not PHONE.fullmatch(value):
            digits = len(re.findall("[0-9]", value))
            yield _finding("invalid_phone", *place, chars=len(value), digits=digits)
    elif len(value) not in (allowed := REQUIRED[column]):
        short = "too_short" if value else "required"
        error_type = short if len(value) < allowed[0] else "too_long"
        yield _finding(error_type, *place, chars=len(value), low=allowed[0], high=allowed[-1])


def _finding(
    error_type: str, row: int, line: int, column: str | None, value: str | None, **told: object
) -> Finding:
    shown = None if value is None else _shown(value)
    message = MESSAGES[error_type].format(
        column=column, value=shown, limit=MAX_RECORD_CHARS, **told
    )
    return Finding(row, line, column, shown, error_type, message)


class _Reading:
    """One pass over a file, and what it has found so far."""

    def __init__(
        self,
        text: io.TextIOWrapper,
        max_rows: int,
        encoding: str,
        keep_sound: int,
        *,
        keep_unsound: bool,
    ) -> None:
        self.encoding = encoding
        self.delimiter: str | None = None  # known when a header is
        self.total_rows = self.valid_rows = 0
        self.rows: list[HospitalRow] = []
        self.unsound: list[HospitalRow] = []
        self.errors = Findings()
        self.warnings: list[str] = []
        self.twins = _Twins()
        self._line = 0  # of the row read last
        self._blank_lines = self._first_blank = 0  # with delimiters or quotes, but no value
        self._lines = Lines(text)
        self._max_rows = max_rows
        self._keep_sound = keep_sound
        self._keep_unsound = keep_unsound

    def run(self, head: bytes) -> None:
        """Read until the file, which begins with *head*, ends or cannot be read any further."""
        if guess := wide_encoding(head):
            self._refuse_encoding(guess, line=1)
            return
        try:
            self._read()
        except NotUtf8 as error:
            line = str(error)
            hint = line + self._lines.text.read(HINT_CHARS)
            guess = narrow_encoding(hint) if self.encoding == "utf-8" else None  # no mark
            self._refuse_encoding(guess, line=self._lines.number, value=line)
        except TooManyBlankLines as error:
            place = (0, error.line, None, None)
            self.errors.add(_finding("too_many_blank_lines", *place, blank_lines=MAX_BLANK_LINES))

    def _refuse_encoding(self, guess: str | None, line: int, value: str | None = None) -> None:
        self.encoding = guess or "unknown"
        looks = f"looks like {guess}" if guess else f"has bytes on line {line} that are not UTF-8"
        self.errors.add(_finding("encoding", 0, line, None, value, looks=looks))

    def _read(self) -> None:
        first = next(iter(self._lines), None)
        if first is None:
            error_type = "row_too_long" if self._lines.record else "empty_file"
            self._find(error_type, where="the first line")
            return
        delimiter = max(DELIMITERS, key=lambda char: likeness(first, char, REQUIRED.keys()))
        records = read_records(self._lines, first, delimiter)
        header = next(records)
        if isinstance(header, Fault):
            self._find(header.error_type, where=header.where)
            return
        names = [name.strip().casefold() for name in header.fields[0]]
        self._judge_header(names, delimiter)
        if not self.errors:
            self._read_rows(records, len(names), _picker(names))

    def _find(
        self, error_type: str, column: str | None = None, value: str | None = None, **told: object
    ) -> None:
        """Note a finding about the record being read; before the first row that is the header."""
        value = value or "".join(self._lines.record) or None
        row, line = self.total_rows, self._lines.start
        self.errors.add(_finding(error_type, row, line, column, value, **told))

    def _judge_header(self, names: list[str], delimiter: str) -> None:
        missing = [column for column in REQUIRED if column not in names]
        if len(missing) == len(REQUIRED):
            self._find("missing_header")
            return
        self.delimiter = delimiter
        for column in missing:
            self._find("missing_column", column)
        self._judge_duplicates(names)
        self.warnings.extend(_ignored_warnings(names))

    def _judge_duplicates(self, names: list[str]) -> None:
        times = {name: n for name, n in Counter(filter(None, names)).items() if n > 1}
        # The known ones first: a header can have thousands of others.
        shown = sorted(times, key=lambda name: name not in COLUMNS)[:SHOWN_ITEMS]
        for name in shown:
            known = name if name in COLUMNS else None
            self._find("duplicate_column", known, name, times=times[name])
        if more := len(times) - len(shown):
            self._find("duplicate_columns", more=more)

    def _read_rows(
        self, records: Iterator[Records | Fault], width: int, pick: Callable[[list[str]], Values]
    ) -> None:
        for piece in records:
            if isinstance(piece, Fault):
                self.total_rows += 1
                self._line = self._lines.start
                self._find(piece.error_type, where=piece.where)
                self._keep(self.total_rows, ("".join(self._lines.record), "", ""))
            elif len(piece.fields[0]) != width:
                self._read_odd(piece.fields[0], width)
            else:
                self._read_many(piece, pick)
            if self.total_rows > self._max_rows:
                place = (0, self._line, None, None)
                self.errors.add(_finding("too_many_rows", *place, max_rows=self._max_rows))
                return
        if not self.total_rows:
            self._find("no_rows")
        if self._blank_lines:
            lines = f"{self._blank_lines}, the first is line {self._first_blank}"
            self.warnings.append(f"Ignored rows without any value: {lines}.")

    def _read_odd(self, fields: list[str], width: int) -> None:
        self._line = self._lines.start
        if _is_blank(fields):
            self._count_blank([self._line])
            return
        self.total_rows += 1
        self._find("field_count", fields=len(fields), wanted=width)
        self._keep(self.total_rows, (", ".join(fields), "", ""))

    def _read_many(self, piece: Records, pick: Callable[[list[str]], Values]) -> None:
        """Read records of the header's width, together: each by itself takes twice as long."""
        records, lines = piece
        blank_lines: list[int] = []
        if not all(map(str.strip, map(itemgetter(0), records))):
            blank = list(map(_is_blank, records))
            blank_lines = list(compress(lines, blank))
            records = list(compress(piece.fields, map(not_, blank)))
            lines = list(compress(piece.lines, map(not_, blank)))
        room = self._max_rows + 1 - self.total_rows
        if records:
            self._judge(list(map(pick, records[:room])), lines)
        if self.total_rows <= self._max_rows:
            self._count_blank(blank_lines)

    def _count_blank(self, lines: list[int]) -> None:
        for line in lines:
            self._first_blank = self._first_blank or line
            self._blank_lines += 1
            self._lines.count_blank(line)

    def _judge(self, rows: list[Values], lines: Sequence[int]) -> None:
        """Keep the sound *rows*, and note everything that is wrong with the others."""
        names, addresses, phones = (
            list(map(str.strip, column)) for column in zip(*rows, strict=True)
        )
        joined = "".join(chain.from_iterable(rows))
        is_clean = joined.isprintable() or not CONTROL.search(joined)
        sound = [
            len(name) in NAME_CHARS
            and len(address) in ADDRESS_CHARS
            and (not phone or PHONE.fullmatch(phone) is not None)
            and (is_clean or not CONTROL.search("".join(values)))
            for name, address, phone, values in zip(names, addresses, phones, rows, strict=True)
        ]
        numbers = range(self.total_rows + 1, self.total_rows + len(rows) + 1)
        self.total_rows, self._line = numbers[-1], lines[len(rows) - 1]
        if all(sound):
            self._accept(numbers, names, addresses, phones)
            return
        names, addresses, phones = (
            list(compress(column, sound)) for column in (names, addresses, phones)
        )
        self._accept(list(compress(numbers, sound)), names, addresses, phones)
        for index in compress(range(len(rows)), map(not_, sound)):
            for finding in judge_values(rows[index], row=numbers[index], line=lines[index]):
                self.errors.add(finding)
            self._keep(numbers[index], rows[index])

    def _accept(
        self,
        rows: Sequence[int],
        names: Sequence[str],
        addresses: Sequence[str],
        phones: Sequence[str],
    ) -> None:
        self.valid_rows += len(rows)
        self.twins.note(rows, names, addresses)
        kept = min(len(rows), self._keep_sound - len(self.rows))
        optional = (phone or None for phone in phones)
        self.rows.extend(map(HospitalRow, rows[:kept], names, addresses, optional))

    def _keep(self, row: int, values: Values) -> None:
        """Keep an unsound row; one without fields of its own in whole, so that it stays unsound."""
        if self._keep_unsound:
            self.unsound.append(hospital_row(row, values))


def _is_blank(fields: list[str]) -> bool:
    """Spreadsheets write an empty row as `,,`: a blank line, to whoever looks at the sheet."""
    return not fields[0].strip() and not any(map(str.strip, fields))


def _picker(names: list[str]) -> Callable[[list[str]], Values]:
    """Return what takes the values of COLUMNS out of a row's fields."""
    pick = itemgetter(*(names.index(column) for column in COLUMNS if column in names))
    if "phone" not in names:
        return lambda fields: (*pick(fields), "")
    if set(REPORT_COLUMNS) <= set(names):  # people add columns of their own to a report
        return lambda fields: tuple(REPORT_ESCAPE.sub("", value) for value in pick(fields))
    return pick


def _ignored_warnings(names: list[str]) -> Iterator[str]:
    unknown = [_shown(name) for name in names if name and name not in COLUMNS]
    if unknown:
        yield f"Only name, address and phone are read; ignored columns: {_listed(unknown)}."
    if nameless := names.count(""):
        yield f"Ignored columns without a name: {nameless}."


class _Twins:
    """Rows with the same name and address.

    They are known by a hash of 64 bits, so that the texts of a large file are not held for it. Two
    of 100,000 rows that differ are taken for the same in one of billions of files: a warning is
    then wrong, no more.
    """

    def __init__(self) -> None:
        self._first: dict[int, int] = {}
        self._groups: dict[int, list[int]] = {}

    def note(self, rows: Iterable[int], names: Iterable[str], addresses: Iterable[str]) -> None:
        first = self._first
        for row, content in zip(rows, map(hash, zip(names, addresses, strict=True)), strict=True):
            original = first.setdefault(content, row)
            if original != row:
                self._groups.setdefault(original, [original]).append(row)

    def warnings(self) -> Iterator[str]:
        for numbers in islice(self._groups.values(), SHOWN_ITEMS):
            yield f"Rows {_listed(numbers)} have the same name and address: each is created."
        if len(self._groups) > SHOWN_ITEMS:
            more = len(self._groups) - SHOWN_ITEMS
            yield f"{more} more groups of such rows: each row is created."


def _listed(items: Sequence[object]) -> str:
    shown = ", ".join(map(str, items[:SHOWN_ITEMS]))
    return shown if len(items) <= SHOWN_ITEMS else f"{shown} and {len(items) - SHOWN_ITEMS} more"


def _shown(value: str) -> str:
    """Return *value* short enough for a message, and safe to encode and to print."""
    value = UNDECODED.sub("\ufffd", CONTROL.sub("\ufffd", value)).strip()
    return value if len(value) <= SHOWN_CHARS else value[: SHOWN_CHARS - 1] + "…"
