"""Requests that are nearly or quite HTTP: odd paths, lying headers, broken forms."""

import http.client
import socket
import string
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from hypothesis import strategies as st

METHODS = (
    "GET",
    "HEAD",
    "POST",
    "POST",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
)
HEADERS = (
    "Prefer",
    "Accept",
    "Content-Encoding",
    "Cookie",
    "Expect",
    "If-None-Match",
    "Origin",
    "Range",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-HTTP-Method-Override",
)
VALUES = (b"respond-async", b"100-continue", b"*/*", b"text/html", b"gzip", b"a" * 9000)
TYPES = (
    b"multipart/form-data; boundary=b",
    b"multipart/form-data; boundary=c",
    b"multipart/form-data",
    b"multipart/form-data; boundary=",
    b"text/csv",
    b"application/json",
    b"application/x-www-form-urlencoded",
    b"\xe9/\xff",
    b"",
)
SEGMENTS = ("", ".", "..", "%2e%2e", "%00", "%ff", "%2f", "a" * 3000, "hospitals", "bulk")
DISPOSITION = b'--b\r\nContent-Disposition: form-data; name="file"'
BODIES = (
    b"",
    b"{}",
    b"--b\r\nnonsense",
    b"--b--\r\n",
    DISPOSITION + b"\r\n\r\ntext\r\n--b--\r\n",
    DISPOSITION + b'; filename="x.csv"\r\nContent-Type: image/png\r\n\r\nname,address\r\n--b--\r\n',
    DISPOSITION + b'; filename="x.png"\r\n\r\n\r\n--b--\r\n',
    DISPOSITION + b"; filename*=utf-8''%ff.csv\r\n\r\n\xff\xfe\r\n--b--\r\n",
    DISPOSITION + b'; filename="\xff\x00.csv"\r\n\r\n\r\n--b--\r\n',
    DISPOSITION + b'; filename="x.csv"\r\n\r\nname,address\r\n"open',
    b"--b\r\nContent-Disposition: form-data\r\n\r\n\r\n--b--\r\n",
    b"x" * 200_000,
)


@dataclass(frozen=True)
class OddRequest:
    """One request; `target` is the path with the query, as it is sent."""

    method: str
    target: str
    headers: tuple[tuple[str, bytes], ...]
    content_type: bytes
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def send(self, url: str) -> "Answer":
        """Send it to a server; return how that answers."""
        address = urlsplit(url)
        lines = [f"{self.method} {self.target} HTTP/1.1\r\nHost: odd".encode()]
        lines += [name.encode() + b": " + value for name, value in self.headers]
        lines += [b"Content-Type: " + self.content_type, b"Connection: close"]
        lines += [b"Content-Length: %d" % len(self.body), b"", self.body]
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            connection.sendall(b"\r\n".join(lines))
            answer = http.client.HTTPResponse(connection, method=self.method)
            answer.begin()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())


@dataclass(frozen=True)
class Answer:
    """What a server answered; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def odd_requests(known_paths: list[str]) -> st.SearchStrategy[OddRequest]:
    """Return requests of *known_paths* and of others."""
    segments = st.sampled_from(SEGMENTS) | st.text(string.printable, max_size=5).map(quote)
    made_up = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts))
    paths = st.sampled_from(known_paths) | made_up
    endings = st.sampled_from(("", "", "/", "//", "?", "?a=%ff&a=", "/?x=1", "?skip_invalid=maybe"))
    values = st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n\0"))
    headers = st.tuples(st.sampled_from(HEADERS), st.sampled_from(VALUES) | values)
    return st.builds(
        OddRequest,
        method=st.sampled_from(METHODS),
        target=st.builds("{}{}".format, paths, endings),
        headers=st.lists(headers, max_size=3).map(tuple),
        content_type=st.sampled_from(TYPES),
        body=st.sampled_from(BODIES),
    )
