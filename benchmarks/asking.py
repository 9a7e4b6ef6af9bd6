"""Asks an address again and again, as a process: `python -m benchmarks.asking URL CLIENTS SECONDS`.

Prints how many answers came a second. A client of few lines, so that the server is what is loaded.
"""

import asyncio
import re
import sys
import time
from urllib.parse import urlsplit

import uvloop

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def _ask(host: str, port: int, path: str, until_s: float) -> int:
    """Return how many answers one client got."""
    reader, writer = await asyncio.open_connection(host, port)
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    answers = 0
    while time.monotonic() < until_s:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise RuntimeError(f"not the answer that is wanted: {head!r}")
        await reader.readexactly(int(length[1]))
        answers += 1
    writer.close()
    return answers


async def main() -> None:
    """Ask for so many seconds."""
    address, clients, seconds = urlsplit(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    host, port = address.hostname or "", address.port or 80
    began_s = time.monotonic()
    asking = (_ask(host, port, address.path, began_s + seconds) for _ in range(clients))
    answers = sum(await asyncio.gather(*asking))
    print(answers / (time.monotonic() - began_s))


if __name__ == "__main__":
    uvloop.run(main())
