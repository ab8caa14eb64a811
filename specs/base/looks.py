"""What is looked at once for all specs about single nodes (see specs/looks.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cluster.errors import ClusterError, ProbeFailed
from cluster.facts import Facts, command, parse
from cluster.probes import door, tcp
from cluster.probes.door import Door
from specs.base import expected
from specs.lanservices.looks import must
from specs.looks import Place

if TYPE_CHECKING:
    from cluster.node import Node

FACTS_S = 20.0  # 0.3 s on a lab node; a Pi B+ under load needs its time
KNOCK_S = 5.0


def all_facts(place: Place) -> dict[str, Facts | ClusterError]:
    """What each node says about itself: one command each, all nodes at once."""
    inventory = place.inventory
    names = [*inventory.nodes, "dns1", "dns2", "float", "dgw"]

    def ask(node: Node) -> Facts:
        text = command(
            interface=inventory.network.interface,
            login=inventory.users.login,
            address=node.address,
            sysctls=[setting.name for setting in expected.settings(inventory)],
            paths=[path.name for path in (*expected.folders(inventory), *expected.files(inventory))]
            + [expected.log_file(inventory)],
            texts=[*expected.MANAGED, *expected.HOST_KEYS.values()],
            aged=[expected.HOUR_CHECK],
            contents=[expected.HOUR_CHECK],
            log=inventory.cluster.name,
            units=[*expected.RUNNING, *expected.NEVER, *expected.MORE_UNITS],
            commands=expected.COMMANDS,
            names=[inventory.fqdn(name) for name in names],
            short_names=names,
        )
        try:
            return parse(node.run(text, sudo=True, deadline=FACTS_S).text)
        except ValueError as error:
            raise ProbeFailed(f"{node.name}: its facts are incomplete: {error}", reason="incomplete") from error

    return place.fleet.each(ask)


@dataclass(frozen=True)
class Doors:
    """What somebody without the right key meets at one node's sshd."""

    login: Door
    root: Door | None  # None: not tried, because the server would hold it against our address
    banners: dict[int, bytes | ClusterError]


def all_doors(place: Place) -> dict[str, Doors | ClusterError]:
    """Try each node's SSH as the login user with passwords and as root, and every port it is to listen on."""
    from cluster import ssh

    users, groups, nodes = place.inventory.users, place.inventory.groups, place.inventory.nodes
    key = ssh.load_key(str(place.inventory.state / "secrets" / "ssh_key"))

    def look(node: Node) -> Doors:
        banners: dict[int, bytes | ClusterError] = {}
        for port in groups[nodes[node.name].group].ssh_ports:
            try:
                banners[port] = tcp.banner(node.address, port, KNOCK_S)
            except ProbeFailed as error:
                banners[port] = error
        # The key that ends the login user's attempts with a success; see the probe.
        login = door.knock(node.address, users.login, passwords=[users.first_password], key=key, deadline=KNOCK_S)
        root = None
        if not login.penalised:
            root = door.knock(node.address, "root", passwords=[users.first_password], key=key, deadline=KNOCK_S)
        return Doors(login, root, banners)

    return place.fleet.each(look)


@pytest.fixture(scope="module")
def facts(node: Node, all_facts: dict[str, Facts | ClusterError]) -> Facts:
    """What the node says about itself."""
    return must(all_facts[node.name])


@pytest.fixture(scope="module")
def doors(node: Node, all_doors: dict[str, Doors | ClusterError]) -> Doors:
    """What a stranger meets at the node's sshd."""
    return must(all_doors[node.name])
