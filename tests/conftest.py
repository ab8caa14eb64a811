"""How the project's own tests run; fixtures stay with the tests that use them."""

from __future__ import annotations

import pytest
from hypothesis import settings

MEASURING = ("test_chaos.py", "test_faults.py")
"""Tests of the lab that measure outages: they come last, when the unit tests beside them are done."""


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For runs with several processes (pytest-xdist): a file stays together, and the lab, of which there is one."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("lab" if item.path.parent.name == "lab" else item.path.name))
    items.sort(key=lambda item: item.path.parent.name == "lab" and item.path.name in MEASURING)


# How long one example takes says more of the machine's load than of our code.
settings.register_profile("rpicluster", deadline=None)
settings.load_profile("rpicluster")
