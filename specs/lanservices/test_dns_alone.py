"""DNS without its primary: the secondary answers with authority until EXPIRE, then says that it cannot.

RFC 1035 section 3.3.13; named.conf(5).  Disruptive: the primary's daemon is killed, the secondary's is restarted
meanwhile, and both zones are asked for until they have expired.  The specs judge what was recorded; that both
servers have equal zones again afterwards is part of the undo's proof.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from chaos.faults import Crash
from chaos.lasting import lasting
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Fleet, Node
from cluster.probes import dns, named
from specs.lanservices.looks import must, outcome, zones
from specs.profiles import affordable

pytestmark = pytest.mark.disruptive

Measured = Callable[[str, object], None]
EVERY_S = 0.1
RESTART_S = 3.0
"""How long named may take to load two small zones; a Pi B+ takes 1 s."""
ROUNDING_S = 1.0
"""BIND keeps times of expiry in whole seconds, and looks at them with a timer of its own."""
STUB_S = 1.0
"""The timeout of the stub resolver that is watched: a tenth of glibc's whole patience (resolv.conf(5))."""


class Look(NamedTuple):
    """What the secondary said of a zone's start, at a moment in s after the primary's death."""

    at: float
    zone: str
    said: dns.Answer | ClusterError

    @property
    def good(self) -> bool:
        """With authority."""
        return isinstance(self.said, dns.Answer) and self.said.rcode == "NOERROR" and self.said.aa

    def __str__(self) -> str:
        if isinstance(self.said, dns.Answer):
            return f"{self.said.rcode}{'' if self.said.aa else ' without authority'} {self.at:.1f} s after"
        return f"{self.said} {self.at:.1f} s after"


@dataclass(frozen=True)
class Alone:
    """The time without the primary; all times in s after its death."""

    expire: int
    """EXPIRE of the zones, as the secondary has it."""
    expires: dict[str, float]
    """When each zone was to expire, by the secondary's own word when the primary died."""
    looks: list[Look] = field(default_factory=list)
    restart: list[float] = field(default_factory=list)
    """When the secondary's daemon was told to restart, and when that was over."""
    stub: list[dns.Lookup | ClusterError] = field(default_factory=list)

    def between(self, zone: str, since: float, until: float) -> list[Look]:
        """The looks at a zone in a stretch of time."""
        return [look for look in self.looks if look.zone == zone and since <= look.at < until]


def status(node: Node, zone: str) -> float:
    """When a zone expires, s from now; raises ProbeFailed where the server does not say."""
    text = node.run(["sh", "-c", f"rndc zonestatus {zone}; date +%s.%N"], sudo=True, check=True).text
    found = named.zone_status(text)
    assert found.expires is not None, f"{node.name} does not say when {zone} expires: {text}"
    return found.expires - float(text.split()[-1])


@pytest.fixture(scope="module")
def alone(inventory: Inventory, fleet: Fleet) -> Alone:
    """The primary's named dies; the secondary's is restarted; both zones are watched until they have expired."""
    affordable(inventory, inventory.dns.expire, "waiting for EXPIRE")
    primary, secondary = fleet[inventory.dns.primary], fleet[inventory.dns.secondary]
    both, name = zones(inventory), f"{inventory.fqdn(secondary.name)}."
    expire = int(dns.query(secondary.address, both[0], "SOA").records[0].split()[5])
    with lasting(inventory, fleet, Crash(primary.name, "named")):
        died = time.monotonic()
        found = Alone(expire, {zone: time.monotonic() - died + status(secondary, zone) for zone in both})

        def watch(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for zone in both:
                    at = time.monotonic() - died
                    found.looks.append(Look(at, zone, outcome(dns.query, secondary.address, zone, "SOA")))
                time.sleep(EVERY_S)

        watch(1.0)
        found.stub.append(outcome(dns.stub, [primary.address, secondary.address], name, timeout=STUB_S))
        found.restart.append(time.monotonic() - died)
        secondary.run(["systemctl", "restart", "named"], sudo=True, check=True)
        found.restart.append(time.monotonic() - died)
        watch(RESTART_S)
        found.stub.append(outcome(dns.stub, [primary.address, secondary.address], name, timeout=STUB_S))
        # Zones that would expire much later than they should, or that are not served now, need not be waited for.
        last = max(found.expires.values())
        if last <= expire + ROUNDING_S and all(look.good for look in found.looks[-2:]):
            watch(last - (time.monotonic() - died) + 3 * ROUNDING_S)
    return found


@pytest.mark.semantics("dns-alone")
@pytest.mark.each("zone", zones)
def test_the_secondary_answers_with_authority_until_expire(
    zone: str, alone: Alone, inventory: Inventory, record_property: Measured
) -> None:
    first, second = alone.restart
    end = alone.expires[zone] - ROUNDING_S
    seen = [*alone.between(zone, 0.0, first), *alone.between(zone, second + RESTART_S, end)]
    wrong = [look for look in seen if not look.good]
    assert not wrong, (
        f"{inventory.dns.secondary} says of {zone}: {wrong[0]} the primary died; EXPIRE is {alone.expire} s, and it "
        f"said it would expire after {alone.expires[zone]:.1f} s"
    )
    last = alone.between(zone, 0.0, end)[-1]
    record_property("answered until", f"{last.at:.1f} s after")
    assert last.good and last.at > end - ROUNDING_S, (
        f"{inventory.dns.secondary} did not answer until EXPIRE, {alone.expire} s; its last word on {zone} was: "
        f"{last} the primary died"
    )


@pytest.mark.semantics("dns-alone-restarted")
@pytest.mark.each("zone", zones)
def test_it_does_so_after_a_restart_of_its_own(zone: str, alone: Alone, inventory: Inventory) -> None:
    begun = alone.restart[1]
    seen = alone.between(zone, begun, begun + RESTART_S)
    good = [look for look in seen if look.good]
    assert good and seen[-1].good, (
        f"{inventory.dns.secondary}, restarted {begun:.1f} s after the primary died, says of {zone}: {seen[-1]} it"
    )


@pytest.mark.semantics("dns-expired")
@pytest.mark.each("zone", zones)
def test_after_expire_it_says_that_it_cannot(zone: str, alone: Alone, inventory: Inventory) -> None:
    """Counted from the last word of the primary, which was up to REFRESH before its death."""
    at, secondary = alone.expires[zone], inventory.dns.secondary
    assert 0 < at <= alone.expire + ROUNDING_S, f"{zone} at {secondary} expires after {at:.1f} s, EXPIRE {alone.expire}"
    seen = alone.between(zone, at + ROUNDING_S, float("inf"))
    assert seen, f"{secondary} was not watched until {zone} had expired: it was not served before"
    wrong = [look for look in seen if not isinstance(look.said, dns.Answer) or look.said.rcode != "SERVFAIL"]
    assert not wrong, f"{secondary} says of {zone}: {wrong[0]} the primary died; it expired after {at:.1f} s"


@pytest.mark.semantics("dns-stub")
def test_a_resolver_that_knows_both_waits_for_its_own_timeout_at_most(
    alone: Alone, inventory: Inventory, record_property: Measured
) -> None:
    """Once the secondary was asked, before and after its restart; losing the whole node is a claim of the inventory."""
    address = str(inventory.nodes[inventory.dns.secondary].address)
    for lookup in map(must, alone.stub):
        record_property(f"a stub resolver, timeout {STUB_S:g} s", f"{lookup.seconds:.3f} s")
        assert lookup.answer.records == (address,), f"it was told {lookup.answer.records} by {lookup.server}"
        assert lookup.seconds < STUB_S + 0.2, (
            f"it took {lookup.seconds:.2f} s with a timeout of {STUB_S:g} s: more than one server was waited for"
        )
