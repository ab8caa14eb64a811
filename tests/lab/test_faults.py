"""Faults within nodes, on the real lab: each takes hold, is undone, and is undone by its node when nobody else does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.experiment import prove
from chaos.faults import (
    Block,
    Crash,
    Fault,
    Freeze,
    Means,
    Record,
    Rogue,
    Skew,
    Spoil,
    Starve,
    Stop,
    Stranger,
    TimeSource,
    Wake,
)
from chaos.faults.on_node import AWAKE, LIMIT_S, TIMER, left_on, sweep
from chaos.faults.record import record_name
from chaos.faults.stranger import ADDRESS
from chaos.lasting import lasting
from cluster import journal, power
from cluster.errors import CommandFailed, ProbeFailed, Refused
from cluster.health import Health
from cluster.inventory import Claim, Inventory
from cluster.node import Fleet
from cluster.probes import clock, dhcp, dns, http, tftp, wire
from cluster.wait import until

ROOT = Path(__file__).resolve().parents[2]
FAULTS: tuple[Fault, ...] = (
    Stop("alpha", "tftpd-hpa"),
    Crash("beta", "bbhttpd"),
    Block("beta", "alpha", "dns"),
    Skew("alpha", "chrony", "5"),
    Starve(),
    Freeze("beta", "isc-dhcp-server"),
)


def healthy(inventory: Inventory, fleet: Fleet) -> bool:
    return not journal.entries(inventory.state) and all(c.ok for c in Health(inventory, fleet).look(inventory.nodes))


def deaf(fleet: Fleet, one: str, address: str) -> bool:
    """Whether a node gets no answer from a name server."""
    asked = fleet[one].run(["dig", "+time=1", "+tries=1", f"@{address}", "version.bind", "CH", "TXT"])
    return asked.code == 9  # dig(1): no reply from a server


def test_every_fault_takes_hold_and_is_undone(inventory: Inventory, fleet: Fleet) -> None:
    alpha, beta = (str(inventory.node(name).address) for name in ("alpha", "beta"))
    file = inventory.tftp.boot_file
    newcomer = dhcp.Client(wire.interface_towards(alpha), dhcp.synthetic_mac(0x92))
    assert newcomer.discover(10, wait=1.4)
    with lasting(inventory, fleet, *FAULTS):
        assert len(journal.entries(inventory.state)) == len(FAULTS)
        with pytest.raises(ProbeFailed):
            tftp.read(alpha, file)
        assert tftp.read(beta, file)
        with pytest.raises(ProbeFailed):
            http.get(beta, "/", port=inventory.http.port)
        assert http.get(alpha, "/", port=inventory.http.port).response.status == 200
        assert deaf(fleet, "alpha", beta) and not deaf(fleet, "gamma", beta)
        assert until(lambda: clock.query(alpha), deadline=10, what="the skewed clock").offset == pytest.approx(
            5, abs=0.5
        )
        assert clock.query(beta).offset == pytest.approx(0, abs=0.5)
        with pytest.raises(Refused, match="at work"), lasting(inventory, fleet, Stop("beta", "named")):
            pass
        timers = fleet["alpha"].run(["systemctl", "list-timers", "--no-legend", "rpicluster-undo-*"]).text
        assert timers.count(".timer") == 2 and "min" in timers, timers
        assert len(left_on(fleet["alpha"])) == 3 and len(left_on(fleet["beta"])) == 6
        assert not newcomer.discover(10, wait=1.4), "no address is free, and one of the servers stands still"
    assert healthy(inventory, fleet) and not any(map(left_on, fleet.values()))
    assert clock.query(alpha).offset == pytest.approx(0, abs=0.5)
    assert not deaf(fleet, "alpha", beta)


def test_a_router_that_wakes_up_is_a_rogue_server(inventory: Inventory, fleet: Fleet) -> None:
    omega = inventory.node("omega")
    psi = dhcp.Client(
        wire.interface_towards(str(omega.address)), inventory.node("psi").mac, source=dhcp.synthetic_mac(0x93)
    )

    def offers() -> bool:
        return str(omega.address) in {offer.server for offer in psi.discover(10, wait=3.0)}

    with lasting(inventory, fleet, Wake("omega")):
        assert left_on(fleet["omega"])
        until(offers, deadline=20, what="an offer of the router's")
        (told,) = (line for line in sweep(fleet["omega"]) if line.startswith("wake omega, begun on "))
        assert f"by process {os.getpid()}" in told, "whoever heals without our journal is told what that was"
        assert not left_on(fleet["omega"]) and not offers()
    waiting = fleet["omega"].run(["pgrep", "-f", AWAKE]).text.split()
    assert not waiting, "the undo that waited there is gone, too"


@pytest.mark.long
def test_a_router_that_wakes_up_answers_nobody_whom_it_was_not_told_of(inventory: Inventory, fleet: Fleet) -> None:
    done = chaos("wake", "omega", "--for", "4s", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["healed"]) == (0, "held", True), done.stderr
    assert "wake-omega-never-rogue-server" in {claim["claim"] for claim in told["claims"]}


def test_a_rogue_server_breaks_what_is_claimed_about_leases_and_is_named(
    inventory: Inventory, fleet: Fleet, tmp_path: Path
) -> None:
    """Its clients are lost, whoever asks for names or the time is not; and it is gone afterwards."""
    claims = [
        Claim(f"rogue-{what}", "zeta", "rogue", (), "never", what, 0.0) for what in ("rogue-server", "wrong-answer")
    ]
    claims += [Claim(f"rogue-{what}", "zeta", "rogue", (), "outage", what, 0.0) for what in ("dhcp", "dns", "vip")]
    found = prove(inventory, fleet, Rogue("zeta"), claims, 3.0, runs=tmp_path)
    assert found.healed, found.reason
    judged = {claim.service: claim for claim in found.claims}
    assert {what: one.verdict for what, one in judged.items()} == {
        "rogue-server": "broken", "wrong-answer": "broken", "dhcp": "broken", "dns": "held", "vip": "held",
    }  # fmt: skip
    for what in ("rogue-server", "wrong-answer", "dhcp"):
        assert f"DHCP clients were answered by zeta ({inventory.node('zeta').mac})" in judged[what].reason
    assert left_on(fleet["zeta"]) == () and healthy(inventory, fleet)


@pytest.mark.long
def test_a_fault_that_was_undone_from_elsewhere_proves_nothing(inventory: Inventory, fleet: Fleet) -> None:
    words = [sys.executable, "-m", "chaos", "stop", "beta", "tftpd-hpa", "--for", "8s", "--json"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: not active(fleet), deadline=30, what="the fault", every=0.1)
        sweep(fleet["beta"])  # as `heal` on another machine does
        out, err = process.communicate(timeout=120)
    told = json.loads(out)
    assert (process.returncode, told["verdict"], told["healed"]) == (4, "inconclusive", True), err
    assert "did not last to its end: beta had undone it before" in told["claims"][0]["reason"]


def test_a_machine_without_the_journal_heals_what_the_nodes_know_of(inventory: Inventory, fleet: Fleet) -> None:
    means = Means(inventory, fleet, power.driver(inventory))
    for fault in (Stop("beta", "tftpd-hpa"), Wake("omega"), Rogue("zeta")):
        fault.apply(means)  # by another machine: nothing is in the journal here
    done = chaos("heal")
    assert done.returncode == 0, done.stderr
    for node, what in (("beta", "stop beta tftpd-hpa"), ("omega", "wake omega"), ("zeta", "rogue zeta")):
        assert f"{node}: undone there: {what}, begun on " in done.stderr, done.stderr
    assert healthy(inventory, fleet) and not any(map(left_on, fleet.values()))


def test_a_node_undoes_by_itself_what_nobody_else_does_and_heal_says_so(inventory: Inventory, fleet: Fleet) -> None:
    """SIGKILL to the command: the journal knows, everybody else is refused, and the node has the undo itself."""
    words = ["stop", "beta", "tftpd-hpa", "--for", "60s"]
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos", *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    beta = fleet["beta"]
    until(lambda: not active(fleet), deadline=30, what="the fault", every=0.1)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    (told,) = (line for line in left_on(beta) if line.startswith(TIMER))
    timer, *words = told.split()
    assert " ".join(words).startswith("stop beta tftpd-hpa, begun on ")
    shown = beta.run(["systemctl", "show", "--property=TimersMonotonic", timer], check=True).text
    assert f"OnActiveUSec={LIMIT_S // 60}min" in shown
    beta.run(["systemctl", "start", timer.replace(".timer", ".service")], sudo=True, check=True)  # what the timer does
    assert active(fleet)
    done = chaos("status", "--json")
    assert [entry["fault"]["fault"] for entry in json.loads(done.stdout)["undone"]] == ["stop"]
    done = chaos("heal")
    assert done.returncode == 0, done.stderr
    assert healthy(inventory, fleet) and not left_on(beta)


def active(fleet: Fleet) -> bool:
    return fleet["beta"].run(["systemctl", "is-active", "tftpd-hpa"]).text.strip() == "active"


def test_a_service_that_stops_beside_its_floating_address_breaks_the_claim_about_it(
    inventory: Inventory, fleet: Fleet
) -> None:
    """Nothing moves the address when only TFTP ends, so its clients are out for as long as that lasts."""
    done = chaos("stop", "alpha", "tftpd-hpa", "--for", "7s", "--json")
    told = json.loads(done.stdout)
    verdicts = {claim["service"]: claim["verdict"] for claim in told["claims"]}
    assert verdicts.pop("tftp") == "broken", done.stderr
    assert set(verdicts.values()) == {"held"}, verdicts
    assert (done.returncode, told["fault"], told["verdict"], told["healed"]) == (1, "stop", "broken", True)
    assert healthy(inventory, fleet)


def chaos(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chaos", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_an_edited_zone_is_as_before_but_for_a_newer_serial(inventory: Inventory, fleet: Fleet) -> None:
    """Also for the provisioner, which would change nothing; and the node can take the edit back by itself."""
    alpha, zone = fleet["alpha"], f"{inventory.cluster.zone}."
    name, operator = record_name(inventory), str(inventory.network.operator.address)
    before = dns.serial(alpha.address, zone)
    edits = (Record("alpha", "one"), Stranger("beta"), TimeSource("beta", operator))
    with lasting(inventory, fleet, *edits) as means:
        assert dns.query(alpha.address, name, "TXT").records == ('"one"',)
        assert left_on(alpha)[0].endswith(f"db.{inventory.cluster.zone}") and ADDRESS in " ".join(
            left_on(fleet["beta"])
        )
        assert operator in fleet["beta"].run(["chronyc", "-n", "-c", "sources"]).text
    assert not left_on(alpha) and not left_on(fleet["beta"])
    assert operator not in fleet["beta"].run(["chronyc", "-n", "-c", "sources"]).text
    with pytest.raises(Refused, match=r"beta asks .* for the time already"):
        TimeSource("beta", str(alpha.address)).check(means)
    follows = fleet["beta"].run(["chronyc", "-n", "-c", "tracking"]).text.split(",")[1]
    assert follows == str(alpha.address), "it has its time from where it had it before"
    with lasting(inventory, fleet, Spoil("alpha")):
        assert dns.serial(alpha.address, zone) == (before + 2) % 2**32, "the zone is served as it was"
    with pytest.raises(CommandFailed, match="not the primary"), lasting(inventory, fleet, Record("beta", "one")):
        pass
    Record("alpha", "two").apply(means)
    alpha.run(["systemctl", "daemon-reload"], sudo=True, check=True)  # as provisioning does; units are read anew
    sweep(alpha)
    assert not left_on(alpha) and dns.query(alpha.address, name, "TXT").rcode == "NXDOMAIN"
    assert dns.serial_newer(dns.serial(alpha.address, zone), before)
    words = [sys.executable, "-m", "provision", "alpha", "--check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: healthy(inventory, fleet), deadline=20, what="both servers have the zone", every=0.5)
