"""Never take the last one: a fault is refused unless those who must carry on are proven healthy now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from chaos.faults.on_node import left_on
from cluster.errors import ClusterError, Refused, Unreachable
from cluster.health import Check, Health
from cluster.inventory import Inventory
from cluster.node import Fleet, Node

ANSWERS_S = 2.0
"""How long a connection may take to a node that is asked what faults have left on it: less than the other checks do."""


@dataclass(frozen=True)
class Proof:
    """What the guard saw about losing some nodes."""

    losing: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """What is not as it must be; --force passes over it."""
        return tuple(check for check in self.checks if not check.ok)

    @property
    def excused(self) -> tuple[tuple[str, str | None], ...]:
        """Checks that were false before the fault, so that the recovery cannot be asked for them."""
        return tuple((check.name, check.node) for check in self.failed)

    def demand(self) -> None:
        """Return only if everything is healthy; else raise Refused, naming each check that is not."""
        if self.failed:
            raise Refused(f"refused, the cluster is not fit to lose {' and '.join(self.losing)}: {story(self.failed)}")


def look(health: Health, losing: Iterable[str]) -> Proof:
    """Look at everything the cluster needs while `losing` are gone, and at what they must come back to.

    Every LAN service of both partners is looked at: the survivor's because it must carry on, the lost one's
    because a fault in something already broken measures nothing.
    """
    names = tuple(losing)
    with ThreadPoolExecutor(1) as aside:
        faults = aside.submit(in_place, health.fleet)
        checks = (*spread(health.inventory, names), *health.look(dict.fromkeys([*health.pair, *names])))
        return Proof(names, (*checks, *_left(health, names), *faults.result()))


def in_place(fleet: Fleet) -> tuple[Check, ...]:
    """What faults have left on nodes, whoever made them: the journal knows those of this machine only.

    A node that does not answer at once keeps nothing from being tried, and is passed over.
    """

    def found(node: Node) -> tuple[str, ...]:
        for _ in range(2):  # a connection that was there may turn out to have ended long ago
            try:
                node.connect(ANSWERS_S)
            except ClusterError:
                break
            with suppress(Unreachable):
                return left_on(node)
            node.close()
        return ()

    def check(name: str, said: tuple[str, ...] | ClusterError) -> Check:
        if isinstance(said, ClusterError):
            return Check("faults", name, False, str(said))
        told = f"left by a fault: {', '.join(said)}; run: python -m chaos heal" if said else "none"
        return Check("faults", name, not said, told)

    return tuple(check(name, said) for name, said in fleet.each(found).items())


def spread(inventory: Inventory, names: tuple[str, ...]) -> tuple[Check, ...]:
    """Never two groups at once: what would be seen could be either's doing."""
    groups = list(dict.fromkeys(inventory.node(name).group for name in names))
    if len(groups) < 2:
        return ()
    return (Check("one group at a time", None, False, f"{' and '.join(names)} are of {', '.join(groups)}"),)


def _left(health: Health, names: tuple[str, ...]) -> Iterator[Check]:
    """Whether a member of each group is left that answers; the pair's have been looked at with all they serve."""
    inventory = health.inventory
    for group in dict.fromkeys(inventory.node(name).group for name in names):
        others = [node.name for node in inventory.group(group) if node.name not in names]
        if set(others) <= set(health.pair):
            continue
        problems = []
        for other in others:
            try:
                yield Check(f"another one of {group}", None, True, f"{other}: {health.ssh(other)}")
                break
            except ClusterError as error:
                problems.append(str(error))
        else:
            yield Check(f"another one of {group}", None, False, "; ".join(problems))


def story(checks: Iterable[Check]) -> str:
    """Failed checks as one line: each by its name, with what it saw."""
    return "; ".join(f"{check.title} ({check.detail})" for check in checks)
