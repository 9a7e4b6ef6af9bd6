"""A file that somebody wants loaded -> the rows of its batch, or why it is refused. Pure."""

from dataclasses import dataclass
from typing import BinaryIO

from models.batch import Batch
from models.errors import FileRejected
from models.row import Rows
from services.csv_processor import read_csv
from services.skipping import can_skip, rows_to_load


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that somebody wants loaded.

    Attributes:
        file: Its content.
        name: What it is called.
        owner: The name of the key that it came with; None: without one.
        idempotency_key: What its client calls this upload, if anything.
        skip_invalid: Load the sound rows if some are not.
    """

    file: BinaryIO
    name: str | None = None
    owner: str | None = None
    idempotency_key: str | None = None
    skip_invalid: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """The batch of an upload, and whether an earlier one under the same key brought it."""

    batch: Batch
    is_replay: bool = False


def rows_of(upload: Upload, max_rows: int) -> Rows:
    """Read the file's rows; takes a second for 100,000, so that it belongs into a thread.

    Raises:
        FileRejected: It has errors, others than of rows that may be skipped.
    """
    content = read_csv(upload.file, max_rows=max_rows, keep_unsound=upload.skip_invalid)
    if not (content.is_valid or (upload.skip_invalid and can_skip(content))):
        raise FileRejected(content.errors)
    return rows_to_load(content)
