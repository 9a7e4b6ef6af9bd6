"""What each endpoint does to the rows, at once and without limits."""

from collections.abc import Callable
from datetime import UTC, datetime

from directory.answers import (
    ALREADY_ACTIVE,
    NO_BATCH,
    NO_CONTENT,
    NO_HOSPITAL,
    OK,
    Answer,
    as_json,
    batch_full,
    server_error,
)
from directory.calls import Call, Endpoint
from directory.store import Hospital, HospitalStore


class Operations:
    """Carry out calls on the store.

    With `keep=False` the answer is the usual one but no change stays: what a client sees
    when the directory loses a write.
    """

    def __init__(self, store: HospitalStore, batch_limit: int) -> None:
        self._store = store
        self._batch_limit = batch_limit
        self._by_endpoint: dict[Endpoint, Callable[[Call, bool], Answer]] = {
            Endpoint.ROOT: lambda _call, _keep: OK,
            Endpoint.CREATE: self._create,
            Endpoint.LIST_ALL: lambda _call, _keep: as_json(200, self._store.all()),
            Endpoint.GET: self._get,
            Endpoint.UPDATE: self._update,
            Endpoint.DELETE: self._delete,
            Endpoint.LIST_BATCH: self._list_batch,
            Endpoint.ACTIVATE: self._activate,
            Endpoint.DELETE_BATCH: self._delete_batch,
        }

    def perform(self, call: Call, *, keep: bool = True) -> Answer:
        """Apply *call* and return its answer."""
        return self._by_endpoint[call.endpoint](call, keep)

    def turn_away(self, call: Call) -> Answer | None:
        """Return the 400 for a create in a full batch.

        Asked before the work of a create, so creates under way are not seen: the real
        directory lets concurrent ones overshoot in the same way.
        """
        if call.endpoint is not Endpoint.CREATE or call.batch_id is None or not self._batch_limit:
            return None
        full = self._store.batch_size(call.batch_id) >= self._batch_limit
        return batch_full(self._batch_limit) if full else None

    def activate_half(self, call: Call, status: int) -> Answer:
        """Activate the first half of a batch (rounded down) and fail with *status*."""
        rows = self._inactive_batch(call)
        if isinstance(rows, Answer):
            return rows
        self._store.activate(rows[: len(rows) // 2])
        return server_error(status)

    def _create(self, call: Call, keep: bool) -> Answer:
        row = self._store.draft(call.fields, call.batch_id, timestamp())
        if keep:
            self._store.add(row)
        return as_json(200, row)

    def _get(self, call: Call, _keep: bool) -> Answer:
        row = self._store.get(call.hospital_id)
        return NO_HOSPITAL if row is None else as_json(200, row)

    def _update(self, call: Call, keep: bool) -> Answer:
        row = self._store.get(call.hospital_id)
        if row is None:
            return NO_HOSPITAL
        changed = row.copy()
        changed.update(call.fields)  # type: ignore[typeddict-item]
        if keep:
            self._store.replace(changed)
        return as_json(200, changed)

    def _delete(self, call: Call, keep: bool) -> Answer:
        if self._store.get(call.hospital_id) is None:
            return NO_HOSPITAL
        if keep:
            self._store.remove(call.hospital_id)
        return NO_CONTENT

    def _list_batch(self, call: Call, _keep: bool) -> Answer:
        rows = self._batch(call)
        return as_json(200, rows) if rows else NO_BATCH

    def _activate(self, call: Call, keep: bool) -> Answer:
        rows = self._inactive_batch(call)
        if isinstance(rows, Answer):
            return rows
        if keep:
            self._store.activate(rows)
        message = f"Activated {len(rows)} hospitals"
        return as_json(200, {"activated_count": len(rows), "message": message})

    def _delete_batch(self, call: Call, keep: bool) -> Answer:
        rows = self._batch(call)
        if not rows:
            return NO_BATCH
        for row in rows if keep else ():
            self._store.remove(row["id"])
        message = f"Deleted {len(rows)} hospitals"
        return as_json(200, {"deleted_count": len(rows), "message": message})

    def _batch(self, call: Call) -> list[Hospital]:
        return [] if call.batch_id is None else self._store.batch(call.batch_id)

    def _inactive_batch(self, call: Call) -> list[Hospital] | Answer:
        rows = self._batch(call)
        if not rows:
            return NO_BATCH
        return ALREADY_ACTIVE if any(row["active"] for row in rows) else rows


def timestamp() -> str:
    """Return the time as the directory writes it: UTC, without saying so."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat()
