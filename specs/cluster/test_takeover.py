"""The floating address moves: how soon, who says so, who believes it, and what is served behind it meanwhile.

Disruptive: its owner loses its power (the experiment that claims about it are judged by), its keepalived is stopped
in order, and its advertisements are kept from the standby.  Promises come from the live configuration of
keepalived.  RFC 3768, RFC 9568, keepalived.conf(5).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from chaos.faults import Stop
from chaos.judge import GRACE_S, Interval
from chaos.lasting import lasting
from chaos.outages import looks
from chaos.ownership import announced, believed, noticed, stretches
from cluster.inventory import Inventory
from cluster.node import Fleet
from cluster.probes import arp, tftp, vrrp, wire
from cluster.wait import WaitTimeout, until
from specs.cluster.experiments import Experiments
from specs.cluster.moving import DEAF, LOST, STOPPED, Seen, Trial, watch
from specs.lanservices.looks import vrrp_instance

pytestmark = pytest.mark.disruptive

Watch = Callable[[Trial], Seen]
BEHIND = ("vip", "tcp", "tftp", "http", "vip-dns", "vip-ntp")  # looks at the floating address (chaos/watch.py)
PATIENCE_S = 1.0  # of each look: one that was sent later may not be answered for another reason


@pytest.fixture
def seen(
    inventory: Inventory, fleet: Fleet, experiments: Experiments, record_property: Callable[[str, object], None]
) -> Watch:
    """What a third host saw of a trial."""
    return lambda trial: watch(trial, inventory, fleet, experiments, record_property)


# ---------------------------------------------------------------- dead


@pytest.mark.semantics("vrrp-crash")
def test_a_dead_owner_is_followed_after_three_intervals(seen: Watch) -> None:
    lost = seen(LOST)
    last, came = lost.before.ended, lost.meanwhile.began
    down = lost.window.master_down
    lost.expect(f"{lost.standby} came after the last advertisement", came - last, down, down, last, came)


# ---------------------------------------------------------------- advertisements lost one way


@pytest.mark.semantics("vrrp-one-way")
def test_advertisements_lost_one_way_make_two_masters(seen: Watch) -> None:
    deaf = seen(DEAF)
    began, ended = deaf.fault("applied")
    came, until = deaf.meanwhile, deaf.before
    assert came.began < until.ended, f"{deaf.owner} stopped to advertise when {deaf.standby} began"
    heard = deaf.advertised(deaf.owner)
    first, last = (max((t for t in heard if t <= end), default=end) for end in (began, ended))
    down = deaf.window.master_down
    measured = Interval(came.began - last, came.began - first)
    deaf.expect(f"{deaf.standby} came after the last it heard", measured, down, down, first, came.began)


@pytest.mark.semantics("vrrp-one-way")
def test_both_masters_answer_for_the_address(seen: Watch) -> None:
    deaf = seen(DEAF)
    both = frozenset(deaf.mac.values())
    found = [stretch for stretch in stretches(deaf.events) if stretch.macs == both]
    assert found, f"{deaf.owner} and {deaf.standby} were never seen to answer at once for the address"


@pytest.mark.semantics("vrrp-healing")
def test_two_masters_end_with_the_next_advertisement(seen: Watch) -> None:
    deaf = seen(DEAF)
    _, healed = deaf.fault("undone")
    both = [stretch for stretch in stretches(deaf.events) if len(stretch.macs) > 1]
    first, last = (
        max([deaf.meanwhile.ended, *(stretch.began + getattr(stretch.length, end) for stretch in both)])
        for end in ("at_least", "at_most")
    )
    measured = Interval(max(0.0, first - healed), max(0.0, last - healed))
    deaf.expect("two masters after they could hear each other", measured, 0.0, deaf.advert_s, healed, last)


@pytest.mark.semantics("vrrp-healed-split")
def test_the_winner_announces_itself_again(seen: Watch) -> None:
    """Else whoever heard the loser last goes on believing it for as long as its neighbour entry lives."""
    deaf = seen(DEAF)
    mac, loser, (healed, _) = deaf.mac[deaf.owner], deaf.standby, deaf.fault("undone")
    ended = max(deaf.meanwhile.ended, healed - GRACE_S)  # what it said while both were masters was contradicted
    told = announced(deaf.events, mac, ended)
    assert told is not None, f"{deaf.owner} did not announce itself after {loser}'s last advertisement"
    deaf.expect(f"{deaf.owner} announced itself after {loser} gave up", told - ended, 0.0, deaf.advert_s, ended, told)
    whom = believed(deaf.events, told + GRACE_S)
    assert whom == mac, f"we take the address for {whom}'s after {deaf.owner} ({mac}) announced itself"


# ---------------------------------------------------------------- stopped in order, and back


@pytest.mark.semantics("vrrp-clean-stop")
def test_an_owner_that_is_stopped_says_goodbye(seen: Watch) -> None:
    stopped = seen(STOPPED)
    assert stopped.before.goodbye, f"{stopped.owner} was stopped, and sent no advertisement of priority 0"


@pytest.mark.semantics("vrrp-clean-stop")
def test_a_goodbye_is_followed_after_the_skew(seen: Watch) -> None:
    stopped = seen(STOPPED)
    last, came = stopped.before.ended, stopped.meanwhile.began
    skew = stopped.window.skew
    stopped.expect(f"{stopped.standby} came after the goodbye", came - last, skew, skew, last, came)


@pytest.mark.semantics("vrrp-preemption")
@pytest.mark.each("trial", lambda inventory: [LOST, STOPPED])
def test_a_returned_owner_waits_as_configured(trial: Trial, seen: Watch) -> None:
    """Counted from when it first hears the other; a node that boots begins to listen nobody knows how late."""
    moved = seen(trial)
    live, back = moved.instance[moved.owner], moved.after.began
    began, ended = moved.fault("undone")
    told = moved.advertised(moved.standby)
    soonest = min((t for t in told if t >= began), default=back)
    latest = min((t for t in told if t >= ended), default=back) if trial is STOPPED else back
    low, high = vrrp.preemption(live.advert_int, live.priority, live.preempt_delay, live.version)
    waited = Interval(back - latest, back - soonest)
    moved.expect(f"{moved.owner} heard {moved.standby} before it took the address back", waited, low, high, began, back)


# ---------------------------------------------------------------- nobody, one, two


class Counted(NamedTuple):
    """How long nobody, or both, may answer for the address in a trial: s, from the trial as it was seen."""

    name: str
    trial: Trial
    gap: Callable[[Seen], tuple[float, float]]
    overlap: Callable[[Seen], tuple[float, float]]


def two_masters(deaf: Seen) -> tuple[float, float]:
    """From the standby's first advertisement until it hears the owner's next one after the cut is healed."""
    came, (began, ended) = deaf.meanwhile.began, deaf.fault("undone")
    return began - came, ended - came + deaf.advert_s


COUNTED = (
    Counted("lost", LOST, lambda s: (s.window.client_low, s.window.client_high), lambda s: (0.0, 0.0)),
    Counted("stopped", STOPPED, lambda s: (s.window.skew, s.window.skew), lambda s: (0.0, 0.0)),
    Counted("deaf", DEAF, lambda s: (0.0, 0.0), two_masters),
)


@pytest.mark.semantics("vrrp-gap-and-overlap", "vrrp-crash-clients")
@pytest.mark.each("counted", lambda inventory: COUNTED)
def test_nobody_owns_it_for_as_long_as_promised(counted: Counted, seen: Watch) -> None:
    trial = seen(counted.trial)
    times = [e["t"] for e in trial.events]
    trial.expect("nobody answered for the address", trial.owned.gap, *counted.gap(trial), min(times), max(times))


@pytest.mark.semantics("vrrp-gap-and-overlap")
@pytest.mark.each("counted", lambda inventory: COUNTED)
def test_two_own_it_for_as_long_as_promised(counted: Counted, seen: Watch) -> None:
    trial = seen(counted.trial)
    times = [e["t"] for e in trial.events]
    trial.expect("two answered for the address", trial.owned.overlap, *counted.overlap(trial), min(times), max(times))


# ---------------------------------------------------------------- who says so, who believes it


class Move(NamedTuple):
    """One move of the address: in which trial, and whether away from its owner or back to it."""

    name: str
    trial: Trial
    back: bool


MOVES = [
    Move(f"{trial.name}-{'back' if back else 'away'}", trial, back)
    for trial in (LOST, STOPPED)
    for back in (False, True)
]
each_move = pytest.mark.each("move", lambda inventory: MOVES)


def new_owner(moved: Seen, back: bool) -> tuple[str, float]:
    """Who has the address after a move, and since when."""
    return (moved.owner, moved.after.began) if back else (moved.standby, moved.meanwhile.began)


@pytest.mark.semantics("vrrp-gratuitous-arp")
@each_move
def test_the_new_owner_announces_itself(move: Move, seen: Watch) -> None:
    moved = seen(move.trial)
    name, came = new_owner(moved, move.back)
    told = announced(moved.events, moved.mac[name], came - GRACE_S)
    assert told is not None, f"{name} took the address over, and no gratuitous ARP of it was heard"
    moved.expect(f"{name} announced itself after it came", told - came, 0.0, 0.0, came, told)


@pytest.mark.semantics("vrrp-neighbour")
@each_move
def test_our_own_neighbour_entry_follows(move: Move, seen: Watch) -> None:
    """This machine is the third host: what its kernel believes is what its users reach."""
    moved = seen(move.trial)
    name, came = new_owner(moved, move.back)
    changed = noticed(moved.events, moved.mac[name], came - GRACE_S)
    if changed is None:
        whom = believed(moved.events, came + moved.advert_s)
        assert whom == moved.mac[name], f"{name} took the address over, and we went on taking it for {whom}'s"
        return  # it has answered for it all the time
    moved.expect(f"we noticed {name}", changed - came, 0.0, 0.0, came, changed)


# ---------------------------------------------------------------- what is behind it


@pytest.mark.semantics("vrrp-services", "vrrp-bound")
@pytest.mark.each("service", lambda inventory: BEHIND)
def test_the_service_answers_on_the_address_once_it_moved(service: str, seen: Watch) -> None:
    """All looks from the moment on, so that a daemon that still has to notice the address is red."""
    lost = seen(LOST)
    came, (undo, _) = lost.meanwhile.began, lost.fault("undone")
    sent = [look for look in looks(lost.events).get(service, []) if came + GRACE_S <= look.sent < undo - PATIENCE_S]
    failed = [round(look.sent - came, 2) for look in sent if not look.ok]
    assert sent, f"nobody asked {service} on the address while {lost.standby} had it"
    assert not failed, f"{service} did not answer on the address {failed} s after {lost.standby} had taken it over"


# ---------------------------------------------------------------- the owner has lost what the address stands for

SERVICE, UNIT = "tftp", "tftpd-hpa"


@pytest.mark.semantics("vrrp-tracked")
def test_the_address_goes_where_the_service_is(
    inventory: Inventory, fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    """In order: the standby begins before the owner gives up, so that other services on the address miss nothing."""
    if SERVICE not in inventory.vrrp.tracks:
        pytest.skip(f"{SERVICE} is not among vrrp.tracks: losing it moves nothing")
    standby, owner = sorted(inventory.vrrp.priorities, key=lambda name: inventory.vrrp.priorities[name])
    floating, file = str(inventory.network.floating), inventory.tftp.boot_file
    track = next((one for one in vrrp_instance(fleet[owner], inventory).tracks if one.name == SERVICE), None)
    if track is None:
        pytest.fail(f"keepalived on {owner} does not mind whether {SERVICE} is lost", pytrace=False)
    live = vrrp_instance(fleet[standby], inventory)
    _, most = vrrp.preemption(live.advert_int, live.priority, live.preempt_delay, live.version)
    most += track.noticed[1] + live.advert_int + 2 * PATIENCE_S
    with lasting(inventory, fleet, Stop(owner, UNIT), command="spec: a service on the address is lost"):
        began = time.monotonic()
        try:
            until(
                lambda: tftp.read(floating, file, deadline=PATIENCE_S),
                deadline=most,
                what=f"{SERVICE} on {floating}",
                every=0.1,
            )
        except WaitTimeout as error:
            pytest.fail(f"{owner} lost {SERVICE} and kept the address for {most:.1f} s: {error}", pytrace=False)
        record_property(f"s until {SERVICE} was served again", f"{time.monotonic() - began:.1f} of {most:.1f}")
        owners = arp.who_have(wire.interface_towards(floating), [floating])[floating]
        assert owners == {inventory.node(standby).mac}, f"{floating} is answered by {sorted(owners)}, not by {standby}"
