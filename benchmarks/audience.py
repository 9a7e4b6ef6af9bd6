"""Watchers of one stream, as a process of their own: `python -m benchmarks.audience URL WATCHERS`.

Prints a line when all are there, and in the end when each of them was told of each change.
"""

import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

CHANGES = 40


def change(number: int) -> str:
    """Return the error of a row by which a change is known."""
    return f"change {number}."


async def _watch(url: str, there: asyncio.Barrier) -> list[float]:
    """Return when the changes were told, in monotonic seconds."""
    address = urlsplit(url)
    told_s: list[float] = []
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=2**20)
    writer.write(f"GET {address.path} HTTP/1.1\r\nHost: {address.hostname}\r\n\r\n".encode())
    await reader.readuntil(b"\ndata: ")
    await there.wait()
    while len(told_s) < CHANGES:
        line = (await reader.readline()).decode()
        now_s = time.monotonic()
        while change(len(told_s)) in line:
            told_s.append(now_s)
    writer.close()
    return told_s


async def main() -> None:
    """Watch until the last change."""
    url, watchers = sys.argv[1], int(sys.argv[2])
    there = asyncio.Barrier(watchers + 1)
    tasks = [asyncio.create_task(_watch(url, there)) for _ in range(watchers)]
    await there.wait()
    print("there", flush=True)
    print(json.dumps(await asyncio.gather(*tasks)))


if __name__ == "__main__":
    asyncio.run(main())
