"""Gives a row that cannot go as it is other values.

Only a row of which the directory has nothing: one that it refused, or that was never sent. Of any
other a copy with the old values could be there, or arrive later.
"""

from collections.abc import Mapping

from models.batch import Batch, BatchStatus
from models.errors import BatchConflict, RowNotFound, RowRejected
from models.hospital import HospitalRow
from models.row import Row
from services.claims import Claims
from services.csv_processor import COLUMNS, hospital_row, judge_values
from services.logs import get_logger
from services.peers import Taken
from services.progress_tracker import ProgressTracker
from services.reasons import corrected
from services.refusals import cannot_correct

logger = get_logger(__name__)


async def correct(
    batch: Batch, number: int, changes: Mapping[str, str], tracker: ProgressTracker, claims: Claims
) -> Row:
    """Change a row that was refused or skipped, and make its batch resumable; return the row.

    Args:
        batch: At rest, not completed.
        number: The row's.
        changes: Column -> new value; the other columns keep theirs.
        tracker: Makes it durable before it is told.
        claims: Whose claim is held meanwhile.

    Raises:
        RowNotFound, BatchConflict, RowRejected, StorageUnavailable: Nothing was changed.
    """
    if not 1 <= number <= len(batch.rows):
        raise RowNotFound(len(batch.rows))
    if not batch.is_correctable:
        raise BatchConflict(cannot_correct(batch))
    try:
        async with claims.taken(batch):
            mended = _mended(batch, number, changes)
            await tracker.announce(
                batch,
                BatchStatus.RESUMABLE,
                row=mended,
                failure_reason=corrected(batch, number),
            )
    except Taken:
        raise BatchConflict(cannot_correct(batch)) from None
    logger.info("row corrected", batch_id=str(batch.id), row=number)
    return mended


def _mended(batch: Batch, number: int, changes: Mapping[str, str]) -> Row:
    """Return the row as it will be; BatchConflict, RowRejected if it may not be."""
    if not batch.is_correctable:
        raise BatchConflict(cannot_correct(batch))
    row = batch.row(number)
    if not row.is_excluded:
        raise BatchConflict(
            "Only a row that the directory refused, or that was skipped, can be corrected."
        )
    return row.corrected(_with_changes(row.hospital, changes))


def _with_changes(hospital: HospitalRow, changes: Mapping[str, str]) -> HospitalRow:
    """Return *hospital* with other values; RowRejected if they break the rules of files."""
    old = (hospital.name, hospital.address, hospital.phone or "")
    values = tuple(changes.get(column, value) for column, value in zip(COLUMNS, old, strict=True))
    if errors := judge_values(values, row=hospital.row, line=0):
        raise RowRejected(tuple(errors))
    return hospital_row(hospital.row, values)
