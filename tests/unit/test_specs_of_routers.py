"""Specs of routers that the lab cannot make red: its router is a stand-in, and says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.errors import ProbeFailed
from cluster.hostkeys import HostKeys
from cluster.inventory import load
from cluster.node import Node
from specs.openwrt.looks import parse
from specs.openwrt.test_configuration import test_it_is_openwrt as it_is_openwrt
from specs.openwrt.test_quiet import test_it_answers_no_names as it_answers_no_names
from specs.openwrt.test_quiet import test_it_gave_addresses_to_the_static_nodes_only as it_gave_addresses

INVENTORY = load()
SAID = """@release
DISTRIB_ID='OpenWrt'
@uci
package system
config system 'system'
	option hostname 'omega'
@listeners
Proto Recv-Q Send-Q Local Address           Foreign Address         State
tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN
tcp        0      0 :::22                   :::*                    LISTEN
udp        0      0 127.0.0.1:53            0.0.0.0:*
@leases
@enabled
@backup
config-first.tar.gz
@end
"""


def test_what_a_router_says() -> None:
    found = parse(SAID)
    assert found.listeners == {("tcp", 22)} and not found.enabled and found.backups == ("config-first.tar.gz",)
    with pytest.raises(ProbeFailed, match="incomplete: only release, uci"):
        parse(SAID[: SAID.index("@listeners")])


@pytest.fixture
def router_node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A router that nobody asks."""
    return Node("omega", "192.0.2.1", login=lambda: pytest.fail("asked"), keys=HostKeys(tmp_path_factory.mktemp("k")))


def test_another_system_is_no_openwrt(router_node: Node) -> None:
    node = router_node
    it_is_openwrt(node, parse(SAID), INVENTORY)
    with pytest.raises(AssertionError, match="omega is no OpenWrt: DISTRIB_ID='Debian'"):
        it_is_openwrt(node, replace(parse(SAID), release="DISTRIB_ID='Debian'"), INVENTORY)
    with pytest.raises(
        pytest.skip.Exception,
        match="omega is a stand-in, OpenWrt itself is not verified",
    ):
        it_is_openwrt(node, replace(parse(SAID), release="DISTRIB_ID='rpicluster-stand-in'"), INVENTORY)


@pytest.mark.parametrize(
    "said", ["NOERROR 192.168.10.2", "! malformed", "! truncated", "! permission", "! unreachable"]
)
def test_silence_is_no_answer_at_all_and_nothing_that_kept_us_from_hearing_one(router_node: Node, said: str) -> None:
    it_answers_no_names(router_node, "udp", {("omega", "udp"): "! timeout"})
    with pytest.raises(AssertionError, match="omega still answers DNS over udp: "):
        it_answers_no_names(router_node, "udp", {("omega", "udp"): said})


def test_a_router_without_memory_proves_nothing(router_node: Node) -> None:
    with pytest.raises(pytest.skip.Exception, match="remembers no lease"):
        it_gave_addresses(router_node, replace(parse(SAID), leases={}), INVENTORY)
