"""The bootstrap router: once the pair serves, it serves nothing itself.

That no DHCP offer of it is seen on the wire is judged with the pair's own (specs/lanservices).
"""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.node import Node

pytestmark = pytest.mark.group("openwrt")


@pytest.mark.semantics("dhcp-bootstrap-silent")
@pytest.mark.parametrize(
    ("protocol", "port", "service"),
    [("udp", 67, "DHCP"), ("udp", 53, "DNS"), ("tcp", 53, "DNS"), ("udp", 69, "TFTP")],
    ids=["dhcp", "dns-udp", "dns-tcp", "tftp"],
)
def test_it_no_longer_serves(node: Node, protocol: str, port: int, service: str, facts: Facts) -> None:
    found = [
        one.process or "the kernel"
        for one in facts.listeners
        if (one.protocol, one.port) == (protocol, port) and not one.local
    ]
    assert not found, f"{node.name} still serves {service}: {', '.join(found)} on {protocol} port {port}"


def test_it_does_not_depend_on_the_pair_for_its_address(node: Node, facts: Facts) -> None:
    assert facts.lease is None, f"{node.name} has its address by DHCP from {facts.lease and facts.lease.server}"
