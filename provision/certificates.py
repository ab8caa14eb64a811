"""python -m provision certificate | revoke | renew: who may log in, for how long, and who no longer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cluster import authority, credentials, fields, journal, power, revocations, secrets
from cluster import inventory as inventories
from cluster.errors import InputError
from cluster.node import Fleet
from provision import doing
from provision.order import targets

RENEWED = (
    "base/60-ssh.sh",
    "base/62-tls-root.sh",
    "deployer/10-authority.sh",
    "deployer/15-tls.sh",
    "deployer/35-pass.sh",
    "compute/10-mpi.sh",
)
"""The steps that put certificates, and what is revoked, on nodes."""
FILES = "base/60-ssh.sh"
LONGEST_S = 365 * 86400.0  # as authority.user of an inventory


def certificate(argv: Sequence[str]) -> int:
    """Sign the operator's key, or somebody else's, here or on the deployer."""
    top = argparse.ArgumentParser(
        prog="python -m provision certificate",
        description="A certificate for the operator's key, or with --key for another one: signed here where the "
        "authority's key is, else by the deployer, as whom the present certificate still lets in.",
    )
    top.add_argument("--key", type=Path, metavar="FILE.pub", help="another public key; the certificate lies beside it")
    top.add_argument("--for", dest="lasts", metavar="TIME", help="how long it lives (default: authority.user)")
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    options = top.parse_intermixed_args(argv)
    inventory = inventories.load(options.inventory)
    seconds = inventory.authority.user if options.lasts is None else _seconds(options.lasts)
    made = secrets.ensure(inventory)
    public, identity, path = made.ssh_public(), f"operator of {inventory.cluster.name}", made.ssh_certificate
    if options.key is not None:
        public, identity, path = _to_sign(options.key), options.key.stem, _beside(options.key)
    if made.ssh_authority.exists():
        text = credentials.sign(inventory, public, identity=identity, seconds=seconds)
    else:
        power.enter(inventory)
        with Fleet(inventory) as fleet:
            text = credentials.ask(fleet, inventory, public, identity=identity, seconds=seconds)
    found = authority.read(text)
    if options.key is None:
        credentials.keep(inventory, text)
    else:
        try:
            path.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"--key: {path}: {error.strerror}; copy the key to where you may write") from error
    print(f"{_shown(path)}: for {', '.join(found.principals)}, until {found.ends}, serial {found.serial}")
    key = _shown(path.with_name(path.name.removesuffix("-cert.pub")))
    pins = _shown(inventory.state / "known_hosts")
    for node in list(inventory.debian.values())[:1]:  # a router believes no certificate
        print(f"ssh -i {key} -o UserKnownHostsFile={pins} {inventory.users.login}@{node.address}")
    return 0


def revoke(argv: Sequence[str]) -> int:
    """Refuse certificates or keys from now on, on every node."""
    top = argparse.ArgumentParser(
        prog="python -m provision revoke",
        description="Refuse certificates or keys from now on: every node is told at once.  Nodes that are down are "
        "told when they are provisioned next; a spec says which were not.",
    )
    top.add_argument("what", nargs="+", metavar="FILE|SERIAL", help="a certificate, a public key, or a serial")
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    options = top.parse_intermixed_args(argv)
    inventory = inventories.load(options.inventory)
    made = secrets.ensure(inventory)
    ours = credentials.trusted(inventory)
    own = credentials.certificate(inventory)
    lines = [_revocation(word, ours.public) for word in options.what]
    if own is not None and {f"serial: {own[1].serial}", f"key: {own[1].key}"} & set(lines):
        raise InputError(
            "revoke: this is what you log in with; first make yourself a new one: `python -m provision certificate`"
        )
    known = made.revoked()
    new = [line for line in dict.fromkeys(lines) if line not in known]
    power.enter(inventory)
    journal.check(inventory.state)
    if new:
        text = "".join(f"{line}\n" for line in (*known, *new))
        secrets.write(made.revocations, text.encode(), inventory.root)
    for line in new:
        print(f"revoked: {line}")
    return 0 if doing.run(inventory, inventory.nodes, [FILES, "deployer/10-authority.sh", "deployer/35-pass.sh"]) else 1


def renew(argv: Sequence[str]) -> int:
    """Renew what is near its end on the nodes, and nothing else."""
    top = argparse.ArgumentParser(
        prog="python -m provision renew",
        description="Renew the certificates on nodes that have less than a third of their life left, as `provision` "
        "does, and nothing else.",
    )
    top.add_argument("target", nargs="*", metavar="all|GROUP|NODE", help="whose (default: all)")
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    options = top.parse_intermixed_args(argv)
    inventory = inventories.load(options.inventory)
    names = targets(inventory, options.target)
    power.enter(inventory)
    journal.check(inventory.state)
    return 0 if doing.run(inventory, names, RENEWED) else 1


def _seconds(text: str) -> float:
    try:
        seconds = fields.duration(text)
    except ValueError as error:
        raise InputError(f"--for: {error}") from error
    if seconds < 60:
        raise InputError(f"--for: {text} is over before it can be used; write a minute or more")
    if seconds > LONGEST_S:
        raise InputError(f"--for: {text} is too long; write 365d at most, and make another one then")
    return seconds


def _public(word: str, path: Path) -> str:
    """The one line of a public file that `word` of the command line speaks of; raises InputError."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the name
        why = getattr(error, "strerror", None) or "not text"
        raise InputError(f"{word}: {path}: {why}; name a file such as ~/.ssh/id_ed25519.pub") from error
    if any("PRIVATE KEY" in line for line in lines):
        raise InputError(f"{word}: {path} is a private key, which nobody else needs; name its .pub")
    if len(lines) != 1:
        raise InputError(f"{word}: {path} has {len(lines)} lines; name a file with one public key or certificate")
    return lines[0].strip()


def _to_sign(path: Path) -> str:
    """The public key of that file; whether it can be signed is the authority's to say."""
    text = _public("--key", path)
    if _certified(text):
        raise InputError(f"--key: {path} is a certificate; name the .pub that it is for")
    return text


def _beside(path: Path) -> Path:
    """Where ssh(1) looks for the certificate of a key."""
    certificate = path.with_name(f"{path.stem}-cert.pub")
    if certificate.is_dir():
        raise InputError(f"--key: {certificate} is a folder, and the certificate's place; move it away")
    return certificate


def _revocation(word: str, ours: str) -> str:
    """A line of a revocation list for one word of the command line; `ours` is the authority's public key."""
    try:
        if word.isascii() and word.isdigit():
            return revocations.serial(int(word.lstrip("0")[:21] or 0))
        text = _public("revoke", Path(word))
        if not _certified(text):
            line = revocations.key(text)
            if line == f"key: {ours}":
                raise InputError(
                    f"revoke: {word} is the cluster's authority, without which nobody gets in; name another"
                )
            return line
        found = authority.read(text)
        if found.authority != ours:
            raise InputError(f"revoke: {word} is signed by another authority, which no node believes; leave it out")
        return revocations.serial(found.serial)
    except ValueError as error:
        shown = fields.show(word)
        raise InputError(f"revoke: {shown}: {error}; name a public key, a certificate or a serial of ours") from error


def _certified(text: str) -> bool:
    """Whether a public file's line says that it is a certificate (PROTOCOL.certkeys of OpenSSH)."""
    return "-cert-v01@openssh.com" in text.split()[0]


def _shown(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
