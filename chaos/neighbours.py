"""Our own neighbour entry of the floating address: a third host's view of who owns it."""

from __future__ import annotations

from chaos.loop import Loop
from cluster.errors import ProbeFailed
from cluster.probes.neighbour import Listener


class OwnEntry:
    """Records the entry of `address` when the kernel gives it another hardware address, as `neighbour` events."""

    def __init__(self, interface: str, address: str) -> None:
        self.interface, self.address = interface, address
        self._mac: str | None = None

    def start(self, loop: Loop, now: float) -> None:
        """Read the entry as it is, and listen."""
        self._loop, self._listener = loop, Listener(self.interface)
        loop.watch(self._listener.fileno(), self._heard)

    def due(self) -> float:
        """Nothing is ever due: the kernel tells."""
        return float("inf")

    def tick(self, now: float) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to stop."""

    @property
    def busy(self) -> bool:
        """Nothing is ever under way."""
        return False

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _heard(self) -> None:
        try:
            for entry in self._listener.read():
                # Without a hardware address the kernel asks; what it then learns is the news.
                if entry.address == self.address and entry.mac not in (None, self._mac):
                    self._mac = entry.mac
                    self._loop.emit("neighbour", entry.t, address=entry.address, mac=entry.mac, state=entry.state)
        except ProbeFailed as error:
            self._loop.emit("neighbour", self._loop.now(), address=self.address, mac=None, state=str(error))
