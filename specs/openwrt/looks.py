"""What is looked at once for all specs about routers (see specs/looks.py)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import ClusterError, ProbeFailed
from cluster.probes import dhcp, dns, door, uci
from cluster.probes.dhcp import Offer
from cluster.probes.door import Door
from specs.lanservices.looks import OFFER_CLIENT

if TYPE_CHECKING:
    from cluster.node import Node
    from specs.looks import Place

LOOK_S = 10.0
OFFER_WAIT_S = 2.5
LEASES = "/etc/rpicluster/dhcp.leases"
# One command for all; every part is there, empty or not.
SCRIPT = f"""
echo @release; cat /etc/openwrt_release
echo @uci; uci export
echo @listeners; netstat -lntu
echo @leases; cat {LEASES}
echo @enabled; /etc/init.d/dnsmasq enabled && echo dnsmasq
echo @backup; ls /etc/rpicluster/backup
echo @end
"""


@dataclass(frozen=True)
class Router:
    """What a router says of itself."""

    release: str
    packages: Mapping[str, uci.Package]
    listeners: frozenset[tuple[str, int]]
    """Protocol and port of what others can reach."""
    leases: Mapping[str, str]
    """Every MAC that it ever gave an address to since it was set up."""
    enabled: bool
    """Whether dnsmasq starts with it."""
    backups: tuple[str, ...]

    @property
    def stand_in(self) -> bool:
        """Whether it only stands in for OpenWrt."""
        return "stand-in" in self.release


def parse(text: str) -> Router:
    """What `SCRIPT` printed; raises ProbeFailed (`malformed`) for what was cut off or cannot be read."""
    parts: dict[str, list[str]] = {}
    here: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            here = parts.setdefault(line[1:], [])
        else:
            here.append(line)
    if list(parts) != ["release", "uci", "listeners", "leases", "enabled", "backup", "end"]:
        raise ProbeFailed(f"a router's facts are incomplete: only {', '.join(parts) or 'nothing'}", reason="malformed")
    listeners = set()
    for words in map(str.split, parts["listeners"]):
        if len(words) > 3 and words[0].rstrip("6") in ("tcp", "udp"):
            address, _, port = words[3].rpartition(":")
            if not address.startswith("127."):
                listeners.add((words[0].rstrip("6"), int(port)))
    return Router(
        release="\n".join(parts["release"]),
        packages=uci.parse("\n".join(parts["uci"])),
        listeners=frozenset(listeners),
        leases=uci.leases("\n".join(parts["leases"])),
        enabled=bool(parts["enabled"]),
        backups=tuple(name for line in parts["backup"] for name in line.split()),
    )


def all_routers(place: Place) -> dict[str, Router | ClusterError]:
    """What each router says of itself."""

    def ask(node: Node) -> Router:
        return parse(node.run(["sh", "-c", SCRIPT], deadline=LOOK_S).text)

    return place.fleet.each(ask, place.inventory.routers)


def router_doors(place: Place) -> dict[str, Door | ClusterError]:
    """What root meets at each router's SSH with the password of a fresh node, and with none."""
    from cluster import ssh

    key = ssh.load_key(str(place.inventory.state / "secrets" / "ssh_key"))
    passwords = [place.inventory.users.first_password]
    return place.fleet.each(
        lambda node: door.knock(node.address, "root", passwords=passwords, key=key), place.inventory.routers
    )


def bootstrap_offers(place: Place) -> dict[str, tuple[Offer, ...]]:
    """The offers to the hardware addresses of those whom routers give addresses to at first, by whose it is.

    Nothing is taken: a DISCOVER changes no lease of dhcpd's, and these addresses are reserved.  And nothing is sent
    from their hardware addresses: a switch would believe that they are here, and cut them off.
    """
    source = dhcp.synthetic_mac(OFFER_CLIENT)

    def ask(mac: str) -> tuple[Offer, ...]:
        return dhcp.Client(place.interface, mac, source=source).discover(10, wait=OFFER_WAIT_S)

    macs = {name: node.mac for name, node in place.inventory.bootstrapped.items()}
    with ThreadPoolExecutor(max(1, len(macs))) as pool:
        return dict(zip(macs, pool.map(ask, macs.values()), strict=True))


def router_names(place: Place) -> dict[tuple[str, str], str]:
    """What each router answers to a question for a name, by UDP and by TCP: records, or why there are none."""

    def ask(name: str, tcp: bool) -> str:
        asked = f"{place.inventory.fqdn(name)}."
        try:
            answer = dns.query(str(place.inventory.nodes[name].address), asked, tcp=tcp, deadline=1.0)
        except ProbeFailed as error:
            return f"! {error.reason}"
        return f"{answer.rcode} {' '.join(answer.records)}"

    return {(n, "tcp" if tcp else "udp"): ask(n, tcp) for n in place.inventory.routers for tcp in (False, True)}
