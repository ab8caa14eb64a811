"""SSH: the login user gets in with a certificate of our authority's that holds, by nothing else, and root not at all.

Tried on the wire, as a stranger would; and read from `sshd -T`, because it also knows what is not tried.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster import authority, credentials, secrets, tls
from cluster.authority import Certificate
from cluster.errors import ClusterError
from cluster.facts import Facts
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from cluster.secrets import Secrets
from specs.base import expected, strangers
from specs.base.looks import Doors


def test_the_node_proves_who_it_is(node: Node, doors: Doors, inventory: Inventory) -> None:
    """By a certificate of our authority's, so that nobody has to trust a key that he sees for the first time."""
    certificate = proof(node, doors)
    believed = HostKeys(inventory.state / "known_hosts").authorities()
    why = certificate.why_not("host", node.name, believed)
    assert why is None, f"{node.name} shows a host certificate that does not hold: {why}"
    assert certificate.key == doors.login.host_key, f"{node.name}: its host certificate is one for another key"


def test_it_proves_each_of_its_names(node: Node, doors: Doors, inventory: Inventory) -> None:
    wanted, found = set(credentials.host_names(inventory, node.name)), set(proof(node, doors).principals)
    assert found == wanted, f"{node.name}: its host certificate is for {sorted(found)}, not for {sorted(wanted)}"


def test_its_certificate_lasts(
    node: Node, doors: Doors, inventory: Inventory, record_property: Callable[[str, object], None]
) -> None:
    """Half of the time for renewal has gone by, and nobody has renewed it."""
    left, wanted = proof(node, doors).days_left(), inventory.authority.host * credentials.RENEWED_AT / 2 / 86400
    record_property("days left", round(left, 1))
    assert left > wanted, (
        f"{node.name}: its host certificate ends in {left:.1f} days: `python -m provision {node.name}`"
    )


def proof(node: Node, doors: Doors) -> Certificate:
    """The host certificate that the node shows."""
    shown = doors.login.certificate
    assert shown is not None, f"{node.name} shows no host certificate, only its key"
    return authority.read(shown)


def test_only_keys_are_offered(node: Node, doors: Doors) -> None:
    others = sorted(doors.login.offered - {"publickey"})
    assert "publickey" in doors.login.offered, f"{node.name} offers no public key login"
    assert not others, f"{node.name} also offers {', '.join(others)} to whoever asks"


def test_the_first_password_is_refused(node: Node, doors: Doors, inventory: Inventory) -> None:
    user = inventory.users.login
    taken = doors.login.accepted & {"password", "keyboard-interactive", "none"}
    assert not taken, f"{node.name} lets {user} in by {', '.join(taken)}: whoever knows a new Pi's password has sudo"


@pytest.mark.parametrize("what", strangers.REFUSED)
def test_it_is_refused(node: Node, what: str, doors: Doors, inventory: Inventory) -> None:
    if what not in doors.tried:
        pytest.skip("the authority's key is not here, so nothing can be signed that must be refused")
    assert what not in doors.accepted, f"{node.name} lets {inventory.users.login} in by {strangers.REFUSED[what]}"


def test_the_operators_certificate_is_accepted(node: Node, doors: Doors, inventory: Inventory) -> None:
    # Where a password or a stranger let us in already, ours was not tried; that is another spec's red.
    for door in (doors.login, doors.more):
        assert door.accepted, f"{node.name} refuses {inventory.users.login} with the operator's certificate"


def test_root_is_refused(node: Node, doors: Doors) -> None:
    if doors.root is None:
        pytest.skip(f"{doors.login.banner} would hold a failed login against this address (PerSourcePenalties)")
    assert not doors.root.accepted, f"{node.name} lets root in by {', '.join(doors.root.accepted)}"


def test_it_believes_our_authority_alone(node: Node, facts: Facts, inventory: Inventory) -> None:
    believed = {" ".join(line.split()[:2]) for line in lines(facts, expected.SSH_CA)}
    ours = HostKeys(inventory.state / "known_hosts").authorities()
    assert believed == ours, (
        f"{node.name} believes {', '.join(map(authority.fingerprint, sorted(believed))) or 'nobody'}, "
        f"the authority is {', '.join(map(authority.fingerprint, sorted(ours))) or 'not known here'}"
    )


def test_its_list_of_what_is_revoked_is_ours(node: Node, facts: Facts, inventory: Inventory) -> None:
    ours = Secrets(inventory.state / "secrets", inventory.dns.tsig_name).revoked()
    wanted = [f"serial: {authority.REVOKED_SERIAL}", *ours]
    found = lines(facts, expected.REVOKED)
    assert found == wanted, f"{node.name} refuses {found or 'nothing'}, revoked is {wanted}: `python -m provision all`"


def lines(facts: Facts, path: str) -> list[str]:
    """What a file of the node's says, without comments."""
    return [line for line in facts.contents.get(path, ()) if line and not line.startswith("#")]


def test_the_clusters_tls_root_is_trusted(node: Node, facts: Facts, inventory: Inventory) -> None:
    ours = tls.fingerprint(secrets.ensure(inventory).tls_root().encode())
    found = facts.trusted_root
    assert found == ours, f"{node.name} trusts {found or 'no root of ours'} for TLS, not {ours}"


def ports(inventory: Inventory, node: Plan) -> list[int]:
    """The SSH ports of the node's group."""
    return list(inventory.groups[node.group].ssh_ports)


@pytest.mark.each("port", ports)
def test_it_answers_on_the_port(node: Node, port: int, doors: Doors) -> None:
    banner = doors.banners[port]
    assert not isinstance(banner, ClusterError), f"{node.name}: no SSH on port {port}: {banner}"
    assert banner.startswith(b"SSH-2.0-"), f"{node.name}: port {port} says {banner!r}, not SSH-2.0"


@pytest.mark.parametrize("setting", expected.SSHD)
def test_the_setting_is(node: Node, setting: str, facts: Facts) -> None:
    found, wanted = facts.sshd.get(setting), expected.SSHD[setting]
    assert found, f"{node.name}: sshd -T tells no {setting}: is its configuration valid?"
    assert found == (wanted,), f"{node.name}: sshd has {setting} {' '.join(found)}, not {wanted}"


def test_it_listens_on_its_groups_ports_only(node: Node, facts: Facts, inventory: Inventory) -> None:
    wanted = {str(port) for port in inventory.groups[inventory.node(node.name).group].ssh_ports}
    found = set(facts.sshd.get("port", ()))
    assert found == wanted, f"{node.name}: sshd is to listen on {sorted(found)}, the inventory says {sorted(wanted)}"


def test_only_the_ssh_group_and_the_login_user_may_log_in(node: Node, facts: Facts, inventory: Inventory) -> None:
    found = {word for line in facts.sshd.get("allowgroups", ()) for word in line.split()}
    wanted = {inventory.users.ssh_group, inventory.users.login}
    assert found == wanted, f"{node.name}: sshd lets in the groups {sorted(found) or 'of everybody'}, not {wanted}"


def test_a_silent_client_is_given_up(node: Node, facts: Facts) -> None:
    """120 s times ClientAliveCountMax: the session of a laptop that was closed ends."""
    (count,) = facts.sshd.get("clientalivecountmax", ("0",))
    assert int(count) > 0, f"{node.name}: ClientAliveCountMax {count}: sessions of clients that are gone never end"
