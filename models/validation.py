"""What the CSV reader found in a file."""

from dataclasses import dataclass

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

    `total_rows` counts the data rows read; above the row limit reading stopped there. `unsound` has
    the other rows as far as they could be read, and only when they were asked for.
    """

    rows: tuple[HospitalRow, ...]
    unsound: tuple[HospitalRow, ...]
    total_rows: int
    errors: tuple[Finding, ...]
    warnings: tuple[str, ...]
    info: FileInfo

    @property
    def is_valid(self) -> bool:
        return not self.errors
