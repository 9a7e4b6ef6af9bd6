"""Who wants to hear that there is something new to see of a batch.

Hearing is all: there are no messages, so that nobody can fall behind, and a batch that nobody
watches costs one look into a dictionary.
"""

from collections.abc import Callable
from typing import TypeAlias
from uuid import UUID

# Called with the number of the row that changed; None: of what is told of the batch, something.
Hear: TypeAlias = Callable[[int | None], None]


class Watchers:
    """The watchers of all batches."""

    def __init__(self) -> None:
        self._of: dict[UUID, list[Hear]] = {}

    def add(self, batch_id: UUID, hear: Hear) -> Callable[[], None]:
        """Have *hear* called at every news of a batch; it must not raise. Return what ends that."""
        hearing = self._of.setdefault(batch_id, [])
        hearing.append(hear)

        def remove() -> None:
            hearing.remove(hear)
            if not hearing:
                del self._of[batch_id]

        return remove

    def __contains__(self, batch_id: UUID) -> bool:
        return batch_id in self._of

    def watched(self) -> list[UUID]:
        """Return the batches that somebody watches."""
        return list(self._of)

    def tell(self, batch_id: UUID, row: int | None = None) -> None:
        """Call everybody who watches the batch."""
        for hear in tuple(self._of.get(batch_id, ())):
            hear(row)

    def tell_all(self) -> None:
        """Call everybody: what batches wait for has changed."""
        for batch_id in tuple(self._of):
            self.tell(batch_id)
