"""Clients that boot from the network: BOOTP, and a Raspberry Pi's boot ROM, led to the floating address.

RFC 951, 2131, 2132 (options 66 and 67), 4578; dhcpd.conf(5).
"""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import tftp
from cluster.probes.dhcp_packet import Reply
from specs.lanservices.booting import FROM_ANOTHER_PORT, Boot
from specs.lanservices.looks import must, servers

pytestmark = pytest.mark.group("lanservices")
Replies = dict[str, Reply]
Boots = dict[str, Boot | ClusterError]


@pytest.fixture
def reply(node: Node, bootp_replies: Replies, inventory: Inventory) -> Reply:
    """What the node told our BOOTP client."""
    operator = inventory.network.operator
    if operator.name not in inventory.dhcp.reservations:
        pytest.skip("dhcp.reserve does not name operator, so we have no reservation to ask for")
    if node.address not in bootp_replies:
        pytest.fail(f"{node.name} does not answer BOOTP of {operator.mac}, which has a reservation")
    return bootp_replies[node.address]


@pytest.fixture
def boot(node: Node, boots: Boots, inventory: Inventory) -> Boot:
    """How far a boot ROM came with the node."""
    if inventory.network.operator.name not in inventory.dhcp.reservations:
        pytest.skip("dhcp.reserve does not name operator, so we have no reservation to ask for")
    return must(boots[node.name])


# ---------------------------------------------------------------- BOOTP: no DHCP option is sent


@pytest.mark.semantics("dhcp-bootp")
def test_bootp_gives_the_reserved_address(reply: Reply, node: Node, inventory: Inventory) -> None:
    given, reserved = reply.message.yiaddr, str(inventory.network.operator.address)
    assert given == reserved, f"{node.name} gives {given} by BOOTP, reserved is {reserved}"


def test_bootp_leads_to_the_floating_address(reply: Reply, node: Node, inventory: Inventory) -> None:
    told, floating = reply.message.siaddr, str(inventory.network.floating)
    assert told == floating, f"{node.name} sends BOOTP clients to {told}, not to {floating}"


def test_bootp_names_the_boot_file(reply: Reply, node: Node, inventory: Inventory) -> None:
    told, expected = reply.message.file.decode("ascii", "replace"), inventory.tftp.boot_file
    assert told == expected, f"{node.name} tells BOOTP clients to fetch {told!r}, not {expected}"


@pytest.mark.semantics("dhcp-no-rogue")
def test_only_the_expected_servers_answer_bootp(bootp_replies: Replies, inventory: Inventory) -> None:
    rogues = set(bootp_replies) - set(servers(inventory).values())
    assert not rogues, f"BOOTP is also answered by {', '.join(sorted(rogues))}"


# ---------------------------------------------------------------- the boot ROM of a Raspberry Pi


def test_a_boot_rom_is_recognised(boot: Boot, node: Node) -> None:
    """It passes over answers that do not say so: Raspberry Pi documentation, "Network booting"."""
    told = boot.lease.options.get("option-43")
    assert isinstance(told, bytes) and b"Raspberry Pi Boot" in told, f"{node.name} tells a boot ROM {told!r}"
    vendor = boot.lease.options.get("option-60")
    assert vendor == b"PXEClient", f"{node.name} answers a PXE client as {vendor!r}"


@pytest.mark.semantics("tftp-boot-server")
def test_a_boot_rom_is_led_to_the_floating_address(boot: Boot, node: Node, inventory: Inventory) -> None:
    """Option 66; the next server of the message's own field is ignored by it."""
    told, floating = boot.lease.options.get("tftp-server-name"), str(inventory.network.floating)
    assert told == floating, f"{node.name} sends a boot ROM to {told!r}, not to {floating}"


@pytest.mark.semantics("tftp-boot-subnet")
def test_the_boot_server_is_on_the_clients_own_network(boot: Boot, node: Node, inventory: Inventory) -> None:
    """The ROM has no router: it reaches only its own subnet."""
    told = ip_address(str(boot.lease.options.get("tftp-server-name")))
    assert told in inventory.network.cidr, f"{node.name} sends a boot ROM to {told}, outside {inventory.network.cidr}"
    mask = boot.lease.options.get("subnet-mask")
    assert mask == str(inventory.network.cidr.netmask), f"{node.name} tells a boot ROM the mask {mask!r}"


@pytest.mark.outside(FROM_ANOTHER_PORT)
def test_a_boot_rom_without_a_folder_of_its_own_goes_on(boot: Boot, node: Node) -> None:
    """It looks there first, and only error 1 sends it to the common files."""
    told = boot.own_folder
    assert isinstance(told, tftp.Refused) and told.code == tftp.NOT_FOUND, f"{node.name}: {told or 'a file was there'}"


@pytest.mark.semantics("tftp-boot-server", "tftp-boot-tries")
@pytest.mark.outside(FROM_ANOTHER_PORT)
def test_a_boot_rom_gets_its_file(boot: Boot, node: Node, inventory: Inventory) -> None:
    file = must(boot.file)
    name = boot.lease.options.get("bootfile-name")
    assert name == inventory.tftp.boot_file, f"{node.name} tells a boot ROM to fetch {name!r}"
    assert file.content, f"{name!r}, which {node.name} tells a boot ROM to fetch, is empty"
