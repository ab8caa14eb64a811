"""What the drivers for real switches share: options of each node, secrets from files, and no word believed.

A driver here says how one node is switched and how to see whether it has power; that it changed is looked for, never
taken from the switch's own "ok".
"""

from __future__ import annotations

import stat
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.errors import ClusterError, InputError
from cluster.inventory import Inventory
from cluster.wait import WaitTimeout, until

CHANGE_S = 5.0
"""How long a switch may take until its port is as it was told: relays need 20 ms, PoE controllers up to 2 s."""
ASK_S = 3.0
"""How long a switch may take to answer one question on a LAN."""


class PowerError(ClusterError):
    """A switch could not be reached, did not let us in, or did not do what it was told."""


class Options(BaseModel):
    """What a driver wants to know of a node: `power.options`, and over them `nodes.NAME.power`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Wanted = TypeVar("Wanted", bound=Options)


class Switching(ABC, Generic[Wanted]):
    """A power driver whose every verb ends with the port seen as it should be, or with an error that says why not."""

    OPTIONS: type[Wanted]

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory

    @property
    def name(self) -> str:
        """The driver, as the inventory's reader knows it."""
        return type(self).__module__.rsplit(".", 1)[-1]

    def options(self, node: str) -> Wanted:
        """What the inventory says of a node; raises InputError naming the file and the key."""
        given: dict[str, Any] = {**self.inventory.power.options, **self.inventory.node(node).power}
        try:
            return self.OPTIONS.model_validate(given)
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            key = ".".join(map(str, one["loc"]))
            known = ", ".join(self.OPTIONS.model_fields)
            wrong = {"missing": "missing", "extra_forbidden": "unknown key"}.get(one["type"], one["msg"].lower())
            raise InputError(
                f"{self.inventory.path.name}: nodes.{node}.power.{key}: {wrong}; {self.name} knows: {known}"
            ) from None

    def secret(self, name: str) -> str:
        """The first line of a file in `.state/secrets`, which only its owner may read; raises InputError."""
        path = self.inventory.state / "secrets" / name
        if "/" in name or name.startswith("."):
            raise InputError(f"{self.inventory.path.name}: {name!r} is not the name of a file in .state/secrets")
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise InputError(f"{path}: others can read it; chmod 600 it")
            return path.read_text(encoding="utf-8").split("\n", 1)[0]
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; write the switch's secret there, mode 600") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: it is not text; write the switch's secret there, in UTF-8") from None

    @abstractmethod
    def switch(self, node: str, on: bool) -> None:
        """Tell the switch; raises PowerError."""

    @abstractmethod
    def is_on(self, node: str) -> bool:
        """Whether the node has power now, by the switch; raises PowerError."""

    def place(self, node: str) -> str:
        """Where the node is plugged in, for people."""
        return node

    def off(self, node: str) -> None:
        """Switch off, and see it."""
        self._turn(node, False)

    def on(self, node: str) -> None:
        """Switch on, and see it; nothing if it is on."""
        self._turn(node, True)

    def _turn(self, node: str, on: bool) -> None:
        if self.is_on(node) is not on:
            self.switch(node, on)
            self._see(node, on)

    def _see(self, node: str, on: bool) -> None:
        try:
            until(lambda: self.is_on(node) is on, deadline=CHANGE_S, every=0.1, what=node)
        except WaitTimeout as error:
            told, still = ("on", "off") if on else ("off", "on")
            raise PowerError(
                f"{self.name}: {node}: {self.place(node)} was told to switch {told} and is still {still} after "
                f"{CHANGE_S:g} s ({str(error).rsplit(': ', 1)[-1]}); look at the switch"
            ) from None
