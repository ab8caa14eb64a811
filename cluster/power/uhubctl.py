"""Ports of a USB hub, by uhubctl on this machine: `power: {driver: cluster.power.uhubctl, options: {hub: 1-1}}`.

Each node says its own `port`.  Only hubs that switch single ports can do it; uhubctl tells which.
"""

from __future__ import annotations

import re
import subprocess

from pydantic import Field

from cluster.power.switching import Options, PowerError, Switching

PATIENCE_S = 15.0
_HUB = re.compile(r"^\w+ status for hub (\S+)", re.MULTILINE)
_PORT = re.compile(r"^\s+Port (\d+): ([0-9a-f]{4})\b(.*)$", re.MULTILINE)


class Port(Options):
    """A node's port: `hub` as uhubctl calls its location."""

    hub: str = Field(pattern=r"^[0-9][0-9.-]*$")
    port: int = Field(ge=1, le=31)
    program: str = "uhubctl"


class Driver(Switching[Port]):
    """Switches a port's power."""

    OPTIONS = Port

    def place(self, node: str) -> str:
        """The port."""
        where = self.options(node)
        return f"port {where.port} of USB hub {where.hub}"

    def switch(self, node: str, on: bool) -> None:
        """Run it with `--action`; what it says about the new state is not believed, only asked for."""
        self._run(node, "--action", "on" if on else "off")

    def is_on(self, node: str) -> bool:
        """By the port's status as uhubctl shows it: `Port 2: 0100 power`."""
        told = parse(self._run(node))
        where = self.options(node)
        if where.port not in told:
            raise PowerError(f"uhubctl: {node}: USB hub {where.hub} has no port {where.port}")
        return told[where.port]

    def _run(self, node: str, *words: str) -> str:
        where = self.options(node)
        argv = [where.program, "--location", where.hub, "--ports", str(where.port), *words]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise PowerError(f"uhubctl: {node}: it did not end within {PATIENCE_S:g} s") from None
        except OSError as error:
            raise PowerError(f"uhubctl: {node}: {error.strerror}; apt-get install uhubctl") from None
        if done.returncode:
            last = " ".join((done.stderr or done.stdout).strip().splitlines()[-1:])
            hint = "; run as root" if "ermission" in done.stderr + done.stdout else ""
            raise PowerError(f"uhubctl: {node}: exit code {done.returncode}: {last or 'it said nothing'}{hint}")
        return done.stdout


def parse(text: str) -> dict[int, bool]:
    """Which ports have power, from what uhubctl shows last of each hub (first the old state, then the new one).

    A hub of USB 3 is two, with a location each, whose ports are the same sockets: one has power where either gives it.
    """
    _, *parts = _HUB.split(text)
    hubs = dict(zip(parts[::2], parts[1::2], strict=True))
    found: dict[int, bool] = {}
    for shown in hubs.values():
        for port, _, words in _PORT.findall(shown):
            found[int(port)] = found.get(int(port), False) or "power" in words.split()
    return found
