"""How the project's own tests run; fixtures stay with the tests that use them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

MEASURING = ("test_chaos.py", "test_faults.py")
"""Tests of the lab that measure outages: they come last, when the unit tests beside them are done."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """For runs with several processes: a file stays together, and so does the lab, of which there is one."""
    from xdist.scheduler import LoadScopeScheduling

    class Places(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/lab" if nodeid.startswith("tests/lab/") else nodeid.partition("::")[0]

    return Places(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also the tests that wait for minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: waits for minutes; needs --long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What measures comes last; what takes long only on demand."""
    if not config.getoption("long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long: ./run tests --long"))
    items.sort(key=lambda item: item.path.parent.name == "lab" and item.path.name in MEASURING)


# How long one example takes says more of the machine's load than of our code.
settings.register_profile("rpicluster", deadline=None)
settings.load_profile("rpicluster")
