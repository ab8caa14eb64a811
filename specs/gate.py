"""Which nodes answer: asked once for each, in the background, so that a node that is down costs one failure.

Connections to all nodes are opened in parallel while pytest is still collecting; a spec waits only for its
own node.  The first spec that meets a node that cannot be used fails with the reason, the others are skipped
with the same reason, whether the node was down from the start or went away in the middle of the run.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from cluster.errors import (
    AuthenticationFailed,
    ClusterError,
    HostKeyChanged,
    InputError,
    NodeError,
    Unreachable,
)
from cluster.inventory import Inventory
from cluster.node import Fleet, Node

GONE: tuple[type[NodeError], ...] = (Unreachable, AuthenticationFailed, HostKeyChanged)
"""What a node raises when nothing can be asked of it any more (a failed command is a finding instead)."""


class Gate:
    """The nodes of an inventory, their connections under way, and the ones found unusable so far."""

    def __init__(self, inventory: Inventory) -> None:
        self.fleet: Fleet = GatedFleet(inventory, self)
        self._lock = threading.Lock()
        self._down: dict[str, str] = {}
        self._told: set[str] = set()
        self._pool = ThreadPoolExecutor(max_workers=len(inventory.nodes), thread_name_prefix="connect")
        self._answers: dict[str, Future[None]] = {}

    def connect(self) -> None:
        """Begin to connect to every node; call it once the process is on the cluster's LAN."""
        for name in self.fleet:
            self._answers[name] = self._pool.submit(Fleet.__getitem__(self.fleet, name).connect)

    def why_not(self, name: str) -> str | None:
        """Why node `name` cannot be used, or None; waits until its first connection succeeded or failed.

        Raises InputError when no node can be used at all, as before the first provisioning.
        """
        with self._lock:
            if name in self._down:
                return self._down[name]
        answer = self._answers.get(name)
        error = answer.exception() if answer is not None else None
        if error is None:
            return None
        if isinstance(error, InputError) or not isinstance(error, ClusterError):
            raise error
        return self.lost(name, error)

    def lost(self, name: str, error: ClusterError) -> str:
        """Note that node `name` cannot be used any more, and say why; the first reason stays."""
        text = str(error).removeprefix(f"{name}: ")
        reason = f"{name} is unreachable: {text}" if isinstance(error, Unreachable) else f"{name}: {text}"
        with self._lock:
            return self._down.setdefault(name, reason)

    def first(self, name: str) -> bool:
        """Whether nobody was told about node `name` yet: its first spec fails, the others are skipped."""
        with self._lock:
            told = name in self._told
            self._told.add(name)
            return not told

    def close(self) -> None:
        """Close every connection, without waiting for the ones still under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.fleet.close()


class GatedFleet(Fleet):
    """The fleet as specs see it: asking for a node found down fails at once, with no second time-out."""

    def __init__(self, inventory: Inventory, gate: Gate) -> None:
        super().__init__(inventory)
        self._gate = gate

    def __getitem__(self, name: str) -> Node:
        reason = self._gate.why_not(name)
        if reason is not None:
            raise Unreachable(name, reason.removeprefix(f"{name} is unreachable: "))
        return super().__getitem__(name)
