"""Wires the looks that run in the background (specs/looks.py) to the run; no logic."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from specs.base import checks
from specs.base import looks as base
from specs.compute import kube as kubes
from specs.compute import looks as compute
from specs.deployer import looks as deployer
from specs.deployer import nights, tools
from specs.lanservices import booting, webs
from specs.lanservices import looks as seen
from specs.looks import Looks, Place, look
from specs.openwrt import looks as openwrt

advertisements = look(seen.advertisements, 2.3)
arp_owners = look(seen.arp_owners, 0.5)
bootstrap_offers = look(openwrt.bootstrap_offers, 2.5)
bootp_replies = look(booting.bootp_replies)
boots = look(booting.boots)
clocks = look(seen.clocks)
a_few_there = look(nights.a_few_there, 10.0, heavy=True)
all_checks = look(checks.all_checks, 1.0)
all_doors = look(base.all_doors)
all_facts = look(base.all_facts)
all_tools = look(tools.all_tools, 2.0)
ansible_play = look(tools.ansible_play, 15.0, heavy=True)
all_routers = look(openwrt.all_routers)
canary = look(kubes.canary, 6.5, heavy=True)
deployers = look(deployer.deployers)
dhcp_impatient = look(seen.dhcp_impatient, 2.5)
dhcp_leases = look(seen.dhcp_leases, 2.4)
dhcp_offers = look(seen.dhcp_offers, 2.5)
dhcp_peers = look(seen.dhcp_peers, 0.2)
dhcp_pools = look(seen.dhcp_pools, 1.0)
dhcp_reservations = look(seen.dhcp_reservations, 1.5)
harnesses = look(nights.harnesses, 2.0)
herds = look(compute.herds, 5.0, heavy=True)
http_pages = look(webs.http_pages)
http_webs = look(webs.http_webs)
kube = look(kubes.kube, 2.0)
mpi_job = look(compute.mpi_job, 6.0, heavy=True)
night_pages = look(nights.night_pages)
ntp_replies = look(seen.ntp_replies)
router_doors = look(openwrt.router_doors)
router_names = look(openwrt.router_names)
serverspecs = look(tools.serverspecs, 30.0, heavy=True)
standings = look(seen.standings)
tftp_files = look(booting.tftp_files)
tftp_servings = look(booting.tftp_servings)
transfers = look(seen.transfers)

doors = base.doors
facts = base.facts

_LOOKS = pytest.StashKey[Looks]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin what the chosen specs will ask for."""
    run = session.config.pluginmanager.getplugin("spec-run")
    if run is None or session.config.getoption("collectonly"):
        return
    session.stash[_LOOKS] = looks = Looks(Place(run.inventory, run.gate.fleet))
    looks.begin({name for item in session.items for name in getattr(item, "fixturenames", ())})


@pytest.fixture(scope="session")
def looks(request: pytest.FixtureRequest) -> Iterator[Looks]:
    """The looks of this run."""
    yield request.session.stash[_LOOKS]
    request.session.stash[_LOOKS].close()
