"""The verbs beside configuring, as a person meets them: what is wrong is one line, and nothing is written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster import authority, credentials, revocations, secrets
from cluster.authority import Authority
from cluster.inventory import Inventory, default_path, load
from cluster.secrets import Secrets
from provision import certificates
from tests.unit.sshd import Sshd

ROOT = Path(__file__).resolve().parents[2]
ACCENT = "\N{LATIN SMALL LETTER E WITH ACUTE}"


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """A cluster of its own, with an authority and the operator's certificate, where nothing switches nodes."""
    (tmp_path / "site").mkdir()
    path = tmp_path / "site" / "inventory.yaml"
    path.write_text(default_path().read_text().replace("driver: lab.power", "driver: cluster.power.none"))
    found = load(path)
    credentials.issue(found)
    return found


@pytest.fixture
def made(inventory: Inventory) -> Secrets:
    return secrets.ensure(inventory)


def kept(inventory: Inventory) -> Mapping[str, bytes]:
    """All that lies beside the inventory."""
    return {str(path): path.read_bytes() for path in inventory.state.rglob("*") if path.is_file()}


def provision(inventory: Inventory, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "provision", *words, "--inventory", str(inventory.path)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def refused(inventory: Inventory, *words: str, code: int = 2) -> str:
    """What it said where it did nothing."""
    before = kept(inventory)
    done = provision(inventory, *words)
    assert done.returncode == code and done.stdout == "", done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert kept(inventory) == before
    return done.stderr


def public(folder: Path, name: str = "laptop") -> str:
    Sshd.keygen(folder / name)
    return (folder / f"{name}.pub").read_text().strip()


# Revoking


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("hello world", "not a public key of OpenSSH's; name a public key, a certificate or a serial of ours"),
        ("", "has 0 lines; name a file with one public key or certificate"),
        ("ssh-ed25519", "not a public key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOaaOgGDbX85oIs7SKGG5k3yH3zw", "not a public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "is a private key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "name a public key, a certificate or a serial of ours"),
        (f"caf{ACCENT} au lait", "not a public key"),
        ("a\nb\n", "has 2 lines; name a file with one public key or certificate"),
    ],
)
def test_what_is_no_key_is_not_revoked(inventory: Inventory, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "f.pub").write_text(content)
    told = refused(inventory, "revoke", "17", str(tmp_path / "f.pub"))
    assert said in told and "--key" not in told, told


@pytest.mark.parametrize("word", ["0", "99999999999999999999999", "18446744073709551616", "9" * 5000, "000"])
def test_what_is_no_serial_is_not_revoked(inventory: Inventory, word: str) -> None:
    said = refused(inventory, "revoke", word)
    assert said.startswith(f"revoke: '{word[:40]}") and "serial" in said and len(said) < 250


@pytest.mark.parametrize("word", ["\N{SUPERSCRIPT TWO}", "none.pub", ".", "5x"])
def test_a_file_that_is_not_there_is_named(inventory: Inventory, word: str) -> None:
    said = refused(inventory, "revoke", word)
    assert said.startswith(f"revoke: {word}: ") and "--key" not in said


def test_what_everybody_needs_is_not_revoked(inventory: Inventory, made: Secrets, tmp_path: Path) -> None:
    (tmp_path / "ca.pub").write_text(made.ssh_authority_public())
    assert "is the cluster's authority, without which nobody" in refused(inventory, "revoke", str(tmp_path / "ca.pub"))
    for own in (made.ssh_key_pub, made.ssh_certificate):
        assert "this is what you log in with" in refused(inventory, "revoke", str(own))


def test_a_certificate_whose_serial_means_another_one_or_none_is_not_revoked(
    inventory: Inventory, tmp_path: Path
) -> None:
    key = public(tmp_path)
    Sshd.keygen(tmp_path / "other")
    other = Authority.read(tmp_path / "other").sign(key, "user", ["pi"], identity="x", seconds=600, serial=7)
    (tmp_path / "laptop-cert.pub").write_text(other)
    assert "signed by another authority" in refused(inventory, "revoke", str(tmp_path / "laptop-cert.pub"))
    ours = credentials.trusted(inventory).sign(key, "user", ["pi"], identity="x", seconds=600, serial=0)
    (tmp_path / "laptop-cert.pub").write_text(ours)
    assert "a serial is a number from 1" in refused(inventory, "revoke", str(tmp_path / "laptop-cert.pub"))


def test_nothing_is_added_to_a_list_that_is_damaged(inventory: Inventory, made: Secrets) -> None:
    made.revocations.write_text("serial: 5\nkey: hello world\n")
    assert "revoked:2: not a public key" in refused(inventory, "revoke", "17")


def taken(folder: Path, text: str, made: Secrets) -> bool:
    """Whether ssh-keygen(1) makes a list of it."""
    (folder / "ca.pub").write_text(made.ssh_authority_public())
    (folder / "list").write_text(text)
    words = ["ssh-keygen", "-q", "-k", "-f", str(folder / "krl"), "-s", str(folder / "ca.pub"), str(folder / "list")]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def test_what_is_revoked_is_a_list_that_ssh_keygen_takes(
    inventory: Inventory, made: Secrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every kind of key, of the smallest and the largest serial, and of a certificate."""
    monkeypatch.setattr("provision.doing.run", lambda *_: True)  # there are no nodes
    words = ["1", "18446744073709551615", "010"]
    for kind in ("ed25519", "ecdsa", "rsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / kind], check=True)
        words.append(str(tmp_path / f"{kind}.pub"))
    text = credentials.trusted(inventory).sign(public(tmp_path), "user", ["pi"], identity="x", seconds=600)
    (tmp_path / "laptop-cert.pub").write_text(f"\n{text}\n")
    assert certificates.revoke([*words, str(tmp_path / "laptop-cert.pub"), "--inventory", str(inventory.path)]) == 0
    lines = made.revoked()
    assert lines[:3] == ("serial: 1", "serial: 18446744073709551615", "serial: 10") and len(lines) == 7
    assert lines[-1] == f"serial: {authority.read(text).serial}"
    assert taken(tmp_path, "".join(f"{line}\n" for line in lines), made)
    assert certificates.revoke(["1", "--inventory", str(inventory.path)]) == 0
    assert made.revoked() == lines


def test_a_line_is_wrong_exactly_where_ssh_keygen_says_so(made: Secrets, tmp_path: Path) -> None:
    key = " ".join(public(tmp_path).split()[:2])
    shown = subprocess.run(["ssh-keygen", "-lf", tmp_path / "laptop.pub"], capture_output=True, text=True, check=True)
    good = ["", "# a remark", "serial: 5", "serial:5", "serial: 5-9", "serial: 0x1f", "serial:  7 # why", "id: pi",
            f"key: {key}", f"key: {key} a laptop", key, f"sha1: {key}", f"sha256: {key}",
            f"hash: {shown.stdout.split()[1]}", "serial: 1-18446744073709551615"]  # fmt: skip
    bad = ["hello world", "serial: 0", "serial: 9-5", "serial: 5 - 9", "serial: 18446744073709551616", "serial: 08",
           "serial: 5x", "key: hello world", f"key: {key[:-9]}", "key:", "hash: SHA256:x", "sha1: x y",
           "ssh-ed25519"]  # fmt: skip
    for line in good:
        assert revocations.wrong(line) is None and taken(tmp_path, f"{line}\n", made), line
    for line in ("serial: -1", "serial: 010"):  # it takes them for 2**64 - 1, and for 8
        assert revocations.wrong(line) and taken(tmp_path, f"{line}\n", made), line
    for line in bad:
        assert revocations.wrong(line) and not taken(tmp_path, f"{line}\n", made), line


# While a fault is not undone


@pytest.mark.parametrize("words", [("renew",), ("renew", "alpha"), ("revoke", "17"), ("backup",)])
def test_nothing_is_done_while_a_fault_is_not_undone(inventory: Inventory, words: tuple[str, ...]) -> None:
    child = "import sys; from pathlib import Path; from chaos import journal; "
    child += "journal.write(Path(sys.argv[1]), {'fault': 'kill'}, ('alpha',), undo='x', command='chaos', run=None)"
    subprocess.run([sys.executable, "-c", child, str(inventory.state)], cwd=ROOT, check=True)
    assert "never proved its undo; run: python -m chaos heal" in refused(inventory, *words, code=3)


def test_a_folder_that_cannot_be_written_is_told_before_a_backup_is_made(inventory: Inventory) -> None:
    assert "--to: /proc: " in (said := refused(inventory, "backup", "--to", "/proc")) and "may write" in said


# Certificates


@pytest.mark.parametrize("lasts", ["99999999h", "366d", "8761h", "59s", "soon", "1"])
def test_one_that_would_live_too_long_takes_no_others_place(inventory: Inventory, lasts: str) -> None:
    assert "--for: " in refused(inventory, "certificate", "--for", lasts)


def test_the_longest_is_a_year_and_how_it_is_used_is_shown(inventory: Inventory, made: Secrets) -> None:
    done = provision(inventory, "certificate", "--for", "365d")
    assert done.returncode == 0, done.stderr
    assert 364.9 < authority.read(made.ssh_certificate.read_text()).days_left() <= 365
    address = inventory.nodes["psi"].address
    assert done.stdout.splitlines()[1].endswith(f" pi@{address}"), "omega, the first, lets nobody in by certificate"


@pytest.mark.parametrize("until", [2**64 - 1, 2**63 - 1, 360_000_000_000, 253_402_300_800])
def test_an_end_beyond_the_calendar_can_be_told(until: int) -> None:
    assert authority.when(until) == "for ever"


def test_a_place_that_cannot_be_written_is_told(inventory: Inventory, tmp_path: Path) -> None:
    public(tmp_path)
    (tmp_path / "laptop-cert.pub").mkdir()
    said = refused(inventory, "certificate", "--key", str(tmp_path / "laptop.pub"))
    assert "laptop-cert.pub is a folder, and the certificate's place; move it away" in said
    (tmp_path / "laptop-cert.pub").rmdir()
    (tmp_path / "laptop-cert.pub").symlink_to(tmp_path / "no" / "such")  # root may write anywhere else
    said = refused(inventory, "certificate", "--key", str(tmp_path / "laptop.pub"))
    assert "laptop-cert.pub: No such file or directory; copy the key to where you may write" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "has 0 lines"), ("hello world", "not a public key"), ("ssh-rsa-cert-v01@openssh.com A", "is a certificate")],
)
def test_what_is_no_key_is_not_signed(inventory: Inventory, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "file.pub").write_text(content)
    assert said in refused(inventory, "certificate", "--key", str(tmp_path / "file.pub"))
    assert "none.pub: No such file" in refused(inventory, "certificate", "--key", str(tmp_path / "none.pub"))


def test_a_key_whose_name_is_not_ascii_is_signed(inventory: Inventory, tmp_path: Path) -> None:
    public(tmp_path, f"caf{ACCENT}")
    done = provision(inventory, "certificate", "--key", str(tmp_path / f"caf{ACCENT}.pub"))
    assert done.returncode == 0, done.stderr
    assert authority.read((tmp_path / f"caf{ACCENT}-cert.pub").read_text(encoding="utf-8")).principals == ("pi",)


# Bundles, and the command line itself


def test_a_bundle_without_the_authority_is_one_line(inventory: Inventory, made: Secrets, tmp_path: Path) -> None:
    made.ssh_authority.unlink()
    said = refused(inventory, "alpha", "--bundle", str(tmp_path / "bundle"))
    assert "ssh_ca: the authority's key is not here; docs/authority.md says" in said
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_for_a_place_that_cannot_be_written_is_one_line(inventory: Inventory, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/x")):
        said = refused(inventory, "alpha", "--bundle", str(place))
        assert f"--bundle: {place}" in said and "; name a new folder where you may write" in said
    for word in ("--check", "--json"):
        assert "--bundle: only writes" in refused(inventory, "alpha", "--bundle", str(tmp_path / "new"), word)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words",
    [("lanservices", "--check", "eta"), ("rebuild", "--unguarded", "eta"), ("--json", "alpha", "--check", "eta")],
)
def test_options_may_stand_among_names(inventory: Inventory, words: tuple[str, ...]) -> None:
    assert "no node or group named eta; known: all" in refused(inventory, *words)
