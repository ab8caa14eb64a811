"""Rules of a firewall: what they let in, decided by reading them, and by the kernel's own list of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import inventory as inventories
from cluster import secrets
from cluster.probes import nft
from provision import render
from specs.base import expected
from tests.netns import needs_root

ROOT = Path(__file__).resolve().parents[2]


def table(*rules: list[dict[str, Any]], policy: str = "drop", **more: Any) -> str:
    """What nft would tell of a table with one chain."""
    chain = {"family": "inet", "table": "t", "name": "input", "type": "filter", "hook": "input", "prio": 0}
    items: list[dict[str, Any]] = [{"metainfo": {}}, {"table": {"name": "t"}}, {"chain": {**chain, "policy": policy}}]
    items += [{"chain": {"name": name, "table": "t"}} for name in more.get("chains", ())]
    items += [{"set": {"name": name, "elem": values}} for name, values in more.get("sets", {}).items()]
    items += [{"rule": {"chain": "input", "expr": rule}} for rule in rules]
    items += [{"rule": {"chain": name, "expr": rule}} for name, rule in more.get("inner", ())]
    return json.dumps({"nftables": items})


def match(left: str, right: Any, op: str = "==") -> dict[str, Any]:
    kind, key = left.split(".")
    about = {kind: {"key": key}} if kind in ("meta", "ct") else {"payload": {"protocol": kind, "field": key}}
    return {"match": {"op": op, "left": about, "right": right}}


def ask(text: str, protocol: str = "tcp", source: str = "192.168.10.77") -> str:
    """The TCP ports that a stranger may reach."""
    found = nft.parse(text)
    assert found is not None
    return nft.shown(found.ports(nft.packet(protocol, source, interface="eth0")))


ACCEPT, DROP = {"accept": None}, {"drop": None}
LAN = {"prefix": {"addr": "192.168.10.0", "len": 24}}


@pytest.mark.parametrize(
    ("text", "open_to_a_stranger"),
    [
        (table([ACCEPT]), "0-65535"),
        (table([DROP], policy="accept"), "nothing"),
        (table(policy="accept"), "0-65535"),
        (table([match("tcp.dport", 22), ACCEPT]), "22"),
        (table([match("udp.dport", 22), ACCEPT]), "nothing"),
        (table([match("tcp.dport", {"set": [22, {"range": [6000, 6063]}, 65535]}), ACCEPT]), "22, 6000-6063, 65535"),
        (table([match("tcp.dport", {"set": [{"elem": {"val": 22, "comment": "x"}}]}), ACCEPT]), "22"),
        (table([match("tcp.dport", 22, "!="), ACCEPT]), "0-21, 23-65535"),
        (table([match("tcp.dport", 22), DROP], [ACCEPT]), "0-21, 23-65535"),
        (table([match("ip.saddr", LAN), match("tcp.dport", "@ports"), ACCEPT], sets={"ports": [22, 53]}), "22, 53"),
        (table([match("ip.saddr", LAN, "!="), ACCEPT]), "nothing"),
        (table([match("ip.saddr", {"range": ["192.168.10.9", "192.168.10.100"]}), ACCEPT]), "0-65535"),
        (table([match("ct.state", ["established", "related"], "in"), ACCEPT]), "nothing"),
        (table([match("meta.iifname", "eth*"), match("tcp.dport", 80), {"counter": {}}, ACCEPT]), "80"),
        (table([match("meta.iif", "lo"), ACCEPT]), "nothing"),
        (table([{"jump": {"target": "c"}}], chains=["c"], inner=[("c", [match("tcp.dport", 1), ACCEPT])]), "1"),
        (table([{"goto": {"target": "c"}}], [ACCEPT], chains=["c"], inner=[("c", [match("tcp.dport", 1), DROP])]),
         "nothing"),
        (table([match("tcp.dport", 1), {"return": None}], [ACCEPT]), "0, 2-65535"),
        (table([{"limit": {"rate": 1}}, {"log": {}}], [{"reject": {"type": "tcp reset"}}], policy="accept"), "nothing"),
        (json.dumps({"nftables": []}), "0-65535"),
    ],
)  # fmt: skip
def test_what_rules_let_in(text: str, open_to_a_stranger: str) -> None:
    assert ask(text) == open_to_a_stranger


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (table([{"queue": {}}]), "unknown statement: queue"),
        (table([match("meta.length", 9), ACCEPT]), "unknown field: meta.length"),
        (table([match("tcp.dport", 22, "<"), ACCEPT]), "unknown comparison: tcp.dport <"),
        (table([match("tcp.dport", {"&": [1, 2]}), ACCEPT]), "unknown value"),
        (table([{"match": {"op": "==", "left": {"fib": {}}, "right": 1}}]), "unknown field"),
        (json.dumps({"nftables": [{"map": {"name": "m"}}]}), "unknown part: map"),
        ("{", "Expecting property name"),
    ],
)
def test_rules_that_are_not_understood_are_not_taken_for_closed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        nft.parse(text)


def test_no_table_is_none() -> None:
    assert nft.parse("\n") is None


@given(st.sets(st.integers(0, 65535), max_size=50))
def test_ranges_hold_exactly_the_ports(ports: set[int]) -> None:
    found = nft.ranges(ports)
    assert {port for low, high in found for port in range(low, high + 1)} == ports
    assert all(after[0] > before[1] + 1 for before, after in pairwise(found))


@needs_root
@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
@pytest.mark.parametrize("name", ["psi", "alpha", "gamma"])
def test_the_kernel_holds_what_the_template_says(name: str, tmp_path: Path) -> None:
    """Twice, as a reload does it: the second time replaces the first."""
    shutil.copy(ROOT / "inventory.yaml", tmp_path)
    inventory = inventories.load(tmp_path / "inventory.yaml")
    node = inventory.node(name)
    rules = render.bundle(inventory, node, secrets.ensure(inventory))["base/firewall.nft"]
    (tmp_path / "rules").write_bytes(rules)
    script = f"ip link add eth0 type dummy; nft -f {tmp_path}/rules && nft -f {tmp_path}/rules && {nft.COMMAND}"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    found = nft.parse(done.stdout)
    assert found is not None
    for source in ("192.168.10.77", "198.51.100.1", "10.1.2.3", "192.168.10.5", "192.168.10.8"):
        for protocol in ("tcp", "udp"):
            wanted = expected.reachable_ports(inventory, node, source, protocol)
            if source != str(node.address):
                assert found.ports(nft.packet(protocol, source, interface="eth0")) == wanted, (source, protocol)
