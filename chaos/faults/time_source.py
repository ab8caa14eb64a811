"""`source`: a node's chronyd has one more source of time, until it is taken away again."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.following import FORGET, await_following
from chaos.faults.on_node import NodeFault, must_run
from cluster.errors import InputError, Refused

SOURCES = "chronyc -n -c sources 2>/dev/null | cut -d, -f3"


@dataclass(frozen=True)
class TimeSource(NodeFault):
    """chronyd is told of another server, at the polling interval of the inventory (chronyc(1), add server).

    Where it has real time by then, the undo makes it forget all that it heard: else it would go on for hours as if it
    still had it.  It is done once the node follows somebody again: until then it calls itself the reference.
    """

    node: str
    address: str
    kind: ClassVar[str] = "source"
    TITLE: ClassVar[str] = "{node} is told to ask {address} for the time, too"
    UNDOING: ClassVar[str] = "{node} no longer asks {address}, and forgets its time"

    def __post_init__(self) -> None:
        try:
            IPv4Address(self.address)
        except AddressValueError:
            raise InputError(f"source: {self.address!r} is not an IPv4 address") from None

    def check(self, means: Means) -> None:
        """It must not ask that one already: the undo would take away what it was configured with."""
        if self.address in means.fleet[self.node].run(["sh", "-c", SOURCES], sudo=True, check=True).text.split():
            raise Refused(f"{self.node} asks {self.address} for the time already; name another server")

    def undo(self, means: Means) -> None:
        """Take it away, and wait until the node follows somebody else."""
        super().undo(means)
        await_following(means.fleet[self.node])

    def begin(self, means: Means) -> str:
        """Add it."""
        poll = means.inventory.ntp.minpoll
        add = f"chronyc add server {self.address} iburst minpoll {poll} maxpoll {poll} >/dev/null"
        return f"{must_run('chrony')}{add}\n"

    def end(self, means: Means) -> str:
        """Take it away, where it is; a chronyd that was restarted has forgotten it already."""
        reference = means.inventory.ntp.local_stratum
        return (
            f"if {SOURCES} | grep -qxF {self.address}; then\n"
            "  stratum=$(chronyc -c tracking | cut -d, -f3)\n"
            f"  chronyc delete {self.address} >/dev/null\n"
            f'  if [ "$stratum" -lt {reference} ]; then {FORGET}; fi\n'
            "fi\n"
        )
