"""Senders that keep no rule, on raw sockets; and how much the service's process holds.

As a program, `python -m tests.e2e.hostile URL KIND`, it uploads files of one KIND over and over for
as many seconds as each line of its input says, and prints a line when it is done.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx

FORM = "multipart/form-data; boundary=b"
HEADER = b"name,address,phone\n"
SOUND = b"General Hospital,12 Main Street,555-123-4567\n"
END = b"\r\n--b--\r\n"
MIB = 1024 * 1024
FORTY_MB = 40 * 1000 * 1000
LARGEST = MIB - 1024  # that the default limit lets in


def part(disposition: str = 'name="file"; filename="x.csv"', *headers: str) -> bytes:
    lines = ["--b", f"Content-Disposition: form-data; {disposition}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def form(content: bytes) -> bytes:
    """Return the body that uploads a file of *content*."""
    return part() + content + END


def filled(begin: bytes, repeated: bytes, size: int = LARGEST) -> bytes:
    return begin + repeated * ((size - len(begin)) // len(repeated))


def _pairs(start: int, stop: int) -> bytes:
    return "".join(f",{chr(code)},{chr(code)}" for code in range(start, stop)).encode()


#: Contents of files that are as large as the default limit allows and cost what they can.
COSTLY = {
    "one line": filled(HEADER, b"x"),
    "one wide line": filled(HEADER, "\U0001f600".encode()),
    "one value each character": filled(b"", b"name,address,"),
    "an open quote": filled(HEADER + b'"', b'""'),
    "quotes in quotes": filled(HEADER, b'"' + b'"' * 1000 + b"x\n"),
    "lines in quotes": filled(HEADER, b'"' + b"\n" * 31_000 + b'"x\n'),
    "blank lines": filled(HEADER, b"\n"),
    "rows without values": filled(HEADER, b",,\n"),
    "many rows": filled(HEADER, SOUND),
    "names that stand twice": b"name,address" + _pairs(0x10000, 0x10000 + 3200) + b"\nx,y\n",
    "many long names": b"name,address"
    + "".join(f",{chr(0x10000 + n)}" for n in range(59_000)).encode()
    + b"\nx,y\n",
    "rows with every error": filled(HEADER, b"\0" * 9000 + b"," + b"\1" * 9000 + b",\2\n"),
    "rows of many fields": filled(HEADER, _pairs(0x10000, 0x10000 + 3200) + b"\n"),
    "another encoding": filled(HEADER, "Hôpital,Rue de la Mer,\n".encode("latin-1")),
    "NULs": filled(b"", b"\0"),
}


class Answer(NamedTuple):
    """What came back: 0 and nothing if the connection was closed without an answer."""

    status: int
    headers: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection of a sender that may do anything."""

    def __init__(self, url: str, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), timeout_s)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def begin(
        self,
        path: str = "/hospitals/validate",
        *,
        length: int | str | None = None,
        content_type: str = FORM,
        extra: str = "",
    ) -> "Connection":
        """Send the head of a request; without *length* its body is in chunks."""
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{size}\r\n"
        return self.send([f"{head}{extra}\r\n".encode()])

    def send(self, pieces: Iterable[bytes]) -> "Connection":
        """Send *pieces*, as many as are taken."""
        with suppress(ConnectionError):
            for piece in pieces:
                self.socket.sendall(piece)
        return self

    def answer(self) -> Answer:
        """Read one answer, which a sender gets although it sends on after a refusal."""
        data = self._until(lambda data: b"\r\n\r\n" in data)
        head, _, body = data.partition(b"\r\n\r\n")
        if not head:
            return Answer(0, "", b"")
        headers = head.decode().lower()
        length = int(headers.partition("content-length: ")[2].partition("\r\n")[0])
        body += self._until(lambda data: len(body) + len(data) >= length)
        return Answer(int(head.split(b" ", 2)[1]), headers, body)

    def is_closed(self) -> bool:
        """Wait for the other side's end."""
        self._until(lambda _: False)
        return True

    def _until(self, enough: Any) -> bytes:
        data = b""
        with suppress(ConnectionError):
            while not enough(data) and (piece := self.socket.recv(65536)):
                data += piece
        return data


def chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Wrap *pieces* as chunks of a body, with the last one."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def post(url: str, body: bytes, path: str = "/hospitals/validate", **head: Any) -> Answer:
    """Send *body* in one go and return the answer."""
    with Connection(url) as connection:
        return connection.begin(path, **({"length": len(body)} | head)).send([body]).answer()


class Process:
    """What the process of a server holds, from /proc."""

    def __init__(self, pid: int) -> None:
        self._proc = Path("/proc") / str(pid)

    def open_files(self) -> int:
        return len(os.listdir(self._proc / "fd"))

    def peak_mib(self) -> float:
        """Return the most memory it held since the last reset."""
        status = (self._proc / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def reset_peak(self) -> float:
        """Let the peak be what is held now, and return it."""
        (self._proc / "clear_refs").write_text("5")
        return self.peak_mib()


def flood(url: str, kind: str) -> None:
    """See the module."""
    content = filled(HEADER, SOUND, FORTY_MB) if kind == "forty MB" else COSTLY[kind]
    body = form(content)
    for line in sys.stdin:
        end_s = time.monotonic() + float(line)
        while time.monotonic() < end_s:
            post(url, body)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    flood(*sys.argv[1:])
