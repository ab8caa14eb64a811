"""SSH: the login user gets in with the operator's key; nobody gets in with a password, and root not at all.

Tried on the wire, as a stranger would; and read from `sshd -T`, because it also knows what is not tried.
"""

from __future__ import annotations

import pytest

from cluster.errors import ClusterError
from cluster.facts import Facts
from cluster.hostkeys import HostKeys, host_pattern
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from specs.base import expected
from specs.base.looks import Doors


def test_the_node_shows_the_pinned_host_key(node: Node, facts: Facts, inventory: Inventory) -> None:
    pins = HostKeys(inventory.state / "known_hosts").pins(node.name, host_pattern(node.address, node.port))
    assert pins, f"no host key of {node.name} is pinned: its first contact was not recorded"
    shown = [facts.files[path].first_line.split()[1] for path in expected.HOST_KEYS.values() if path in facts.files]
    strange = [f"line {pin.line}" for pin in pins if pin.key not in shown]
    assert not strange, f"{node.name} has no host key like the pinned one ({', '.join(strange)} of known_hosts)"


def test_only_keys_are_offered(node: Node, doors: Doors) -> None:
    others = sorted(doors.login.offered - {"publickey"})
    assert "publickey" in doors.login.offered, f"{node.name} offers no public key login"
    assert not others, f"{node.name} also offers {', '.join(others)} to whoever asks"


def test_the_first_password_is_refused(node: Node, doors: Doors, inventory: Inventory) -> None:
    user = inventory.users.login
    taken = doors.login.accepted & {"password", "keyboard-interactive", "none"}
    assert not taken, f"{node.name} lets {user} in by {', '.join(taken)}: whoever knows a new Pi's password has sudo"


def test_the_operators_key_is_accepted(node: Node, doors: Doors, inventory: Inventory) -> None:
    # Where a password let us in already, the key was not tried; that is another spec's red.
    assert doors.login.accepted, f"{node.name} refuses {inventory.users.login} with the operator's key"


def test_root_is_refused(node: Node, doors: Doors) -> None:
    if doors.root is None:
        pytest.skip(f"{doors.login.banner} would hold a failed login against this address (PerSourcePenalties)")
    assert not doors.root.accepted, f"{node.name} lets root in by {', '.join(doors.root.accepted)}"


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
