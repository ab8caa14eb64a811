"""A node without power costs one failure with its reason, and its return turns everything green again."""

from __future__ import annotations

from collections.abc import Callable

from cluster import power
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.wait import until
from tests.outcomes import Result

GONE = "delta"
"""A compute node: nobody else's service depends on it."""


def test_a_node_without_power_is_one_failure(inventory: Inventory, fleet: Fleet, specs: Callable[..., Result]) -> None:
    driver = power.driver(inventory)
    driver.off(GONE)
    try:
        seen = specs("specs/base", "specs/cluster")
    finally:
        driver.on(GONE)
        fleet[GONE].close()
        until(lambda: fleet[GONE].run(["true"], deadline=2).code == 0, deadline=60, what=f"{GONE} back")
    assert seen.code == 1
    (message,) = seen.red.values()
    assert f"{GONE} is unreachable" in message
    skipped = {name: why for name, why in seen.of("skipped").items() if f"[{GONE}" in name}
    assert skipped and all(f"{GONE} is unreachable" in why for why in skipped.values())
    assert not any(f"[{GONE}" in name for name in seen.of("passed"))
    until(lambda: specs("specs/base", "specs/cluster", k=GONE).green, deadline=60, what="all green again")
