"""One root, few leaves: every error this project raises on purpose.

Each message is one line that names the place and, where there is one, the remedy.  `exit_code` is what a
command line ends with when the error reaches it (the contract of the `python -m` commands).
"""

from __future__ import annotations


class ClusterError(Exception):
    """Something the operator should read; never a bug of ours."""

    exit_code = 1


class InputError(ClusterError):
    """What the operator wrote cannot be used; nothing was changed."""

    exit_code = 2


class Refused(ClusterError):
    """A guard said no: going on would risk the last healthy member, or hide a fault not yet undone."""

    exit_code = 3


class NotUndone(ClusterError):
    """A fault was applied and its undo could not be proven."""

    exit_code = 5


class ProbeFailed(ClusterError):
    """A service did not give the answer that was asked for; `reason` is the short machine-readable why."""

    def __init__(self, message: str, *, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason


class NodeError(ClusterError):
    """Something about one node; the message starts with its name."""

    def __init__(self, node: str, message: str) -> None:
        super().__init__(f"{node}: {message}")
        self.node = node


class Unreachable(NodeError):
    """No TCP connection, or the connection died."""


class AuthenticationFailed(NodeError):
    """The node refused every credential we have."""


class HostKeyChanged(NodeError):
    """The node showed another host key than the one pinned at first contact."""


class CommandTimeout(NodeError):
    """A command did not end within its deadline; it was cut off."""


class CommandFailed(NodeError):
    """A command ended with an exit code that was not expected."""
