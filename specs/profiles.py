"""Specs that wait for a timer: only where it is short enough, which --profile decides."""

from __future__ import annotations

import pytest

from cluster.inventory import Inventory

MOST_S = 60.0
"""How long one spec may wait for a timer of the inventory."""


def affordable(inventory: Inventory, seconds: float, what: str) -> None:
    """Skip where `what` takes so many seconds under the run's profile that nobody would wait for it."""
    if seconds > MOST_S:
        pytest.skip(f"needs --profile short: {what} takes {seconds:g} s under {inventory.profile}")
