"""The whole service against the local directory, in one process, for tests on a virtual clock.

The wire between them is httpx's transport seam: requests reach the directory as a task of its own,
so that it goes on when the service gives up or dies, as a real server would.
"""

import asyncio
import io
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from config import Settings
from directory.app import ConnectionDropped, DirectorySettings, create_directory
from models.batch import Batch, BatchStatus
from services.batch_service import BatchService
from services.hospital_api import HospitalApi
from services.meters import Meters
from services.progress_tracker import ProgressTracker
from services.storage.json_files import JsonFiles
from services.storage.send_log import SendLog
from services.uploads import Upload
from wiring.service import build_service

BASE_URL = "http://directory.test"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Wire(httpx.AsyncBaseTransport):
    """Carries requests to the directory's app, with httpx's timeouts; `up` unplugs it."""

    def __init__(self, app: Any) -> None:
        self._inner = httpx.ASGITransport(app, client=("127.0.0.1", 50000))
        self._under_way: set[asyncio.Task[httpx.Response]] = set()
        self.up = True
        self.requests: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.up:
            raise httpx.ConnectError("refused", request=request)
        self.requests.append(f"{request.method} {request.url.path}")
        task = asyncio.create_task(self._inner.handle_async_request(request))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=request.extensions["timeout"]["read"])
        if not task.done():
            raise httpx.ReadTimeout("no answer", request=request)
        try:
            return task.result()
        except ConnectionDropped:
            raise httpx.ReadError("dropped", request=request) from None

    def _ended(self, task: asyncio.Task[httpx.Response]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits any more

    async def settle(self) -> None:
        """Wait until the directory has worked off everything."""
        while self._under_way:
            with suppress(Exception):
                await asyncio.wait(self._under_way)


class Line(httpx.AsyncBaseTransport):
    """One service's way to the wire; nothing passes once it is cut, as when its process died."""

    def __init__(self, way: httpx.AsyncBaseTransport) -> None:
        self.way = way
        self.is_cut = False
        self.creates_under_way = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_cut:
            raise httpx.ConnectError("dead", request=request)
        is_create = request.method == "POST"
        self.creates_under_way += is_create
        try:
            return await self.way.handle_async_request(request)
        finally:
            self.creates_under_way -= is_create


class Harness:
    """One directory, and a service that can be killed and started again on the same storage.

    Args:
        folder: Where checkpoints go.
        settings: Other settings than the defaults, which are the real ones.
    """

    def __init__(
        self, folder: Path, directory: DirectorySettings | None = None, **settings: Any
    ) -> None:
        self.settings = Settings(
            _env_file=None,
            hospital_api_base_url=BASE_URL,
            batch_storage_dir=folder,
            **settings,
        )
        self.directory = create_directory(directory or DirectorySettings())
        self.wire = Wire(self.directory)
        self.control = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.directory), base_url=BASE_URL
        )
        self.clock_offset = timedelta()
        self.line: Line
        self.meters: Meters
        self._storage: JsonFiles
        self._sends: SendLog
        self.service: BatchService

    async def __aenter__(self) -> "Harness":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self.wire.settle()
        await self.control.aclose()

    async def start(self, **changes: Any) -> None:
        """Start the service on what its storage holds."""
        self.settings = self.settings.model_copy(update=changes)
        self._storage = JsonFiles(self.settings.batch_storage_dir)
        self._sends = SendLog(self.settings.batch_storage_dir, self.settings.create_rate_limit)
        self._storage.open()
        self.line = Line(self.wire)
        self.meters = Meters()
        api = HospitalApi(
            self.settings.hospital_api_base_url,
            timeout_s=self.settings.http_timeout_seconds,
            connect_timeout_s=self.settings.http_connect_timeout_seconds,
            transport=self.line,
        )
        sends = self._sends
        self.service = build_service(
            self.settings,
            api,
            ProgressTracker(self._storage, self.wall_clock, self.meters),
            lambda: sends.add(self.wall_clock()),
            self.meters,
        )
        await self.service.start(self._storage.load(), self._sends.open(self.wall_clock()))

    def wall_clock(self) -> datetime:
        """Return the service's wall clock; it runs with the loop, and `clock_offset` sets it."""
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time()) + self.clock_offset

    async def stop(self) -> None:
        """End the service as SIGTERM would."""
        await self.service.close()
        self._sends.close()
        self._storage.close()

    async def kill(self) -> None:
        """End the service as kill -9 would: nothing is finished, nothing more is written."""
        own = {asyncio.current_task(), *self.wire._under_way}
        self.line.is_cut = True
        self._sends.close()
        self._storage.close()
        for _ in range(5):  # a call under way may start a task after the first sweep
            for task in asyncio.all_tasks() - own:
                if _is_service_task(task):
                    task.cancel()
            await asyncio.sleep(0)

    async def end(self) -> None:
        """End whatever runs, as `kill` does."""
        await self.kill()

    @property
    def services(self) -> list[BatchService]:
        """Every process's."""
        return [self.service]

    @property
    def creates_under_way(self) -> int:
        return self.line.creates_under_way

    async def fault(self, kind: str, endpoint: str = "create", **rule: Any) -> None:
        """Add one fault to the directory; once, unless `times` says otherwise."""
        rules = (await self.control.get("/_directory/faults")).json()
        rule = {"times": 1} | rule | {"kind": kind, "endpoint": endpoint}
        answer = await self.control.put("/_directory/faults", json=[*rules, rule])
        answer.raise_for_status()

    async def heal(self) -> None:
        """Remove all faults."""
        await self.control.delete("/_directory/faults")
        self.wire.up = True

    async def restart_directory(self, down_seconds: float = 0.0) -> None:
        """Have the directory forget everything and count ids from 1 again."""
        await self.control.post("/_directory/restart", json={"down_seconds": down_seconds})

    async def submit(self, content: str) -> Batch:
        return await self.upload(content)

    async def upload(self, content: str, **how: Any) -> Batch:
        """Upload *content*, for *how* see `Upload`; return its batch, new or known."""
        upload = Upload(io.BytesIO(content.encode()), **how)
        return (await self.service.submit(upload)).batch

    async def load(self, content: str) -> Batch:
        """Upload *content* and wait for the batch's end."""
        batch = await self.submit(content)
        await self.service.wait(batch)
        return batch

    async def resume(self, batch: Batch) -> Batch:
        """Resume and wait for the end."""
        resumption = await self.service.resume(batch.id)
        await self.service.wait(resumption.batch)
        return resumption.batch

    async def hospitals(self, *directory_batch_ids: UUID) -> list[dict[str, Any]]:
        """Return what the directory holds, of some directory batches or in all."""
        everything = (await self.control.get("/_directory/hospitals")).json()
        wanted = {str(one) for one in directory_batch_ids}
        return [h for h in everything if not wanted or h["creation_batch_id"] in wanted]


async def assert_exactly_once(harness: Harness, batch: Batch) -> None:
    """The promise: completed, and the directory holds the file's rows, each one, once, active."""
    held = await harness.hospitals(*batch.opened_directory_batch_ids)

    assert batch.status is BatchStatus.COMPLETED, batch.failure_reason
    assert Counter(row.hospital.content for row in batch.rows) == Counter(
        (h["name"], h["address"], h["phone"] or "") for h in held
    )
    assert all(h["active"] for h in held)
    assert {row.hospital_id for row in batch.rows} == {h["id"] for h in held}


def csv_file(rows: int, start: int = 1) -> str:
    """Return a file with *rows* different hospitals."""
    lines = [
        f"Hospital {n},{n} Main Street Springfield,555-010{n:04d}"
        for n in range(start, start + rows)
    ]
    return "name,address,phone\n" + "\n".join(lines) + "\n"


def _is_service_task(task: asyncio.Task[Any]) -> bool:
    """The directory's tasks live on when the service dies."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/services/" in code.co_filename
