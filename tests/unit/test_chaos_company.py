"""The proxy in front of several processes: clients find whichever is up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import httpx
import pytest

from chaos.company import Proxy, names_of

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@dataclass
class Upstanding:
    """What the proxy sees of a process."""

    url: str
    is_up: bool = True


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def closed() -> str:
    async with serving() as url:
        return url


def client(*members: Upstanding, luck: int = 1) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://proxy", transport=Proxy(members, Random(luck)))


@pytest.mark.parametrize("luck", range(5))
async def test_a_request_goes_to_another_process_if_one_takes_no_connection(luck: int):
    dead = Upstanding(await closed())
    async with serving() as url, client(dead, Upstanding(url), luck=luck) as proxy:
        answers = [await proxy.get("/") for _ in range(3)]

    assert [answer.text for answer in answers] == ["ok"] * 3


async def test_a_process_that_is_known_to_be_frozen_is_asked_nothing():
    async with serving() as url, client(Upstanding(url, is_up=False)) as proxy:
        with pytest.raises(httpx.ConnectError):
            await proxy.get("/")


def test_any_number_of_processes_has_at_least_one_that_serves_and_one_worker():
    for processes in range(2, 8):
        names = names_of(processes)

        assert len(set(names)) == processes
        assert {name.split()[0] for name in names} == {"web", "worker"}
