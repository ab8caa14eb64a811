"""The observer's process: `python -m chaos.watch PLAN`, where the plan (JSON) says what to look at.

A process of its own, so that nothing the experiment does (SSH, printing, waiting) can make a look late.  It
writes events as JSON lines to stdout, `ready` first, ends when stdin says `finish`, and never outlives its
parent: at the end of stdin or at SIGTERM (which the kernel sends when the parent dies, prctl(2)
PR_SET_PDEATHSIG) it gives back what it borrowed and leaves.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from chaos.ask import Resolver, TimeClient
from chaos.fetchers import FileReader, PageReader
from chaos.leasing import DhcpClients
from chaos.loop import Loop, Prober
from chaos.neighbours import OwnEntry
from chaos.reach import Handshake, Ping
from chaos.wiretap import Wiretap
from cluster.errors import ClusterError

DRAIN_S = 6.0
"""How long looks under way at the end may take: a DHCP client repeats itself every 4 s and is served in 2."""
ABORT_S = 0.1
_PR_SET_PDEATHSIG = 1
_LAST_RESORT_S = 5


@dataclass(frozen=True)
class Plan:
    """What to look at; addresses as text, `dns_name` must resolve to `floating`."""

    parent: int
    interface: str
    floating: str
    node: str
    dns_servers: tuple[str, ...]
    dns_name: str
    ntp_servers: tuple[str, ...]
    dhcp_clients: tuple[str, ...]
    dhcp_newcomers: tuple[str, ...] = ()
    dhcp_servers: tuple[str, ...] = ()
    """Whose leases are good; none: anybody's."""
    tcp_port: int = 53
    tftp_file: str = "welcome.txt"
    http_port: int = 1080
    every_s: float | None = None
    """How often each service is looked at, instead of as often as it deserves; for measuring what looking costs."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan of `to_json`."""
        data: Mapping[str, object] = json.loads(text)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})  # type: ignore[arg-type]

    def probers(self) -> list[Prober]:
        """Everything that looks, by the names of the inventory's services.

        `vip-dns` and `vip-ntp` ask the floating address alone: nothing is claimed of clients that know no other.
        """
        every = self.every_s
        return [
            Wiretap(self.interface, self.floating),
            OwnEntry(self.interface, self.floating),
            Ping("vip", self.floating, period=every or 0.01),
            Ping("node", self.node, period=every or 0.05),
            Handshake("tcp", self.floating, self.tcp_port, period=every or 0.05),
            FileReader("tftp", self.floating, self.tftp_file, period=every or 0.1),
            PageReader("http", self.floating, self.http_port, period=every or 0.1),
            Resolver("dns", self.dns_servers, self.dns_name, self.floating, period=every or 0.02),
            Resolver("vip-dns", (self.floating,), self.dns_name, self.floating, period=every or 0.1, attempts=1),
            TimeClient("ntp", self.ntp_servers, period=every or 0.05),
            TimeClient("vip-ntp", (self.floating,), period=every or 0.1),
            DhcpClients("dhcp", self.interface, self.dhcp_clients, once=self.dhcp_newcomers, servers=self.dhcp_servers),
        ]


def die_with(parent: int) -> None:
    """Be told (SIGTERM) when the parent dies, and leave now if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def hurry() -> None:
    """Ask the scheduler to let a look go out when it is due, as far as we are allowed to."""
    with suppress(PermissionError, OSError):
        os.nice(-10)
    with suppress(PermissionError, OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def main() -> int:
    """Read the plan, look, write events; 0 when told to finish, 1 when it could not even begin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the experiment, which will tell us
    plan = Plan.from_json(sys.argv[1])
    die_with(plan.parent)
    out = os.dup(1)
    loop = Loop(out)

    def leave(*_: object) -> None:
        signal.alarm(_LAST_RESORT_S)
        loop.finish(ABORT_S)

    def told() -> None:
        word = os.read(0, 64)
        if not word:
            loop.forget(0)
            leave()
        elif b"finish" in word:
            loop.finish(DRAIN_S)

    signal.signal(signal.SIGTERM, leave)
    loop.watch(0, told)
    hurry()
    gc.collect()
    gc.freeze()
    gc.disable()  # a run is short, its events hold no cycles, and a collection would be a stall
    try:
        loop.run(plan.probers())
    except ClusterError as error:
        os.write(out, (json.dumps({"kind": "failed", "error": str(error)}) + "\n").encode())
        return 1
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
