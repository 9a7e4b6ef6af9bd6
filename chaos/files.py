"""What is uploaded: every row says which upload it belongs to, so that it can be traced."""

import csv
import io
from typing import TypeAlias

# Name, address, phone ("" if none): what a hospital is recognised by, wherever it turns up.
Content: TypeAlias = tuple[str, str, str]


def contents(upload: int, rows: int, identical: int) -> tuple[Content, ...]:
    """Return the rows of an upload; the last *identical* of them are the same one."""
    different = [_content(upload, row) for row in range(1, rows + 1)]
    if identical > 1:
        different[-identical:] = [different[-1]] * identical
    return tuple(different)


def csv_of(rows: tuple[Content, ...]) -> bytes:
    """Return *rows* as a file."""
    text = io.StringIO()
    csv.writer(text).writerows([("name", "address", "phone"), *rows])
    return text.getvalue().encode()


def _content(upload: int, row: int) -> Content:
    name = f"Upload {upload:05d} row {row:02d} Hôpital"
    phone = f"0113 {upload:05d} {row:02d}" if row % 3 else ""
    return (name, f"{row} Chaos Lane, Leeds", phone)
