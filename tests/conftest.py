"""How the project's own tests run; fixtures stay with the tests that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.places import place, turn


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """For runs with several processes: what is in one place stays together, in the order of their turns."""
    from xdist.scheduler import LoadScopeScheduling

    class Places(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return place(Path(nodeid.partition("::")[0]))

    config.option.loadscopereorder = False
    return Places(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also the tests that wait for minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: waits for minutes; needs --long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What waits for minutes only on demand; all in the order of their turns."""
    if not config.getoption("long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long: ./run tests --long"))

    items.sort(key=lambda item: turn(item.path))


# How long one example takes says more of the machine's load than of our code.
settings.register_profile("rpicluster", deadline=None)
settings.load_profile("rpicluster")
