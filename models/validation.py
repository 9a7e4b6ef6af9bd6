"""What the CSV reader found in a file."""

import marshal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import overload

from models.hospital import HospitalRow


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with the file, told so that a person can mend it.

    Attributes:
        row: Data row, counted from 1 without header and blank lines; 0 for the file as a whole.
        line: Physical line on which the row begins, counted from 1; 0 if no line can be named.
        column: `name`, `address` or `phone`; None if it is not about one column.
        value: What stands there, shortened to 100 characters.
        error_type: Stable name for programs, for example `too_short`.
        message: What to do, in one sentence.
    """

    row: int
    line: int
    column: str | None
    value: str | None
    error_type: str
    message: str


_values = attrgetter(*Finding.__slots__)
PACKED = 256  # findings together
PREVIEW_ROWS = 5  # of a file that is only checked


class Findings(Sequence[Finding]):
    """The findings of a file, those about the file as a whole first.

    Of a large file there can be hundreds of thousands. As that many objects they would hold up all
    of the process whenever garbage is looked for, and when they are dropped: they are kept packed.
    """

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._of_file: list[Finding] = []
        self._packs: list[bytes] = []
        self._last: list[Finding] = []
        for finding in findings:
            self.add(finding)

    def add(self, finding: Finding) -> None:
        """Add what was found next; rows come in their order."""
        if not finding.row:
            self._of_file.append(finding)
            return
        self._last.append(finding)
        if len(self._last) == PACKED:
            self._packs.append(marshal.dumps(list(map(_values, self._last))))
            self._last = []

    def __len__(self) -> int:
        return len(self._of_file) + len(self._packs) * PACKED + len(self._last)

    def __iter__(self) -> Iterator[Finding]:
        yield from self._of_file
        for pack in self._packs:
            yield from (Finding(*values) for values in marshal.loads(pack))
        yield from self._last

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Finding, ...]: ...
    def __getitem__(self, index: int | slice) -> Finding | tuple[Finding, ...]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclass(frozen=True, slots=True)
class FileInfo:
    """The file's own properties; `delimiter` is None when no header could be read."""

    size_bytes: int
    encoding: str
    delimiter: str | None
    has_header: bool


@dataclass(frozen=True, slots=True)
class CsvContent:
    """The sound rows of a file, and every finding.

    `total_rows` counts the data rows read; above the row limit reading stopped there. `valid_rows`
    are sound, of which `rows` has as many as were asked for. `unsound` has the other rows as far as
    they could be read, and only when they were asked for.
    """

    rows: tuple[HospitalRow, ...]
    unsound: tuple[HospitalRow, ...]
    total_rows: int
    valid_rows: int
    errors: Findings
    warnings: tuple[str, ...]
    info: FileInfo

    @property
    def is_valid(self) -> bool:
        return not self.errors
