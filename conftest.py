"""Wires the inventory to what specs can ask for (specs/plugin.py), and a finished run to its report."""

from __future__ import annotations

pytest_plugins = ["specs.plugin"]
