"""Whether the pair is fit: what is asked when, and configurations that no keepalived should be trusted with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from cluster.errors import ProbeFailed
from cluster.health import ADDRESS, Facts, Health
from cluster.inventory import load

CONF = """
vrrp_instance VI_1 {{
  state {state}
  virtual_router_id 51
  priority {priority}
  virtual_ipaddress {{
    192.168.10.111/32
  }}
}}
"""


Checks = dict[tuple[str, str | None], Callable[[], str]]


class Told(Health):
    """Health of a cluster that is not there: what its nodes and services say is told here."""

    def __init__(self, *, said: Checks | None = None, state: str = "BACKUP"):
        self.inventory = load()
        self.floating = str(self.inventory.network.floating)
        self._said, self._state = said or {}, state

    def checks(self, names: Iterable[str]) -> Checks:
        return self._said

    def facts(self, name: str) -> Facts:
        owner = name == self.pair[0]
        text = CONF.format(state=self._state if owner else "BACKUP", priority=100 if owner else 90)
        return Facts(active={}, failed_units=(), profile="production", keepalived=text, failover="", leases=())


def answers(*outcomes: bool) -> Callable[[], str]:
    """A check that fails and comes true in this order, and then stays as it is."""
    left = list(outcomes)

    def ask() -> str:
        ok = left.pop(0) if len(left) > 1 else left[0]
        if not ok:
            raise ProbeFailed("not now", reason="timeout")
        return "there"

    return ask


def test_an_address_that_answered_and_then_moved_is_asked_for_again() -> None:
    asked: Checks = {ADDRESS: answers(True, False, False, True), ("vrrp advertiser", None): answers(False, True)}
    assert all(check.ok for check in Told(said=asked).await_all([], 5.0))


def test_an_address_that_is_gone_in_the_end_is_not_back() -> None:
    gone: Checks = {ADDRESS: answers(True, False)}
    found = Told(said=gone).await_all([], 0.3)
    assert [(check.name, check.ok) for check in found] == [("floating address", False)]


def test_nothing_is_asked_again_where_something_never_came_true() -> None:
    found = Told(said={ADDRESS: answers(True, False), ("dns", "alpha"): answers(False)}).await_all([], 0.3)
    assert {check.name: check.ok for check in found} == {"floating address": True, "dns": False}


def test_a_node_that_begins_as_master_is_not_to_be_trusted_with_a_fault() -> None:
    assert "every 1 s" in Told().vrrp_configuration()
    with pytest.raises(ProbeFailed, match=r"of alpha does not begin as BACKUP"):
        Told(state="MASTER").vrrp_configuration()
