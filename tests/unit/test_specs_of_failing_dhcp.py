"""Disruptive specs about DHCP judge right: a record of what a pair went through in, the complaint out.

One round of tests/red/dhcp.py shows them real servers that fail; this is what no pair of ISC's can be made to do, or
what takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import load
from cluster.probes import dhcp
from cluster.probes.dhcp import FailoverState, Lease, LeaseEntry, Offer
from cluster.probes.omapi import Peer
from specs.lanservices import test_dhcp_failover as failover
from specs.lanservices import test_dhcp_starved as starving
from specs.lanservices.doubting_dhcp import Refusal, Silence
from specs.lanservices.failing_dhcp import ALONE, Outage, Recovered
from specs.lanservices.looks import Leases, Life
from specs.lanservices.starving_dhcp import Starved

INVENTORY = load()
ALPHA, BETA = (str(INVENTORY.nodes[name].address) for name in ("alpha", "beta"))
BEGAN = 1_800_000_000.0
PEER = Peer("pair", ALONE, "normal", "primary", 10.0, 6.0, 4.0, bytes(32), BEGAN, BEGAN)
NOBODY = ProbeFailed("no lease after 5 messages", reason="timeout")
Spec = Callable[..., None]


def red(spec: Spec, *arguments: Any) -> str:
    with pytest.raises((AssertionError, ClusterError, pytest.fail.Exception)) as caught:
        spec(*arguments)
    return str(caught.value).splitlines()[0]


def tell(name: str, value: object) -> None:
    """What specs measured is of no matter here."""


def lease(n: int, server: str = ALPHA, seconds: float = 10.0, offered: float = 1.0) -> Lease:
    address = f"192.168.10.{n}"
    offer = Offer(address, server, server, "b8:27:eb:00:00:06", {}, offered)
    return Lease(
        address, server, seconds, {}, 1.1, 2, f"02:00:00:00:00:{n:02x}", "b8:27:eb:00:00:06", 0.0, None, (offer,)
    )


def entry(n: int, state: str, mac: str | None = None, ends: float | None = None) -> LeaseEntry:
    return LeaseEntry(f"192.168.10.{n}", state, mac, None, None, None, ends, None, None, None, None)


def file(*entries: LeaseEntry) -> dict[str, LeaseEntry]:
    return {one.address: one for one in entries}


def states(*names: str, partner: str = "normal") -> tuple[FailoverState, ...]:
    return tuple(FailoverState(name, partner, BEGAN + 10.0 * (name in ("recover-done", "normal"))) for name in names)


HALVES = file(*(entry(n, "free") for n in range(221, 241)), *(entry(n, "backup") for n in range(200, 221)))
RECOVERED = Recovered(
    wanted="192.168.10.205",
    early=frozenset({"192.168.10.231"}),
    late=lease(205),
    offered=((BEGAN + 1, frozenset({ALPHA})), (BEGAN + 9, frozenset({ALPHA})), (BEGAN + 12, frozenset({ALPHA, BETA}))),
)
OUTAGE = Outage(
    dead="beta",
    survivor="alpha",
    refused="refused, beta may live, and then both would lease the same addresses",
    peer=PEER,
    mclt=10.0,
    halves={f"192.168.10.{n}": "free" if n > 220 else "backup" for n in range(200, 241)},
    kept=lease(200, BETA),
    rebound=lease(200),
    rebooted=lease(200),
    new=(lease(221), lease(222)),
    renewed=(lease(221), lease(222)),
    after={"alpha": HALVES, "beta": HALVES},
    histories={
        "alpha": states("normal", ALONE, "partner-down", "normal"),
        "beta": states("recover", "recover-wait", "recover-done", "normal"),
    },
    recovered=RECOVERED,
)
MINE = dhcp.synthetic_mac(0x98)


@pytest.mark.parametrize(
    ("spec", "more", "change", "says"),
    [
        (failover.test_partner_down_is_refused_while_the_partner_lives, (), {"refused": ""}, "it was done"),
        (failover.test_partner_down_is_refused_while_the_partner_lives, (), {"refused": "x"}, "not refused: x"),
        (failover.test_the_survivor_knows_that_it_is_alone, (), {"peer": replace(PEER, mine="normal")}, "is normal"),
        (failover.test_the_survivor_knows_that_it_is_alone, (), {"peer": NOBODY}, "no lease"),
        (
            failover.test_the_survivor_renews_a_lease_of_the_dead_server,
            ("rebound", INVENTORY),
            {"rebound": NOBODY},
            "no lease after",
        ),
        (
            failover.test_the_survivor_renews_a_lease_of_the_dead_server,
            ("rebooted", INVENTORY),
            {"rebooted": lease(201)},
            "192.168.10.200 of beta, rebooted: 192.168.10.6 gave 192.168.10.201",
        ),
        (
            failover.test_new_clients_are_given_addresses_of_the_survivors_own_half,
            (tell,),
            {"new": (lease(205),)},
            "gave {'192.168.10.205': 'backup'} to new clients",
        ),
        (
            failover.test_a_new_lease_lasts_for_mclt_at_most,
            ("new", tell),
            {"new": (lease(221, seconds=11),)},
            "leases for [11] s; MCLT is 10 s",
        ),
        (
            failover.test_a_new_lease_lasts_for_mclt_at_most,
            ("renewed", tell),
            {"renewed": (lease(221, seconds=3600),)},
            "leases for [3600] s",
        ),
        (failover.test_everybody_has_an_address_of_their_own, (), {"new": (lease(221), lease(221))}, "to two clients"),
        (
            failover.test_the_pair_is_normal_again,
            (),
            {"histories": {"alpha": states("normal", ALONE), "beta": states() + states("normal")}},
            "{'alpha': 'communications-interrupted, partner normal'}",
        ),
        (
            failover.test_the_pair_is_normal_again,
            (),
            {"histories": {"alpha": states("normal"), "beta": states("normal")}},
            "never that it was alone",
        ),
        (
            failover.test_the_halves_are_even_after_the_balancing,
            (INVENTORY, tell),
            {"after": {"alpha": file(*(entry(n, "free") for n in range(200, 240)), entry(240, "backup"))}},
            "40 free and 1 backup addresses differ by more than 16",
        ),
        (
            failover.test_nothing_is_held_twice_or_by_our_clients,
            (),
            {"after": {"alpha": file(entry(200, "active", "a")), "beta": file(entry(200, "active", "b"))}},
            "active for two clients at once: {'192.168.10.200': ['a', 'b']}",
        ),
        (
            failover.test_nothing_is_held_twice_or_by_our_clients,
            (),
            {"after": {"alpha": file(entry(200, "active", MINE)), "beta": {}}},
            "our clients still hold",
        ),
    ],
)
def test_what_an_outage_shows(spec: Spec, more: tuple[Any, ...], change: dict[str, Any], says: str) -> None:
    assert says in red(spec, replace(OUTAGE, **change), *more)
    spec(OUTAGE, *more)


def test_an_empty_half_is_no_fault() -> None:
    empty = replace(OUTAGE, halves=dict.fromkeys(OUTAGE.halves, "backup"), new=(NOBODY, NOBODY))
    with pytest.raises(pytest.skip.Exception, match="no address of its own left"):
        failover.test_new_clients_are_given_addresses_of_the_survivors_own_half(empty, tell)


def test_a_whole_half_is_told() -> None:
    said: dict[str, object] = {}
    failover.test_new_clients_are_given_addresses_of_the_survivors_own_half(OUTAGE, said.__setitem__)
    assert said == {"addresses of its own that alpha had alone": 20}


@pytest.mark.parametrize(
    ("spec", "more", "change", "says"),
    [
        (
            failover.test_after_the_order_the_survivor_gives_away_the_other_half,
            (),
            {"early": frozenset({"192.168.10.205"})},
            "only alone, offered 192.168.10.205 already",
        ),
        (
            failover.test_after_the_order_the_survivor_gives_away_the_other_half,
            (),
            {"late": lease(231)},
            "after partner-down, gave 192.168.10.231",
        ),
        (failover.test_after_the_order_the_survivor_gives_away_the_other_half, (), {"late": NOBODY}, "no lease"),
        (
            failover.test_it_is_silent_until_mclt_is_over,
            (INVENTORY, tell),
            {"offered": ((BEGAN + 3, frozenset({BETA})), *RECOVERED.offered)},
            "made offers [3.0] s after it came back",
        ),
        (failover.test_it_is_silent_until_mclt_is_over, (INVENTORY, tell), {"offered": ()}, "nobody asked"),
        (
            failover.test_it_is_silent_until_mclt_is_over,
            (INVENTORY, tell),
            {"offered": RECOVERED.offered[:2]},
            "beta never made an offer again",
        ),
    ],
)
def test_what_a_recovery_shows(spec: Spec, more: tuple[Any, ...], change: dict[str, Any], says: str) -> None:
    assert says in red(spec, OUTAGE, replace(RECOVERED, **change), *more)
    spec(OUTAGE, RECOVERED, *more)


@pytest.mark.parametrize(
    ("beta", "says"),
    [(("recover", "recover-done", "normal"), "beta went through"), (("normal",), "beta went through ['normal']")],
)
def test_a_recovery_has_its_steps(beta: tuple[str, ...], says: str) -> None:
    spec = failover.test_a_peer_without_its_lease_file_recovers_step_by_step
    spec(OUTAGE, RECOVERED)
    assert says in red(spec, replace(OUTAGE, histories={**OUTAGE.histories, "beta": states(*beta)}), RECOVERED)
    alone = replace(OUTAGE, histories={**OUTAGE.histories, "alpha": states("normal", ALONE, "normal")})
    assert "alpha meanwhile" in red(spec, alone, RECOVERED)


def test_a_recovery_that_takes_longer_than_mclt() -> None:
    late = replace(OUTAGE, mclt=5.0)
    assert "beta recovered for 10 s" in red(
        failover.test_it_is_silent_until_mclt_is_over, late, RECOVERED, INVENTORY, tell
    )


def test_what_a_silence_shows() -> None:
    good = Silence("beta", "alpha", 6.0, frozenset({ALPHA}), 5.9, 5)
    failover.test_who_has_waited_is_served_by_the_other_at_once(good, INVENTORY)
    failover.test_who_never_says_that_it_waits_is_served_once_the_silence_is_noticed(good, tell)
    waited = failover.test_who_has_waited_is_served_by_the_other_at_once
    assert "by nobody" in red(waited, replace(good, patient=frozenset()), INVENTORY)
    assert BETA in red(waited, replace(good, patient=frozenset({ALPHA, BETA})), INVENTORY)
    never = failover.test_who_never_says_that_it_waits_is_served_once_the_silence_is_noticed
    assert "served at once by alpha" in red(never, replace(good, tries=1), tell)
    assert "no lease" in red(never, replace(good, impatient=NOBODY), tell)


def test_what_a_refusal_shows() -> None:
    def noted(beta: float) -> Leases:
        lives = {name: Life(one, one, one, one, BEGAN) for name, one in (("alpha", lease(221)), ("beta", lease(222)))}
        files = {"alpha": file(entry(221, "free", ends=BEGAN)), "beta": file(entry(222, "free", ends=BEGAN + beta))}
        return Leases(lives, files, {})

    good = Refusal({"alpha": PEER, "beta": PEER}, noted(90), {"alpha": HALVES, "beta": HALVES})
    failover.test_peers_whose_clocks_differ_refuse_each_other(good)
    failover.test_the_difference_is_seen_from_outside(good, INVENTORY)
    failover.test_nothing_is_left_of_two_clocks(good)
    friends = replace(good, peers={"alpha": PEER, "beta": replace(PEER, mine="normal")})
    assert "'beta': 'normal'" in red(failover.test_peers_whose_clocks_differ_refuse_each_other, friends)
    assert "seen as 21.5 s" in red(
        failover.test_the_difference_is_seen_from_outside, replace(good, leases=noted(20)), INVENTORY
    )
    left = replace(good, after={"alpha": file(entry(200, "active", MINE))})
    assert "our clients still hold" in red(failover.test_nothing_is_left_of_two_clocks, left)


TAKEN = file(*(entry(n, "active", f"02:52:50:53:00:{n:02x}") for n in range(201, 241)), entry(200, "active", "02:a"))
STARVED = Starved(
    declined=lease(230),
    known=lease(200),
    set_aside={"alpha": "abandoned", "beta": "abandoned"},
    offered=lease(231).offers,
    taken={"alpha": TAKEN, "beta": TAKEN},
    newcomer=(),
    renewed=lease(200),
    rebooted=lease(200),
    reserved={"gamma": lease(21).offers},
    after={"alpha": HALVES, "beta": HALVES},
    returned=lease(233),
)


@pytest.mark.parametrize(
    ("spec", "more", "change", "says"),
    [
        (
            starving.test_an_address_found_in_use_is_set_aside_by_both,
            (),
            {"set_aside": {"alpha": "abandoned", "beta": "free"}},
            "192.168.10.230, which was declined, is {'beta': 'free'}",
        ),
        (
            starving.test_an_address_found_in_use_is_offered_to_nobody,
            (),
            {"offered": lease(230).offers},
            "which was declined",
        ),
        (starving.test_an_address_found_in_use_is_offered_to_nobody, (), {"offered": ()}, "nobody offered anything"),
        (
            starving.test_a_server_looks_whether_an_address_is_in_use,
            ("known", tell),
            {"known": lease(200, offered=0.01)},
            "offered 192.168.10.200 after 0.010 s, without a ping",
        ),
        (
            starving.test_every_address_is_one_clients,
            (INVENTORY,),
            {"taken": {"alpha": TAKEN | file(entry(210, "free")), "beta": TAKEN}},
            "has ['192.168.10.210'] left",
        ),
        (
            starving.test_every_address_is_one_clients,
            (INVENTORY,),
            {"taken": {"alpha": TAKEN | file(entry(210, "active", "02:52:50:53:00:d3")), "beta": TAKEN}},
            "to one client",
        ),
        (
            starving.test_every_address_is_one_clients,
            (INVENTORY,),
            {"taken": {"alpha": TAKEN | file(entry(210, "active", "02:52:50:53:09:d3")), "beta": TAKEN}},
            "active for two clients at once: {'192.168.10.210'",
        ),
        (starving.test_a_newcomer_is_offered_nothing, (), {"newcomer": lease(231).offers}, "a newcomer was offered"),
        (
            starving.test_a_known_client_keeps_its_address,
            ("renewed",),
            {"renewed": lease(201)},
            "became 192.168.10.201",
        ),
        (starving.test_a_known_client_keeps_its_address, ("rebooted",), {"rebooted": NOBODY}, "no lease"),
        (
            starving.test_a_reservation_is_still_offered,
            ("gamma", INVENTORY),
            {"reserved": {"gamma": ()}},
            "offered nothing",
        ),
        (
            starving.test_a_reservation_is_still_offered,
            ("gamma", INVENTORY),
            {"reserved": {"gamma": lease(29).offers}},
            "reserved is 192.168.10.21",
        ),
        (starving.test_all_is_given_back, (), {"after": {"alpha": TAKEN, "beta": HALVES}}, "is still held"),
        (starving.test_a_newcomer_is_served_again, (), {"returned": NOBODY}, "no lease"),
    ],
)
def test_what_a_starved_pool_shows(spec: Spec, more: tuple[Any, ...], change: dict[str, Any], says: str) -> None:
    assert says in red(spec, replace(STARVED, **change), *more)
    spec(STARVED, *more)
