"""Every spec has been seen red: the lab is broken as the spec is meant to notice, and healed, and it is green again.

What is broken stands in tables, tests/red/; a new spec needs a line there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from cluster import artifacts
from cluster.artifacts import ArtifactMissing
from cluster.errors import ClusterError
from cluster.inventory import PRODUCTION, Inventory, load
from cluster.node import Fleet
from lab.lab import Lab
from tests.breaking import Break, Played, Round, covered, play, unexpected, wrong_about
from tests.outcomes import Result
from tests.red import (
    base,
    compute,
    deployer,
    deployer_nights,
    deployer_tools,
    dhcp,
    dns,
    files,
    firewall,
    floating_address,
    k3s,
    nodes,
    ntp,
    single_nodes,
)

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = load()
ALL = (
    *nodes.ROUNDS,
    *single_nodes.ROUNDS,
    *base.ROUNDS,
    *dhcp.ROUNDS,
    *dns.ROUNDS,
    *floating_address.ROUNDS,
    *ntp.ROUNDS,
    *files.ROUNDS,
    *firewall.ROUNDS,
    *compute.ROUNDS,
    *k3s.ROUNDS,
    *deployer.ROUNDS,
    *deployer_tools.ROUNDS,
    *deployer_nights.ROUNDS,
)
ROUNDS = tuple(sorted(ALL, key=lambda chosen: chosen.profile != PRODUCTION))  # nodes are given other timers once


@pytest.fixture(scope="module")
def plays(
    inventory: Inventory, fleet: Fleet, specs: Callable[..., Result], profile: Callable[[str], None]
) -> Callable[[Round], Played | Exception]:
    """Plays a round once, when the first test asks for it; nothing is broken any more while tests judge."""
    lab = Lab(inventory)

    @cache
    def once(chosen: Round) -> Played | Exception:
        profile(chosen.profile)
        try:
            return play(chosen, lab, fleet, specs)
        except (AssertionError, ClusterError) as error:  # told to every test about this round, tried once
            return error

    return once


@pytest.fixture
def played(request: pytest.FixtureRequest, plays: Callable[[Round], Played | Exception]) -> Played:
    """The round that a test is about."""
    found = plays(request.param)
    if isinstance(found, Exception):
        pytest.fail(f"not played: {found}", pytrace=False)
    return found


LONG = frozenset(
    {
        "dhcp: two servers that are no pair",
        "dhcp: a peer that forgets what it agreed to",
        "dhcp: clocks that nobody minds",
        "vrrp: deaf",
        "vrrp: services that nobody minds",
        "compute: a node is lost, and nobody does what must be done",
        "compute: jobs that end, or do not",
        "dns: news that is not told",
        "dns: a secondary that asks too seldom",
        "ntp: a cluster that believes a liar",
        "k3s: nodes that take no work, and work that does not run",
        "ntp: one that goes with a lie, and one that has nobody",
    }
)
"""Rounds that take 35 to 90 s each, eight minutes together: played with --long."""
assert {chosen.name for chosen in ROUNDS} >= LONG


def marks(chosen: Round) -> list[pytest.MarkDecorator]:
    """What pytest is told of a round's tests."""
    found = [pytest.mark.long] if chosen.name in LONG else []
    for name in chosen.needs:
        try:
            artifacts.find(SHIPPED, name)
        except ArtifactMissing as missing:
            found.append(pytest.mark.skip(reason=f"not verified: {missing}"))
    return found


each_round = pytest.mark.parametrize(
    "played", [pytest.param(r, id=r.name, marks=marks(r)) for r in ROUNDS], indirect=True
)
each_break = pytest.mark.parametrize(
    ("played", "one"),
    [pytest.param(r, b, id=f"{r.name}: {b.what} ({b.node})", marks=marks(r)) for r in ROUNDS for b in r.breaks],
    indirect=["played"],
)


@each_break
def test_the_specs_notice_and_name_it(played: Played, one: Break) -> None:
    wrong = wrong_about(one, played.red)
    assert not wrong, "\n".join(wrong)


@each_round
def test_nothing_else_is_red(played: Played) -> None:
    found = unexpected(played)
    assert not found, "\n".join(f"{test}: {message.splitlines()[0]}" for test, message in found.items())


@each_round
def test_all_is_green_after_healing(played: Played) -> None:
    red = played.healed.red
    assert not red, "\n".join(f"{test}: {message.splitlines()[0]}" for test, message in red.items())
    assert played.healed.green, played.healed.text


def test_a_claim_that_claims_too_much_is_broken(
    inventory: Inventory, specs: Callable[..., Result], profile: Callable[[str], None]
) -> None:
    """The same cluster, with an inventory that promises what VRRP cannot: 3 intervals are more than 1 s."""
    profile(PRODUCTION)
    text = inventory.path.read_text(encoding="utf-8")
    bold = re.sub(r"(losing: alpha, service: vip, +budget:) 4s", r"\1 1s", text)
    assert bold != text
    with NamedTemporaryFile("w", dir=inventory.root, suffix=".yaml", encoding="utf-8") as file:
        file.write(bold)
        file.flush()
        done = specs("specs/cluster/test_claims.py", k="losing-alpha", disruptive=True, inventory=Path(file.name))
    assert set(done.red) == {"specs/cluster/test_claims.py::test_a_claim_holds[losing-alpha-vip]"}, done.text
    assert "losing alpha: vip is broken (claimed: vip is out for at most 1 s)" in next(iter(done.red.values())), (
        done.text
    )


#: Spec functions that no break makes red here, and why.
ELSEWHERE = {
    **{
        f"base/test_hardware.py::test_{name}": "tests/unit/test_specs_of_nodes.py"
        for name in (
            "memory_is_left",
            "it_is_not_overloaded",
            "it_is_cool",
            "it_has_enough_volts_now",
            "it_had_enough_volts",
            "nobody_keeps_knocking",
        )
    },
    "base/test_health.py::test_the_system_is_up": "a node in maintenance lets nobody in; `degraded` is a failed unit",
    "openwrt/test_configuration.py::test_it_is_openwrt": "tests/unit/test_specs_of_routers.py",
    "base/test_network.py::test_the_link_is_up": "a node whose link is down is not reached: test_node_down.py",
    "base/test_ssh.py::test_the_operators_certificate_is_accepted": "all specs need it: `nodes: no way in`",
    "deployer/test_authority.py::test_the_operators_certificate_lasts": "tests/unit/test_authority.py",
    "lanservices/test_dhcp.py::test_two_clients_have_two_addresses": "tests/unit/test_specs_of_services.py",
    "lanservices/test_dhcp.py::test_renewal_and_rebinding_come_before_the_end": "dhcpd computes both by itself",
    **{
        f"lanservices/test_dhcp_failover.py::test_{name}": "tests/unit/test_specs_of_failing_dhcp.py"
        for name in (
            "partner_down_is_refused_while_the_partner_lives",  # who may be given the order, cannot be killed any more
            "a_peer_without_its_lease_file_recovers_step_by_step",  # dhcpd writes over what others add to its file
            "nothing_is_left_of_two_clocks",  # the same look as nothing_is_held_twice, at another time
        )
    },
    "lanservices/test_ntp.py::TestOnTheWire::test_it_answers_as_a_server": "tests/unit/test_specs_of_services.py",
    # Without its artifacts there is no K3s to break; where they are, tests/red/k3s.py does.
    **{
        f"compute/test_k3s.py::test_{name}": "tests/unit/test_specs_of_k3s.py"
        for name in (
            "the_api_is_ready", "nobody_else_has_joined", "the_node_is_ready", "it_takes_pods",
            "its_address_is_the_inventorys", "its_sign_of_life_is_fresh", "its_version_is_the_inventorys",
            "the_servers_version_is_the_inventorys", "its_container_runtime_is_that_of_the_others",
            "of_its_own_runs_what_is_declared", "no_pod_is_in_trouble", "nobody_else_reads_its_token",
            "a_canary_sits_on_every_node", "the_service_leads_to_every_canary", "the_service_answers_it_every_time",
            "it_reaches_the_canary_of_the_next", "the_canarys_name_is_resolved",
        )
    },
    **{
        f"compute/test_losing_k3s.py::test_{name}": "tests/unit/test_specs_of_k3s.py"
        for name in (
            "it_is_not_ready_once_its_grace_is_over", "its_pods_are_replaced_once_they_are_tolerated_no_more",
            "nobody_is_led_to_it", "those_that_are_left_hear_an_answer_every_time",
            "it_is_ready_again_when_it_is_back", "without_the_server_pods_go_on_answering",
            "no_pod_was_started_anew_for_it",
        )
    },
}  # fmt: skip


def functions(path: Path) -> list[str]:
    """The spec functions of a file, as the end of their ids."""
    name = path.relative_to(ROOT / "specs").as_posix()
    found = []
    for item in ast.parse(path.read_text(encoding="utf-8")).body:
        inside = item.body if isinstance(item, ast.ClassDef) else [item]
        prefix = f"{name}::{item.name}::" if isinstance(item, ast.ClassDef) else f"{name}::"
        found += [prefix + one.name for one in inside if isinstance(one, ast.FunctionDef) and "test_" in one.name[:5]]
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "specs").rglob("test_*.py")), ids=lambda path: path.stem)
def test_every_spec_is_made_red_by_some_break(path: Path) -> None:
    patterns = [re.compile(".*".join(re.escape(part) for part in spec.split("*"))) for spec in covered(ROUNDS)]
    specs = functions(path)
    assert specs, f"{path} has no spec"
    untried = [spec for spec in specs if not any(pattern.fullmatch(spec) for pattern in patterns)]
    assert sorted(set(untried) - set(ELSEWHERE)) == [], "specs that were never seen red: add a break to tests/red/"
    seen = [spec for spec in specs if spec not in untried or ELSEWHERE[spec].startswith("tests/")]
    assert seen, f"no spec of {path} is seen red"
