"""Looks that fetch something whole from the floating address: a file by TFTP.

Each look has a socket of its own and one try: it is given up before a client would ask a second time.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from chaos.scheduled import Scheduled
from cluster.errors import ProbeFailed
from cluster.probes import tftp, wire

PATIENCE_S = 0.9  # less than the second after which clients ask again: tftp.RETRANSMIT_S; RFC 6298 section 2.1


@dataclass
class _Fetch:
    """A transfer under way; `peer` is the server's own port of it, once known."""

    sent: float
    reading: tftp.Reading
    peer: tuple[str, int] | None = None


class FileReader(Scheduled):
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
        super().__init__(service, period, patience)
        self.address, self.file, self.port = address, file, port
        self._open: dict[socket.socket, _Fetch] = {}

    def open(self) -> None:
        """Nothing: each look has a socket of its own."""

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

    def _end(self, sock: socket.socket, error: str | None) -> None:
        self.loop.forget(sock.fileno())
        sock.close()
        fetch = self._open.pop(sock)
        now = self.loop.now()
        if error is None:
            self.good(fetch.sent, now, self.address)
        else:
            self.failed(fetch.sent, now, error, self.address)

    def overdue(self) -> float:
        """When the oldest transfer is given up."""
        return min((fetch.sent for fetch in self._open.values()), default=float("inf")) + self.patience

    def give_up(self, now: float) -> None:
        """Give up transfers that did not end in time."""
        for sock, fetch in list(self._open.items()):
            if fetch.sent + self.patience <= now:
                self._end(sock, "timeout")

    @property
    def busy(self) -> bool:
        """Whether a transfer is under way."""
        return bool(self._open)

    def close(self) -> None:
        """Drop what is under way."""
        for sock in list(self._open):
            self.loop.forget(sock.fileno())
            sock.close()
        self._open.clear()
