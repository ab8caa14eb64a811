"""Looks that take seconds: begun before the first spec, in the background, and judged when a spec asks.

A DHCP offer takes 1 s because the server pings the address first, and a quiet advertiser is only known to be
quiet after an interval: if each spec waited by itself, a run would be mostly waiting.  A fixture made with
`look` names one such look; it is begun only when some spec of the run wants it, and all run side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from cluster.errors import ProbeFailed
from cluster.probes import wire

if TYPE_CHECKING:
    from cluster.inventory import Inventory
    from cluster.node import Fleet

T = TypeVar("T")
CANNOT_SEE = frozenset({"permission", "interface"})  # reasons of a probe that say something about us, not them


@dataclass(frozen=True)
class Place:
    """Where the harness stands: what it knows, whom it can ask, and its interface on the LAN."""

    inventory: Inventory
    fleet: Fleet

    @property
    def interface(self) -> str:
        """Our own interface on the cluster's LAN; raises ProbeFailed (`interface`)."""
        return wire.interface_towards(str(self.inventory.network.floating))


class Looks:
    """The looks of one run, each at most once."""

    KNOWN: ClassVar[dict[str, Callable[[Place], Any]]] = {}
    SECONDS: ClassVar[dict[str, float]] = {}
    HEAVY: ClassVar[set[str]] = set()

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="look")
        self._begun: dict[str, Future[Any]] = {}

    def begin(self, names: Iterable[str]) -> None:
        """Begin every known look among `names` that has not begun; those that make nodes work, once the others ended.

        What measures times must not be disturbed by what we do ourselves: nodes of a lab share their cores.
        """
        new = [name for name in dict.fromkeys(names) if name in self.KNOWN and name not in self._begun]
        for name in new:
            if name not in self.HEAVY:
                self._begun[name] = self._pool.submit(self.KNOWN[name], self._place)
        quiet = [future for name, future in self._begun.items() if name not in self.HEAVY]
        for name in new:
            if name in self.HEAVY:
                self._begun[name] = self._pool.submit(self._after, quiet, self.KNOWN[name])

    def _after(self, others: Iterable[Future[Any]], take: Callable[[Place], Any]) -> Any:
        wait(others)
        return take(self._place)

    def value(self, name: str) -> Any:
        """What the look saw, waiting for its end; raises what it raised, and skips where we cannot see."""
        self.begin([name])
        try:
            return self._begun[name].result()
        except ProbeFailed as error:
            if error.reason in CANNOT_SEE:
                pytest.skip(f"cannot see from here: {error}")
            raise

    def close(self) -> None:
        """Let go of looks nobody waits for any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def patience(names: Iterable[str]) -> float:
    """How long the slowest look among some fixtures takes, s."""
    return max((Looks.SECONDS.get(name, 0.0) for name in names), default=0.0)


def look(take: Callable[[Place], T], seconds: float = 0.0, *, heavy: bool = False) -> Callable[..., T]:
    """A session fixture, named as the function, whose value is looked at in the background.

    `seconds`: when it is over on a healthy cluster, where that is worth knowing.  `heavy`: it makes the nodes work,
    so it waits for all looks that do not.  Every look has a deadline
    of its own; nothing here would end it.
    """
    name = take.__name__
    Looks.KNOWN[name], Looks.SECONDS[name] = take, seconds
    if heavy:
        Looks.HEAVY.add(name)

    def fixture(looks: Looks) -> T:
        seen: T = looks.value(name)
        return seen

    return pytest.fixture(scope="session", name=name)(fixture)
