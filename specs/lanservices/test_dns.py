"""DNS, as a client and as a peer sees it: both servers authoritative, complete, and telling the same.

RFC 1034, 1035, 1982, 5936; named.conf.  Asked over the wire of each server by its own address, and of the
floating one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory, Record
from cluster.inventory import Node as Plan
from cluster.node import Node
from cluster.probes import dns
from specs.lanservices.looks import answer, must, servers, zones

Transfers = dict[tuple[str, str], frozenset[dns.Record] | ClusterError]


class Asked(NamedTuple):
    """One question; its name is the test's id."""

    name: str
    question: str
    kind: str
    expected: tuple[str, ...]


def host_questions(inventory: Inventory) -> Iterator[Asked]:
    """A and PTR of everything that has both."""
    for name, address in inventory.hosts.items():
        short = name.split(".")[0]
        yield Asked(f"{short}-A", f"{name}.", "A", (str(address),))
        yield Asked(f"{short}-PTR", f"{address.reverse_pointer}.", "PTR", (f"{name}.",))


def record_questions(inventory: Inventory) -> Iterator[Asked]:
    """Every record that the inventory declares, and the addresses of the name servers."""
    servers = (Record.model_construct(name=n, type="A", value=str(a), priority=None)
               for n, a in inventory.name_servers.items())  # fmt: skip
    for record in (*inventory.dns.records, *servers):
        yield Asked(f"{record.name.split('.')[0]}-{record.type}", f"{record.name}.", record.type, (data(record),))


def data(record: Record) -> str:
    """A record's data as dnspython writes it."""
    match record.type:
        case "MX":
            return f"{record.priority} {record.value}."
        case "CNAME":
            return f"{record.value}."
        case "TXT":
            return f'"{record.value}"'
        case _:
            return record.value


def with_node(questions: object) -> object:
    """The same questions, to each node of the group."""

    def each(inventory: Inventory, node: Plan) -> list[Asked]:
        assert callable(questions)
        return list(questions(inventory))

    return each


def zones_of(inventory: Inventory, node: Plan | None = None) -> tuple[str, str]:
    """Both zones, for each node."""
    return zones(inventory)


def judge(asked: Asked, server: str, *, tcp: bool = False) -> None:
    """The server's answer is authoritative and exactly what is expected."""
    got = answer(server, asked.question, asked.kind, tcp=tcp)
    what = f"{asked.question} {asked.kind} at {server}"
    assert got.rcode == "NOERROR", f"{what}: the answer is {got.rcode}, not {', '.join(asked.expected)}"
    assert got.records == asked.expected, f"{what}: the server says {got.records}, the inventory {asked.expected}"
    assert got.aa, f"{what}: the answer is right but not authoritative"


# ---------------------------------------------------------------- each server


@pytest.mark.semantics("dns-every-node")
@pytest.mark.group("lanservices")
@pytest.mark.each("asked", with_node(host_questions))
def test_a_host_has_its_address_and_its_name(node: Node, asked: Asked) -> None:
    judge(asked, node.address)


@pytest.mark.group("lanservices")
@pytest.mark.each("asked", with_node(record_questions))
def test_a_declared_record_is_served(node: Node, asked: Asked) -> None:
    judge(asked, node.address)


@pytest.mark.semantics("dns-udp-and-tcp")
@pytest.mark.group("lanservices")
@pytest.mark.each("asked", with_node(host_questions))
def test_the_same_is_answered_over_tcp(node: Node, asked: Asked) -> None:
    judge(asked, node.address, tcp=True)


@pytest.mark.semantics("dns-both-named")
@pytest.mark.group("lanservices")
@pytest.mark.each("zone", zones_of)
def test_the_server_is_authoritative(node: Node, zone: str) -> None:
    got = answer(node.address, zone, "SOA")
    assert got.rcode == "NOERROR", f"{node.name} answers {got.rcode} for {zone}: the zone is not loaded or expired"
    assert got.aa, f"{node.name} answers for {zone}, but not as an authority"


@pytest.mark.semantics("dns-both-named")
@pytest.mark.group("lanservices")
@pytest.mark.each("zone", zones_of)
def test_both_servers_are_named(node: Node, zone: str, inventory: Inventory) -> None:
    got = answer(node.address, zone, "NS")
    expected = tuple(sorted(f"{name}." for name in inventory.name_servers))
    assert got.records == expected, f"NS of {zone} at {node.name}: {got.records}, not {expected}"


class Timer(NamedTuple):
    """One field of the SOA record (RFC 1035 section 3.3.13)."""

    name: str
    zone: str
    field: int
    seconds: int


def timers(inventory: Inventory, node: Plan) -> Iterator[Timer]:
    """The timers of both zones as the inventory says."""
    plan = inventory.dns
    for zone in zones(inventory):
        for n, name in enumerate(("refresh", "retry", "expire"), 3):
            yield Timer(f"{zone}-{name}", zone, n, getattr(plan, name))
        yield Timer(f"{zone}-negative", zone, 6, plan.negative)


@pytest.mark.group("lanservices")
@pytest.mark.each("timer", timers)
def test_a_zone_has_the_timers_of_the_inventory(node: Node, timer: Timer) -> None:
    got = answer(node.address, timer.zone, "SOA")
    assert got.records, f"{node.name} has no SOA for {timer.zone}: {got.rcode}"
    told = int(got.records[0].split()[timer.field])
    assert told == timer.seconds, f"{timer.name} at {node.name}: {told} s, the inventory says {timer.seconds} s"


@pytest.mark.group("lanservices")
@pytest.mark.each("zone", zones_of)
def test_records_have_the_ttl_of_the_inventory(
    node: Node, zone: str, transfers: Transfers, inventory: Inventory
) -> None:
    ttl = inventory.dns.ttl
    other = {(name, kind): t for name, kind, t, _ in must(transfers[node.name, zone]) if t != ttl}
    assert not other, f"{zone} at {node.name}: the inventory says {ttl} s for all, but {other}"


@pytest.mark.group("lanservices")
def test_an_unknown_name_is_denied_with_authority(node: Node, inventory: Inventory) -> None:
    name = f"{inventory.fqdn('no-such-host')}."
    got = answer(node.address, name, "A")
    assert got.rcode == "NXDOMAIN", f"{name} at {node.name}: {got.rcode} {got.records}, not NXDOMAIN"
    assert got.aa, f"{node.name} denies {name}, but not as an authority"


@pytest.mark.semantics("dns-recursion")
@pytest.mark.group("lanservices")
def test_recursion_is_offered_to_the_lan(node: Node, inventory: Inventory) -> None:
    got = answer(node.address, f"{inventory.fqdn('float')}.", "A", rd=True)
    assert got.rcode == "NOERROR", f"a recursive question at {node.name}: {got.rcode}"
    assert got.ra, f"{node.name} offers no recursion to {inventory.network.cidr}"


@pytest.mark.group("lanservices")
@pytest.mark.each("zone", zones_of)
def test_the_zone_holds_what_the_inventory_says_and_nothing_else(
    node: Node, zone: str, transfers: Transfers, inventory: Inventory
) -> None:
    held = {(name, kind, text) for name, kind, _, text in must(transfers[node.name, zone]) if kind != "SOA"}
    expected = {(zone, "NS", f"{name}.") for name in inventory.name_servers}
    if zone == zones(inventory)[0]:
        expected |= {(f"{r.name}.", r.type, data(r)) for r in inventory.forward_records}
    else:
        expected |= {(f"{pointer}.", "PTR", f"{name}.") for pointer, name in inventory.pointers.items()}
    missing, extra = sorted(expected - held), sorted(held - expected)
    assert not missing and not extra, f"{zone} at {node.name}: missing {missing}, not in the inventory {extra}"


# ---------------------------------------------------------------- the pair


@pytest.mark.semantics("dns-serials")
@pytest.mark.each("zone", zones_of)
def test_both_servers_have_the_same_serial(zone: str, inventory: Inventory) -> None:
    serials = {name: dns.serial(address, zone, 2.0) for name, address in servers(inventory).items()}
    newest = next(n for n in serials if not any(dns.serial_newer(other, serials[n]) for other in serials.values()))
    behind = {name: serial for name, serial in serials.items() if serial != serials[newest]}
    assert not behind, f"{zone}: {newest} has serial {serials[newest]}, behind it (RFC 1982): {behind}"


@pytest.mark.semantics("dns-same-zones")
@pytest.mark.each("zone", zones_of)
def test_both_servers_hold_the_same_records(zone: str, transfers: Transfers, inventory: Inventory) -> None:
    first, *others = servers(inventory)
    one = must(transfers[first, zone])
    for name in others:
        other = must(transfers[name, zone])
        assert one == other, f"{zone}: only {first} has {sorted(one - other)}, only {name} has {sorted(other - one)}"


def test_a_resolver_that_knows_both_finds_a_name(inventory: Inventory) -> None:
    name, address = next(iter(inventory.hosts.items()))
    found = dns.stub(list(servers(inventory).values()), f"{name}.")
    assert found.answer.records == (str(address),), f"{name}: {found.answer.records} from {found.server}, not {address}"
    assert found.tries == 1, f"{name} took {found.tries} questions: the first server does not answer"


# ---------------------------------------------------------------- the floating address


@pytest.mark.semantics("dns-floating")
@pytest.mark.each("asked", host_questions)
def test_the_floating_address_answers_for_a_host(asked: Asked, inventory: Inventory) -> None:
    judge(asked, str(inventory.network.floating))


@pytest.mark.semantics("dns-floating")
@pytest.mark.each("asked", record_questions)
def test_the_floating_address_answers_for_a_declared_record(asked: Asked, inventory: Inventory) -> None:
    judge(asked, str(inventory.network.floating))


@pytest.mark.semantics("dns-floating", "dns-udp-and-tcp")
@pytest.mark.each("asked", lambda inventory: list(host_questions(inventory))[:2])
def test_the_floating_address_answers_over_tcp(asked: Asked, inventory: Inventory) -> None:
    judge(asked, str(inventory.network.floating), tcp=True)


@pytest.mark.semantics("dns-recursion")
def test_the_floating_address_offers_recursion(inventory: Inventory) -> None:
    got = answer(str(inventory.network.floating), f"{inventory.fqdn('float')}.", "A", rd=True)
    assert got.ra, f"no recursion at {inventory.network.floating} for {inventory.network.cidr}"


def test_the_service_name_leads_to_the_floating_address(inventory: Inventory) -> None:
    """Every declared CNAME, followed by the server itself, ends at an address."""
    for record in inventory.dns.records:
        if record.type == "CNAME":
            got = answer(str(inventory.network.floating), f"{record.name}.", "A")
            expected = {r.value for r in inventory.forward_records if (r.name, r.type) == (record.value, "A")}
            assert set(got.records) == expected, f"{record.name} leads to {got.records}, not {sorted(expected)}"
