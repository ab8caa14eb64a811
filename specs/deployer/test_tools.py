"""The deployer's tools, each proven by use: Redis, ARA, the password store; with --slow Ansible and Serverspec.

A play over all nodes takes seconds on a LAN of small computers, and Serverspec more: they wait for --slow.
"""

from __future__ import annotations

from typing import Any

import pytest

from cluster import secrets
from cluster.errors import ClusterError
from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from specs.deployer.tools import Play, Tools, hashed
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("deployer")

REDIS, FACTS_S = 6379, 86400


def each_node(inventory: Inventory, _: Plan) -> list[str]:
    """Every node of the inventory, and the deployer itself."""
    return list(inventory.nodes)


@pytest.fixture(scope="module")
def tools(node: Node, all_tools: dict[str, Tools | ClusterError]) -> Tools:
    """What the tools say of themselves."""
    return must(all_tools[node.name])


@pytest.fixture(scope="module")
def play(node: Node, ansible_play: dict[str, Play | ClusterError]) -> Play:
    """What came of a play over all nodes."""
    return must(ansible_play[node.name])


def test_redis_is_for_the_node_alone(node: Node, tools: Tools, facts: Facts) -> None:
    found = [one for one in facts.listeners if one.port == REDIS]
    assert found and all(one.local for one in found), f"{node.name}: Redis listens on {found or 'nothing'}"
    assert tools.redis.get("bind") == "127.0.0.1", f"{node.name}: Redis is told to listen on {tools.redis.get('bind')}"


def test_redis_has_its_limit(node: Node, tools: Tools) -> None:
    found = tools.redis.get("maxclients")
    assert found == "500", f"{node.name}: Redis takes {found} clients, not 500"


def test_ara_is_served_by_tls(node: Node, tools: Tools) -> None:
    """By a certificate that the node's own store holds for good."""
    assert tools.ara == "200", f"{node.name}: ARA's page: {tools.ara or 'nothing'}"


def test_ara_is_for_the_node_alone(node: Node, facts: Facts, inventory: Inventory) -> None:
    found = [one for one in facts.listeners if one.port == inventory.tools.ara_port]
    assert found and all(one.local for one in found), f"{node.name}: ARA listens on {found or 'nothing'}"


def test_the_password_store_holds_the_clusters_secrets(node: Node, tools: Tools, inventory: Inventory) -> None:
    """The same as here, where they can be read here; told by hashes."""
    folder = secrets.ensure(inventory).folder
    wanted = {
        p.name: hashed(p.read_bytes())
        for p in folder.iterdir()
        if p.is_file() and not p.name.startswith(("ssh_key", "."))
    }
    differ = sorted(name for name, value in wanted.items() if tools.store.get(f"cluster/{name}") != value)
    assert not differ, f"{node.name}: the password store has not, or other than we have: {', '.join(differ)}"


def test_the_password_store_can_be_read(node: Node, tools: Tools) -> None:
    found = tools.store.get("test/test")
    assert found == hashed(b"test\n"), f"{node.name}: the entry test/test is not what was put there"
    assert "ansible/vault/current" in tools.store, f"{node.name}: the store has no password for Ansible's vault"


@pytest.mark.slow
@pytest.mark.each("target", each_node)
def test_ansible_reaches(node: Node, target: str, play: Play) -> None:
    found = play.stats.get(target, {})
    good = found.get("ok", 0) and not found.get("failed", 0) and not found.get("unreachable", 0)
    assert good, f"{node.name}: Ansible's play over {target}: {dict(found) or 'it was not there'}"


@pytest.mark.slow
@pytest.mark.each("target", each_node)
def test_redis_keeps_the_facts_of(node: Node, target: str, play: Play) -> None:
    seconds, name = play.facts.get(target, (0, ""))
    assert name == target, f"{node.name}: Redis knows {target} as {name or 'nobody'}"
    assert FACTS_S - 600 < seconds <= FACTS_S, f"{node.name}: the facts of {target} are kept for {seconds} s more"


@pytest.mark.slow
def test_ara_has_the_play(node: Node, play: Play, inventory: Inventory) -> None:
    record = play.record
    assert record.get("path") == "/etc/ansible/nodes.yaml", f"{node.name}: ARA's last play is {record.get('path')}"
    assert record.get("status") == "completed", f"{node.name}: ARA has the play as {record.get('status')}"
    hosts = record.get("items", {}).get("hosts")
    assert hosts == len(inventory.nodes), f"{node.name}: ARA has a play over {hosts} nodes"
    assert play.shown, f"{node.name}: ARA's page does not show the play"


@pytest.mark.slow
def test_ansibles_vault_opens_with_the_password_of_the_store(node: Node, play: Play) -> None:
    assert play.vault == "probe", f"{node.name}: Ansible's vault gives back {play.vault or 'nothing'}"


@pytest.mark.slow
@pytest.mark.each("target", each_node)
def test_serverspec_is_green_on(
    node: Node, target: str, serverspecs: dict[str, dict[str, dict[str, Any]] | ClusterError]
) -> None:
    found = must(serverspecs[node.name])[target]
    wrong = [example["full_description"] for example in found["examples"] if example["status"] != "passed"]
    errors = found["summary"].get("errors_outside_of_examples_count", 0)
    assert found["examples"] and not errors, f"{target}: Serverspec ran nothing: {found['summary_line']}"
    assert not wrong, f"{target}: Serverspec says {found['summary_line']}: {'; '.join(wrong)}"
