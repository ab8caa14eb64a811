"""What looking at all services costs this machine: at their own intervals, and each every 20 ms.  Uses the lab."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import getpid
from pathlib import Path

import pytest

from chaos.leasing import clients
from chaos.observer import Observer
from chaos.watch import Plan
from cluster import power
from cluster.inventory import load
from cluster.probes import wire
from cluster.record import Recorder, events

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10.0
MOST = 0.25
"""Of one core, at 20 ms over all services."""


@pytest.mark.parametrize("every_s", [None, 0.02], ids=["their own", "20 ms"])
def test_what_the_observer_costs(
    every_s: float | None, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    inventory = load(ROOT / "inventory.yaml")
    power.enter(inventory)
    floating = str(inventory.network.floating)
    addresses = tuple(str(inventory.node(name).address) for name in (inventory.dns.primary, inventory.dns.secondary))
    plan = Plan(
        parent=getpid(),
        interface=wire.interface_towards(floating),
        floating=floating,
        node=addresses[0],
        dns_servers=addresses,
        dns_name=f"{inventory.fqdn('float')}.",
        ntp_servers=addresses,
        dhcp_clients=clients(inventory.dhcp.split),
        tftp_file=inventory.tftp.boot_file,
        http_port=inventory.http.port,
    )
    recorder = Recorder.start(tmp_path, "bench", {})
    with Observer(replace(plan, every_s=every_s), recorder) as observer:
        observer.await_(lambda: not observer.alive, SECONDS)
        observer.finish()
    recorder.finish()
    seen = list(events(recorder.folder))
    (cost,) = [event for event in seen if event["kind"] == "cost"]
    looks = sum(event["kind"] == "probe" for event in seen)
    share = cost["cpu_s"] / cost["wall_s"]
    stalls = [event["late_s"] for event in seen if event["kind"] == "stall"]
    text = f"{share:.1%} of one core, {looks / cost['wall_s']:.0f} looks a second, {len(stalls)} stalls"
    record_property("observer", text)
    print(f"\nobserver: {text}")
    assert share < MOST
