"""What a node is sent: scripts as they are, templates filled in.

Pure, apart from reading this folder and the artifacts.

A bundle is a folder of its own on the node: `lib.sh`, `run.sh`, `params.sh` (the few values scripts need by
name), `steps` (what runs, in order), and one folder a room (`base`, then the node's group) with its scripts,
its `packages.txt` and its rendered files.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cluster import credentials
from cluster.authority import REVOKED_SERIAL
from cluster.errors import InputError
from cluster.inventory import Inventory, Node, Record
from cluster.k3s import IMAGE, at_hand
from cluster.secrets import Secrets
from provision import k3s

HERE = Path(__file__).parent
BASE = "base"  # the room of every node
COMMON = ("lib.sh", "run.sh")
OPENWRT = "openwrt"  # the room of every router: one script, because nothing of base is for its system
PACKAGES = "packages*.txt"
WHEELS = "wheels*.txt"
LAST = "90"
LATE = "99"  # from here on, steps run once every node is done
AUTHORITY = "base/ca.pub"  # what first contact installs, too
ROUTER_KEYS = "openwrt/authorized_keys"  # on a router, whose SSH server knows no certificates
TXT_CHUNK = 255  # octets in one character-string: RFC 1035 section 3.3


@dataclass(frozen=True)
class Zone:
    """A zone of the pair: its name and the file, in the bundle, with its records."""

    name: str
    file: str


def rooms(node: Node, here: Path = HERE) -> tuple[str, ...]:
    """The folders that configure a node of Debian's kin, in order: base, and its group's own where there is one."""
    return (BASE, *([node.group] if (here / node.group).is_dir() and node.group != BASE else []))


def steps(node: Node, here: Path = HERE) -> tuple[str, ...]:
    """The scripts that configure a node, in the order they run: room by room, those from 90 on at the very end."""
    names = [f"{room}/{path.name}" for room in rooms(node, here) for path in sorted((here / room).glob("[0-9]*.sh"))]
    return tuple(sorted(names, key=lambda name: name.rpartition("/")[2] >= LAST))


def late(step: str) -> bool:
    """Whether a step runs after every other of every node."""
    return step.rpartition("/")[2] >= LATE


def zones(inventory: Inventory) -> tuple[Zone, ...]:
    """The zones that the primary serves: forward and reverse."""
    return (
        Zone(inventory.cluster.zone, "zone.forward"),
        Zone(inventory.network.reverse_zone, "zone.reverse"),
    )


def router_bundle(
    inventory: Inventory, node: Node, secrets: Secrets, *, serving: bool, here: Path = HERE
) -> dict[str, bytes]:
    """Every file of a router's bundle; `serving`: it gives addresses and names to those that have none yet."""
    environment, values = _environment(here), {**_values(inventory, node, secrets), "serving": serving}
    files = {"run.sh": (here / OPENWRT / "run.sh").read_bytes()}
    for path in sorted((here / OPENWRT).glob("*.j2")):
        name = path.relative_to(here).as_posix()
        text = environment.get_template(name).render(values, managed=managed(inventory, name))
        files[name.removesuffix(".j2")] = text.encode()
    words = {"NODE": node.name, "SERVING": "1" if serving else "", "SERVED": ", ".join(inventory.bootstrapped)}
    lines = (f"{name}={shlex.quote(value)}" for name, value in words.items())
    files["params.sh"] = _lines(f"# {managed(inventory, 'render.py')}", *lines)
    return files


def _environment(here: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(here),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # shell, DNS and daemon configuration: nothing here is HTML
    )
    environment.filters["rdata"] = rdata
    return environment


def bundle(
    inventory: Inventory, node: Node, secrets: Secrets, here: Path = HERE, only: Collection[str] = ()
) -> dict[str, bytes]:
    """Every file of a node's bundle, by its path inside it; with `only`, of its steps just these will run.

    Raises jinja2.UndefinedError for a template that names what does not exist: a bug, not an input.
    """
    if node.name in inventory.routers:
        return router_bundle(inventory, node, secrets, serving=False, here=here)
    files = {name: (here / name).read_bytes() for name in COMMON}
    order = tuple(step for step in steps(node, here) if not only or step in only)
    environment = _environment(here)
    values = {**_values(inventory, node, secrets), "steps": order}
    for room in rooms(node, here):
        for path in sorted((here / room).rglob("*")):
            name = path.relative_to(here).as_posix()
            within = path.parent != here / room  # a folder of a room goes to the node as it is
            if path.suffix == ".j2":
                text = environment.get_template(name).render(values, managed=managed(inventory, name))
                files[name.removesuffix(".j2")] = text.encode()
            elif path.is_file() and (within or path.suffix == ".sh" or path.match(WHEELS) or path.match(PACKAGES)):
                files[name] = path.read_bytes()
    source = managed(inventory, "render.py")
    files["steps"] = _lines(f"# {source}", *order)
    files["params.sh"] = _lines(f"# {source}", *_params(inventory, node, here))
    return files


def check(inventory: Inventory, here: Path = HERE) -> None:
    """Whether what the inventory names beside it is there; raises InputError."""
    folder = here / "lanservices/tftp"
    served = sorted(p.relative_to(folder).as_posix().removesuffix(".j2") for p in folder.rglob("*") if p.is_file())
    if inventory.tftp.boot_file not in served:
        raise InputError(
            f"{inventory.path.name}: tftp.boot_file: provision/lanservices/tftp, which is served, has no "
            f"{inventory.tftp.boot_file}; put it there, or name one of {', '.join(served)}"
        )


def managed(inventory: Inventory, source: str) -> str:
    """The header of every file we write: that it is managed, and from where."""
    return f"Managed by {inventory.cluster.name} from provision/{source}; changes here are overwritten"


def rdata(record: Record) -> str:
    """A record's value as a zone file writes it (RFC 1035 section 5.1)."""
    if record.type == "MX":
        return f"{record.priority or 0} {record.value}."
    if record.type == "CNAME":
        return f"{record.value}."
    if record.type == "TXT":
        data = record.value.encode()
        chunks = [data[at : at + TXT_CHUNK] for at in range(0, len(data), TXT_CHUNK)] or [b""]
        return " ".join('"' + "".join(map(_character, chunk)) + '"' for chunk in chunks)
    return record.value


def _character(byte: int) -> str:
    if byte in b'"\\':
        return "\\" + chr(byte)
    return chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}"


def _values(inventory: Inventory, node: Node, secrets: Secrets) -> dict[str, Any]:
    """What templates may name."""
    servers = [inventory.dns.primary, inventory.dns.secondary]
    addresses = [str(inventory.nodes[name].address) for name in servers]
    others = [str(inventory.nodes[name].address) for name in servers if name != node.name]
    return {
        "inventory": inventory,
        "node": node,
        "group": inventory.groups[node.group],
        "secrets": secrets,
        "name_servers": addresses,
        "resolvers": ["127.0.0.1", *others] if node.name in servers else addresses,
        "time_servers": [str(inventory.nodes[name].address) for name in inventory.ntp.servers],
        "zones": zones(inventory),
        "revoked_serial": REVOKED_SERIAL,
        "host_names": credentials.host_names(inventory),
        "k3s": _k3s(inventory, node),
    }


def _k3s(inventory: Inventory, node: Node) -> dict[str, Any]:
    """What K3s is to be on a node; its role is empty where it is not to be."""
    plan, found = inventory.k3s, at_hand(inventory)
    return {
        "role": k3s.role(inventory, node.name),
        "server": plan.server if plan else "",
        "port": str(plan.port) if plan else "",
        "version": inventory.artifacts[plan.binary].version if plan else "",
        "artifact": inventory.artifacts[plan.binary].file if plan else "",
        "image": IMAGE,
        "disabled": found.disabled,
        "dns": "" if found.sure else "keep",
    }


def _params(inventory: Inventory, node: Node, here: Path) -> list[str]:
    """Shell assignments, quoted: what scripts need to know that no file of theirs says."""
    dns, peers, admins = inventory.dns, inventory.partner(node), inventory.admin_nodes
    scalars: Mapping[str, str] = {
        "CLUSTER": inventory.cluster.name,
        "NODE": node.name,
        "GROUP": node.group,
        "ADDRESS": str(node.address),
        "ADDRESSING": inventory.groups[node.group].addressing,
        "INTERFACE": inventory.network.interface,
        "FLOATING": str(inventory.network.floating),
        "TIMEZONE": inventory.cluster.timezone,
        "LOGIN": inventory.users.login,
        "CLUSTER_USER": inventory.users.cluster,
        "SSH_GROUP": inventory.users.ssh_group,
        "TFTP_ROOT": inventory.tftp.root,
        "HTTP_CHROOT": inventory.http.chroot,
        "HTTP_PORT": str(inventory.http.port),
        "HTTP_USER": inventory.http.user,
        "MPI_USER": inventory.mpi.user,
        "DISTCC_PORT": str(inventory.distcc.port),
        **{
            f"K3S_{name.upper()}": _k3s(inventory, node)[name]
            for name in ("role", "server", "port", "version", "artifact", "image", "dns")
        },
        "ARA_PORT": str(inventory.tools.ara_port),
        "DNS_ROLE": {dns.primary: "primary", dns.secondary: "secondary"}.get(node.name, "none"),
    }
    lists: Mapping[str, list[str]] = {
        "ROOMS": list(rooms(node, here)),
        "ADMIN_PEERS": [str(one.address) for one in admins if node in admins and one.name != node.name],
        "OTHERS": [name for name in inventory.debian if name != node.name],
        "PARTNERS": [str(peer.address) for peer in peers],
        "SSH_PORTS": [str(port) for port in inventory.groups[node.group].ssh_ports],
        "TLS_SERVICES": list(inventory.authority.serves),
        "K3S_FILES": [word for one in k3s.declared(inventory, node) for word in one],
        "ZONES": [zone.name for zone in zones(inventory)],
        "ZONE_FILES": [zone.file for zone in zones(inventory)],
    }
    return [
        "# shellcheck shell=bash disable=SC2034",
        *(f"{name}={shlex.quote(value)}" for name, value in scalars.items()),
        *(f"{name}=({' '.join(map(shlex.quote, values))})" for name, values in lists.items()),
    ]


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
