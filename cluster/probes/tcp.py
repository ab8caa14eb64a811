"""TCP: does a port accept, and what does it say first."""

from __future__ import annotations

import socket
import time

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.wait import Deadline


def connect(address: str, port: int, deadline: float | Deadline = 1.0) -> float:
    """Seconds until the port accepted a connection, which is then closed.

    Raises ProbeFailed: `refused`, `timeout`, `unreachable`, `reset`.
    """
    began = time.monotonic()
    with dial(address, port, Deadline.of(deadline)):
        return time.monotonic() - began


def banner(address: str, port: int, deadline: float | Deadline = 2.0, *, limit: int = 256) -> bytes:
    """The first line a server sends by itself, without its line end, at most `limit` bytes.

    Raises ProbeFailed as `connect`, and `closed` when the server hung up before a whole line.
    """
    end, got = Deadline.of(deadline), b""
    with dial(address, port, end) as sock:
        while b"\n" not in got and len(got) < limit:
            try:
                sock.settimeout(max(end.left, 0.001))
                part = sock.recv(limit - len(got))
            except OSError as error:
                raise wire.failed(error, f"{address}:{port}: no banner, got {got!r}") from error
            if not part:
                raise ProbeFailed(f"{address}:{port}: closed after {got!r}", reason="closed")
            got += part
    return got.split(b"\n", 1)[0].rstrip(b"\r")


def dial(address: str, port: int, deadline: Deadline) -> socket.socket:
    """A connected socket; raises ProbeFailed as `connect`."""
    try:
        return socket.create_connection((address, port), timeout=max(deadline.left, 0.001))
    except OSError as error:
        raise wire.failed(error, f"{address}:{port}") from error
