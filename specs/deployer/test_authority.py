"""The authority on the deployer: its keys are nobody else's, it can sign, and what it shows by TLS holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster import authority, credentials, secrets, tls
from cluster.errors import ClusterError
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory
from cluster.node import Node
from specs.deployer.looks import KEEPS_S, Deployer
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("deployer")

OLDEST_S = 2 * 86400  # a night was missed


@pytest.fixture(scope="module")
def deployer(node: Node, deployers: dict[str, Deployer | ClusterError]) -> Deployer:
    """What the deployer says."""
    return must(deployers[node.name])


def test_nobody_else_reads_its_keys(node: Node, deployer: Deployer, inventory: Inventory) -> None:
    login = inventory.users.login
    strange = []
    for line in deployer.lines("modes"):
        path, mode, owner = line.rsplit(" ", 2)
        folder = path.endswith(("-ca", "/secrets", "/backup"))
        wanted = ("700" if folder else "600", login if path.startswith("/home/") else "root")
        strange += [f"{path} is {owner}'s, {mode}"] if (mode, owner) != wanted else []
    assert len(deployer.lines("modes")) > 6, f"{node.name} has no keys: {deployer.lines('modes')}"
    assert not strange, f"{node.name}: {'; '.join(strange)}"


def test_its_authority_is_the_one_that_nodes_believe(node: Node, deployer: Deployer, inventory: Inventory) -> None:
    found = " ".join(" ".join(deployer.lines("authority")).split()[:2])
    ours = HostKeys(inventory.state / "known_hosts").authorities()
    assert {found} == ours, f"{node.name} holds another authority's key, or none: {found[:60]}"


def test_its_tls_root_is_the_one_that_nodes_trust(node: Node, deployer: Deployer, inventory: Inventory) -> None:
    found, ours = deployer.sections["tls_root"].strip(), secrets.ensure(inventory).tls_root().strip()
    assert found == ours, f"{node.name} holds another TLS root, or none: {found[:60]}"


def test_it_signs_what_nodes_accept(node: Node, deployer: Deployer, inventory: Inventory) -> None:
    """An operator whose own computer has no authority renews his certificate there."""
    said = " ".join(deployer.lines("signed"))
    try:
        found = authority.read(said)
    except ValueError:
        pytest.fail(f"{node.name} does not sign: {said[:120]}", pytrace=False)
    why = found.why_not("user", inventory.users.login, HostKeys(inventory.state / "known_hosts").authorities())
    assert why is None, f"{node.name} signs what no node accepts: {why}"
    assert found.days_left() * 86400 <= KEEPS_S, f"{node.name} signs for longer than it was asked for: {found.ends}"


@pytest.mark.each("service", lambda inventory, node: inventory.authority.serves)
def test_the_chain_holds(node: Node, service: str, deployer: Deployer, inventory: Inventory) -> None:
    chain, root = deployer.sections[f"chain {service}"].encode(), secrets.ensure(inventory).tls_root().encode()
    for host in (inventory.fqdn(node.name), f"{service}.{inventory.cluster.domain}", str(inventory.network.floating)):
        why = tls.why_not(chain, root, host)
        assert why is None, f"{node.name}: {service}'s certificate does not hold for {host}: {why}"


@pytest.mark.each("service", lambda inventory, node: inventory.authority.serves)
def test_the_key_is_its_own(node: Node, service: str, deployer: Deployer) -> None:
    assert deployer.lines(f"key {service}") == ["600 root"], (
        f"{node.name}: {service}'s key: {deployer.lines(f'key {service}')}"
    )
    assert len(set(deployer.lines(f"pair {service}"))) == 1, (
        f"{node.name}: {service}'s certificate is one for another key"
    )


@pytest.mark.each("service", lambda inventory, node: inventory.authority.serves)
def test_the_certificate_lasts(
    node: Node, service: str, deployer: Deployer, inventory: Inventory, record_property: Callable[[str, object], None]
) -> None:
    try:
        end = tls.until(deployer.sections[f"chain {service}"].encode())
    except (ValueError, IndexError):
        pytest.fail(f"{node.name} has no certificate for {service}", pytrace=False)
    left = (end.timestamp() - float(deployer.lines("now")[0])) / 86400
    record_property("days left", round(left, 1))
    wanted = inventory.authority.leaf * credentials.RENEWED_AT / 2 / 86400
    assert left > wanted, f"{node.name}: {service}'s certificate ends in {left:.1f} days: provision it again"


def test_the_next_renewal_is_due(node: Node, deployer: Deployer) -> None:
    found = deployer.lines("renewal")
    assert found == ["active", "enabled"], f"{node.name}: rpi-renew.timer is {' and '.join(found)}"


def test_the_last_renewal_went_well(
    node: Node, deployer: Deployer, record_property: Callable[[str, object], None]
) -> None:
    """Of all nodes, and less than two nights ago; how many days are left is asked where the certificate is."""
    result, when = (*deployer.lines("renewed"), "", "")[:2]
    assert result == "success", f"{node.name}: the last renewal ended as {result}: `journalctl -u rpi-renew`"
    assert when.isdigit(), f"{node.name}: nothing was ever renewed: {when}"
    age = int(deployer.lines("now")[0]) - int(when)
    record_property("age in hours", round(age / 3600, 1))
    assert age < OLDEST_S, f"{node.name}: the last renewal was {age / 3600:.0f} hours ago"


def test_the_operators_certificate_lasts(inventory: Inventory, record_property: Callable[[str, object], None]) -> None:
    found = credentials.certificate(inventory)
    assert found is not None, "there is no certificate of the operator's: `python -m provision certificate`"
    left, wanted = found[1].days_left(), inventory.authority.user * credentials.RENEWED_AT / 2 / 86400
    record_property("days left", round(left, 1))
    assert left > wanted, f"the operator's certificate ends in {left:.1f} days: `python -m provision certificate`"
