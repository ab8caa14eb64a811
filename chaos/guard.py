"""Never take the last one: a fault is refused unless those who must carry on are proven healthy now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.errors import Refused
from cluster.health import Check, Health


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
    return Proof(names, health.look(dict.fromkeys([*health.pair, *names])))


def story(checks: Iterable[Check]) -> str:
    """Failed checks as one line: each by its name, with what it saw."""
    return "; ".join(f"{check.title} ({check.detail})" for check in checks)
