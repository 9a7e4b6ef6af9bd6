"""One HTTP exchange with the Hospital Directory -> one outcome. No retries, no pacing, no state.

What the directory's answers mean stands here and nowhere else. 400, 404 and 422 count only in the
directory's own words: a gateway's 404 is not an empty batch.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from uuid import UUID

import httpx

from models.hospital import HospitalRow, ListedHospital
from models.outcome import (
    Absent,
    Activated,
    ActivateOutcome,
    AlreadyActive,
    Awake,
    BatchFull,
    Created,
    CreateOutcome,
    Deleted,
    DeleteOutcome,
    Failure,
    FindOutcome,
    Found,
    Listed,
    ListOutcome,
    NotSent,
    RateLimited,
    Refused,
    Unexpected,
    Unknown,
    WakeOutcome,
)

NO_BATCH: Final = "No hospitals found"  # ... with the specified batch ID
NO_HOSPITAL: Final = "Hospital not found"
BATCH_FULL: Final = "Batch cannot exceed"  # ... 20 hospitals
MAX_DETAIL: Final = 200  # characters of the directory's reason that are passed on
# The directory's server closes an idle connection after 5 s. A request that meets the closing
# would end unknown and cost a settling time, so idle connections are given up well before.
KEEPALIVE_EXPIRY_S: Final = 2.0
KEPT_ALIVE: Final = 20
# At each request httpcore looks at every connection of its pool, several times. Twenty in one took
# half of the processor's time of a create, two in each of ten next to none (measured).
POOLS: Final = 10

T = TypeVar("T")


class HospitalApi:
    """The directory's endpoints, each one exchange.

    Args:
        base_url: Where the directory is.
        timeout_s: Longest wait for an answer once connected.
        connect_timeout_s: Longest wait for a connection.
        transport: Stands in for the network in tests.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float,
        connect_timeout_s: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        # No max_connections: httpx 0.28 leaks pool slots when a waiting request is cancelled.
        limits = httpx.Limits(
            max_connections=None,
            max_keepalive_connections=KEPT_ALIVE // POOLS,
            keepalive_expiry=KEEPALIVE_EXPIRY_S,
        )
        context = httpx.create_ssl_context()
        self._clients = [
            httpx.AsyncClient(
                base_url=base_url,
                verify=context,
                limits=limits,
                follow_redirects=False,
                transport=transport,
            )
            for _ in range(POOLS)
        ]
        self._under_way = [0] * POOLS

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def create(self, batch_id: UUID, hospital: HospitalRow) -> CreateOutcome:
        """Send one row. Not idempotent: sent twice it makes two hospitals."""
        body = {
            "name": hospital.name,
            "address": hospital.address,
            "phone": hospital.phone,
            "creation_batch_id": str(batch_id),
        }
        reply = await self._exchange("POST", "/hospitals/", body=body)
        if not isinstance(reply, httpx.Response):
            return reply
        detail = _detail(reply)
        if reply.status_code == 422 and detail:
            return Refused(f"refused by the directory: {detail}")
        if reply.status_code == 400 and detail.startswith(BATCH_FULL):
            return BatchFull()
        return _success(reply, lambda body: _created(body, batch_id, hospital))

    async def list_batch(self, batch_id: UUID) -> ListOutcome:
        """Return every hospital of the batch; none if the directory says that it knows none."""
        reply = await self._exchange("GET", f"/hospitals/batch/{batch_id}")
        if not isinstance(reply, httpx.Response):
            return reply
        if reply.status_code == 404 and _detail(reply).startswith(NO_BATCH):
            return Listed(())
        return _success(reply, lambda body: _listed(body, batch_id))

    async def find(self, hospital_id: int) -> FindOutcome:
        """Return one hospital by its id."""
        reply = await self._exchange("GET", f"/hospitals/{hospital_id}")
        if not isinstance(reply, httpx.Response):
            return reply
        if reply.status_code == 404 and _detail(reply).startswith(NO_HOSPITAL):
            return Absent()
        return _success(reply, lambda body: Found(_hospital(body)))

    async def activate(self, batch_id: UUID) -> ActivateOutcome:
        """Make the batch's hospitals active. Not idempotent: a second time is refused."""
        reply = await self._exchange("PATCH", f"/hospitals/batch/{batch_id}/activate")
        if not isinstance(reply, httpx.Response):
            return reply
        detail = _detail(reply)
        if reply.status_code == 404 and detail.startswith(NO_BATCH):
            return Absent()
        if reply.status_code == 400 and detail:
            return AlreadyActive()
        return _success(reply, lambda body: Activated(_integer(body["activated_count"])))

    async def delete(self, hospital_id: int) -> DeleteOutcome:
        """Delete one hospital, active or not: look at it first."""
        reply = await self._exchange("DELETE", f"/hospitals/{hospital_id}")
        if not isinstance(reply, httpx.Response):
            return reply
        if reply.status_code == 404 and _detail(reply).startswith(NO_HOSPITAL):
            return Absent()
        return Deleted() if reply.status_code == 204 else _failure(reply)

    async def delete_batch(self, batch_id: UUID) -> DeleteOutcome:
        """Delete every hospital of the batch, active ones too: look at them first."""
        reply = await self._exchange("DELETE", f"/hospitals/batch/{batch_id}")
        if not isinstance(reply, httpx.Response):
            return reply
        if reply.status_code == 404 and _detail(reply).startswith(NO_BATCH):
            return Absent()
        return _success(reply, _deleted)

    async def wake(self, timeout_s: float) -> WakeOutcome:
        """Ask for the first page, which wakes a sleeping directory; up to 60 s are reported."""
        reply = await self._exchange("GET", "/", timeout_s=timeout_s)
        if not isinstance(reply, httpx.Response):
            return reply
        return _success(reply, _awake)

    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response | NotSent | Unknown:
        total_s = timeout_s or self._connect_timeout_s + self._timeout_s
        timeout = httpx.Timeout(
            timeout_s or self._timeout_s,
            connect=min(self._connect_timeout_s, total_s),
            pool=None,
        )
        try:
            # httpx bounds each read, not the whole answer: a body that trickles would never end.
            async with asyncio.timeout(total_s):
                with self._least_used() as client:
                    return await client.request(method, path, json=body, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError):
            return NotSent("no connection to the directory")
        except (httpx.TimeoutException, TimeoutError):
            return Unknown("the directory did not answer in time")
        # AttributeError: anyio's, of a connection that closes in the moment in which it opens.
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, AttributeError):
            return Unknown("the connection to the directory broke off")

    @contextmanager
    def _least_used(self) -> Iterator[httpx.AsyncClient]:
        number = min(range(POOLS), key=self._under_way.__getitem__)
        self._under_way[number] += 1
        try:
            yield self._clients[number]
        finally:
            self._under_way[number] -= 1


class _Unreadable(Exception):
    """A 2xx whose body is not what the directory says."""


def _success(reply: httpx.Response, read: Callable[[Any], T]) -> T | Failure:
    """Read a 2xx with *read*; everything else is a failure."""
    if not reply.is_success:
        return _failure(reply)
    try:
        return read(reply.json())
    except (_Unreadable, ValueError, TypeError, KeyError, RecursionError):
        return Unknown("the directory's answer could not be read")


def _failure(reply: httpx.Response) -> Failure:
    if reply.status_code == 429:
        return RateLimited()
    if reply.is_success or reply.is_server_error:
        return Unknown(f"the directory answered {reply.status_code}")
    return Unexpected(f"something before the directory answered {reply.status_code}")


def _detail(reply: httpx.Response) -> str:
    """Return the directory's own JSON `detail` of an error in words, else an empty string."""
    if not reply.is_client_error:
        return ""
    try:
        detail = reply.json()["detail"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    if isinstance(detail, list):  # FastAPI's 422: one entry for each field
        detail = "; ".join(_field_error(entry) for entry in detail)
    if not isinstance(detail, str):
        return ""
    # A lone surrogate is legal in JSON, but nothing could be encoded that repeats it.
    return detail[:MAX_DETAIL].encode("utf-8", "replace").decode()


def _field_error(entry: Any) -> str:
    """Say in words which field a 422 complains about, without repeating what was sent."""
    if not isinstance(entry, dict):
        return "invalid"
    location = entry.get("loc")
    fields = location[1:] if isinstance(location, list) else []
    return " ".join(str(part) for part in [*fields, entry.get("msg", "invalid")])


def _awake(body: Any) -> Awake:
    if not isinstance(body, dict) or "status" not in body:
        raise _Unreadable
    return Awake()


def _deleted(body: Any) -> Deleted:
    _integer(body["deleted_count"])
    return Deleted()


def _created(body: Any, batch_id: UUID, sent: HospitalRow) -> Created:
    hospital = _hospital(body)
    if hospital.batch_id != batch_id or hospital.content != sent.content:
        raise _Unreadable
    return Created(hospital.id)


def _listed(body: Any, batch_id: UUID) -> Listed:
    if not isinstance(body, list):
        raise _Unreadable
    hospitals = tuple(_hospital(item) for item in body)
    if any(hospital.batch_id != batch_id for hospital in hospitals):
        raise _Unreadable
    return Listed(hospitals)


def _hospital(body: Any) -> ListedHospital:
    batch_id = _text(body["creation_batch_id"])
    if not isinstance(body["active"], bool):
        raise _Unreadable
    return ListedHospital(
        id=_integer(body["id"]),
        name=_text(body["name"]),
        address=_text(body["address"]),
        phone=_text(body["phone"]),
        batch_id=UUID(batch_id) if batch_id is not None else None,
        active=body["active"],
    )


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Unreadable
    return value


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _Unreadable
    return value
