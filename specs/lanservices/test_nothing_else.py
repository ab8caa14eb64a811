"""What must not be on the LAN nodes: other roles' users, and servers that nobody asked for."""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.node import Node

pytestmark = pytest.mark.group("lanservices")


@pytest.mark.each("user", lambda inventory, node: [inventory.mpi.user, "redis", "computeadm", "puppet"])
def test_no_user_of_another_role(node: Node, user: str, facts: Facts) -> None:
    assert user not in facts.users, f"{node.name} has the user {user}, which belongs to another role"


@pytest.mark.semantics("http-no-other")
@pytest.mark.each("port", lambda inventory, node: sorted({80, 443, 5353} - {inventory.http.port}))
def test_nothing_listens_on(node: Node, port: int, facts: Facts) -> None:
    found = [one for one in facts.listeners if one.port == port and not one.local]
    who = ", ".join(f"{one.process or 'the kernel'} ({one.protocol})" for one in found)
    assert not found, f"{node.name}: {who} listens on port {port}"


def test_no_docker(node: Node, facts: Facts) -> None:
    signs = [name for name in ("docker",) if name in facts.groups]
    signs += [link for link in facts.links if link.startswith("docker")]
    assert not signs, f"{node.name} has docker: {', '.join(signs)}"
