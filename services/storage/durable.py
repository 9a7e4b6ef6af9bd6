"""Files that are on the disk when a call returns, and whole after a power cut at any moment."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

TEMPORARY_PREFIX = ".writing-"
APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


def write(path: Path, pieces: Iterable[bytes]) -> int:
    """Put a file of *pieces* in the place of *path*: after a crash there is the old or the new one.

    Returns:
        Its size in bytes.

    Raises:
        OSError: It could not be written; one that fails at its last step may be in place.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)
    return size


def append(path: Path, text: bytes, *, is_new: bool) -> None:
    """Add *text* to a file, which is made if it *is_new*.

    Raises:
        OSError: It could not be written, or in part only.
    """
    flags = APPENDING | os.O_CREAT | os.O_EXCL if is_new else APPENDING
    with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have on the disk what was made, renamed or removed in *folder*."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
