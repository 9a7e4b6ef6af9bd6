"""Looks at the directory once and compares a batch at rest with it; changes nothing anywhere."""

import asyncio

from models.batch import Batch
from models.errors import DirectoryUnreachable, ShuttingDown
from models.hospital import ListedHospital
from services.comparison import Comparison, compare
from services.patient_directory import PatientDirectory
from services.reasons import CannotContinue, Interrupted


async def verify(batch: Batch, directory: PatientDirectory, stopping: asyncio.Event) -> Comparison:
    """Return in what the directory differs from the file of *batch*.

    Args:
        batch: At rest. It is not claimed: a look may take as long as the directory sleeps, and
            nobody who wants to resume or abandon the batch has to wait for it. Whoever calls this
            makes sure that the batch did not change meanwhile.
        directory: The one that its rows went to.
        stopping: Set when the service begins to stop.

    Raises:
        DirectoryUnreachable: The directory gave no usable answer.
        ShuttingDown: The service is stopping.
    """
    try:
        hospitals = await _look(batch, directory, stopping)
    except CannotContinue as stop:
        raise DirectoryUnreachable(f"{stop.cause}. Nothing was changed; try again later.") from None
    except Interrupted:
        raise ShuttingDown from None
    return await asyncio.to_thread(compare, batch.rows.copy(), hospitals)


async def _look(
    batch: Batch, directory: PatientDirectory, stopping: asyncio.Event
) -> tuple[ListedHospital, ...]:
    """Look once; Interrupted as soon as the service stops, also in the queue for the turn."""
    looking = asyncio.create_task(directory.look_aside(batch))
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({looking, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not looking.done():
            raise Interrupted
        return looking.result()
    finally:
        looking.cancel()
        stop.cancel()
