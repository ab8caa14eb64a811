"""The lab's LAN: one namespace with a bridge (the switch), one for the operator, one a node.

Nothing is added to the host's own network: both ends of every veth pair are made inside the lab's namespaces.
Commands go through `ip -batch`, one process at a time, because parallel `ip netns add` calls can collide.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from lab.site import NETNS, Site

SWITCH = "switch"
BRIDGE = "br0"
PORT_LENGTH = 15  # of an interface's name: IFNAMSIZ of <linux/if.h>, without the NUL
_CLONE_NEWNET = 0x40000000


def ip(lines: Iterable[str], *, within: str | None = None, force: bool = False) -> None:
    """Run lines of ip(8) in one process, in the host's namespace or `within` one of ours.

    Raises ClusterError with ip's own words; `force` goes on past errors.
    """
    done = subprocess.run(
        ["ip", *(["-netns", within] if within else []), *(["-force"] if force else []), "-batch", "-"],
        input="".join(f"{line}\n" for line in lines), text=True, capture_output=True, timeout=60,
    )  # fmt: skip
    if done.returncode and not force:
        raise ClusterError(f"lab: ip: {' '.join(done.stderr.split())}")


def not_a_port(name: str) -> str | None:
    """Why nothing can be plugged into the switch under this name; None where it can."""
    if len(name) > PORT_LENGTH:
        return f"has {len(name)} letters, an interface's name at most {PORT_LENGTH}"
    return "is the name of a part of the switch" if name in (SWITCH, BRIDGE, "lo") else None


def build(site: Site, inventory: Inventory) -> None:
    """Make the switch and plug the operator's place into it; whatever was half there goes first."""
    demolish(site)
    admin = inventory.network.operator
    switch, place = _name(site, SWITCH), _name(site, admin.name)
    ip([f"netns add {switch}", f"netns add {place}"])
    for namespace in (switch, place):
        quiet(namespace)
    ip(
        [
            f"link add {BRIDGE} netns {switch} type bridge stp_state 0 mcast_snooping 0 forward_delay 0",
            f"link add {admin.name} netns {switch} type veth peer name {inventory.network.interface}"
            f" netns {place} address {admin.mac}",
        ]
    )
    ip([f"link set {BRIDGE} up", f"link set {admin.name} master {BRIDGE} up"], within=switch)
    interface = inventory.network.interface
    ip(
        [
            "link set lo up",
            f"address add {admin.address}/{inventory.network.cidr.prefixlen} broadcast + dev {interface}",
            f"link set {interface} up",
        ],
        within=place,
    )
    # The operator's place is a measuring instrument: it asks again for a silent neighbour every 50 ms, not every
    # second, so that a node or an address is seen in the moment in which it comes back.
    _sysctl(place, f"net/ipv4/neigh/{interface}/retrans_time_ms", "50")


def plug(site: Site, inventory: Inventory, name: str) -> None:
    """A fresh namespace for a node, its interface plugged into the switch; the node's old one is gone."""
    unplug(site, name)
    node, switch = inventory.nodes[name], _name(site, SWITCH)
    ip(
        [
            f"netns add {_name(site, name)}",
            f"link add {name} netns {switch} type veth peer name {inventory.interface(name)}"
            f" netns {_name(site, name)} address {node.mac}",
        ]
    )
    ip([f"link set {name} master {BRIDGE} up"], within=switch)


def plugged(site: Site, name: str) -> bool:
    """Whether a node's port is switched on."""
    done = subprocess.run(
        ["ip", "-json", "-netns", _name(site, SWITCH), "link", "show", "dev", name],
        capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    return done.returncode == 0 and "UP" in json.loads(done.stdout)[0]["flags"]


def pull(site: Site, name: str) -> None:
    """Take a node off the wire now; it keeps running behind a dead port."""
    if site.netns(SWITCH).exists():
        ip([f"link set {name} down"], within=_name(site, SWITCH), force=True)


def unplug(site: Site, name: str) -> None:
    """Remove a node's port and namespace, whatever of them is there."""
    if site.netns(SWITCH).exists():
        ip([f"link del {name}"], within=_name(site, SWITCH), force=True)
    if site.netns(name).exists():
        ip([f"netns del {_name(site, name)}"])


def demolish(site: Site) -> None:
    """Remove every namespace of this lab."""
    names = sorted(path.name for path in NETNS.glob(f"{site.tag}-*"))
    ip((f"netns del {name}" for name in names), force=True)


def quiet(namespace: str) -> None:
    """Turn IPv6 off in a namespace of ours, so that the wire carries what the nodes say and nothing else."""
    for scope in ("all", "default"):
        _sysctl(namespace, f"net/ipv6/conf/{scope}/disable_ipv6", "1")


def _sysctl(namespace: str, name: str, value: str) -> None:
    """Set a network setting inside one of our namespaces; a kernel that has it not is left as it is."""
    script = f"[ ! -e /proc/sys/{name} ] || echo {value} >/proc/sys/{name}"
    subprocess.run(["nsenter", f"--net={NETNS / namespace}", "sh", "-c", script], check=True, timeout=10)


def inside(site: Site, name: str) -> bool:
    """Whether this process is in that namespace of the lab."""
    here, there = Path("/proc/self/ns/net"), site.netns(name)
    return there.exists() and os.stat(here).st_ino == os.stat(there).st_ino


def enter(site: Site, name: str) -> None:
    """Move the calling thread, and every thread it will start, into a namespace of the lab (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with site.netns(name).open("rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            error = ctypes.get_errno()
            raise ClusterError(f"lab: cannot enter {site.netns(name)}: {os.strerror(error)}")


def _name(site: Site, name: str) -> str:
    return site.netns(name).name
