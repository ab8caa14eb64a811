"""HTTP: one GET with its path as it is written, so that a path no client would send can be tried (RFC 9112).

Building the request and reading the response are pure; `get` drives them over one connection.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.errors import ProbeFailed
from cluster.probes import tcp, wire
from cluster.wait import Deadline

LARGEST = 4 * 1024 * 1024  # bytes we take at most: a server that never ends must not fill our memory


@dataclass(frozen=True)
class Response:
    """One answer; header names in lower case, one that is there twice joined with commas (RFC 9110 section 5.3)."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


def request(host: str, path: str) -> bytes:
    """A request whose connection ends with the answer; raises ValueError for a path that cannot be in its line.

    The path goes out as it is: nothing is normalised, nothing quoted.
    """
    if not path.startswith("/") or any(c.isspace() or not c.isprintable() for c in path):
        raise ValueError(f"not a path for a request line: {path!r}")
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode()


def complete(data: bytes) -> bool:
    """Whether the whole of a response has come, as far as it tells its length; one that does not ends with the
    connection."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    try:
        length = _headers(head.split(b"\r\n")[1:]).get("content-length", "")
    except wire.Malformed:
        return True  # no more bytes will make it right
    return length.isdigit() and len(body) >= int(length)


def parse(data: bytes) -> Response:
    """Read a response of which everything has come; raises Malformed, also where it was cut short."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        raise wire.Malformed(f"an HTTP response without the end of its head, {len(data)} bytes")
    first, *lines = head.split(b"\r\n")
    words = first.decode("latin-1").split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
        raise wire.Malformed(f"not an HTTP/1 status line: {first[:80]!r}")
    headers = _headers(lines)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _chunks(body)
    elif "content-length" in headers:
        told = headers["content-length"]
        if not (told.isascii() and told.isdigit()):
            raise wire.Malformed(f"HTTP content-length is {told!r}")
        if len(body) < int(told):
            raise wire.Malformed(f"an HTTP body of {len(body)} bytes, {told} were told")
        body = body[: int(told)]
    return Response(int(words[1]), words[2] if len(words) > 2 else "", headers, body)


def _headers(lines: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise wire.Malformed(f"not an HTTP header: {line[:80]!r}")
        key, text = name.lower(), value.strip()
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _chunks(data: bytes) -> bytes:
    """The body in chunked coding (RFC 9112 section 7.1); trailers are passed over."""
    found: list[bytes] = []
    while True:
        line, end, data = data.partition(b"\r\n")
        try:
            size = int(line.split(b";", 1)[0], 16)
        except ValueError:
            size = -1
        if not end or size < 0 or len(data) < size + 2:
            raise wire.Malformed(f"an HTTP chunk is cut short or wrong: {line[:40]!r}")
        if not size:
            return b"".join(found)
        found.append(data[:size])
        data = data[size + 2 :]


@dataclass(frozen=True)
class Page:
    """What was got, and in how many seconds from the first SYN to the last byte."""

    response: Response
    seconds: float
    at: float
    """When it was whole, in seconds since the epoch by our own clock."""


def get(address: str, path: str, port: int = 80, *, deadline: float | Deadline = 3.0) -> Page:
    """Ask a server for a path; no redirect is followed, and any status is an answer.

    Raises Malformed, ProbeFailed (`refused`, `timeout`, `unreachable`, `reset`, `too-large`).
    """
    began, end = time.monotonic(), Deadline.of(deadline)
    what = f"http {address}:{port}{path}"
    asked, got = request(address, path), bytearray()
    with tcp.dial(address, port, end) as sock:
        try:
            sock.settimeout(max(end.left, 0.001))
            sock.sendall(asked)
            while not complete(bytes(got)):
                sock.settimeout(max(end.left, 0.001))
                part = sock.recv(65536)
                if not part:
                    break
                got += part
                if len(got) > LARGEST:
                    raise ProbeFailed(f"{what}: more than {LARGEST} bytes", reason="too-large")
        except OSError as error:
            raise wire.failed(error, f"{what}: after {len(got)} bytes") from error
    try:
        return Page(parse(bytes(got)), time.monotonic() - began, time.time())
    except wire.Malformed as error:
        raise wire.Malformed(f"{what}: {error}") from error
