"""What the node's own monitoring plugins say: processes, users, disks, updates, and whether the journal verifies."""

from __future__ import annotations

import pytest

from cluster.errors import ClusterError
from cluster.node import Node
from specs.base import checks
from specs.lanservices.looks import must

STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")  # Monitoring Plugins Development Guidelines, exit codes


@pytest.mark.parametrize("check", checks.CHECKS)
def test_the_check_is_not_critical(
    node: Node, check: str, all_checks: dict[str, dict[str, checks.Said] | ClusterError]
) -> None:
    """A warning is for the one who reads the log: rpi-check writes it there."""
    said = must(all_checks[node.name]).get(check)
    assert said is not None, f"{node.name}: the check of {check} said nothing"
    state = STATES[said.code] if said.code < len(STATES) else f"exit code {said.code}"
    assert said.code in (0, 1), f"{node.name}: {check}: {state}: {said.text or 'it said nothing'}"
