"""What a node says about itself: recorded answers read, broken ones refused, and the command on this machine."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster import facts
from tests.probing import cases, plain


def simple(value: Any) -> Any:
    """A value as JSON has it; sets are sorted lists."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, dict):
        return {key: simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [simple(item) for item in value]
    return plain(value)


@pytest.mark.parametrize(("path", "expected"), cases("facts", ".facts"))
def test_recorded_answers(path: Path, expected: dict[str, Any]) -> None:
    text = path.read_text(encoding="utf-8")
    if "error" in expected:
        with pytest.raises(ValueError, match=expected["error"]):
            facts.parse(text)
        return
    found = facts.parse(text)
    assert {name: simple(getattr(found, name)) for name in expected} == expected


def test_a_section_that_was_not_asked_for_is_named() -> None:
    with pytest.raises(KeyError, match="users"):
        _ = facts.parse("\x1eend\n").users


def test_addresses_of_an_interface() -> None:
    found = facts.parse((Path(__file__).parents[1] / "cases/facts/alpha.facts").read_text(encoding="utf-8"))
    assert found.addresses("eth0") == {"192.168.10.6": 24}
    assert found.addresses("lo") == {"127.0.0.1": 8}
    assert found.addresses("nothing") == {}


@pytest.mark.parametrize(("address", "local"), [("127.0.0.1", True), ("[::1]", True), ("0.0.0.0", False), ("*", False)])
def test_who_can_reach_a_listener(address: str, local: bool) -> None:
    assert facts.Listener("tcp", address, 22, "sshd").local is local


@pytest.fixture
def here(tmp_path: Path) -> facts.Facts:
    """The facts of this machine, with what is not there asked for as well."""
    secret, text = tmp_path / "a secret", tmp_path / "it's a text"
    secret.write_text("password\n")
    text.write_text("first\tline\nsecond\n")
    secret.chmod(0o640)
    command = facts.command(
        interface="lo; touch /dev/null/x",
        login=getpass.getuser(),
        address="127.0.0.1",
        sysctls=["kernel.ostype", "no.such.setting"],
        paths=[str(secret), str(tmp_path), "/no such file"],
        texts=[str(text), "/no such text"],
        units=["no-such.service"],
        commands=["sh", "no-such-command"],
        names=["no-such-name.invalid"],
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return facts.parse(done.stdout)


def test_the_command_on_this_machine(here: facts.Facts, tmp_path: Path) -> None:
    uname = subprocess.run(["uname", "-n"], capture_output=True, text=True, check=True)
    assert here.names["kernel"] == uname.stdout.strip()
    assert here.users["root"].uid == 0 and "root" in here.groups["root"]
    assert here.sysctl == {"kernel.ostype": "Linux"}
    assert here.commands == {"sh"}
    assert here.processes > 0
    assert here.lease is None
    assert here.lookups == {}


def test_a_socket_that_is_there_in_one_look_only_is_no_service(tmp_path: Path) -> None:
    """A stand-in for ss(8): a real socket cannot be made to be caught between bind(2) and connect(2)."""
    lines = {
        "stays": "udp UNCONN 0 0 0.0.0.0:53 0.0.0.0:*",
        "goes": "udp UNCONN 0 0 0.0.0.0:61981 0.0.0.0:*",
        "comes": "udp UNCONN 0 0 0.0.0.0:61982 0.0.0.0:*",
        "of the kernel": "udp UNCONN 0 0 0.0.0.0:8472 0.0.0.0:*",
    }
    who = ' users:(("named",pid=1,fd=3))'
    stub = tmp_path / "ss"
    stub.write_text(
        f"""#!/bin/sh
echo '{lines["stays"]}'"$([ "$1" = -Hlntup ] && echo '{who}')"
echo '{lines["of the kernel"]}'
if [ "$1" = -Hlntup ]; then echo '{lines["goes"]}'; else echo '{lines["comes"]}'; fi
"""
    )
    stub.chmod(0o755)
    command = facts.command(interface="lo", login="nobody", address="127.0.0.1")
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", command], env=path, capture_output=True, text=True, timeout=60, check=False)
    found = [(one.port, one.process) for one in facts.parse(done.stdout).listeners]
    assert found == [(53, "named"), (8472, "")]


def test_what_may_hold_a_secret_is_not_read(here: facts.Facts, tmp_path: Path) -> None:
    secret, text = here.files[str(tmp_path / "a secret")], here.files[str(tmp_path / "it's a text")]
    assert (secret.kind, secret.mode, secret.size, secret.first_line) == ("regular file", "0640", 9, "")
    assert text.first_line == "first\tline"
    assert here.files[str(tmp_path)].kind == "directory"
    assert set(here.files) == {str(tmp_path / "a secret"), str(tmp_path / "it's a text"), str(tmp_path)}
