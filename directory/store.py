"""The rows of the directory: plain memory, without clock, limits or faults."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import TypedDict


class Hospital(TypedDict):
    """A hospital exactly as it goes over the wire."""

    id: int
    name: str | None  # an update can write null
    address: str | None
    phone: str | None
    creation_batch_id: str | None
    active: bool
    created_at: str  # ISO, without a zone


class HospitalStore:
    """Keep rows in order of completion, and at most *keep* of them (0: all).

    A second index by batch makes listing a batch independent of how many rows there are.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._rows: OrderedDict[int, Hospital] = OrderedDict()
        self._batches: dict[str, dict[int, Hospital]] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._rows)

    def draft(
        self, fields: Mapping[str, str | None], batch_id: str | None, created_at: str
    ) -> Hospital:
        """Return a hospital with the next id, inactive if it has a batch, without storing it."""
        self._last_id += 1
        return Hospital(
            id=self._last_id,
            name=fields["name"],
            address=fields["address"],
            phone=fields["phone"],
            creation_batch_id=batch_id,
            active=batch_id is None,
            created_at=created_at,
        )

    def add(self, row: Hospital) -> None:
        """Store *row*; the oldest row goes when there are too many."""
        self._rows[row["id"]] = row
        if row["creation_batch_id"] is not None:
            self._batches.setdefault(row["creation_batch_id"], {})[row["id"]] = row
        if self._keep and len(self._rows) > self._keep:
            self.remove(next(iter(self._rows)))

    def all(self) -> list[Hospital]:
        return list(self._rows.values())

    def get(self, hospital_id: int) -> Hospital | None:
        return self._rows.get(hospital_id)

    def batch(self, batch_id: str) -> list[Hospital]:
        return list(self._batches.get(batch_id, {}).values())

    def batch_size(self, batch_id: str) -> int:
        return len(self._batches.get(batch_id, ()))

    def activate(self, rows: Iterable[Hospital]) -> None:
        for row in rows:
            row["active"] = True

    def replace(self, row: Hospital) -> None:
        """Store *row* in the place of the one with its id."""
        self._rows[row["id"]] = row
        if row["creation_batch_id"] is not None:
            self._batches[row["creation_batch_id"]][row["id"]] = row

    def remove(self, hospital_id: int) -> None:
        row = self._rows.pop(hospital_id)
        batch_id = row["creation_batch_id"]
        if batch_id is None:
            return
        batch = self._batches[batch_id]
        del batch[hospital_id]
        if not batch:
            del self._batches[batch_id]

    def clear(self) -> None:
        """Forget everything; ids count from 1 again."""
        self._rows.clear()
        self._batches.clear()
        self._last_id = 0
