"""Tests that use the lab run as root; called by an ordinary user, pytest starts itself again under sudo."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TELLS_ONLY = ("help", "version", "markers", "showfixtures", "collectonly")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Before anything else; pytest's capture lets go of the standard streams first."""
    if any(config.getoption(name, None) for name in TELLS_ONLY):
        return
    from lab.privilege import elevate

    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    elevate(ROOT, "to try things on the lab")
