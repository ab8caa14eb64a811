"""A server of time at the operator's place that stands for the internet's: an uplink to give, and to cut.

RFC 5905 figure 8.  It tells this machine's own clock, at a stratum that is nearer to the truth than any of the cluster.
"""

from __future__ import annotations

import socket
import struct
import threading
import time

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.probes.clock import CLIENT, PORT, SERVER, parse, timestamp

STRATUM = 2
_PRECISION = -20  # log2 s
_REFERENCE = bytes([192, 0, 2, 1])  # TEST-NET-1 (RFC 5737): where it would have its own time from
_ANSWER = struct.Struct("!BBBbII4sQ8sQQ")


class Upstream:
    """Answers on one address while it is entered; raises ProbeFailed where it cannot, as in use already."""

    def __init__(self, address: str, port: int = PORT) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._sock.bind((address, port))
        except OSError as error:
            self._sock.close()
            raise wire.failed(error, f"a server of time at {address}") from error
        self._sock.settimeout(0.1)
        self.port: int = self._sock.getsockname()[1]
        self._over = threading.Event()
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="upstream", daemon=True)

    def __enter__(self) -> Upstream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._sock.close()

    def cut(self) -> None:
        """Answer nobody any more, as when the way to it is cut."""
        self._silent.set()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                data, who = self._sock.recvfrom(512)
            except OSError:
                continue
            received = timestamp(time.time())
            try:
                asked = parse(data)
            except ProbeFailed:
                continue
            if asked.mode == CLIENT and not self._silent.is_set():
                self._sock.sendto(answer(data, received, timestamp(time.time())), who)


def answer(request: bytes, received: int, sent: int) -> bytes:
    """The answer to a client's request, with both of our timestamps."""
    flags = request[0] & 0x38 | SERVER  # its own version, leap 0
    return _ANSWER.pack(
        flags, STRATUM, request[2], _PRECISION, 0, 0, _REFERENCE, received, request[40:48], received, sent
    )
