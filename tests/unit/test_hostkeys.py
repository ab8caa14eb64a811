"""The file of pinned host keys: pinned once, compared ever after, shared by several processes."""

from __future__ import annotations

import multiprocessing
import subprocess
from pathlib import Path

import pytest

from cluster.errors import HostKeyChanged, InputError
from cluster.hostkeys import HostKeys, fingerprint, host_pattern

KEY, OTHER = b"\0\0\0\x0bssh-ed25519 one", b"\0\0\0\x0bssh-ed25519 two"


def test_first_contact_pins_and_later_contacts_compare(tmp_path: Path) -> None:
    keys = HostKeys(tmp_path / "state" / "known_hosts")
    keys.verify("alpha", "192.168.10.6", "ssh-ed25519", KEY)
    keys.verify("alpha", "192.168.10.6", "ssh-ed25519", KEY)
    assert len(keys.path.read_text().splitlines()) == 1
    with pytest.raises(HostKeyChanged):
        keys.verify("alpha", "192.168.10.6", "ssh-ed25519", OTHER)
    with pytest.raises(HostKeyChanged):  # another machine at a node's new address is not that node
        keys.verify("alpha", "192.168.10.7", "ssh-ed25519", OTHER)
    with pytest.raises(HostKeyChanged):  # nor another node at its address
        keys.verify("beta", "192.168.10.6", "ssh-ed25519", OTHER)


def test_any_one_of_several_pins_will_do(tmp_path: Path) -> None:
    keys = HostKeys(tmp_path / "known_hosts")
    keys.verify("alpha", "a", "ssh-ed25519", KEY)
    keys.path.write_text(keys.path.read_text() + keys.path.read_text().replace("ssh-ed25519", "ssh-rsa"))
    keys.verify("alpha", "a", "ssh-ed25519", KEY)
    assert [pin.type for pin in keys.pins("alpha", "a")] == ["ssh-ed25519", "ssh-rsa"]


def test_forget_keeps_every_other_line(tmp_path: Path) -> None:
    keys = HostKeys(tmp_path / "known_hosts")
    keys.path.write_text("# a comment\n\n@cert-authority * ssh-ed25519 AAAA\n|1|salt|hash ssh-ed25519 AAAA\nodd\n")
    kept = keys.path.read_text()
    for node in ("alpha", "beta"):
        keys.verify(node, f"host-{node}", "ssh-ed25519", KEY)
    keys.forget("alpha", "host-alpha")
    keys.forget("alpha", "host-alpha")
    assert keys.path.read_text().startswith(kept)
    assert not keys.pins("alpha", "host-alpha") and len(keys.pins("beta", "host-beta")) == 1


@pytest.mark.parametrize(
    ("junk", "said"),
    [
        (b"\x80\x81\xfe\n", r"known_hosts:2: not text; remove it, its node is pinned anew"),
        (b"@cert-authority \xff\n", r"known_hosts:2: not text; correct that line, nodes are believed by it"),
        (None, r"known_hosts: Is a directory; make it yours to read and write"),
    ],
)
def test_a_file_that_is_damaged_is_one_line_and_stays(tmp_path: Path, junk: bytes | None, said: str) -> None:
    keys = HostKeys(tmp_path / "known_hosts")
    data = b"alpha ssh-ed25519 AAAA\n" + (junk or b"")
    if junk is None:
        keys.path.mkdir()
    else:
        keys.path.write_bytes(data)
    looks = (keys.lines, keys.authorities, lambda: keys.forget("alpha", "a"), lambda: keys.trust(["a"], "k x"))
    for look in (*looks, lambda: keys.verify("beta", "b", "ssh-ed25519", KEY)):
        with pytest.raises(InputError, match=said) as caught:
            look()
        assert "\n" not in str(caught.value)
    assert junk is None or keys.path.read_bytes() == data


def _pin(path: Path, first: int) -> None:
    keys = HostKeys(path)
    for n in range(first, first + 25):
        keys.verify(f"node{n}", f"host{n}", "ssh-ed25519", KEY)
        keys.verify("common", "host", "ssh-ed25519", KEY)


def test_processes_that_pin_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_pin, args=(path, 100 * n)) for n in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join(30)
        assert other.exitcode == 0
    assert len(path.read_text().splitlines()) == 3 * 25 + 1


def test_a_fingerprint_is_what_ssh_keygen_prints(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    import base64

    public = (tmp_path / "key.pub").read_text()
    said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert fingerprint(base64.b64decode(public.split()[1])) in said.stdout


def test_the_port_is_written_only_when_it_is_not_22() -> None:
    assert host_pattern("192.168.10.6", 22) == "192.168.10.6"
    assert host_pattern("192.168.10.6", 2222) == "[192.168.10.6]:2222"
