"""Looks that fetch something whole from the floating address: a file by TFTP, a page by HTTP.

Each look has a socket of its own and one try: it is given up before a client would ask a second time.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from chaos.scheduled import OwnSocket, Underway
from cluster.errors import ProbeFailed
from cluster.probes import http, tftp, wire

PATIENCE_S = 0.9  # less than the second after which clients ask again: tftp.RETRANSMIT_S; RFC 6298 section 2.1


@dataclass
class _Fetch(Underway):
    """A transfer under way; `peer` is the server's own port of it, once known."""

    reading: tftp.Reading
    peer: tuple[str, int] | None = None


class FileReader(OwnSocket[_Fetch]):
    """A TFTP client that reads one file again and again; good when all of it came from the address asked."""

    def __init__(
        self,
        service: str,
        address: str,
        file: str,
        *,
        period: float = 0.1,
        patience: float = PATIENCE_S,
        port: int = tftp.PORT,
    ) -> None:
        super().__init__(service, address, period, patience)
        self.address, self.file, self.port = address, file, port

    def look(self, now: float) -> None:
        """One read request."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        fetch = _Fetch(now, tftp.Reading(self.file))
        try:
            sock.sendto(fetch.reading.request, (self.address, self.port))
        except OSError as error:
            sock.close()
            self.failed(now, now, wire.failed(error, "").reason, self.address)
            return
        self._open[sock] = fetch
        self.loop.watch(sock.fileno(), lambda: self._ready(sock))

    def _ready(self, sock: socket.socket) -> None:
        fetch = self._open[sock]
        try:
            data, peer = sock.recvfrom(65535)
            if peer[0] != self.address or fetch.peer not in (None, peer):
                return
            fetch.peer = peer
            answer = fetch.reading.receive(data)
            if answer is not None:
                sock.sendto(answer, peer)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(sock, wire.failed(error, "").reason)
        except ProbeFailed as error:
            self._end(sock, error.reason)
        else:
            if fetch.reading.done:
                self._end(sock, None)


@dataclass
class _Page(Underway):
    """A page under way, and what has come of it."""

    data: bytearray = field(default_factory=bytearray)


class PageReader(OwnSocket[_Page]):
    """An HTTP client that gets one page again and again; good when all of it came, with status 200.

    Patience ends before the kernel would send a second SYN: one look is one try.
    """

    def __init__(
        self,
        service: str,
        address: str,
        port: int,
        path: str = "/",
        *,
        period: float = 0.1,
        patience: float = PATIENCE_S,
    ) -> None:
        super().__init__(service, f"{address}:{port}", period, patience)
        self.address, self.port = address, port
        self._request = http.request(address, path)

    def look(self, now: float) -> None:
        """One connection."""
        if (sock := self._connecting(self.address, self.port, now)) is not None:
            self._open[sock] = _Page(now)
            self.loop.watch(sock.fileno(), lambda: self._ask(sock), writable=True)

    def _ask(self, sock: socket.socket) -> None:
        if not self._connected(sock):
            return
        try:
            sock.send(self._request)  # far smaller than the empty buffer of a new connection
        except OSError as error:
            self._end(sock, wire.failed(error, "").reason)
            return
        self.loop.forget(sock.fileno())
        self.loop.watch(sock.fileno(), lambda: self._ready(sock))

    def _ready(self, sock: socket.socket) -> None:
        page = self._open[sock]
        try:
            part = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(sock, wire.failed(error, "").reason)
            return
        page.data += part
        if len(page.data) > http.LARGEST:
            self._end(sock, "too-large")
        elif not part or http.complete(bytes(page.data)):
            try:
                status = http.parse(bytes(page.data)).status
            except ProbeFailed as error:
                self._end(sock, error.reason)
            else:
                self._end(sock, None if status == 200 else f"status {status}")
