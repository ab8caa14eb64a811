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


def test_another_system_is_no_openwrt(tmp_path_factory: pytest.TempPathFactory) -> None:
    node = Node("omega", "192.0.2.1", login=lambda: pytest.fail("asked"), keys=HostKeys(tmp_path_factory.mktemp("k")))
    it_is_openwrt(node, parse(SAID), INVENTORY)
    with pytest.raises(AssertionError, match="omega is no OpenWrt: DISTRIB_ID='Debian'"):
        it_is_openwrt(node, replace(parse(SAID), release="DISTRIB_ID='Debian'"), INVENTORY)
    with pytest.raises(
        pytest.skip.Exception,
        match="omega is a stand-in, OpenWrt itself is not verified",
    ):
        it_is_openwrt(node, replace(parse(SAID), release="DISTRIB_ID='rpicluster-stand-in'"), INVENTORY)
