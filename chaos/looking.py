"""What an experiment looks at and what it expects to see, from what the cluster itself says now."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from chaos.faults import Fault
from chaos.leasing import clients, newcomers
from chaos.verdicts import Expected
from chaos.watch import Plan
from cluster.health import Health
from cluster.probes import vrrp


def plan(health: Health, node: str) -> Plan:
    """Every service as a client looks at it, by what DHCP told clients when it was asked, and one node itself."""
    inventory = health.inventory
    return Plan(
        parent=os.getpid(),
        interface=health.interface,
        floating=health.floating,
        node=health.address(node),
        dns_servers=_told(health, "dns", (inventory.dns.primary, inventory.dns.secondary)),
        dns_name=f"{inventory.fqdn('float')}.",
        ntp_servers=_told(health, "ntp", inventory.ntp.servers),
        dhcp_clients=clients(inventory.dhcp.split),
        dhcp_newcomers=newcomers(inventory.dhcp.split),
        dhcp_servers=tuple(map(health.address, health.pair)),
        tftp_file=inventory.tftp.boot_file,
        http_port=inventory.http.port,
    )


def _told(health: Health, service: str, otherwise: Sequence[str]) -> tuple[str, ...]:
    """The servers that DHCP tells clients of, the shortest list of any; all there are, where it offered nothing."""
    lists = health.told(service)
    return min(lists, key=len) if lists else tuple(map(health.address, otherwise))


def expected(health: Health, fault: Fault, advertised: Callable[[str], float]) -> Expected | None:
    """What VRRP promises when the owner of the address is lost, by the survivor's live configuration; else None.

    `advertised` says when an address last advertised itself.  Raises ClusterError and ValueError where the
    configuration cannot be read.
    """
    owner = max(health.pair, key=lambda name: advertised(health.address(name)))
    others = [name for name in health.pair if name != owner]
    if not fault.takes_node or owner not in fault.nodes or not others:
        return None
    survivor = others[0]
    instance = health.vrrp_instance(survivor)
    window = vrrp.window(instance.advert_int, instance.priority, instance.version)
    return Expected(owner, survivor, health.address(owner), health.address(survivor), instance.vrid, window)
