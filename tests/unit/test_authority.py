"""Certificates: what we sign is what OpenSSH reads, and a real sshd takes those that hold, and no other."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cluster import authority, credentials, secrets
from cluster.authority import Authority
from cluster.errors import AuthenticationFailed, HostKeyChanged, InputError
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory, default_path, parse
from cluster.node import Fleet
from cluster.ssh import Login, load_key
from tests.unit.sshd import SSHD, Sshd

DAY = 86400.0


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return parse(default_path().read_text(encoding="utf-8"), tmp_path / "inventory.yaml")


@pytest.fixture(scope="module")
def ours() -> Authority:
    return Authority(Ed25519PrivateKey.generate())


def public(folder: Path, name: str = "key") -> str:
    if not (folder / name).exists():
        Sshd.keygen(folder / name)
    return (folder / f"{name}.pub").read_text()


def test_ssh_keygen_reads_what_we_sign(ours: Authority, tmp_path: Path) -> None:
    text = ours.sign(
        public(tmp_path), "user", ["pi", "other"], identity="a test", seconds=3600,
        sources=[IPv4Network("192.168.10.0/24"), IPv4Network("10.0.0.0/8")], serial=42,
    )  # fmt: skip
    (tmp_path / "key-cert.pub").write_text(text + "\n")
    said = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "key-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    for wanted in ("user certificate", 'Key ID: "a test"', "Serial: 42", "Valid: before ", ours.fingerprint,
                   "source-address 192.168.10.0/24,10.0.0.0/8", "permit-pty"):  # fmt: skip
        assert wanted in said, wanted
    assert "agent" not in said and "X11" not in said
    found = authority.read(text)
    assert (found.kind, found.principals, found.serial) == ("user", ("pi", "other"), 42)
    assert found.authority == ours.public and 0.04 < found.days_left() <= 3600 / DAY


def test_we_read_what_ssh_keygen_signs(tmp_path: Path) -> None:
    public(tmp_path, "ca")
    public(tmp_path)
    words = [
        "ssh-keygen",
        "-q",
        "-s",
        str(tmp_path / "ca"),
        "-I",
        "by hand",
        "-h",
        "-n",
        "alpha",
        "-V",
        "+1d",
        "-z",
        "7",
    ]
    subprocess.run([*words, str(tmp_path / "key.pub")], check=True)
    found = authority.read((tmp_path / "key-cert.pub").read_text())
    assert (found.kind, found.identity, found.principals, found.serial) == ("host", "by hand", ("alpha",), 7)
    assert found.why_not("host", "alpha", [found.authority]) is None


def test_serials_are_never_the_same(ours: Authority, tmp_path: Path) -> None:
    key = public(tmp_path)
    found = {authority.read(ours.sign(key, "user", ["pi"], identity="x", seconds=60)).serial for _ in range(50)}
    assert len(found) == 50 and authority.REVOKED_SERIAL not in found


@pytest.mark.parametrize(
    ("change", "name", "why"),
    [
        ({"kind": "host"}, "pi", "it is one for hosts, not for users"),
        ({"authority": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="}, "pi", "which is not the cluster's authority"),
        ({}, "root", "it is for pi, not for root"),
        ({"until": 1000}, "pi", "it was valid until 1970-01-01 00:16 UTC, and this machine's clock says"),
        ({"begins": 4102444800}, "pi", "it is valid from 2100-01-01 00:00 UTC on, and this machine's clock says"),
    ],
)
def test_why_one_does_not_hold(ours: Authority, tmp_path: Path, change: dict[str, object], name: str, why: str) -> None:
    good = authority.read(ours.sign(public(tmp_path), "user", ["pi"], identity="x", seconds=60))
    assert good.why_not("user", "pi", [ours.public]) is None
    said = replace(good, **change).why_not("user", name, [ours.public])  # type: ignore[arg-type]
    assert said is not None and why in said


@pytest.mark.filterwarnings("ignore:SSH DSA keys")
def test_a_key_that_openssh_does_not_believe_is_not_signed(ours: Authority) -> None:
    key = dsa.generate_private_key(1024).public_key()  # it is of 1999: ssh-keygen still reads it, sshd no longer does
    with pytest.raises(InputError, match="Ed25519, ECDSA or RSA"):
        text = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        ours.sign(text, "user", ["pi"], identity="x", seconds=60)


@pytest.mark.parametrize("damage", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "no key at all", "\N{SNOWMAN}"])
def test_what_is_no_key_is_not_signed_and_not_read(ours: Authority, damage: str) -> None:
    with pytest.raises(InputError, match="not a public key"):
        ours.sign(damage, "user", ["pi"], identity="x", seconds=60)
    with pytest.raises(ValueError):
        authority.read(damage)


def test_a_certificate_that_was_changed_is_not_read(ours: Authority, tmp_path: Path) -> None:
    import base64

    text = ours.sign(public(tmp_path), "user", ["pi"], identity="x", seconds=60)
    kind, data, *_ = text.split()
    spoiled = base64.b64decode(data).replace(b"\0\0\0\x02pi", b"\0\0\0\x02po")
    with pytest.raises(ValueError):
        authority.read(f"{kind} {base64.b64encode(spoiled).decode()}")


# The operator's own


def test_the_operators_certificate_makes_itself_and_is_kept(inventory: Inventory) -> None:
    assert credentials.certificate(inventory) is None, "nothing is made before the first provisioning"
    made = secrets.ensure(inventory)
    first = credentials.certificate(inventory)
    assert first is not None and made.ssh_certificate.stat().st_mode & 0o777 == 0o600
    assert 6.9 < first[1].days_left() <= 7 and first[1].principals == ("pi",)
    assert credentials.certificate(inventory) == first
    believed = HostKeys(inventory.state / "known_hosts").authorities()
    assert first[1].why_not("user", "pi", believed) is None


@pytest.mark.parametrize("left", [2.0, -1.0])
def test_one_that_is_near_its_end_or_over_is_renewed_where_the_authority_is(inventory: Inventory, left: float) -> None:
    made = secrets.ensure(inventory)
    old = credentials.sign(inventory, made.ssh_public(), identity="old", seconds=left * DAY)
    credentials.keep(inventory, old)
    found = credentials.certificate(inventory)
    assert found is not None and found[0] != old and found[1].days_left() > 6.9


def test_one_that_is_over_is_one_clear_line_where_the_authority_is_not(inventory: Inventory) -> None:
    made = secrets.ensure(inventory)
    credentials.keep(inventory, credentials.sign(inventory, made.ssh_public(), identity="old", seconds=-60))
    made.ssh_authority.unlink()
    with Fleet(inventory) as fleet, pytest.raises(InputError) as caught:
        fleet["psi"].connect()
    said = str(caught.value)
    assert "\n" not in said and "it was valid until" in said and "python -m provision certificate --key" in said


def test_a_lost_authority_is_not_replaced_behind_the_nodes_backs(inventory: Inventory) -> None:
    made = secrets.ensure(inventory)
    credentials.trusted(inventory)
    kept = made.ssh_authority.read_bytes()
    made.ssh_authority.unlink()
    secrets.ensure(inventory)
    assert not made.ssh_authority.exists()
    with pytest.raises(InputError, match=r"ssh_ca: the authority's key is not here; .*docs/authority.md"):
        credentials.trusted(inventory)
    Sshd.keygen(made.ssh_authority)
    with pytest.raises(InputError, match=r"ssh_ca: is SHA256:.* believe SHA256:.*put back a copy"):
        credentials.trusted(inventory)
    made.ssh_authority.write_bytes(kept)
    credentials.trusted(inventory)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\xff"])
def test_a_damaged_authority_is_one_clear_line(inventory: Inventory, damage: bytes) -> None:
    secrets.ensure(inventory).ssh_authority.write_bytes(damage)
    with pytest.raises(InputError, match="put back a copy") as caught:
        credentials.trusted(inventory)
    assert "\n" not in str(caught.value)


# Against a real sshd


@pytest.fixture
def believer(tmp_path: Path, ours: Authority) -> Iterator[Sshd]:
    """An sshd that takes our authority's certificates only, and shows one."""
    if SSHD is None:
        pytest.skip("no sshd: apt-get install openssh-server")
    (tmp_path / "sshd").mkdir()
    folder = tmp_path / "sshd"
    (folder / "ca.pub").write_text(ours.public + "\n")
    (folder / "revoked").write_text(f"serial: {authority.REVOKED_SERIAL}\n")
    subprocess.run(
        ["ssh-keygen", "-q", "-k", "-f", folder / "krl", "-s", folder / "ca.pub", folder / "revoked"], check=True
    )
    extra = f"TrustedUserCAKeys {folder}/ca.pub\nRevokedKeys {folder}/krl\nHostCertificate {folder}/host-cert.pub\n"
    daemon = Sshd(folder, extra=extra)
    (folder / "authorized").unlink()
    key = daemon.host_key.with_suffix(".pub").read_text()
    (folder / "host-cert.pub").write_text(ours.sign(key, "host", ["alpha"], identity="alpha", seconds=600) + "\n")
    daemon.start()
    yield daemon
    daemon.stop()


def login(daemon: Sshd, text: str) -> Login:
    return Login(daemon.user, load_key(str(daemon.key)), None, load_key(str(daemon.key), text))


def test_a_certificate_that_holds_opens_the_door_and_no_other(believer: Sshd, ours: Authority, tmp_path: Path) -> None:
    key, user = believer.key.with_suffix(".pub").read_text(), believer.user
    pins = tmp_path / "known_hosts"
    HostKeys(pins).trust(["alpha"], ours.public)
    good = ours.sign(key, "user", [user], identity="good", seconds=600)
    node = believer.node(login=login(believer, good), pins=pins)
    assert node.run(["echo", "in"]).out == b"in\n"
    assert node.host_key().split() == believer.host_key.with_suffix(".pub").read_text().split()[:2]
    theirs = Authority(Ed25519PrivateKey.generate())
    for text in (
        ours.sign(key, "user", [user], identity="over", seconds=-1),
        ours.sign(key, "user", ["nobody-here"], identity="principal", seconds=600),
        theirs.sign(key, "user", [user], identity="foreign", seconds=600),
        ours.sign(key, "user", [user], identity="revoked", seconds=600, serial=authority.REVOKED_SERIAL),
        ours.sign(key, "user", [user], identity="elsewhere", seconds=600, sources=[IPv4Network("192.0.2.0/24")]),
    ):
        with pytest.raises(AuthenticationFailed, match="refused our certificate and our key"):
            believer.node(login=login(believer, text), pins=pins).connect()


def test_a_host_certificate_proves_without_a_pin_and_against_an_old_one(
    believer: Sshd, ours: Authority, tmp_path: Path
) -> None:
    pins = tmp_path / "known_hosts"
    good = ours.sign(believer.key.with_suffix(".pub").read_text(), "user", [believer.user], identity="x", seconds=600)
    Sshd.keygen(tmp_path / "other")
    pins.write_text(f"alpha {(tmp_path / 'other.pub').read_text()}")
    with pytest.raises(HostKeyChanged):
        believer.node(login=login(believer, good), pins=pins).connect()
    HostKeys(pins).trust(["alpha"], ours.public)
    believer.node(login=login(believer, good), pins=pins).connect()


def test_one_that_does_not_hold_is_nobody_we_know_unless_his_key_is_pinned(
    believer: Sshd, ours: Authority, tmp_path: Path
) -> None:
    pins = tmp_path / "known_hosts"
    good = ours.sign(believer.key.with_suffix(".pub").read_text(), "user", [believer.user], identity="x", seconds=600)
    HostKeys(pins).trust(["beta"], ours.public)
    with pytest.raises(HostKeyChanged, match=r"does not hold: it is for alpha, not for 127.0.0.1, beta"):
        believer.node("beta", login=login(believer, good), pins=pins).connect()
    key = believer.host_key.with_suffix(".pub").read_text()
    pins.write_text(pins.read_text() + f"beta {key}")
    believer.node("beta", login=login(believer, good), pins=pins).connect()


def test_ssh_itself_believes_the_same_file(believer: Sshd, ours: Authority, tmp_path: Path) -> None:
    key = believer.key.with_suffix(".pub").read_text()
    text = ours.sign(key, "user", [believer.user], identity="x", seconds=600)
    believer.key.with_name("user_key-cert.pub").write_text(text + "\n")
    pins = tmp_path / "known_hosts"
    HostKeys(pins).trust(["alpha"], ours.public)
    words = ["ssh", "-F/dev/null", f"-oUserKnownHostsFile={pins}", "-oStrictHostKeyChecking=yes", "-oBatchMode=yes",
             "-oHostKeyAlias=alpha", f"-i{believer.key}", f"-p{believer.port}", "127.0.0.1",
             "echo", "hello"]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(words, capture_output=True, timeout=20, check=False)
    assert done.stdout == b"hello\n", (done.stderr, time.monotonic() - began)
