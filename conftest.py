"""Wires the inventory to what specs can ask for (specs/plugin.py), and a finished run to its report."""

from __future__ import annotations

from pathlib import Path

pytest_plugins = ["specs.plugin"]


def pytest_specs_report(folder: Path) -> Path:
    from reports.render import render

    return render(folder)
