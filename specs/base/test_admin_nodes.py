"""The nodes that the others depend on: they know each other's hardware addresses for good, and are looked after."""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from specs.base import expected

pytestmark = pytest.mark.group("deployer", "lanservices")


def known(inventory: Inventory, node: Plan) -> list[str]:
    """The neighbours that nobody else may answer for."""
    return ["gateway", *(other.name for other in inventory.admin_nodes if other.name != node.name)]


@pytest.mark.each("other", known)
def test_it_knows_its_neighbour_for_good(node: Node, other: str, facts: Facts, inventory: Inventory) -> None:
    """Else whoever answers ARP faster is believed, and gets what is said between the admin nodes."""
    lan = inventory.network
    if other == "gateway":
        address, mac = lan.gateway, lan.gateway_mac
    else:
        address, mac = inventory.node(other).address, inventory.node(other).mac
    found = facts.neighbours.get(str(address))
    assert found == mac, f"{node.name}: {other} ({address}) is known for good as {found or 'nobody'}, not {mac}"


def test_the_floating_address_is_not_known_for_good(node: Node, facts: Facts, inventory: Inventory) -> None:
    """It moves; a neighbour that does not learn where is cut off from it."""
    found = facts.neighbours.get(str(inventory.network.floating))
    assert found is None, f"{node.name} takes the floating address to be at {found} for good"


def test_its_uptime_is_recorded(node: Node, facts: Facts) -> None:
    _, active, state = facts.units.get("uptimed.service", ("", "unknown", "unknown"))
    assert (active, state) == ("active", "enabled"), f"{node.name}: uptimed is {active} and {state}"


@pytest.mark.group("deployer", "compute")
def test_its_load_is_recorded(node: Node, facts: Facts) -> None:
    _, active, state = facts.units.get("sysstat-collect.timer", ("", "unknown", "unknown"))
    assert (active, state) == ("active", "enabled"), f"{node.name}: sysstat-collect.timer is {active} and {state}"


@pytest.mark.group("lanservices")
def test_its_folder_in_memory(node: Node, facts: Facts) -> None:
    kind, options = facts.mounts.get(expected.RAMSTORE, ("nothing", frozenset()))
    assert kind == "tmpfs", f"{node.name}: {expected.RAMSTORE} is {kind}, not a tmpfs"
    lacking = {"nosuid", "nodev", "noexec"} - options
    assert not lacking, f"{node.name}: {expected.RAMSTORE} is mounted without {', '.join(sorted(lacking))}"


@pytest.mark.group("lanservices")
def test_it_was_looked_at_within_the_hour(node: Node, facts: Facts) -> None:
    age = facts.ages.get(expected.HOUR_CHECK)
    assert age is not None, f"{node.name}: {expected.HOUR_CHECK} is not there: does cron run?"
    assert age <= expected.HOUR_CHECK_S, f"{node.name}: the hourly check was last done {age // 60} minutes ago"


@pytest.mark.group("lanservices")
def test_the_hourly_check_found_it_well(node: Node, facts: Facts) -> None:
    when, *said = facts.contents.get(expected.HOUR_CHECK, ("never",))
    assert said, f"{node.name}: {expected.HOUR_CHECK} is not there, or says nothing"
    bad = [line for line in said if not line.startswith(("OK ", "WARNING "))]
    assert not bad, f"{node.name}: the hourly check of {when}: {'; '.join(bad)}"


@pytest.mark.group("lanservices")
def test_a_login_cannot_run_wild(node: Node, facts: Facts) -> None:
    found = facts.most_processes
    assert found == expected.MOST_PROCESSES, (
        f"{node.name}: a login may have {' to '.join(found)} processes, not 500 to 1000"
    )
