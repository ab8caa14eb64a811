"""DNS says no where it should: transfers without the key, updates, and questions about itself.

RFC 5936 section 5, RFC 2136 section 3.3, RFC 8945; named.conf (allow-transfer, allow-update, version).
"""

from __future__ import annotations

import pytest

from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from cluster.probes import dns
from specs.lanservices.looks import must, zones

pytestmark = pytest.mark.group("lanservices")

# What a server says that does not allow it: refused, or "not my zone", or "I do not do that" (RFC 2136 section 3).
NO = ("REFUSED", "NOTAUTH", "NOTIMP")
# A key that nobody has: 32 zero bytes in base64.
WRONG_SECRET = "A" * 43 + "="


def zones_of(inventory: Inventory, node: Plan) -> tuple[str, str]:
    """Both zones, for each node."""
    return zones(inventory)


@pytest.mark.semantics("dns-transfer-key")
@pytest.mark.each("zone", zones_of)
def test_the_zone_is_transferred_with_the_key(
    node: Node, zone: str, transfers: dict[tuple[str, str], frozenset[dns.Record] | ClusterError]
) -> None:
    assert must(transfers[node.name, zone]), f"{node.name} transferred an empty {zone}"


@pytest.mark.semantics("dns-transfer-key")
@pytest.mark.each("zone", zones_of)
def test_a_transfer_without_the_key_is_refused(node: Node, zone: str) -> None:
    with pytest.raises(ProbeFailed) as refused:
        got = dns.axfr(node.address, zone, deadline=5.0)
        pytest.fail(f"{node.name} gave {zone} ({len(got)} records) to somebody without the key")
    assert refused.value.reason in NO, f"{node.name} did not refuse, it failed: {refused.value}"


@pytest.mark.semantics("dns-transfer-key")
@pytest.mark.each("zone", zones_of)
def test_a_transfer_with_another_key_is_refused(node: Node, zone: str, inventory: Inventory) -> None:
    key = dns.Tsig(inventory.dns.tsig_name, WRONG_SECRET)
    with pytest.raises(ProbeFailed) as refused:
        got = dns.axfr(node.address, zone, key=key, deadline=5.0)
        pytest.fail(f"{node.name} gave {zone} ({len(got)} records) for a key that is not the cluster's")
    assert refused.value.reason in (*NO, "BADSIG", "BADKEY"), f"{node.name} did not refuse, it failed: {refused.value}"


@pytest.mark.semantics("dns-transfer-peer")
@pytest.mark.each("zone", zones_of)
def test_a_transfer_with_the_key_is_refused_to_a_wrong_host(node: Node, zone: str) -> None:
    """The node itself has the key, and is not whom it is for; that the right hosts are served is another spec."""
    words = ["dig", "+tries=1", "+time=2", "-k", "/etc/bind/transfer.key", f"@{node.address}", zone, "AXFR"]
    said = node.run(words, sudo=True, deadline=5.0).text
    given = [line for line in said.splitlines() if line and not line.startswith(";") and "\tTSIG\t" not in line]
    assert not given, f"{node.name} gave {zone} ({len(given)} records) to a host that has the key, but no business"
    assert "; Transfer failed." in said, f"{node.name} did not refuse {zone}: {said.strip()[-200:]}"


@pytest.mark.semantics("dns-updates")
@pytest.mark.each("zone", zones_of)
def test_an_update_without_the_key_is_refused(node: Node, zone: str) -> None:
    """The update asked for changes nothing, so a server that allows it is not harmed."""
    rcode = dns.update(node.address, zone)
    assert rcode in NO, f"{node.name} answered {rcode} to an unsigned update of {zone}"


@pytest.mark.semantics("dns-version")
def test_the_version_is_not_told(node: Node) -> None:
    told = dns.version_bind(node.address)
    assert told is None, f"{node.name} tells its version to anybody: {told}"
