"""Switching nodes off and on, whatever does it: drivers are found by import string.

A driver is a module with `Driver(inventory)`, whose verbs are `off`, `on` and `is_on`.  It may have a verb `reset`,
`off_for` (off, and on again by the switch's own timer), `reflash` (give a node a blank system), and
`cannot_switch_on`, a clause that says why what is off stays off.  Besides
them it may offer `enter(inventory)` (become a host on the cluster's LAN) and a method `provisioned()` (told after a
whole provisioning succeeded); both are the lab's, a real cluster needs neither.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Protocol, cast

from cluster import here
from cluster.errors import ClusterError, InputError, Refused
from cluster.inventory import Inventory

RESET_S = 30.0
"""After how long a switch with a timer gives power by itself, where it is to be off for a moment only."""


class PowerDriver(Protocol):
    """What a power driver can do; every verb returns when it is done and raises ClusterError when it is not."""

    def off(self, node: str) -> None:
        """Take the power away; on return the node is gone from the wire."""

    def on(self, node: str) -> None:
        """Give power; does not wait for services."""

    def is_on(self, node: str) -> bool:
        """Whether the node has power now."""


def demand_on(driver: PowerDriver, node: str) -> None:
    """Raise Refused for a driver that says that it cannot give a node power again (its `cannot_switch_on`)."""
    if why := getattr(driver, "cannot_switch_on", None):
        raise Refused(f"{node} is not switched off: {why}")


def demand_reset(driver: PowerDriver, node: str) -> None:
    """Raise Refused where a driver can neither reset a node nor switch it off and on."""
    if not hasattr(driver, "reset"):
        demand_on(driver, node)
        driver.is_on(node)


def off(driver: PowerDriver, node: str, most_s: float) -> None:
    """Take a node's power away; where the switch has a timer, that gives it back after `most_s` whatever becomes of us.

    `on` stops the timer.
    """
    timed = getattr(driver, "off_for", None)
    if timed is not None:
        timed(node, most_s)
    else:
        driver.off(node)


def reset(driver: PowerDriver, node: str) -> None:
    """Let a node start anew without a word: by the driver's own `reset`, or off and on."""
    own = getattr(driver, "reset", None)
    if own is not None:
        own(node)
        return
    off(driver, node, RESET_S)
    driver.on(node)


def known_on(driver: PowerDriver, node: str) -> bool | None:
    """Whether a node has power; None where its driver cannot know, or does not answer."""
    try:
        return driver.is_on(node)
    except ClusterError:
        return None


def driver(inventory: Inventory) -> PowerDriver:
    """The inventory's power driver; raises InputError when it cannot be imported."""
    module = _module(inventory)
    try:
        make = module.Driver
    except AttributeError:
        raise InputError(
            f"{inventory.path.name}: power.driver: {inventory.power.driver} has no `Driver`; name a driver module"
        ) from None
    return cast(PowerDriver, make(inventory))


def enter(inventory: Inventory) -> None:
    """Become a host on the cluster's LAN, if the driver knows how; call it before threads and sockets.

    With the lab this re-executes the program under sudo when it is not root, so call it with the real standard
    streams in place, and first thing.  A node of the cluster is on its LAN already.
    """
    if here.node(inventory) is not None:
        return
    become = getattr(_module(inventory), "enter", None)
    if become is not None:
        become(inventory)


def _module(inventory: Inventory) -> ModuleType:
    name = inventory.power.driver
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{inventory.path.name}: power.driver: cannot import {name!r} ({error}); name a module such as lab.power"
        ) from None
