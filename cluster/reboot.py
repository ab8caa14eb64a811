"""Rebooting a node in order, and waiting for its end: over SSH, with a driver's help where a node only ends."""

from __future__ import annotations

from contextlib import suppress

from cluster.errors import ClusterError, InputError, NodeError
from cluster.node import Node
from cluster.power import PowerDriver
from cluster.wait import until

DOWN_S = 60.0
"""How long a shutdown in order may take: systemd gives each unit 90 s, ours end within a few."""


def answers(node: Node) -> bool:
    """Whether a node runs a command, by a connection of its own."""
    node.close()
    try:
        node.run(["true"], deadline=1.0, check=True)
    except ClusterError:
        return False
    return True


def give_power(driver: PowerDriver, node: Node) -> None:
    """Give a node power where it has none and the driver can tell: a node of the lab ends where a computer boots."""
    with suppress(InputError):
        if not driver.is_on(node.name):
            driver.on(node.name)


def reboot(driver: PowerDriver, node: Node) -> None:
    """Ask a node to reboot; on return it is down, or on its way up again.  Raises NodeError and WaitTimeout."""
    before = _booted(node)
    node.run(["systemctl", "--no-block", "reboot"], sudo=True, deadline=10.0, check=True)
    until(
        lambda: not answers(node) or _booted(node) != before, deadline=DOWN_S, every=0.1, what=f"{node.name}: its end"
    )

    def ended() -> bool:
        try:
            return not driver.is_on(node.name) or answers(node)
        except (InputError, NodeError):
            return True  # nobody can tell, so it is only waited for

    until(ended, deadline=DOWN_S, every=0.2, what=f"{node.name}: its shutdown")
    give_power(driver, node)


def _booted(node: Node) -> str:
    """When a node's first process began: another moment after each boot; raises NodeError."""
    return node.run(["stat", "-c", "%Y", "/proc/1"], deadline=5.0, check=True).text.strip()
