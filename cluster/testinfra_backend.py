"""testinfra over a node's own SSH connection: no second connection, and no command without a deadline."""

from __future__ import annotations

import shlex
from typing import Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

from cluster.node import Node
from cluster.wait import Deadline

SUDO = "sudo -n "
COMMAND_S = 10.0  # what testinfra asks (stat, systemctl show, dpkg-query) answers in milliseconds


class NodeBackend(BaseBackend):
    """Runs testinfra's commands with `Node.run`; a node that cannot be asked raises a NodeError."""

    NAME = "node"

    def __init__(self, node: Node, *, sudo: bool = False, deadline: float = COMMAND_S) -> None:
        super().__init__(node.name, sudo=sudo)
        self.node = node
        self.deadline = deadline
        self._encoding = "utf-8"  # testinfra would start a Python on the node to ask

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """One command; `deadline=` in seconds (or a Deadline) replaces the backend's own."""
        deadline: float | Deadline = kwargs.get("deadline", self.deadline)
        line = self.get_command(command, *args)
        # Where testinfra put sudo into the line, only root can cut off what it starts.
        done = self.node.run(line, sudo=SUDO in line, deadline=deadline)
        return self.result(done.code, self.encode(line), done.out, done.err)

    def get_sudo_command(self, command: str, sudo_user: str | None) -> str:
        """A command line for another user, by default root; `-n`, because a password cannot be asked for."""
        user = f"-u {shlex.quote(sudo_user)} " if sudo_user else ""
        return f"{SUDO}{user}-- /bin/sh -c {shlex.quote(command)}"

    def decode(self, data: bytes) -> str:
        """Text as `Result.text` gives it: bytes that are not UTF-8 survive as surrogates."""
        return data.decode("utf-8", "surrogateescape")

    def encode(self, data: str) -> bytes:
        """The opposite of `decode`."""
        return data.encode("utf-8", "surrogateescape")


def host_for(node: Node, *, sudo: bool = False, deadline: float = COMMAND_S) -> Host:
    """A testinfra host of a node; `deadline` (seconds) holds for each command it runs."""
    backend = NodeBackend(node, sudo=sudo, deadline=deadline)
    host = Host(backend)
    backend.set_host(host)
    return host
