"""The bytes of a CSV file -> its records, each a list of fields, or why it has none.

Pure: it reads the stream it is given piece by piece and knows nothing of hospitals. Where every
line of a piece is a record, which is the rule, they are read together; everything else is read one
record at a time. Other encodings than UTF-8 are recognised for a hint, and never read.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain, islice
from typing import NamedTuple

DELIMITERS = ",;\t|"
# Sound values need under 800 characters, the rest is room for ignored columns. More would cost:
# a field of one character is 80 bytes of memory. Below the csv module's own limit for one field.
MAX_RECORD_CHARS = 32 * 1024
# What is read together: more gains nothing, and less of it is read again if a line of it is odd.
PIECE_CHARS = range(1024, 16 * 1024 + 1)
PIECE_LINES = 256  # with more objects alive at a time the interpreter often looks for garbage
MAX_BLANK_LINES = 1024 * 1024  # a spreadsheet has no more rows; each takes time, in any number
UNDECODED = re.compile(r"[\udc80-\udcff]")  # how "surrogateescape" keeps a byte that is not UTF-8
# The mark of UTF-32 begins with the one of UTF-16, so it is looked for first.
WIDE_MARKS = {
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


class NotUtf8(Exception):
    """A line has bytes that are not UTF-8; the argument is the line."""


class TooManyBlankLines(Exception):
    """The file has more than MAX_BLANK_LINES lines without any value; `line` is the last read."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class Fault(NamedTuple):
    """Why a record has no fields, and which lines of the file show it."""

    error_type: str
    where: str


class Records(NamedTuple):
    """Records that follow each other, and the line on which each begins."""

    fields: list[list[str]]
    lines: Sequence[int]


class Text:
    """The text of a file, of which a piece can be given back."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._back = io.StringIO(newline="")

    def read(self, chars: int) -> str:
        """Return the next *chars*, less if the file ends."""
        piece = self._back.read(chars)
        return piece + self._text.read(chars - len(piece)) if len(piece) < chars else piece

    def give_back(self, piece: str) -> None:
        """Have *piece* read again."""
        self._back = io.StringIO(piece + self._back.read(), newline="")

    def readline(self, chars: int) -> str:
        """Return the next line with its end, or as many *chars* of it; nothing after the last."""
        line = self._back.readline(chars)
        if len(line) == chars or line.endswith("\n"):
            return line
        if not line.endswith("\r"):
            return line + self._text.readline(chars - len(line))
        if following := self._back.read(1):
            self._back.seek(self._back.tell() - 1)
        elif (following := self._text.read(1)) == "\n":  # one line end, cut in two
            line += following
        else:
            self.give_back(following)
        return line


class Lines:
    """The physical lines of one record after the other, without the blank lines between them.

    Whoever takes the lines empties `record` when a record is complete. Every iteration goes on
    where the last one stopped, which is at the end or at a record that is too long.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text = Text(text)
        self.number = 0  # of the line read last, counted from 1
        self.record: list[str] = []
        self.too_long = self.ended = False
        self._blank = 0
        self._chars = PIECE_CHARS[-1]
        self._odd_to = 0  # the line to which they are read one by one

    @property
    def start(self) -> int:
        """The line on which the record begins; 0 between records."""
        return self.number - len(self.record) + 1 if self.record else 0

    def __iter__(self) -> Iterator[str]:
        record, readline = self.record, self.text.readline
        chars = sum(map(len, record))
        while line := readline(MAX_RECORD_CHARS + 1):
            self.number += 1
            if not line.isascii() and UNDECODED.search(line):
                raise NotUtf8(line)
            chars = len(line) + (chars if record else 0)
            self.too_long = chars > MAX_RECORD_CHARS
            if record or self.too_long or not line.isspace():
                record.append(line)
                if self.too_long:
                    return
                yield line
            else:
                self.count_blank(self.number)
        self.ended = True

    def count_blank(self, line: int) -> None:
        """Count a *line* without any value; TooManyBlankLines if that is too much."""
        self._blank += 1
        if self._blank > MAX_BLANK_LINES:
            raise TooManyBlankLines(line)

    @property
    def are_odd(self) -> bool:
        """Whether the next lines are to be read one by one."""
        return self.number < self._odd_to

    def take_records(self, width: int, delimiter: str) -> Records | None:
        """Take many lines at once if each is a record of *width* fields.

        None: the next lines are odd, or the file ends with them.
        """
        piece = self.text.read(self._chars)
        # A "\r" at its end may be half of a line end.
        end = max(piece.rfind("\n"), piece.rfind("\r", 0, -1)) + 1
        lines = list(islice(io.StringIO(piece[:end], newline=""), PIECE_LINES))
        fields = _plain_records(lines, width, delimiter)
        self.text.give_back(piece[sum(map(len, lines)) :] if fields else piece)
        if fields:
            self._chars = min(2 * self._chars, PIECE_CHARS[-1])
            self.number += len(lines)
            return Records(fields, range(self.number - len(lines) + 1, self.number + 1))
        if len(lines) > 1 and self._chars > PIECE_CHARS[0]:
            self._chars = max(self._chars // 4, PIECE_CHARS[0])
            return self.take_records(width, delimiter)
        self._odd_to = self.number + len(lines)
        return None

    def skip_rest(self) -> bool:
        """Drop what is left of an overlong line; return whether its quotes come in pairs."""
        piece = self.record[-1]
        quotes = piece.count('"')
        while piece and piece[-1] not in "\r\n":
            piece = self.text.readline(MAX_RECORD_CHARS)
            quotes += piece.count('"')
        return quotes % 2 == 0


def _parse(lines: Iterable[str], delimiter: str, *, strict: bool) -> Iterator[list[str]]:
    # Without skipinitialspace the quotes in `a, "b"` would silently become part of the value.
    return csv.reader(lines, delimiter=delimiter, strict=strict, skipinitialspace=True)


def _plain_records(lines: list[str], width: int, delimiter: str) -> list[list[str]]:
    """Return the records of *lines* if each is one of *width* fields, otherwise none."""
    text = "".join(lines)
    if any(map(str.isspace, lines)) or (not text.isascii() and UNDECODED.search(text)):
        return []
    try:
        records = list(_parse(lines, delimiter, strict=True))
    except csv.Error:
        return []
    # A record has a line or more: as many of them as lines are one line each.
    is_plain = len(records) == len(lines) and set(map(len, records)) == {width}
    return records if is_plain else []


def read_records(lines: Lines, first: str, delimiter: str) -> Iterator[Records | Fault]:
    """Yield the header, then the other records, or why one has no fields.

    *first* was taken from *lines*. Those with as many fields as the header come together, each
    other by itself: of that, and of a fault, *lines* still hold the text.
    """
    source, width = chain((first,), lines), 0
    while not lines.ended:
        for records in _read_singly(lines, source, width, delimiter):
            yield records
            width = width or len(records.fields[0])
        if lines.record:
            yield (fault := _fault(lines, delimiter))
            if fault.error_type == "unterminated_quote":
                return  # what follows may be inside the quote: none of it can be trusted
        lines.record.clear()
        while together := lines.take_records(width, delimiter):
            yield together
        source = chain(lines)


def _read_singly(
    lines: Lines, source: Iterable[str], width: int, delimiter: str
) -> Iterator[Records]:
    """Yield the records up to one that cannot be read, or until what was given back is read."""
    fields: list[list[str]] = []
    starts: list[int] = []
    failure: Exception | None = None
    try:
        for record in _parse(source, delimiter, strict=True):
            if len(record) == width:
                fields.append(record)
                starts.append(lines.start)
            else:
                if fields:
                    yield Records(fields, starts)
                    fields, starts = [], []
                yield Records([record], [lines.start])
            lines.record.clear()
            if not lines.are_odd:
                break
    except (csv.Error, NotUtf8, TooManyBlankLines) as error:
        failure = error
    if fields:
        yield Records(fields, starts)
    if failure and not isinstance(failure, csv.Error):
        raise failure


def _fault(lines: Lines, delimiter: str) -> Fault:
    """Return why the record in *lines* could not be read."""
    lone = len(lines.record) == 1
    where = f"line {lines.start}" if lone else f"lines {lines.start} to {lines.number}"
    if lines.too_long and lone and lines.skip_rest():
        return Fault("row_too_long", where)
    if not lines.too_long and not lines.ended:
        return Fault("malformed_quote", where)
    # The line breaks of the record that are not in its last field are before the open quote.
    read = lines.record[:-1] if lines.too_long else lines.record
    last_field = next(_parse(read, delimiter, strict=False), [""])[-1]
    opened = lines.start + _line_breaks("".join(read)) - _line_breaks(last_field)
    return Fault("unterminated_quote", f"line {opened}")


def _line_breaks(text: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", text))


def wide_encoding(head: bytes) -> str | None:
    """Return utf-16 or utf-32 if *head* has its mark, or the NULs of ASCII text in UTF-16."""
    for encoding, marks in WIDE_MARKS.items():
        if head.startswith(marks):
            return encoding
    few, many = sorted((head[::2].count(0), head[1::2].count(0)))
    return "utf-16" if few == 0 and many >= max(8, len(head) // 4) else None


def narrow_encoding(text: str) -> str | None:
    """Guess what *text* with UNDECODED bytes was written in: a hint, nothing is read with it."""
    raw = text.encode("utf-8", "surrogateescape")
    runs = re.findall(rb"[\x80-\xff]+", raw)
    # Partly UTF-8 after all, or no Western text: in that, letters with accents mostly stand alone.
    if not UNDECODED.sub("", text).isascii() or sum(map(len, runs)) > 2 * len(runs):
        return None
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return None
    return "cp1252" if re.search(rb"[\x80-\x9f]", raw) else "latin-1"


def likeness(line: str, delimiter: str, columns: Set[str]) -> tuple[int, int]:
    """Return how well *delimiter* explains a first line: how many of *columns*, then how often."""
    fields = next(_parse([line], delimiter, strict=False), [])
    names = {field.strip().casefold() for field in fields}
    return len(names & columns), line.count(delimiter)
