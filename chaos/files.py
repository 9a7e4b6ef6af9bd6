"""What is uploaded: every row says which upload it belongs to, so that it can be traced."""

import csv
import io
from typing import TypeAlias

# Name, address, phone ("" if none): what a hospital is recognised by, wherever it turns up.
Content: TypeAlias = tuple[str, str, str]

UNSOUND_PHONE = "none"  # the service refuses it, the directory would take it


def contents(upload: int, rows: int, identical: int, unsound: int = 0) -> tuple[Content, ...]:
    """Return the rows of an upload: the first *unsound*, the last *identical* the same one."""
    different = [_content(upload, row) for row in range(1, rows + 1)]
    different[:unsound] = [(*content[:2], UNSOUND_PHONE) for content in different[:unsound]]
    if identical > 1:
        different[-identical:] = [different[-1]] * identical
    return tuple(different)


def corrected(content: Content, time: int) -> Content:
    """Return sound values for a row that had *content* in the file, others each *time*."""
    name, address, _ = content
    return (f"{name} corrected {time}", address, f"0113 555 {time:04d}")


def is_sound(content: Content) -> bool:
    """Return whether the service may send it."""
    return content[2] != UNSOUND_PHONE


def file_name(upload: int) -> str:
    """Return what an upload's file is called, by which its batch is recognised."""
    return f"upload {upload:05d}.csv"


def csv_of(rows: tuple[Content, ...]) -> bytes:
    """Return *rows* as a file."""
    text = io.StringIO()
    csv.writer(text).writerows([("name", "address", "phone"), *rows])
    return text.getvalue().encode()


def _content(upload: int, row: int) -> Content:
    name = f"Upload {upload:05d} row {row:02d} Hôpital"
    phone = f"0113 {upload:05d} {row:02d}" if row % 3 else ""
    return (name, f"{row} Chaos Lane, Leeds", phone)
