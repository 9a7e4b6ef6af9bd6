"""Each fault of the local directory as a client sees it, over real connections.

Connections are dropped through the internals of uvicorn's HTTP protocols, so both are tried.
"""

import asyncio
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from directory.__main__ import main

ROOT = Path(__file__).parents[2]
BATCH = str(UUID(int=1))
HOSPITAL = {"name": "General", "address": "1 Main Street", "creation_batch_id": BATCH}
LIST = f"/hospitals/batch/{BATCH}"
ACTIVATE = f"{LIST}/activate"
HTML = "text/html; charset=utf-8"
DEADLINE_S = 10.0
LATE_S = 0.3
DROPPED = (httpx.ReadError, httpx.RemoteProtocolError)

LOOPS = {"httptools": "uvloop", "h11": "asyncio"}
with_both_protocols = pytest.mark.parametrize("url", LOOPS, indirect=True)

# The command line has no option for the protocol: nobody but this test wants h11.
SERVE = """
import uvicorn
from directory.__main__ import DirectoryServer
from directory.app import DirectorySettings, create_directory
app = create_directory(DirectorySettings(create_seconds=0.05, create_limit=0, lookup_limit=0))
config = uvicorn.Config(app, port=0, http="{http}", loop="{loop}", log_level="warning")
DirectoryServer(config, app).run()
"""


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run a directory, and check at its end that it had nothing to complain about."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
        line = process.stdout.readline() if ready else ""
        found = re.fullmatch(r"Local Hospital Directory \(not for production\) on (.*)\n", line)
        assert found, line
        yield found[1], process
        process.terminate()
        _, complaints = process.communicate(timeout=DEADLINE_S)
        assert complaints == ""
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    """One directory for each of uvicorn's HTTP protocols, by its name."""
    scripts = [SERVE.format(http=http, loop=loop) for http, loop in LOOPS.items()]
    with serving("-c", scripts[0]) as (first, _), serving("-c", scripts[1]) as (second, _):
        yield dict(zip(LOOPS, (first, second), strict=True))


@pytest.fixture
def url(servers: dict[str, str], request: pytest.FixtureRequest) -> str:
    return servers[getattr(request, "param", "httptools")]


def client_of(url: str) -> httpx.AsyncClient:
    # Without TLS nothing is verified, and loading the certificates takes 40 ms a client.
    return httpx.AsyncClient(base_url=url, timeout=DEADLINE_S, trust_env=False, verify=False)


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(url) as client:
        await client.delete("/_directory/faults")
        await client.post("/_directory/restart")
        await client.delete("/_directory/stats")
        yield client


async def fault(client: httpx.AsyncClient, kind: str, endpoint: str = "create", **rule: Any):
    rules = [{"kind": kind, "endpoint": endpoint, "times": 1} | rule]
    (await client.put("/_directory/faults", json=rules)).raise_for_status()


async def create(client: httpx.AsyncClient, **options: Any) -> httpx.Response:
    return await client.post("/hospitals/", json=HOSPITAL, **options)


async def insert(client: httpx.AsyncClient, count: int) -> None:
    for _ in range(count):
        await client.post("/_directory/hospitals", json=HOSPITAL)


async def stored(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return list((await client.get("/_directory/hospitals")).json())


async def stats(client: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await client.get("/_directory/stats")).json())


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


@with_both_protocols
@pytest.mark.parametrize(("kind", "committed"), [("drop_before", 0), ("drop_after", 1)])
async def test_a_dropped_connection_brings_no_byte(
    client: httpx.AsyncClient, kind: str, committed: int
):
    await fault(client, kind)

    with pytest.raises(DROPPED):
        await create(client)

    assert len(await stored(client)) == committed
    assert (await stats(client))["faulted"] == {kind: 1}
    assert (await create(client)).status_code == 200


@with_both_protocols
async def test_any_endpoint_can_be_dropped(client: httpx.AsyncClient):
    await fault(client, "drop_before", "any", times=None)

    for method, path in [("GET", "/"), ("GET", LIST), ("PATCH", ACTIVATE), ("DELETE", LIST)]:
        with pytest.raises(DROPPED):
            await client.request(method, path)


@pytest.mark.parametrize(("kind", "committed"), [("error_before", 0), ("error_after", 1)])
async def test_a_server_error_comes_before_or_after_the_work(
    client: httpx.AsyncClient, kind: str, committed: int
):
    await fault(client, kind, times=2)

    answer = await create(client)

    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert len(await stored(client)) == committed
    await fault(client, kind, status=503)
    assert (await create(client)).status_code == 503


async def test_a_garbled_answer_is_a_success_with_html(client: httpx.AsyncClient):
    await fault(client, "garbled")

    answer = await create(client)

    assert (answer.status_code, answer.headers["content-type"]) == (200, HTML)
    assert len(await stored(client)) == 1


@with_both_protocols
async def test_a_truncated_answer_ends_in_the_middle_of_the_body(client: httpx.AsyncClient):
    await fault(client, "truncated")
    arrived = bytearray()

    async with client.stream("POST", "/hospitals/", json=HOSPITAL) as answer:
        with pytest.raises(DROPPED):
            await _read_into(arrived, answer)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert len(arrived) == int(answer.headers["content-length"]) // 2
    assert arrived.startswith(b'{"id":1,')
    assert len(await stored(client)) == 1


@with_both_protocols
async def test_an_empty_answer_can_be_truncated_too(client: httpx.AsyncClient):
    await insert(client, 1)
    await fault(client, "truncated", "delete")

    with pytest.raises(DROPPED):
        await client.delete("/hospitals/1")

    assert await stored(client) == []


@with_both_protocols
async def test_a_hanging_answer_never_comes_although_the_row_is_stored(client: httpx.AsyncClient):
    await fault(client, "hang")

    with pytest.raises(httpx.ReadTimeout):
        await create(client, timeout=httpx.Timeout(DEADLINE_S, read=0.2))

    assert len(await stored(client)) == 1
    await fault(client, "hang", seconds=0.05)
    with pytest.raises(DROPPED):
        await create(client)


@pytest.mark.parametrize("endpoint", ["create", "activate", "delete_batch"])
async def test_a_late_change_comes_after_its_connection_was_dropped(
    client: httpx.AsyncClient, endpoint: str
):
    await insert(client, 2)
    before = await stored(client)
    method, path = {
        "create": ("POST", "/hospitals/"),
        "activate": ("PATCH", ACTIVATE),
        "delete_batch": ("DELETE", LIST),
    }[endpoint]
    await fault(client, "late", endpoint, seconds=LATE_S)
    started = time.monotonic()

    with pytest.raises(DROPPED):
        await client.request(method, path, json=HOSPITAL)

    assert await stored(client) == before
    await until(lambda: _differs(client, before))
    assert time.monotonic() - started >= LATE_S - 0.01


async def test_a_gateway_can_give_up_on_a_create_that_is_stored_later(client: httpx.AsyncClient):
    await fault(client, "late_error", seconds=LATE_S)

    answer = await create(client)

    assert (answer.status_code, answer.headers["content-type"]) == (502, HTML)
    assert await stored(client) == []
    await until(lambda: _differs(client, []))
    assert (await stats(client))["committed"] == 1


async def test_a_stalled_create_is_stored_after_its_client_gave_up(client: httpx.AsyncClient):
    await fault(client, "stall", seconds=0.5)

    with pytest.raises(httpx.ReadTimeout):
        await create(client, timeout=httpx.Timeout(DEADLINE_S, read=0.1))

    assert await stored(client) == []
    await until(lambda: _differs(client, []))


async def test_a_late_create_does_not_survive_a_restart(client: httpx.AsyncClient):
    await fault(client, "late_error", seconds=LATE_S)
    await create(client)

    await client.post("/_directory/restart")

    await until(lambda: _no_create_is_under_way(client))
    assert await stored(client) == []
    assert (await stats(client))["committed"] == 0


async def test_a_stranger_can_use_the_budget_up(client: httpx.AsyncClient):
    await fault(client, "refuse", "root")

    answer = await client.get("/")

    assert answer.status_code == 429
    assert answer.json() == {"error": "Rate limit exceeded: 100 per 1 minute"}
    assert "retry-after" not in answer.headers
    assert (await stats(client))["refused"] == {"root": 1}


async def test_something_in_between_can_answer_in_its_place(client: httpx.AsyncClient):
    await insert(client, 1)
    await fault(client, "gateway", "list_batch", times=1)

    answer = await client.get(LIST)

    assert (answer.status_code, answer.headers["content-type"]) == (404, HTML)
    await fault(client, "gateway", "create", status=503)
    assert (await create(client)).status_code == 503
    assert len(await stored(client)) == 1


async def test_a_slow_answer_is_right(client: httpx.AsyncClient):
    await fault(client, "slow", "root", seconds=0.1)
    started = time.monotonic()

    answer = await client.get("/")

    assert answer.json() == {"status": "OK"}
    assert time.monotonic() - started >= 0.09


@pytest.mark.parametrize(
    ("endpoint", "method", "path"),
    [
        ("create", "POST", "/hospitals/"),
        ("update", "PUT", "/hospitals/1"),
        ("delete", "DELETE", "/hospitals/1"),
        ("activate", "PATCH", ACTIVATE),
        ("delete_batch", "DELETE", LIST),
    ],
)
async def test_a_lost_change_is_answered_like_any_other(
    client: httpx.AsyncClient, endpoint: str, method: str, path: str
):
    await insert(client, 2)
    before = await stored(client)
    await fault(client, "lose", endpoint)

    lost = await client.request(method, path, json=HOSPITAL | {"name": "New"})

    assert lost.is_success
    assert await stored(client) == before
    again = await client.request(method, path, json=HOSPITAL | {"name": "New"})
    assert again.is_success
    assert await stored(client) != before


async def test_a_batch_can_be_called_full(client: httpx.AsyncClient):
    await fault(client, "full", "any")

    answer = await create(client)

    assert answer.json() == {"detail": "Batch cannot exceed 20 hospitals"}
    assert (answer.status_code, await stored(client)) == (400, [])


async def test_a_create_can_be_rejected_for_its_content(client: httpx.AsyncClient):
    await fault(client, "reject", name="General")

    answer = await create(client)

    assert (answer.status_code, await stored(client)) == (422, [])
    assert (await stats(client))["create_times"] == []
    assert (await create(client)).status_code == 200


async def test_a_partial_activation_activates_half_of_the_batch(client: httpx.AsyncClient):
    await insert(client, 5)
    await fault(client, "partial", "activate")

    answer = await client.patch(ACTIVATE)

    assert answer.status_code == 500
    assert [row["active"] for row in await stored(client)] == [True, True, False, False, False]
    assert (await client.patch(ACTIVATE)).status_code == 400


@with_both_protocols
async def test_a_restart_drops_the_connections_of_creates_under_way(client: httpx.AsyncClient):
    await fault(client, "hang")
    request = asyncio.create_task(create(client))
    await until(lambda: _differs(client, []))

    await client.post("/_directory/restart", json={"down_seconds": 0.1})

    with pytest.raises(DROPPED):
        await request
    with pytest.raises(DROPPED):
        await client.get("/")
    await until(lambda: _is_up(client))
    assert (await create(client)).json()["id"] == 1


@with_both_protocols
async def test_a_create_is_stored_although_its_client_closed_the_connection(
    client: httpx.AsyncClient,
):
    with pytest.raises(httpx.ReadTimeout):
        await create(client, timeout=httpx.Timeout(DEADLINE_S, read=0.02))

    await until(lambda: _differs(client, []))


async def test_behind_a_proxy_each_forwarded_address_has_its_own_window(client: httpx.AsyncClient):
    addresses = [{"x-forwarded-for": f"10.0.0.{n}"} for n in (1, 2)]
    for _ in range(100):
        await client.get("/", headers=addresses[0])

    codes = [(await client.get("/", headers=address)).status_code for address in addresses]

    assert codes == [429, 200]


async def test_the_command_serves_until_a_signal_even_with_a_request_that_hangs():
    arguments = ("-m", "directory", "--port", "0", "--create-seconds", "3600")
    with serving(*arguments) as (url, process):
        async with client_of(url) as client:
            request = asyncio.create_task(create(client))
            await until(lambda: _a_create_is_under_way(client))

            process.send_signal(signal.SIGTERM)

            with pytest.raises(DROPPED):
                await request
        assert process.wait(DEADLINE_S) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [(["--help"], 0, "NOT for production"), (["--workers", "0"], 2, "workers must be at least 1")],
)
def test_the_command_explains_itself(
    arguments: list[str],
    code: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(sys, "argv", ["directory", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == code
    assert text in " ".join("".join(capsys.readouterr()).split())


async def _read_into(arrived: bytearray, answer: httpx.Response) -> None:
    async for chunk in answer.aiter_bytes():
        arrived += chunk


async def _differs(client: httpx.AsyncClient, rows: list[dict[str, Any]]) -> bool:
    return await stored(client) != rows


async def _a_create_is_under_way(client: httpx.AsyncClient) -> bool:
    return bool((await stats(client))["creates_in_flight"])


async def _no_create_is_under_way(client: httpx.AsyncClient) -> bool:
    return not await _a_create_is_under_way(client)


async def _is_up(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/")).is_success
    except httpx.TransportError:
        return False
