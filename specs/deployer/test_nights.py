"""The deployer's nights: begun by their timer, written down, and told on both nodes that serve their pages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes.http import Page
from specs.deployer.looks import GROUP
from specs.deployer.nights import INDEX, NOW, Harness
from specs.lanservices.booting import addresses_of
from specs.lanservices.looks import must

OLDEST_S = 26 * 3600.0  # a day, an hour for a night that takes long, and one for clocks that are set
STATES = ("fine", "overdue", "nothing")

at_each_address = pytest.mark.each("door", lambda inventory: list(addresses_of(inventory)))
on_the_deployer = pytest.mark.group(GROUP)
Pages = Mapping[tuple[str, str], Page | ClusterError]
Harnesses = Mapping[str, Harness | ClusterError]


@pytest.fixture(scope="module")
def harness(node: Node, harnesses: Harnesses) -> Harness:
    """What the deployer says of its nights."""
    return must(harnesses[node.name])


def missed(harness: Harness) -> str:
    """Why the last night is too long ago; empty where it is not."""
    last = harness.last
    if last is not None:
        age = harness.now - last["began"]
        return f"the last night began {age / 3600:.0f} hours ago" if age > OLDEST_S else ""
    waited = harness.now - harness.counting_since
    return f"no night in {waited / 3600:.0f} hours" if waited > OLDEST_S else ""


@on_the_deployer
def test_the_next_night_is_due(node: Node, harness: Harness, inventory: Inventory) -> None:
    states, calendar = harness.timer[:2], " ".join(harness.timer[2:])
    assert states == ["active", "enabled"], f"{node.name}: rpi-nightly.timer is {' and '.join(states)}"
    wanted = f"OnCalendar=*-*-* {inventory.nightly.at}:00 "
    assert wanted in calendar, (
        f"{node.name}: nights are to begin at {inventory.nightly.at}, and the timer says {calendar}"
    )


@on_the_deployer
def test_last_night_was_written_down(
    node: Node, harness: Harness, record_property: Callable[[str, object], None]
) -> None:
    why = missed(harness)
    assert not why, f"{node.name}: {why}"
    if harness.last is None:
        pytest.skip("no night was due yet: it is counted from when the timer was started")
    record_property("hours since the last night began", round((harness.now - harness.last["began"]) / 3600, 1))


@on_the_deployer
def test_last_night_came_to_its_end(node: Node, harness: Harness) -> None:
    """Whatever its verdict: a red night is told by its page, and does not make the next one red."""
    last = harness.last
    if last is None:
        pytest.skip("there was no night yet")
    assert last["ended"], f"{node.name}: the last night was cut off"
    assert last["run"], f"{node.name}: the last night recorded no run: {last['text']}"


@at_each_address
def test_the_index_is_the_deployers(door: str, night_pages: Pages, harnesses: Harnesses) -> None:
    """So both serve the same, and the floating address one of them."""
    response = must(night_pages[door, INDEX]).response
    assert response.status == 200, f"{door}: {INDEX}: {response.status} {response.reason}"
    found = hashlib.sha256(response.body).hexdigest()
    for name, harness in harnesses.items():
        assert found == must(harness).index, f"{door}: {INDEX} is not what {name} tells of its nights"


@at_each_address
def test_it_says_whether_a_night_is_overdue(door: str, night_pages: Pages, harnesses: Harnesses) -> None:
    response = must(night_pages[door, NOW]).response
    assert response.status == 200, f"{door}: {NOW}: {response.status} {response.reason}"
    found = re.search(r"<title>(\w+)</title>", response.text)
    said = found[1] if found else "nothing that can be read"
    for harness in map(must, harnesses.values()):
        wanted = "overdue" if harness.now > harness.due["due"] + harness.due["late"] else "fine"
        assert said == wanted, f"{door}: {NOW} says {said}, and the next night is {wanted}"
