"""What is looked at once for all specs about single nodes (see specs/looks.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from cluster import credentials
from cluster.errors import ClusterError, ProbeFailed
from cluster.facts import Facts, command, parse
from cluster.probes import door, tcp
from cluster.probes.door import Door
from specs.base import expected, strangers
from specs.lanservices.looks import must
from specs.looks import Place

if TYPE_CHECKING:
    from cluster.node import Node

FACTS_S = 20.0  # 0.3 s on a lab node; a Pi B+ under load needs its time
KNOCK_S = 5.0
TRIES = 3  # besides a password in two ways and the key that succeeds: six are refused at most


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
            paths=[path.name for path in (*expected.folders(inventory), *expected.files())]
            + [expected.log_file(inventory)],
            texts=expected.MANAGED,
            aged=[expected.HOUR_CHECK],
            contents=[expected.HOUR_CHECK, *expected.AUTHORITY_FILES],
            log=inventory.cluster.name,
            trusted=expected.tls_root(inventory),
            units=[*expected.RUNNING, *expected.NEVER, *expected.MORE_UNITS],
            commands=expected.COMMANDS,
            names=[inventory.fqdn(name) for name in names],
            short_names=names,
        )
        try:
            return parse(node.run(text, sudo=True, deadline=FACTS_S).text)
        except ValueError as error:
            raise ProbeFailed(f"{node.name}: its facts are incomplete: {error}", reason="incomplete") from error

    return place.fleet.each(ask, inventory.debian)


@dataclass(frozen=True)
class Doors:
    """What somebody with other credentials than ours meets at one node's sshd."""

    login: Door
    more: Door  # the same user, with what one connection has no tries for
    root: Door | None  # None: not tried, because the server would hold it against our address
    banners: dict[int, bytes | ClusterError]
    tried: frozenset[str]  # which of `strangers.REFUSED`

    @property
    def accepted(self) -> frozenset[str]:
        """All that let the login user in."""
        return self.login.accepted | self.more.accepted


def all_doors(place: Place) -> dict[str, Doors | ClusterError]:
    """Try each node's SSH as the login user and as root with what must be refused, and every port it listens on."""
    from cluster import ssh

    users, groups, nodes = place.inventory.users, place.inventory.groups, place.inventory.nodes
    found = credentials.certificate(place.inventory)
    key = ssh.load_key(str(place.inventory.state / "secrets" / "ssh_key"), found[0] if found else None)
    others, roots = strangers.strangers(place.inventory), strangers.roots(place.inventory)
    names = sorted(others)
    first, rest = ({name: others[name] for name in half} for half in (names[:TRIES], names[TRIES:]))

    def look(node: Node) -> Doors:
        banners: dict[int, bytes | ClusterError] = {}
        for port in groups[nodes[node.name].group].ssh_ports:
            try:
                banners[port] = tcp.banner(node.address, port, KNOCK_S)
            except ProbeFailed as error:
                banners[port] = error
        # The key that ends the login user's attempts with a success; see the probe.
        passwords = [users.first_password]
        login = door.knock(node.address, users.login, passwords=passwords, others=first, key=key, deadline=KNOCK_S)
        more = door.knock(node.address, users.login, others=rest, key=key, deadline=KNOCK_S)
        root = None
        if not login.penalised:
            root = door.knock(node.address, "root", passwords=passwords, others=roots, key=key, deadline=KNOCK_S)
        return Doors(login, more, root, banners, frozenset(names))

    return place.fleet.each(look, place.inventory.debian)


@pytest.fixture(scope="module")
def facts(node: Node, all_facts: dict[str, Facts | ClusterError]) -> Facts:
    """What the node says about itself."""
    return must(all_facts[node.name])


@pytest.fixture(scope="module")
def doors(node: Node, all_doors: dict[str, Doors | ClusterError]) -> Doors:
    """What a stranger meets at the node's sshd."""
    return must(all_doors[node.name])
