"""Users and groups: who is there, who may become root, and who may log in."""

from __future__ import annotations

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node

LOGIN_UID = 1000  # of the first user of a Raspberry Pi OS card


def test_the_login_user(node: Node, facts: Facts, inventory: Inventory) -> None:
    name = inventory.users.login
    assert name in facts.users, f"{node.name} has no user {name}"
    found = facts.users[name].uid
    assert found == LOGIN_UID, f"{node.name}: {name} has uid {found}, not {LOGIN_UID}"


def test_the_login_user_has_a_shell(node: Node, facts: Facts, inventory: Inventory) -> None:
    name = inventory.users.login
    shell = facts.users[name].shell
    assert shell.endswith("sh"), f"{node.name}: the shell of {name} is {shell}"


def test_the_login_user_becomes_root_without_a_password(node: Node, inventory: Inventory) -> None:
    done = node.run(["id", "-u"], sudo=True, deadline=10)
    name, said = inventory.users.login, done.err.decode(errors="replace").strip()
    assert done.out == b"0\n", f"{node.name}: sudo does not make {name} root without a password: {said}"


def test_the_cluster_user(node: Node, facts: Facts, inventory: Inventory) -> None:
    name = inventory.users.cluster
    assert name in facts.users, f"{node.name} has no user {name}"
    assert facts.users[name].uid >= LOGIN_UID, f"{node.name}: {name} has a system's uid, {facts.users[name].uid}"


def test_the_cluster_user_is_not_root_by_another_name(node: Node, facts: Facts, inventory: Inventory) -> None:
    strong = sorted(
        group
        for group in ("root", "sudo", "wheel", "shadow", "disk", "docker")
        if inventory.users.cluster in facts.groups.get(group, ())
    )
    assert not strong, f"{node.name}: {inventory.users.cluster} is in {', '.join(strong)}"


def test_the_ssh_group(node: Node, facts: Facts, inventory: Inventory) -> None:
    name = inventory.users.ssh_group
    assert name in facts.groups, f"{node.name} has no group {name}: sshd's AllowGroups names it"


def test_the_login_users_own_group(node: Node, facts: Facts, inventory: Inventory) -> None:
    """sshd's AllowGroups lets the login user in by it."""
    name = inventory.users.login
    assert name in facts.groups.get(name, ()), f"{node.name}: {name} is not in group {name}: sshd will refuse it"


def test_only_root_is_root(node: Node, facts: Facts) -> None:
    roots = sorted(name for name, user in facts.users.items() if user.uid == 0)
    assert roots == ["root"], f"{node.name}: uid 0 belongs to {', '.join(roots)}"


def test_nobody_has_an_empty_password(node: Node, facts: Facts) -> None:
    assert not facts.passwordless, f"{node.name}: no password is asked of {', '.join(facts.passwordless)}"


def test_every_uid_is_one_users(node: Node, facts: Facts) -> None:
    users: dict[int, list[str]] = {}
    for name, user in facts.users.items():
        users.setdefault(user.uid, []).append(name)
    shared = [names for names in users.values() if len(names) > 1]
    assert not shared, f"{node.name}: one uid for {' and '.join(', '.join(names) for names in shared)}"
