"""Specs about services judge right what no lab can be made to show: made-up looks in, the complaint out.

A machine's lab nodes share one clock, and a pair of real daemons does not give one address to two clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import ntplib  # type: ignore[import-untyped]
import pytest

from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory, load
from cluster.node import Node
from cluster.probes import clock, mpi
from cluster.probes.clock import NtpReply, Source, Tracking
from cluster.probes.dhcp import FailoverState, Lease, LeaseEntry, Offer
from cluster.probes.dns import Answer, Lookup
from cluster.probes.vrrp import Advertisement
from specs.cluster import test_addresses as addresses
from specs.compute import test_mpi as mpi_specs
from specs.compute.previous import Earlier
from specs.lanservices import test_dhcp as dhcp
from specs.lanservices import test_dhcp_pair as dhcp_pair
from specs.lanservices import test_dns_alone as dns_alone
from specs.lanservices import test_floating_address as floating
from specs.lanservices import test_ntp as ntp
from specs.lanservices import test_ntp_faults as ntp_faults
from specs.lanservices import upstream
from specs.lanservices.looks import LOCAL_REFERENCE, Clock, Followed, Leases, Life, dhcp_clock, origin
from specs.profiles import affordable

INVENTORY = load()
ALPHA, BETA, GAMMA = (
    cast(Node, SimpleNamespace(name=n, address=str(INVENTORY.nodes[n].address))) for n in ("alpha", "beta", "gamma")
)
RELEASED = 1_800_000_000.0
FLOATING = str(INVENTORY.network.floating)


def red(spec: Callable[..., object], *arguments: Any) -> str:
    """What a spec complains of, in one line."""
    with pytest.raises((AssertionError, ClusterError, pytest.fail.Exception)) as caught:
        spec(*arguments)
    return str(caught.value).splitlines()[0]


# ---------------------------------------------------------------- time

REPLY = NtpReply(4, 0, 10, 0.0, 0.001, 0.0, 0.0, "127.127.1.1", 0.001)
SOURCES = (
    Source("^", "*", ALPHA.address, 10, 6, 0o377, 3.0, 0.0, 0.0, 0.0),
    Source("^", "+", BETA.address, 11, 6, 0o377, 3.0, 0.0, 0.0, 0.0),
)
TRACKING = Tracking("C0A80A06", ALPHA.address, 11, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 16.0, "Normal")
CLOCK = Clock(SOURCES, TRACKING, -0.001, 0.001)
SERVER = ntp.Server("alpha", ALPHA.address)


def replies(**change: Any) -> dict[str, NtpReply | ClusterError]:
    return {ALPHA.address: replace(REPLY, **change), BETA.address: REPLY}


@pytest.mark.parametrize(
    ("spec", "change", "says"),
    [
        ("it_answers_as_a_server", {"mode": 5}, "alpha answers in mode 5"),
        ("it_is_synchronised", {"leap": 3}, "alpha says its clock is not synchronised"),
        ("its_stratum_can_be_followed", {"stratum": 16}, "alpha has stratum 16: no client follows it"),
        ("its_root_distance_can_be_followed", {"root_delay": 4.0}, "alpha: root distance 2.000 s"),
        ("its_dispersion_is_small", {"root_dispersion": 1.2}, "alpha: root dispersion 1.200 s"),
        ("it_agrees_with_our_own_clock", {"offset": -3.0}, "alpha is -3.000 s from this machine's clock"),
        ("it_agrees_with_the_other_servers", {"offset": 3.0}, f"alpha is +3.000 s from {BETA.address}"),
    ],
)
def test_a_server_of_time_that_cannot_be_trusted(spec: str, change: Mapping[str, Any], says: str) -> None:
    judge = getattr(ntp.TestOnTheWire(), f"test_{spec}")
    assert says in red(judge, SERVER, replies(**change))
    judge(SERVER, replies())


@pytest.mark.parametrize(
    ("spec", "clock", "says"),
    [
        (
            ntp.test_no_source_is_a_falseticker,
            replace(CLOCK, sources=(SOURCES[0], replace(SOURCES[1], state="x", offset=-0.01))),
            "falsetickers",
        ),
        (
            ntp.test_a_node_is_near_its_source,
            replace(CLOCK, tracking=replace(TRACKING, last_offset=-0.2)),
            "gamma measured itself -0.200 s off",
        ),
        (
            ntp.test_a_clock_agrees_with_the_others,
            replace(CLOCK, ahead_at_least=0.2, ahead_at_most=0.3),
            "gamma and alpha are at least 0.199 s apart",
        ),
        (
            ntp.test_a_clock_agrees_with_the_others,
            replace(CLOCK, ahead_at_least=-9.3, ahead_at_most=-9.2),
            "gamma and alpha are at least 9.199 s apart",
        ),
    ],
)
def test_a_node_with_the_wrong_time(spec: Callable[..., None], clock: Clock, says: str) -> None:
    assert says in red(spec, GAMMA, {"alpha": CLOCK, "gamma": clock})
    spec(GAMMA, {"alpha": CLOCK, "gamma": CLOCK})


def test_a_slow_look_does_not_make_clocks_differ() -> None:
    slow = replace(CLOCK, ahead_at_least=-0.001, ahead_at_most=5.0)
    ntp.test_a_clock_agrees_with_the_others(GAMMA, {"alpha": CLOCK, "gamma": slow})


def test_the_reference_for_all_follows_nobody() -> None:
    local = replace(CLOCK, sources=(), tracking=replace(TRACKING, refid=LOCAL_REFERENCE))
    ntp.test_a_node_follows_one_source(ALPHA, {"alpha": local}, INVENTORY)
    assert "no source" in red(ntp.test_a_node_follows_one_source, GAMMA, {"gamma": local}, INVENTORY)


# ---------------------------------------------------------------- DHCP


def entry(address: str, state: str, mac: str | None = None) -> LeaseEntry:
    return LeaseEntry(address, state, mac, None, None, None, None, None, None, None, None)


def lease(server: Node, address: str, **change: Any) -> Lease:
    mac = INVENTORY.nodes[server.name].mac
    offer = Offer(address, server.address, server.address, mac, {}, 1.0)
    made = Lease(
        address, server.address, 1800.0, {}, 1.1, 2, f"02:00:00:00:00:{address[-2:]}", mac, 0.0, None, (offer,)
    )
    return replace(made, **change)


def looked(
    taken: Mapping[str, Lease | ClusterError] | None = None,
    alpha: tuple[LeaseEntry, ...] = (),
    beta: tuple[LeaseEntry, ...] = (),
) -> Leases:
    files = {name: {e.address: e for e in entries} for name, entries in (("alpha", alpha), ("beta", beta))}
    normal = FailoverState("normal", "normal")
    lives = {name: Life(one, one, one, one, RELEASED) for name, one in (taken or {}).items()}
    return Leases(lives, files, {"alpha": normal, "beta": normal})


def test_a_lease_that_is_not_given_back() -> None:
    taken = {"alpha": lease(ALPHA, "192.168.10.201")}
    held = looked(taken, beta=(entry("192.168.10.201", "active", "02:00:00:00:00:01"),))
    assert "beta still holds" in red(dhcp.test_what_was_taken_is_given_back, BETA, held)
    dhcp.test_what_was_taken_is_given_back(ALPHA, held)


def test_the_clock_of_a_server_is_known_from_when_it_noted_a_release() -> None:
    taken = {"alpha": lease(ALPHA, "192.168.10.201"), "beta": lease(BETA, "192.168.10.202")}

    def noted(alpha: float, beta: float, state: str = "free") -> Leases:
        entries = {"201": alpha, "202": beta}
        one, other = (replace(entry(f"192.168.10.{n}", state), ends=RELEASED + at) for n, at in entries.items())
        return looked(taken, (one,), (other,))

    said: dict[str, object] = {}
    dhcp_pair.test_the_clocks_of_the_servers_agree(noted(0, 9), INVENTORY, said.__setitem__)
    assert said == {"clocks of the DHCP servers, from ours": "alpha +0.2 s, beta +9.2 s"}
    for apart in (90, -90):
        assert "at least 88.5 s apart" in red(
            dhcp_pair.test_the_clocks_of_the_servers_agree, noted(0, apart), INVENTORY, said.__setitem__
        )
    with pytest.raises(ProbeFailed, match="alpha has not noted that 192"):
        dhcp_clock(noted(0, 0, "active"), "alpha")


def test_an_address_of_two_clients() -> None:
    mine, theirs = (entry("192.168.10.202", "active", f"02:00:00:00:00:0{n}") for n in (1, 2))
    assert "active for two clients at once: {'192.168.10.202'" in red(
        dhcp.test_no_address_is_held_by_two_clients, looked(alpha=(mine,), beta=(theirs,))
    )
    gone = entry("192.168.10.202", "free", "02:00:00:00:00:02")
    dhcp.test_no_address_is_held_by_two_clients(looked(alpha=(mine,), beta=(gone,)))
    dhcp.test_no_address_is_held_by_two_clients(looked(alpha=(mine,), beta=(mine,)))


def test_two_clients_given_the_same_address() -> None:
    same = {"alpha": lease(ALPHA, "192.168.10.203"), "beta": lease(BETA, "192.168.10.203")}
    assert "the same address" in red(dhcp.test_two_clients_have_two_addresses, looked(same))


def test_an_address_that_was_not_the_one_offered() -> None:
    other = replace(lease(ALPHA, "192.168.10.204"), address="192.168.10.205")
    assert "but gave 192.168.10.205" in red(
        dhcp.test_the_address_given_is_the_one_offered, ALPHA, looked({"alpha": other})
    )


def test_an_empty_pool() -> None:
    pool = (f"192.168.10.{n}" for n in range(200, 241))
    full = looked(beta=tuple(entry(address, "active", "02:00:00:00:00:01") for address in pool))
    said: dict[str, object] = {}
    assert "the pool is empty on beta: states are ['active']" in red(
        dhcp.test_the_server_has_addresses_left, BETA, full, INVENTORY, said.__setitem__
    )
    assert said == {"addresses left for new clients": "0 of its own, 0 with its partner's"}


def test_addresses_that_a_lease_file_does_not_mention_are_left() -> None:
    """dhcpd, started anew, writes nothing about what was never used."""
    few = looked(alpha=(entry("192.168.10.206", "active", "02:00:00:00:00:01"),))
    said: dict[str, object] = {}
    dhcp.test_the_server_has_addresses_left(ALPHA, few, INVENTORY, said.__setitem__)
    assert said == {"addresses left for new clients": "40 of its own, 40 with its partner's"}


def test_an_answer_in_another_machines_name() -> None:
    strange = replace(lease(BETA, "192.168.10.207").offers[0], server_mac="02:00:00:00:00:99")
    assert "came from 02:00:00:00:00:99" in red(
        dhcp.test_the_offer_comes_from_the_node_itself, BETA, (strange,), INVENTORY
    )
    relayed = replace(strange, src="192.168.10.66")
    assert "a rogue DHCP server" in red(dhcp.test_only_the_expected_servers_answer, (relayed,), {}, INVENTORY)


def test_a_server_that_nobody_could_ask_is_red_with_the_reason() -> None:
    silent = looked({"alpha": ProbeFailed("no lease after 3 messages")})
    assert red(dhcp.test_a_client_gets_a_lease_from_the_server, ALPHA, silent, INVENTORY) == "no lease after 3 messages"


# ---------------------------------------------------------------- the floating address, and others


def advertisement(src: str, **change: Any) -> Advertisement:
    mac = next((n.mac for n in INVENTORY.nodes.values() if str(n.address) == src), "02:00:00:00:00:66")
    return replace(Advertisement(10.0, src, 2, 51, 100, 1.0, (FLOATING,), "pass", mac), **change)


def test_two_advertisers_are_a_split_brain_and_both_are_named() -> None:
    heard = (advertisement(ALPHA.address), advertisement(BETA.address, priority=90))
    said = red(floating.test_exactly_one_node_advertises, heard, INVENTORY)
    assert said == f"split brain: virtual router 51 is advertised by alpha ({ALPHA.address}), beta ({BETA.address})"
    assert "a stranger: 192.168.10.66" in red(
        floating.test_exactly_one_node_advertises, (advertisement("192.168.10.66"),), INVENTORY
    )


def test_a_stranger_with_our_address_in_a_router_of_its_own() -> None:
    ours = advertisement(ALPHA.address)
    judge = floating.test_nobody_else_claims_the_address
    assert "[('192.168.10.66', 7)]" in red(judge, (ours, advertisement("192.168.10.66", vrid=7)), INVENTORY)
    judge((ours, advertisement("192.168.10.66", vrid=7, addresses=("192.168.10.99",))), INVENTORY)


def test_advertisements_that_come_late() -> None:
    judge = floating.test_advertisements_come_at_their_interval
    assert "[1.6] s apart" in red(
        judge, (advertisement(ALPHA.address), advertisement(ALPHA.address, t=11.6)), INVENTORY
    )
    judge((advertisement(ALPHA.address), advertisement(ALPHA.address, t=11.01)), INVENTORY)


def test_an_address_that_another_computer_answers_for() -> None:
    macs = {name: INVENTORY.nodes[name].mac for name in ("gamma", "beta")}
    judge = addresses.test_the_address_belongs_to_the_node_alone
    for found, says in (
        (frozenset[str](), "nobody answers ARP for 192.168.10.21 of gamma"),
        (frozenset({macs["beta"]}), f"is answered by ['{macs['beta']}']"),
        (frozenset(macs.values()), "is answered by ["),
    ):
        assert says in red(judge, GAMMA, {GAMMA.address: found}, INVENTORY)
    judge(GAMMA, {GAMMA.address: frozenset({macs["gamma"]})}, INVENTORY)


def test_questions_follow_the_inventory() -> None:
    """A new node is asked for, and demanded, without an edit."""
    from specs.lanservices import test_dns as dns

    def asked(inventory: Inventory) -> set[str]:
        return {one.name for one in dns.host_questions(inventory)}

    node = INVENTORY.nodes["zeta"].model_copy(update={"name": "eta"})
    grown = INVENTORY.model_copy(update={"nodes": {**INVENTORY.nodes, "eta": node}})
    assert asked(grown) - asked(INVENTORY) == {"eta-A", "eta-PTR"}


# ---------------------------------------------------------------- while something is wrong, as it was recorded

FOLLOWED = Followed(SOURCES, TRACKING)
"""Of gamma: it follows alpha, and hears beta."""


def lying(state: str, selected: str, offset: float = 0.0, told: float = 0.0) -> ntp_faults.Lie:
    """Alpha lied: gamma holds it for `state`, follows `selected`, went `offset` s; beta told a time `told` s off."""
    sources = tuple(replace(s, state="*" if s.name == selected else state) for s in SOURCES)
    seen = {"gamma": Followed(sources, replace(TRACKING, last_offset=offset)), "beta": FOLLOWED}
    return ntp_faults.Lie("alpha", ALPHA.address, [seen], [{"beta": replace(REPLY, offset=told)}], 3.0)


MEASURED: list[tuple[str, object]] = []


def measured(name: str, value: object) -> None:
    MEASURED.append((name, value))


def test_a_lie_that_was_rejected() -> None:
    good = lying("x", BETA.address)
    ntp_faults.test_a_client_rejects_a_server_that_lies("gamma", good, measured)
    ntp_faults.test_it_goes_on_with_an_honest_server("gamma", good, INVENTORY)
    ntp_faults.test_nobody_follows_the_lie("gamma", good)
    with pytest.raises(pytest.skip.Exception, match="alpha is the one that lies"):
        ntp_faults.test_nobody_follows_the_lie("alpha", good)
    ntp_faults.test_the_other_servers_go_on_telling_the_time(good)


def test_a_lie_that_was_believed() -> None:
    bad = lying("+", ALPHA.address, offset=-4.9, told=4.9)
    assert "does not hold alpha, 5 s ahead, for a falseticker after 3.0 s" in red(
        ntp_faults.test_a_client_rejects_a_server_that_lies, "gamma", bad, measured
    )
    assert f"gamma follows ['{ALPHA.address}'] while alpha lies" in red(
        ntp_faults.test_it_goes_on_with_an_honest_server, "gamma", bad, INVENTORY
    )
    assert "gamma follows nobody" in red(
        ntp_faults.test_it_goes_on_with_an_honest_server, "gamma", lying("x", "nobody"), INVENTORY
    )
    assert "gamma went 4.900 s with the 5 s of alpha" in red(ntp_faults.test_nobody_follows_the_lie, "gamma", bad)
    alone = replace(bad, told=[{}])
    assert "no server of time but alpha" in red(ntp_faults.test_the_other_servers_go_on_telling_the_time, alone)
    assert "beta told a time +4.900 s off" in red(ntp_faults.test_the_other_servers_go_on_telling_the_time, bad)


def test_a_cut_uplink_that_moves_somebody() -> None:
    def after(**change: Any) -> ntp_faults.Uplink:
        seen = {"gamma": replace(FOLLOWED, tracking=replace(TRACKING, **change))}
        return ntp_faults.Uplink("192.0.2.1", {}, 1.0, seen, 4.0, {}, 1.0)

    ntp_faults.test_a_cut_uplink_moves_nobody("gamma", after())
    assert "gamma is Not synchronised 4.0 s after the cut" in red(
        ntp_faults.test_a_cut_uplink_moves_nobody, "gamma", after(leap="Not synchronised")
    )
    assert "gamma went -0.200 s off after the cut" in red(
        ntp_faults.test_a_cut_uplink_moves_nobody, "gamma", after(offset=-0.2)
    )


def test_a_time_that_goes_in_circles_has_no_origin() -> None:
    def at(node: Any) -> str:
        return "".join(f"{int(part):02X}" for part in node.address.split("."))

    seen: dict[str, Followed | ClusterError] = {
        "alpha": replace(FOLLOWED, tracking=replace(TRACKING, refid=LOCAL_REFERENCE)),
        "beta": replace(FOLLOWED, tracking=replace(TRACKING, refid=at(ALPHA))),
        "gamma": replace(FOLLOWED, tracking=replace(TRACKING, refid=at(BETA))),
        "delta": replace(FOLLOWED, tracking=replace(TRACKING, refid="C0000201")),
        "psi": replace(FOLLOWED, tracking=replace(TRACKING, refid="C0A80A18")),
        "zeta": replace(FOLLOWED, tracking=replace(TRACKING, refid="C0A80A05")),
        "omega": replace(FOLLOWED, tracking=replace(TRACKING, leap="Not synchronised")),
    }
    assert [origin(name, seen, INVENTORY) for name in ("alpha", "beta", "gamma", "delta")] == [
        "alpha", "alpha", "alpha", "192.0.2.1",
    ]  # fmt: skip
    assert "psi from zeta from psi: that is a circle" in red(origin, "psi", seen, INVENTORY)
    assert "omega has its time from nobody" in red(origin, "omega", seen, INVENTORY)


def test_an_uplink_answers_as_a_server_does() -> None:
    """By ntplib, an independent codec."""
    request = clock.build(bytes(range(8)))
    packet = ntplib.NTPPacket()
    packet.from_data(upstream.answer(request, clock.timestamp(1_800_000_000.25), clock.timestamp(1_800_000_000.5)))
    assert (packet.leap, packet.version, packet.mode, packet.stratum) == (0, 4, 4, upstream.STRATUM)
    assert packet.recv_timestamp == ntplib.system_to_ntp_time(1_800_000_000.25)
    assert packet.tx_timestamp == ntplib.system_to_ntp_time(1_800_000_000.5)
    assert clock.parse(upstream.answer(request, 0, 0)).origin == request[40:]


def test_an_uplink_that_is_cut_is_silent() -> None:
    with upstream.Upstream("127.0.0.1", 0) as up:
        assert clock.query("127.0.0.1", port=up.port).stratum == upstream.STRATUM
        up.cut()
        with pytest.raises(ProbeFailed, match="no answer"):
            clock.query("127.0.0.1", 0.2, port=up.port)
        with pytest.raises(ProbeFailed, match="in use"):
            upstream.Upstream("127.0.0.1", up.port)


# A zone that expires 20 s after the primary's death, seen each second; restarted after 2 s.
GOOD = Answer("NOERROR", True, False, (), 0.001)
FAILED = Answer("SERVFAIL", False, False, (), 0.001)
ZONE = "clust0r."


def alone(*, until: float = 20.0, end: float = 23.0, expires: float = 20.0, after: object = FAILED) -> dns_alone.Alone:
    """Good answers until `until`, then `after`; watched until `end`."""
    times = [n / 2 for n in range(int(end * 2))]
    looks = [dns_alone.Look(t, ZONE, GOOD if t < until else cast(Any, after)) for t in times]
    return dns_alone.Alone(30, {ZONE: expires}, looks, [2.0, 2.3], [])


@pytest.mark.parametrize(
    ("story", "spec", "says"),
    [
        (alone(until=12.0), "the_secondary_answers_with_authority_until_expire",
         "SERVFAIL without authority 12.0 s after the primary died; EXPIRE is 30 s"),
        (alone(end=4.0, expires=19.0), "the_secondary_answers_with_authority_until_expire",
         "did not answer until EXPIRE, 30 s; its last word on clust0r. was: NOERROR 3.5 s after"),
        (alone(after=ProbeFailed("no answer", reason="timeout"), until=9.0),
         "the_secondary_answers_with_authority_until_expire", "no answer 9.0 s after the primary died"),
        (alone(until=2.0), "it_does_so_after_a_restart_of_its_own", "restarted 2.3 s after the primary died"),
        (alone(until=99.0), "after_expire_it_says_that_it_cannot",
         "NOERROR 21.0 s after the primary died; it expired after 20.0 s"),
        (alone(expires=600.0), "after_expire_it_says_that_it_cannot", "expires after 600.0 s, EXPIRE 30"),
        (alone(end=15.0), "after_expire_it_says_that_it_cannot", "was not watched until clust0r. had expired"),
    ],
)  # fmt: skip
def test_a_secondary_that_does_not_keep_to_expire(story: dns_alone.Alone, spec: str, says: str) -> None:
    judge = getattr(dns_alone, f"test_{spec}")
    more = (measured,) if "until_expire" in spec else ()
    assert says in red(judge, ZONE, story, INVENTORY, *more)
    judge(ZONE, alone(), INVENTORY, *more)


def test_a_resolver_that_waited_for_more_than_one_server() -> None:
    address = str(INVENTORY.nodes[INVENTORY.dns.secondary].address)
    found = Lookup(replace(GOOD, records=(address,)), address, 1.1, 2)
    dns_alone.test_a_resolver_that_knows_both_waits_for_its_own_timeout_at_most(
        replace(alone(), stub=[found]), INVENTORY, measured
    )
    for other, says in (
        (replace(found, seconds=2.1), "it took 2.10 s with a timeout of 1 s"),
        (replace(found, answer=GOOD), "it was told ()"),
        (ProbeFailed("no server answered", reason="no-server"), "no server answered"),
    ):
        assert says in red(
            dns_alone.test_a_resolver_that_knows_both_waits_for_its_own_timeout_at_most,
            replace(alone(), stub=[found, cast(Any, other)]),
            INVENTORY,
            measured,
        )


def test_a_spec_that_would_wait_for_long_says_what_it_needs() -> None:
    affordable(INVENTORY, 59.0, "waiting")
    with pytest.raises(pytest.skip.Exception, match="needs --profile short: waiting takes 300 s under production"):
        affordable(INVENTORY, 300.0, "waiting")


# ---------------------------------------------------------------- MPI


def test_a_pair_that_is_slow_in_every_look_is_a_finding() -> None:
    """A link that fell back to 10 Mbit/s stays slow; a moment in which a node had other things to do does not count."""
    before, fast, slow = (
        Earlier(60.0, 900.0),
        mpi.Pair("gamma", "delta", 70.0, 800.0),
        mpi.Pair("gamma", "delta", 80, 1),
    )
    looks: list[mpi.Pair] = []

    def judge(*seen: mpi.Pair) -> None:
        looks[:] = seen
        mpi_specs.judge([looks.pop(0)], "gamma and delta", before, lambda *_: None, lambda: [looks.pop(0)])

    judge(fast)
    judge(slow, slow, fast, slow)
    assert len(looks) == 1, "nobody looks again once it was as fast as before"
    assert "900 times slower than before: 80 us, 1 MB/s; before 60 us, 900 MB/s" in red(judge, *[slow] * 4)
    assert "nothing was exchanged" in red(judge, mpi.Pair("gamma", "delta", 0.0, 800.0))
    assert "were not measured" in red(mpi_specs.judge, [], "gamma and delta", before, lambda *_: None, list)
