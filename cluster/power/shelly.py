"""Shelly's plugs, by HTTP: `power: {driver: cluster.power.shelly}` and, of each node, `power: {host: ...}`.

Each has a timer of its own: `timer` in https://shelly-api-docs.shelly.cloud/gen1/#shelly1-relay-0, `toggle_after` in
https://shelly-api-docs.shelly.cloud/gen2/ComponentsAndServices/Switch#switchset; the next order ends it.

`generation` is 1 (`/relay/N`) or 2 (`/rpc/Switch...`, also 3 and 4); `user` and `secret`, the name of the file with its
password, where it has one.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from cluster.power import web
from cluster.power.switching import PowerError


class Plug(web.Plug):
    """A plug of a generation; relays are counted from 0."""

    relay: int = Field(0, ge=0, le=31)
    generation: int = Field(2, ge=1, le=4)


class Driver(web.Plugs[Plug]):
    """Switches a relay."""

    OPTIONS = Plug

    def switch(self, node: str, on: bool) -> None:
        """Tell it."""
        self._set(node, on, {})

    def off_for(self, node: str, seconds: float) -> None:
        """Off, and see it; in the same order it is told when to be on again."""
        timer = "timer" if self.options(node).generation == 1 else "toggle_after"
        self._set(node, False, {timer: f"{math.ceil(seconds)}"})
        self._see(node, False)

    def _set(self, node: str, on: bool, more: dict[str, str]) -> None:
        plug = self.options(node)
        if plug.generation == 1:
            self._ask(node, f"relay/{plug.relay}", {"turn": "on" if on else "off"} | more)
        else:
            self._ask(node, "rpc/Switch.Set", {"id": str(plug.relay), "on": "true" if on else "false"} | more)

    def is_on(self, node: str) -> bool:
        """Ask it."""
        plug = self.options(node)
        if plug.generation == 1:
            state = self._ask(node, f"relay/{plug.relay}", {}).get("ison")
        else:
            state = self._ask(node, "rpc/Switch.GetStatus", {"id": str(plug.relay)}).get("output")
        if not isinstance(state, bool):
            raise PowerError(f"shelly: {node}: {self.place(node)}: it tells no state; is there such a relay?")
        return state

    def _ask(self, node: str, path: str, query: dict[str, str]) -> dict[str, Any]:
        plug = self.options(node)
        auth: AuthBase | None = None
        if plug.secret is not None:
            kind = HTTPBasicAuth if plug.generation == 1 else HTTPDigestAuth
            auth = kind(plug.user, self.secret(plug.secret))
        return web.ask(f"shelly: {node}", f"http://{plug.host}:{plug.port}/{path}", query, auth)
