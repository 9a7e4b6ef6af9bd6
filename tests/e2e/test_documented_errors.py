"""Every error in the OpenAPI document is one that the endpoint really answers, as it stands there.

The application runs in this process, against a real directory: a service that is shutting down can
be called no other way for sure. An error that is added to the document needs its line in PROVOKED.
"""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from config import Settings
from main import create_app
from models.api import EXAMPLE_ID
from models.errors import UNREAD, StorageUnavailable
from routers.openapi import operations
from routers.problem import MEDIA_TYPE
from scripts.processes import Server
from services.peers import NoPeers
from tests.contract import Contract
from tests.e2e.conftest import BY_NAME, CUT_OFF, HANGING, INSTANT

KEY, OTHER_KEY = "a-secret-of-some-length", "another-secret-of-length"
ORDINARY_KEY = "a-secret-that-sees-little"
KEYS = f"admin:{KEY},admin-2:{OTHER_KEY},north:{ORDINARY_KEY}"
DOCUMENT = create_app(Settings(_env_file=None, api_keys=KEYS)).openapi()
ERRORS = [
    pytest.param(method, path, example["value"], id=f"{method} {path} {slug}")
    for method, path, operation in operations(DOCUMENT)
    for response in operation["responses"].values()
    for slug, example in response.get("content", {}).get(MEDIA_TYPE, {}).get("examples", {}).items()
]

MAX_UPLOAD_BYTES = 2 * 1024 * 1024
STALL_S = 0.2
IMPATIENT = {
    "wake_timeout_seconds": 0.5,
    "shutdown_grace_seconds": 0,
    "body_stall_seconds": STALL_S,
    "body_timeout_seconds": 3 * STALL_S,
    "max_requests_per_second": 50,
}


class Situation:
    """The service and its directory, and the endpoint that is to answer an error."""

    def __init__(self, directory: Server, folder: Path, method: str, path: str) -> None:
        self._method = method
        self._path = path
        self._faults = f"{directory.url}/_directory/faults"
        self.storage = folder / "batches"
        self.app = create_app(
            Settings(
                _env_file=None,
                hospital_api_base_url=directory.url,
                batch_storage_dir=self.storage,
                api_keys=KEYS,
                max_queued_batches=2,
                max_batches_per_caller=1,
                max_upload_bytes=MAX_UPLOAD_BYTES,
                **(INSTANT | IMPATIENT),
            )
        )
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://service.test", timeout=60
        )
        self._client.headers["X-API-Key"] = KEY

    async def call(
        self, batch_id: str = EXAMPLE_ID, row: str = "1", **content: Any
    ) -> httpx.Response:
        """Call the endpoint."""
        path = self._path.replace("{batch_id}", batch_id).replace("{row}", row)
        if self._method == "PATCH" and not content:
            content = {"json": {"name": "Fine Hospital", "address": "12 Alder Lane, Leeds"}}
        if self._path == "/hospitals/bulk" and not content:
            content = {"files": {"file": ("x.csv", _csv("Fine Hospital"))}}
        return await self._client.request(self._method, path, **content)

    async def call_nothing(self) -> httpx.Response:
        """Call an address that does not exist."""
        return await self._client.get("/nothing")

    async def batch(self, name: str, key: str = KEY) -> str:
        """Load a file with one hospital; return the batch's id."""
        answer = await self._client.post(
            "/hospitals/bulk",
            files={"file": ("x.csv", _csv(name))},
            headers={"X-API-Key": key} | ({"Prefer": "respond-async"} if name == HANGING else {}),
        )
        batch_id: str = answer.json()["batch_id"]
        return batch_id

    async def half_skipped(self) -> str:
        """Load a file of which the first row is cut off and the second skipped."""
        answer = await self._client.post(
            "/hospitals/bulk?skip_invalid=true",
            files={"file": ("x.csv", _csv(CUT_OFF) + b"X,\n")},
        )
        batch_id: str = answer.json()["batch_id"]
        return batch_id

    async def faults(self, *rules: dict[str, Any]) -> None:
        """Have the directory misbehave in other ways than by name."""
        async with httpx.AsyncClient() as control:
            (await control.put(self._faults, json=rules or BY_NAME)).raise_for_status()


async def conflict(at: Situation) -> httpx.Response:
    return await at.call(await at.batch("Fine Hospital"))


async def being_worked_on(at: Situation) -> httpx.Response:
    return await at.call(await at.batch(HANGING))


async def broken_storage(at: Situation) -> httpx.Response:
    batch_id = await at.batch(CUT_OFF)
    shutil.rmtree(at.storage)
    at.storage.write_text("no folder")
    return await at.call(batch_id)


async def broken_storage_at_a_running_one(at: Situation) -> httpx.Response:
    batch_id = await at.batch(HANGING)
    shutil.rmtree(at.storage)
    at.storage.write_text("no folder")
    return await at.call(batch_id)


async def broken_storage_at_a_skipped_row(at: Situation) -> httpx.Response:
    batch_id = await at.half_skipped()
    shutil.rmtree(at.storage)
    at.storage.write_text("no folder")
    return await at.call(batch_id, row="2")


async def no_such_row(at: Situation) -> httpx.Response:
    return await at.call(await at.batch("Fine Hospital"), row="2")


async def rejected_row(at: Situation) -> httpx.Response:
    return await at.call(await at.half_skipped(), row="2", json={"phone": "n/a"})


async def full_queue(at: Situation) -> httpx.Response:
    batch_id = await at.batch(CUT_OFF)
    await at.batch(HANGING)
    await at.batch(HANGING, OTHER_KEY)
    return await at.call(batch_id)


async def full_queue_of_a_key(at: Situation) -> httpx.Response:
    batch_id = await at.batch(CUT_OFF)
    await at.batch(HANGING)
    return await at.call(batch_id)


async def reused_key(at: Situation) -> httpx.Response:
    headers = {"Idempotency-Key": "monday"}
    await at.call(files={"file": ("x.csv", _csv("Fine Hospital"))}, headers=headers)
    return await at.call(files={"file": ("x.csv", _csv("Other Hospital"))}, headers=headers)


async def odd_parameter(at: Situation) -> httpx.Response:
    return await at.call(await at.batch("Fine Hospital"), params={"only": "x"})


async def no_change(at: Situation) -> httpx.Response:
    return await at.call(await at.batch("Fine Hospital"), json={})


async def unreachable(at: Situation) -> httpx.Response:
    batch_id = await at.batch(CUT_OFF)
    await at.faults({"endpoint": "any", "kind": "drop_before"})
    return await at.call(batch_id)


async def stopped(at: Situation) -> httpx.Response:
    batch_id = await at.batch(CUT_OFF)
    at.app.state.service.stop()
    return await at.call(batch_id)


async def stopped_while_sending(at: Situation) -> httpx.Response:
    return await half_sent(at, at.app.state.service.stop)


async def half_sent(at: Situation, then: Callable[[], None] = lambda: None) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        then()
        await asyncio.sleep(3600)

    return await at.call(
        content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )


async def trickled(at: Situation) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"--b\r\nContent-Disposition: "
        while True:
            yield b"x"
            await asyncio.sleep(STALL_S / 4)

    return await at.call(
        content=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )


async def at_once(at: Situation) -> httpx.Response:
    """Addresses that do not exist count too."""
    answer = await at.call()
    while answer.status_code != 429:
        while (await at.call_nothing()).status_code != 429:
            pass
        answer = await at.call()
    return answer


async def without_temporary_files(at: Situation) -> httpx.Response:
    """A form above 1 MiB goes to a temporary file."""
    folder, tempfile.tempdir = tempfile.tempdir, str(at.storage / "missing")
    try:
        return await at.call(files={"file": ("x.csv", b"x" * (MAX_UPLOAD_BYTES - 1))})
    finally:
        tempfile.tempdir = folder


class AwayPeers(NoPeers):
    """The database that the processes share cannot be reached."""

    async def refresh(self, batch_id: UUID) -> None:
        raise StorageUnavailable(UNREAD)


async def cut_off(at: Situation) -> httpx.Response:
    at.app.state.service._peers = AwayPeers()
    return await at.call()


PROVOKED: dict[str, Callable[[Situation], Awaitable[httpx.Response]]] = {
    "file-rejected": lambda at: at.call(files={"file": ("x.csv", b"name,address\nX,\n")}),
    "form-unreadable": lambda at: at.call(headers={"Content-Type": "multipart/form-data"}),
    "unauthorized": lambda at: at.call(headers={"X-API-Key": "guessed"}),
    "forbidden": lambda at: at.call(headers={"X-API-Key": ORDINARY_KEY}),
    "key-reused": reused_key,
    "too-many-batches": full_queue_of_a_key,
    "not-csv": lambda at: at.call(files={"file": ("x.png", b"", "image/png")}),
    "invalid-request": lambda at: at.call(files={"other": ("x.csv", b"")}),
    "invalid-request of /hospitals/batch/{batch_id}/report.csv": (odd_parameter),
    "batch-conflict of /hospitals/batch/{batch_id}/verify": being_worked_on,
    "invalid-request of /hospitals/progress/{batch_id}": (odd_parameter),
    "invalid-request of /hospitals/batches": lambda at: at.call(params={"cursor": "x"}),
    "invalid-request of /hospitals/batch/{batch_id}/rows/{row}": no_change,
    "too-many-requests": at_once,
    "upload-stalled": half_sent,
    "upload-too-slow": trickled,
    "upload-not-kept": without_temporary_files,
    "upload-too-large": lambda at: at.call(headers={"Content-Length": "99999999"}),
    "batch-not-found": lambda at: at.call(),
    "row-not-found": no_such_row,
    "row-rejected": rejected_row,
    "batch-conflict": conflict,
    "storage-unavailable": broken_storage,
    "storage-unavailable of /hospitals/batch/{batch_id}/cancel": broken_storage_at_a_running_one,
    "storage-unavailable of /hospitals/batch/{batch_id}/rows/{row}": (
        broken_storage_at_a_skipped_row
    ),
    "storage-unavailable of /hospitals/progress/{batch_id}": cut_off,
    "storage-unavailable of /hospitals/progress/{batch_id}/events": cut_off,
    "storage-unavailable of /hospitals/batch/{batch_id}/report.csv": cut_off,
    "storage-unavailable of /hospitals/batch/{batch_id}/verify": cut_off,
    "queue-full": full_queue,
    "directory-unreachable": unreachable,
    "not-ready": stopped,
    "shutting-down": stopped,
    "shutting-down of /hospitals/validate": stopped_while_sending,
}


@pytest.mark.parametrize(("method", "path", "example"), ERRORS)
async def test_a_documented_error_is_answered_as_it_is_documented(
    method: str, path: str, example: dict[str, Any], instant_directory: Server, tmp_path: Path
):
    slug = example["type"].rpartition(":")[2]
    provoke = PROVOKED.get(f"{slug} of {path}") or PROVOKED[slug]
    at = Situation(instant_directory, tmp_path, method, path)

    async with at.app.router.lifespan_context(at.app):
        answer = await provoke(at)
        await at.faults()
        at.app.state.service.stop()

    told = answer.json()
    assert told["type"] == example["type"]
    assert set(told) == set(example)
    assert (told["status"], told["title"]) == (example["status"], example["title"])
    assert ("Retry-After" in answer.headers) == (answer.status_code in (429, 503))
    Contract(DOCUMENT).check(
        method,
        answer.request.url.path,
        answer.status_code,
        answer.headers["Content-Type"],
        answer.content,
    )


def _csv(name: str) -> bytes:
    return f'name,address\n{name},"12 Alder Lane, Leeds"\n'.encode()
