"""`source`: a node's chronyd has one more source of time, until it is taken away again."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import NodeFault, must_run
from cluster.errors import InputError


@dataclass(frozen=True)
class TimeSource(NodeFault):
    """chronyd is told of another server, at the polling interval of the inventory (chronyc(1), add server).

    The undo makes it forget what it heard there: else it would go on for hours as if it had real time.
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

    def begin(self, means: Means) -> str:
        """Add it."""
        poll = means.inventory.ntp.minpoll
        add = f"chronyc add server {self.address} iburst minpoll {poll} maxpoll {poll} >/dev/null"
        return f"{must_run('chrony')}{self.end(means)}{add}\n"

    def end(self, means: Means) -> str:
        """Take it away, where it is; a chronyd that was restarted has forgotten it already."""
        return (
            f"if chronyc -n -c sources 2>/dev/null | cut -d, -f3 | grep -qxF {self.address}; then\n"
            f"  chronyc delete {self.address} >/dev/null\n"
            "  chronyc reset sources >/dev/null\n"
            "fi\n"
        )
