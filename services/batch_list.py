"""The list of batches, page by page. Pure.

A page ends at a batch's place, not at a number of batches: whatever comes and goes while somebody
pages, no batch that stays is told twice or left out.
"""

import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterable
from heapq import nlargest
from typing import NamedTuple
from uuid import UUID

from models.batch import Batch, BatchStatus
from services.clock import epoch_us

CURSOR = "[A-Za-z0-9_-]{32}"

_FORM = struct.Struct(">q16s")  # 24 bytes, so that base64 needs no padding


class Place(NamedTuple):
    """Where a batch stands in the list, which goes from the greatest to the least.

    Attributes:
        created_us: When it was accepted, in microseconds since the epoch.
        batch_id: Its id, for batches of the same moment.
    """

    created_us: int
    batch_id: UUID

    @classmethod
    def of(cls, batch: Batch) -> "Place":
        return cls(epoch_us(batch.created_at), batch.id)

    @classmethod
    def from_cursor(cls, cursor: str) -> "Place":
        """Read what `cursor` wrote; ValueError if it is of another form."""
        if not re.fullmatch(CURSOR, cursor):
            raise ValueError("no cursor")
        created_us, batch_id = _FORM.unpack(urlsafe_b64decode(cursor))
        return cls(created_us, UUID(bytes=batch_id))

    @property
    def cursor(self) -> str:
        """The place in letters that need no quoting in an address."""
        return urlsafe_b64encode(_FORM.pack(self.created_us, self.batch_id.bytes)).decode()


class Page(NamedTuple):
    """Some batches, newest first, and the place after which the next page begins, if any."""

    batches: list[Batch]
    next: Place | None


def page(
    batches: Iterable[Batch],
    *,
    statuses: Collection[BatchStatus] = (),
    after: Place | None = None,
    limit: int,
) -> Page:
    """Return the newest *limit* batches that come after a place.

    Args:
        batches: All of them, in any order.
        statuses: Those wanted; none: all.
        after: Where an earlier page ended; None: from the newest on.
        limit: At least 1.
    """
    wanted = (
        batch
        for batch in batches
        if (not statuses or batch.status in statuses) and (after is None or Place.of(batch) < after)
    )
    found = nlargest(limit + 1, wanted, key=Place.of)
    shown = found[:limit]
    return Page(shown, Place.of(shown[-1]) if len(found) > limit else None)
