"""What is looked at once for all specs about TFTP and about booting from the network (see specs/looks.py)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import dhcp, tftp
from cluster.probes.dhcp import Lease
from cluster.probes.dhcp_packet import Reply
from specs.lanservices.looks import OFFER_CLIENT, PATIENT, outcome, servers
from specs.looks import Place


@dataclass(frozen=True)
class Entry:
    """A file or folder of a tree: its mode as four octal digits, its owner, and a file's SHA-256."""

    mode: str
    owner: str
    sha256: str | None


@dataclass(frozen=True)
class Serving:
    """What a node has for TFTP clients, by path, and who serves them: the user and root folder of each process."""

    tree: Mapping[str, Entry]
    processes: tuple[tuple[str, str], ...]


_TREE = r"""
cd "$1" || exit 1
find . -mindepth 1 -printf '%y %04m %u:%g %P\n'
echo ==
find . -type f -printf '%P\0' | xargs -0 -r sha256sum --
echo ==
ps -C in.tftpd -o user=,pid= | while read -r user pid; do echo "$user $(readlink "/proc/$pid/root")"; done
"""

FROM_ANOTHER_PORT = "its firewall lets in no answer from another port than was asked, as a TFTP server's are"


def addresses_of(inventory: Inventory) -> dict[str, str]:
    """Where clients ask: each LAN services node by its own address, and the floating one, by name."""
    return {**servers(inventory), "floating": str(inventory.network.floating)}


def tftp_servings(place: Place) -> dict[str, Serving | ClusterError]:
    """What each node serves by TFTP, seen on the node while it serves a file to us."""
    names = servers(place.inventory)

    def serving(node: Node) -> Serving:
        with tftp.held(names[node.name], place.inventory.tftp.boot_file):
            script = ["sh", "-c", _TREE, "sh", place.inventory.tftp.root]
            text = node.run(script, sudo=True, deadline=10.0, check=True).text
        entries, sums, processes = (part.strip("\n").splitlines() for part in text.split("==\n"))
        digests = {path: digest for digest, path in (line.split("  ", 1) for line in sums)}
        found = (line.split(" ", 3) for line in entries)
        return Serving(
            {path: Entry(mode, owner, digests.get(path)) for _, mode, owner, path in found},
            # One that ended meanwhile has no root any more.
            tuple((words[0], words[1]) for words in (line.split() for line in processes) if len(words) == 2),
        )

    return place.fleet.each(serving, names)


def tftp_files(place: Place) -> dict[tuple[str, str], tftp.File | ClusterError]:
    """Every file that any node has for TFTP clients, read from every address: by the address' name and the path."""
    seen = tftp_servings(place)
    trees = [one.tree for one in seen.values() if isinstance(one, Serving)]
    paths = sorted({path for tree in trees for path, entry in tree.items() if entry.sha256})
    asked = [(name, path) for name in addresses_of(place.inventory) for path in paths]

    def read(name: str, path: str) -> tftp.File | ClusterError:
        return outcome(lambda: tftp.read(addresses_of(place.inventory)[name], path, deadline=5.0))

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(asked, pool.map(lambda one: read(*one), asked), strict=True))


def bootp_replies(place: Place) -> dict[str, Reply]:
    """The answers to a BOOTP request of the operator's computer, by the address they came from.

    In our own name, because a server sends a BOOTP reply to the client's hardware address (RFC 951 section 4).
    """
    own = place.inventory.network.operator.mac
    client = dhcp.Client(place.interface, own, source=own)
    return {reply.src: reply for reply in client.bootp_replies(wait=2.0, enough=len(servers(place.inventory)))}


# What the boot ROM of a Raspberry Pi 3 sends: it says PXE, a PC BIOS, and what it wants to know (RFC 4578).
BOOT_ROM = (
    (60, b"PXEClient:Arch:00000:UNDI:002001"),
    (93, bytes(2)),
    (94, bytes((1, 2, 1))),
    (97, bytes(1) + bytes.fromhex("44" * 16)),
    (55, bytes((1, 3, 43, 60, 66, 67, 128, 129, 130, 131, 132, 133, 134, 135))),
)
BOOT_TRIES = 5  # how often the ROM asks before it gives up


@dataclass(frozen=True)
class Boot:
    """A boot ROM's way: the lease it got, what its own folder gave, and the file it was told to boot."""

    lease: Lease
    own_folder: ClusterError | None
    file: tftp.File | ClusterError


def boots(place: Place) -> dict[str, Boot | ClusterError]:
    """A Raspberry Pi's boot ROM with a reservation, led by each server in turn."""
    inventory = place.inventory
    mac, source = inventory.network.operator.mac, dhcp.synthetic_mac(OFFER_CLIENT)

    def boot(address: str) -> Boot:
        client = dhcp.Client(place.interface, mac, source=source, extra=BOOT_ROM)
        lease = client.lease(float(BOOT_TRIES), server=address, secs=PATIENT)
        server = str(lease.options.get("tftp-server-name") or lease.server)
        name = str(lease.options.get("bootfile-name") or "")
        serial = mac.replace(":", "")[-8:]  # its own folder comes first, named after its serial number
        own = outcome(lambda: tftp.read(server, f"{serial}/start.elf"))
        return Boot(lease, own if isinstance(own, ClusterError) else None, outcome(lambda: tftp.read(server, name)))

    return {name: outcome(boot, address) for name, address in servers(inventory).items()}
