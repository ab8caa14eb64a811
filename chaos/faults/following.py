"""Whom nodes have their time from once a fault about time is undone: what they heard is forgotten, and heard anew."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from chaos.faults.fault import Means
from cluster.errors import ClusterError
from cluster.node import Node
from cluster.wait import until

FOLLOW_S = 30.0
"""How long a server may take to tell the time, and who forgot it to follow it again: a burst of four is 8 s, as
chronyc(1) has it, twice and more; one that nobody answers is 16 s."""
FORGET = "chronyc reset sources >/dev/null; chronyc burst 4/8 >/dev/null"
FOLLOWS = """
chronyc -c activity | awk -F, '{ exit $3 + $4 > 0 }' || { echo "$(hostname) still asks for the time" >&2; exit 1; }
case $(chronyc -c tracking) in 7F7F0101,*) exit 0;; esac
followed=$(chronyc -n -c sources | awk -F, '$2 == "*" { print $3 }')
chronyc -n -c sourcestats | awk -F, -v it="$followed" '$1 == it && $2 >= 4 { found = 1 } END { exit !found }' ||
  { echo "$(hostname) follows nobody yet" >&2; exit 1; }
"""
"""Whether a node's clock follows a source, by four samples of it, or is the reference of all while no real time can be
reached: so it calls itself, too, until it has heard whom it asks, therefore not while a burst lasts."""


def begin_anew(means: Means, names: Collection[str]) -> None:
    """Let nodes forget what they heard of time, and wait until they follow somebody; raises WaitTimeout.

    Who cannot be asked is left out: a node without power has forgotten already.
    """
    forgot = means.fleet.each(lambda node: run(node, FORGET), names)
    for name in (name for name, found in forgot.items() if not isinstance(found, ClusterError)):
        await_following(means.fleet[name])


def await_following(node: Node) -> None:
    """Wait until a node's clock follows somebody, or is what all follow; raises WaitTimeout."""
    until(partial(run, node, FOLLOWS), deadline=FOLLOW_S, what=f"{node.name} follows somebody", every=0.25)


def run(node: Node, script: str) -> bool:
    """Run shell as root; raises NodeError."""
    node.run(["sh", "-euc", script], sudo=True, deadline=10.0, check=True)
    return True
