"""The deployer's backup: made last night, read back tonight, and of the authority that nodes believe."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster import authority
from cluster.errors import ClusterError
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from specs.deployer.looks import Deployer
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("deployer")

OLDEST_S = 2 * 86400  # a night was missed


@pytest.fixture(scope="module")
def deployer(node: Node, deployers: dict[str, Deployer | ClusterError]) -> Deployer:
    """What the deployer says."""
    return must(deployers[node.name])


def test_the_last_good_one_is_not_old(
    node: Node, deployer: Deployer, record_property: Callable[[str, object], None]
) -> None:
    made = deployer.pairs("last").get("made", "")
    assert made.isdigit(), f"{node.name} has no good backup: {deployer.lines('last')}"
    age = int(deployer.lines("now")[0]) - int(made)
    record_property("age in hours", round(age / 3600, 1))
    assert age < OLDEST_S, f"{node.name}: the last good backup is {age / 3600:.0f} hours old"


def test_it_is_as_it_was_written(node: Node, deployer: Deployer) -> None:
    wanted, found = deployer.pairs("last").get("sha256"), deployer.lines("sum")
    assert found == [wanted], f"{node.name}: {deployer.pairs('last').get('file')} is not what was written: {found}"


@pytest.mark.parametrize(
    "part", ["my-ssh-ca/ssh_ca", "my-tls-ca/tls_ca", "root/rpicluster/secrets/", "opt/cluster/backup/"]
)
def test_our_passphrase_opens_it_and_it_holds(node: Node, part: str, deployer: Deployer) -> None:
    listed = deployer.lines("listed")
    assert any(part in line for line in listed), f"{node.name}: the backup holds no {part}: {'; '.join(listed)[:120]}"


def test_its_authority_is_the_one_that_nodes_believe(node: Node, deployer: Deployer, inventory: Inventory) -> None:
    found = deployer.pairs("last").get("authority")
    ours = [authority.fingerprint(one) for one in HostKeys(inventory.state / "known_hosts").authorities()]
    assert [found] == ours, (
        f"{node.name}: the backup is of authority {found}, nodes believe {', '.join(ours) or 'none'}"
    )


def test_the_next_one_is_due(node: Node, deployer: Deployer) -> None:
    found = deployer.lines("timer")
    assert found == ["active", "enabled"], f"{node.name}: rpi-backup.timer is {' and '.join(found)}"


def others(inventory: Inventory, node: Plan) -> list[Plan]:
    """Every other node that has information files."""
    return [one for one in inventory.debian.values() if one.name != node.name]


@pytest.mark.each("other", others)
def test_it_has_a_copy_of_what_the_node_says_of_itself(
    node: Node, other: Plan, deployer: Deployer, inventory: Inventory
) -> None:
    wanted = f"{other.name}/opt/cluster/data/info_host.txt:node: {inventory.fqdn(other.name)}"
    assert wanted in deployer.lines("copies"), f"{node.name} has no copy of {other.name}'s information file"
