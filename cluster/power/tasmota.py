"""Plugs with Tasmota, by HTTP: `power: {driver: cluster.power.tasmota}` and, of each node, `power: {host: ...}`.

`relay` is for strips with several; `user` and `secret`, the name of the file with its password, where it has one.
"""

from __future__ import annotations

from pydantic import Field

from cluster.power import web
from cluster.power.switching import PowerError


class Plug(web.Plug):
    """Relays are counted from 1."""

    relay: int = Field(1, ge=1, le=32)


class Driver(web.Plugs[Plug]):
    """Switches a relay by Tasmota's command `Power`."""

    OPTIONS = Plug

    def switch(self, node: str, on: bool) -> None:
        """Tell it."""
        self._command(node, "On" if on else "Off")

    def is_on(self, node: str) -> bool:
        """Ask it."""
        return self._command(node, "")

    def _command(self, node: str, word: str) -> bool:
        plug = self.options(node)
        query = {"cmnd": f"Power{plug.relay} {word}".strip()}
        if plug.secret is not None:
            query |= {"user": plug.user, "password": self.secret(plug.secret)}
        told = web.ask(f"tasmota: {node}", f"http://{plug.host}:{plug.port}/cm", query)
        if "WARNING" in told:  # how Tasmota tells of a wrong password, with status 200
            raise PowerError(f"tasmota: {node}: {plug.host} does not let us in; check user and secret")
        state = told.get(f"POWER{plug.relay}", told.get("POWER") if plug.relay == 1 else None)
        if state not in ("ON", "OFF"):
            raise PowerError(f"tasmota: {node}: {self.place(node)}: it tells no state; is there such a relay?")
        return bool(state == "ON")
