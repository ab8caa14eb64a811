"""DNS while a zone changes: news travels at once, in differences, and by itself where it is not announced.

RFC 1995, 1996, 1035 section 3.3.13; named.conf(5).  Disruptive: a record is added to the primary's zone, and taken
out again.  Windows come from the live configuration.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from chaos.faults import Block, Fault, Record, Spoil, Stranger
from chaos.faults.record import record_name
from chaos.faults.stranger import ADDRESS
from chaos.lasting import lasting
from cluster import secrets
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Fleet, Node
from cluster.probes import dns, ixfr, named
from cluster.wait import WaitTimeout, until
from specs.lanservices.looks import must, outcome, zones
from specs.profiles import affordable

pytestmark = pytest.mark.disruptive

TRANSFER_S = 1.0
"""One transfer of a small zone, with the question that goes before it; it takes 5 to 50 ms, a Pi is slow."""
TEXT = "seen-by-both"
Measured = Callable[[str, object], None]


@dataclass(frozen=True)
class News:
    """A record that was added on the primary, and how it came to the secondary."""

    serial: int
    """Of the zone before."""
    seconds: float | None
    """Until the secondary served it; None where it did not in time."""
    waited: float
    notify_delay: int
    refresh: int
    changes: ixfr.Changes | ClusterError
    """What the primary gives to somebody who asks for differences."""
    given: tuple[named.Transferred, ...]
    """The transfers that the primary began meanwhile, by its log."""
    notified: tuple[tuple[str, str], ...]
    """The notifications that the secondary heard meanwhile, by its log."""


@dataclass(frozen=True)
class Log:
    """What is written to a log of named from now on."""

    node: Node
    lines: int

    @classmethod
    def of(cls, node: Node) -> Log:
        """From its end."""
        return cls(node, int(node.run(["wc", "-l", named.XFER_LOG], sudo=True, check=True).text.split()[0]))

    def news(self) -> str:
        """What came since."""
        return self.node.run(["tail", "-n", f"+{self.lines + 1}", named.XFER_LOG], sudo=True, check=True).text


def told(inventory: Inventory, fleet: Fleet, most: Callable[[int, int], float], *faults: Fault) -> News:
    """Add a record while `faults` last; wait for it `most(notify-delay, refresh)` s and a transfer."""
    primary, secondary = fleet[inventory.dns.primary], fleet[inventory.dns.secondary]
    zone, name = zones(inventory)[0], record_name(inventory)
    said = secrets.ensure(inventory)
    before = dns.query(primary.address, zone, "SOA").records[0].split()
    serial, refresh = int(before[2]), int(before[3])
    # What the file does not say is BIND's own default, which -C prints.
    conf = primary.run("named-checkconf -px; named -C", sudo=True, check=True).text
    delay = named.setting(conf, "notify-delay")
    assert delay is not None, f"{primary.name} does not say its notify-delay"
    wait, logs = most(delay, refresh) + TRANSFER_S, (Log.of(primary), Log.of(secondary))
    began: list[float] = []

    def there() -> bool:
        return dns.query(secondary.address, name, "TXT").records == (f'"{TEXT}"',)

    with lasting(
        inventory, fleet, *faults, Record(primary.name, TEXT), say=lambda line: began.append(time.monotonic())
    ):
        start = began[len(faults)]  # just before the record was added
        seconds: float | None = None
        with suppress(WaitTimeout):  # the specs say that it did not come
            until(there, deadline=start + wait - time.monotonic(), what=TEXT, every=0.01)
            seconds = time.monotonic() - start
        key = dns.Tsig(said.tsig_name, said.tsig_key())
        changes = outcome(lambda: ixfr.ixfr(primary.address, zone, serial, key=key))
        given, heard = named.given(logs[0].news()), named.notified(logs[1].news())
    return News(serial, seconds, wait, delay, refresh, changes, given, heard)


# ---------------------------------------------------------------- announced


@pytest.fixture(scope="module")
def news(inventory: Inventory, fleet: Fleet) -> News:
    """A record is added, and the secondary is told."""
    return told(inventory, fleet, lambda delay, refresh: delay)


@pytest.mark.semantics("dns-notify")
def test_a_change_is_served_by_the_secondary_at_once(
    news: News, inventory: Inventory, record_property: Measured
) -> None:
    secondary, zone = inventory.dns.secondary, zones(inventory)[0]
    primary = str(inventory.nodes[inventory.dns.primary].address)
    assert (primary, zone) in news.notified, f"{secondary} was not notified of {zone}; it heard {news.notified}"
    assert news.seconds is not None, (
        f"{secondary} does not serve the new record {news.waited:g} s after it was added; notify-delay is "
        f"{news.notify_delay} s"
    )
    record_property("until the secondary served it", f"{news.seconds:.3f} s, notify-delay {news.notify_delay} s")


@pytest.mark.semantics("dns-ixfr")
def test_a_change_travels_as_differences(news: News, inventory: Inventory) -> None:
    zone, secondary = zones(inventory)[0], str(inventory.nodes[inventory.dns.secondary].address)
    given = [one for one in news.given if (one.to, one.zone, one.old) == (secondary, zone, news.serial)]
    kinds = [one.kind for one in news.given if (one.to, one.zone) == (secondary, zone)]
    assert given and given[0].kind == "IXFR", (
        f"{inventory.dns.secondary} had serial {news.serial} of {zone} and was given {kinds or 'nothing'}, not IXFR"
    )


@pytest.mark.semantics("dns-ixfr")
def test_differences_hold_the_new_record_only(news: News, inventory: Inventory) -> None:
    changes = must(news.changes)
    assert changes.kind == "incremental", f"asked for differences, {inventory.dns.primary} gives: {changes.kind}"
    assert {(name, kind, text) for name, kind, _, text in changes.added} == {
        (record_name(inventory), "TXT", f'"{TEXT}"')
    } and not changes.removed, f"differences since {news.serial}: {changes}"
    assert dns.serial_newer(changes.serial, news.serial), f"serial {changes.serial} is not newer than {news.serial}"


# ---------------------------------------------------------------- not announced


@pytest.fixture(scope="module")
def rumour(inventory: Inventory, fleet: Fleet) -> News:
    """A record is added, and the secondary does not hear of it."""
    affordable(inventory, inventory.dns.refresh, "waiting for REFRESH")
    secondary, primary = inventory.dns.secondary, inventory.dns.primary
    return told(inventory, fleet, lambda delay, refresh: refresh, Block(secondary, primary, "notify"))


@pytest.mark.semantics("dns-notify-blocked")
def test_a_change_that_is_not_announced_is_there_within_refresh(
    rumour: News, inventory: Inventory, record_property: Measured
) -> None:
    """BIND asks after three quarters of REFRESH at the earliest; what it asked before the change does not count."""
    secondary = inventory.dns.secondary
    assert rumour.notified == (), f"{secondary} heard notifications that were blocked: {rumour.notified}"
    assert rumour.seconds is not None, (
        f"{secondary} does not serve the new record {rumour.waited:g} s after it was added; REFRESH is "
        f"{rumour.refresh} s"
    )
    record_property("until the secondary served it", f"{rumour.seconds:.1f} s, REFRESH {rumour.refresh} s")


# ---------------------------------------------------------------- slips of the pen, and strangers


@dataclass(frozen=True)
class Odd:
    """The primary's zone file had a line that is no record, and both servers were asked by a stranger."""

    before: int
    meanwhile: int | ClusterError
    """The serial that the primary served."""
    in_file: int | None
    checker: tuple[int, str]
    """What named-checkconf -z said of the file, which is what the provisioner asks."""
    own: dns.Answer | ClusterError
    """The primary's own address, asked from the LAN meanwhile."""
    asked: dict[tuple[str, str], tuple[str, frozenset[str]] | ClusterError]
    """By node, and who asked (`stranger` or the node's own `address`): rcode and flags."""


@pytest.fixture(scope="module")
def odd(inventory: Inventory, fleet: Fleet) -> Odd:
    """Both at once: neither changes what the other shows."""
    pair = (inventory.dns.primary, inventory.dns.secondary)
    primary, zone = fleet[pair[0]], zones(inventory)[0]
    name = f"{inventory.fqdn(pair[0])}."
    before = dns.serial(primary.address, zone)
    with lasting(inventory, fleet, Spoil(pair[0]), *(Stranger(one) for one in pair)):
        checked = primary.run(["named-checkconf", "-z"], sudo=True)
        text = primary.get(f"{named.ZONES}{inventory.cluster.zone}", sudo=True).decode()
        found = named.zone_file_serial(text)
        own = outcome(dns.query, primary.address, name, "A")
        meanwhile = outcome(dns.serial, primary.address, zone)
        asked = {
            (one, who): outcome(_dug, fleet[one], source)
            for one in pair
            for who, source in (("stranger", ADDRESS), ("address", fleet[one].address))
        }
    return Odd(before, meanwhile, found, (checked.code, checked.text), own, asked)


def _dug(node: Node, source: str) -> tuple[str, frozenset[str]]:
    """A recursive question to the node's own name server, sent from one of the node's addresses.

    About a name that every server knows whatever its zones (RFC 6761 section 6.3).
    """
    return named.dug(node.run(["dig", "+tries=2", "+time=2", "-b", source, f"@{node.address}", "localhost", "A"]).text)


@pytest.mark.semantics("dns-bad-zone")
def test_a_zone_that_does_not_load_replaces_none_that_does(odd: Odd, inventory: Inventory) -> None:
    primary, zone = inventory.dns.primary, zones(inventory)[0]
    assert odd.in_file is not None and dns.serial_newer(odd.in_file, odd.before), "the file was not changed"
    assert must(odd.meanwhile) == odd.before, f"{primary} took up {zone} from a file with an error"
    answer = must(odd.own)
    address = str(inventory.nodes[primary].address)
    assert (answer.rcode, answer.aa, answer.records) == ("NOERROR", True, (address,)), (
        f"{primary} answers {answer.rcode} {answer.records} since its zone file has an error"
    )


@pytest.mark.semantics("dns-bad-zone")
def test_the_checker_refuses_a_zone_that_does_not_load(odd: Odd, inventory: Inventory) -> None:
    """named-checkconf(8) is what the provisioner asks before a file replaces another."""
    code, said = odd.checker
    assert code != 0 and "999.1.1.1" in said, (
        f"named-checkconf on {inventory.dns.primary} ends with {code} and does not name the line: {said[-200:]!r}"
    )


@pytest.mark.semantics("dns-recursion")
@pytest.mark.each("server", lambda inventory: [inventory.dns.primary, inventory.dns.secondary])
def test_a_stranger_is_refused(server: str, odd: Odd) -> None:
    """Sent from an address outside of the LAN, on the server itself: elsewhere the answer would not be seen."""
    rcode, flags = must(odd.asked[server, "address"])
    assert rcode == "NOERROR" and "ra" in flags, f"{server} answers {rcode} to its own address: nothing to compare with"
    rcode, flags = must(odd.asked[server, "stranger"])
    assert rcode == "REFUSED", f"{server} answers {rcode} to {ADDRESS}, which is not on the LAN"
    assert "ra" not in flags, f"{server} offers recursion to {ADDRESS}, which is not on the LAN"
