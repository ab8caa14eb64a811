"""Any other switch, by commands of yours: `power: {driver: cluster.power.command, options: {off:, on:, is_on:}}`.

In each, `{node}`, `{address}` and the node's own `{outlet}` are filled in; no shell is involved.  `is_on` ends with
exit code 0 where the node has power and 1 where it has none; any other is an error.
"""

from __future__ import annotations

import shlex
import subprocess

from cluster.errors import InputError
from cluster.power.switching import Options, PowerError, Switching

PATIENCE_S = 30.0


class Commands(Options):
    """What to run."""

    off: str
    on: str
    is_on: str
    outlet: str = ""


class Driver(Switching[Commands]):
    """Runs them."""

    OPTIONS = Commands

    def place(self, node: str) -> str:
        """The outlet."""
        return f"outlet {self.options(node).outlet or node}"

    def switch(self, node: str, on: bool) -> None:
        """Run it; any exit code but 0 is an error."""
        commands = self.options(node)
        done = self._run(node, commands.on if on else commands.off)
        if done.returncode:
            raise PowerError(self._said(node, done))

    def is_on(self, node: str) -> bool:
        """Run that."""
        done = self._run(node, self.options(node).is_on)
        if done.returncode not in (0, 1):
            raise PowerError(self._said(node, done))
        return done.returncode == 0

    def _run(self, node: str, template: str) -> subprocess.CompletedProcess[str]:
        names = {"node": node, "address": str(self.inventory.node(node).address), "outlet": self.options(node).outlet}
        try:
            argv = [word.format_map(names) for word in shlex.split(template)]
        except (KeyError, ValueError, IndexError, AttributeError, TypeError) as error:
            raise InputError(
                f"{self.inventory.path.name}: power.options: {template!r} cannot be filled in ({error}); "
                "known are {node}, {address} and {outlet}"
            ) from None
        try:
            return subprocess.run(
                argv, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise PowerError(f"command: {node}: `{argv[0]}` did not end within {PATIENCE_S:g} s") from None
        except (OSError, IndexError) as error:
            raise PowerError(f"command: {node}: `{template}` cannot be run: {error}") from None

    def _said(self, node: str, done: subprocess.CompletedProcess[str]) -> str:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        return f"command: {node}: `{done.args[0]}` ended with exit code {done.returncode}: {' '.join(last) or 'silent'}"
