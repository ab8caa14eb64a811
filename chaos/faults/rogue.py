"""`rogue`: a second DHCP server answers on the LAN, as when somebody plugs in a router from home."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import FOLDER, NodeFault, transient
from cluster.errors import CommandFailed, InputError, Refused
from cluster.inventory import Inventory

PROGRAM = Path(__file__).with_name("impostor.py")


@dataclass(frozen=True)
class Rogue(NodeFault):
    """A program on a node offers whoever asks an address that leads nowhere, faster than a server that pings first.

    Who takes it is lost for half a minute, and asks again; who has a lease, and renews it, is left alone.
    """

    node: str
    kind: ClassVar[str] = "rogue"
    TITLE: ClassVar[str] = "{node} answers DHCP clients, with addresses that lead nowhere"
    UNDOING: ClassVar[str] = "{node} answers them no more"

    @property
    def _ready(self) -> str:
        return f"{FOLDER}/{self.key}"

    def fits(self, inventory: Inventory) -> None:
        """Not a router."""
        super().fits(inventory)
        if self.node in inventory.routers:
            raise InputError(f"rogue: {self.node} is a router, which has a DHCP server of its own; see `wake`")

    def check(self, means: Means) -> None:
        """It needs Python there."""
        try:
            self._run(means, "command -v python3 >/dev/null || { echo 'there is no python3' >&2; exit 1; }")
        except CommandFailed as error:
            raise Refused(f"rogue: {self.node}: {str(error).rsplit(': ', 1)[-1]}; name another node") from None

    def begin(self, means: Means) -> str:
        """Start it, and wait until it listens."""
        own = means.inventory.node(self.node).address
        words = f"{means.inventory.interface(self.node)} {own} {self._ready}"
        program = b64encode(PROGRAM.read_bytes()).decode()
        run = f"mkdir -p {FOLDER}\nrm -f {self._ready}\n"
        run += transient(self.worker, f"echo {program} | base64 -d | python3 - {words}\n")
        return (
            f"{run}for _ in $(seq 100); do [ ! -e {self._ready} ] || exit 0; sleep 0.05; done\n"
            f"echo 'it did not begin to listen' >&2; exit 1\n"
        )

    def end(self, means: Means) -> str:
        """End it."""
        return f"systemctl stop {self.worker} 2>/dev/null || true\nrm -f {self._ready}\n"
