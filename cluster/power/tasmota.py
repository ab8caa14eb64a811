"""Plugs with Tasmota, by HTTP: `power: {driver: cluster.power.tasmota}` and, of each node, `power: {host: ...}`.

`relay` is for strips with several; `user` and `secret`, the name of the file with its password, where it has one.

Each has a queue of commands, `Backlog`, that waits where it is told to, `Delay` (https://tasmota.github.io/docs/Commands).
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from cluster.power import web
from cluster.power.switching import PowerError

DELAY_MOST = 3600
"""The longest `Delay`, in tenths of a second."""


class Plug(web.Plug):
    """Relays are counted from 1."""

    relay: int = Field(1, ge=1, le=32)


class Driver(web.Plugs[Plug]):
    """Switches a relay by Tasmota's command `Power`."""

    OPTIONS = Plug

    def switch(self, node: str, on: bool) -> None:
        """Tell it, and to forget what it was to do later."""
        self._ask(node, "Backlog")
        self._power(node, "On" if on else "Off")

    def off_for(self, node: str, seconds: float) -> None:
        """Off, and see it; in the same order it is told when to be on again."""
        self.is_on(node)  # for whoever is not let in: the answer to a queue does not tell
        whole, rest = divmod(math.ceil(seconds * 10), DELAY_MOST)
        delays = [DELAY_MOST] * whole + [rest] * (rest > 0)
        relay = f"Power{self.options(node).relay}"
        self._ask(node, "Backlog")
        self._ask(node, ";".join((f"Backlog {relay} Off", *(f"Delay {one}" for one in delays), f"{relay} On")))
        self._see(node, False)

    def is_on(self, node: str) -> bool:
        """Ask it."""
        return self._power(node, "")

    def _ask(self, node: str, command: str) -> dict[str, Any]:
        plug = self.options(node)
        query = {"cmnd": command}
        if plug.secret is not None:
            query |= {"user": plug.user, "password": self.secret(plug.secret)}
        return web.ask(f"tasmota: {node}", f"http://{plug.host}:{plug.port}/cm", query)

    def _power(self, node: str, word: str) -> bool:
        plug = self.options(node)
        told = self._ask(node, f"Power{plug.relay} {word}".strip())
        if "WARNING" in told:  # how Tasmota tells of a wrong password, with status 200
            raise PowerError(f"tasmota: {node}: {plug.host} does not let us in; check user and secret")
        state = told.get(f"POWER{plug.relay}", told.get("POWER") if plug.relay == 1 else None)
        if state not in ("ON", "OFF"):
            raise PowerError(f"tasmota: {node}: {self.place(node)}: it tells no state; is there such a relay?")
        return bool(state == "ON")
