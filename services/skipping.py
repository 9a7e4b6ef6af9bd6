"""The rows of a file whose unsound ones are skipped instead of refusing it. Pure."""

from models.hospital import HospitalRow
from models.row import Row, Rows, RowStatus
from models.validation import CsvContent


def can_skip(content: CsvContent) -> bool:
    """Return whether a file with errors has sound rows, and every error is one of a single row.

    An open quote is not: nothing after it was read.
    """
    return bool(content.rows) and all(
        finding.row and finding.error_type != "unterminated_quote" for finding in content.errors
    )


def rows_to_load(content: CsvContent) -> Rows:
    """Return every row of the file in its order, those that are not sound skipped."""
    reasons: dict[int, list[str]] = {}
    for finding in content.errors:
        reasons.setdefault(finding.row, []).append(finding.message)
    rows = [Row(hospital) for hospital in content.rows]
    rows += [_skipped(hospital, reasons[hospital.row]) for hospital in content.unsound]
    return Rows(sorted(rows, key=lambda row: row.hospital.row))


def _skipped(hospital: HospitalRow, reasons: list[str]) -> Row:
    return Row(hospital, RowStatus.FAILED, error=" ".join(reasons), skipped=True)
