"""python -m provision certificate | revoke | renew: who may log in, for how long, and who no longer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cluster import authority, credentials, fields, power, secrets
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
    options = top.parse_args(argv)
    inventory = inventories.load(options.inventory)
    seconds = inventory.authority.user if options.lasts is None else _seconds(options.lasts)
    made = secrets.ensure(inventory)
    public, identity = made.ssh_public(), f"operator of {inventory.cluster.name}"
    if options.key is not None:
        public, identity = _public(options.key), options.key.stem
    if made.ssh_authority.exists():
        text = credentials.sign(inventory, public, identity=identity, seconds=seconds)
    else:
        power.enter(inventory)
        with Fleet(inventory) as fleet:
            text = credentials.ask(fleet, inventory, public, identity=identity, seconds=seconds)
    found = authority.read(text)
    if options.key is None:
        credentials.keep(inventory, text)
        path = made.ssh_certificate
    else:
        path = options.key.with_name(f"{options.key.stem}-cert.pub")
        path.write_text(f"{text}\n", encoding="ascii")
    print(f"{_shown(path)}: for {', '.join(found.principals)}, until {found.ends}, serial {found.serial}")
    key = _shown(path.with_name(path.name.removesuffix("-cert.pub")))
    pins = _shown(inventory.state / "known_hosts")
    host = next(iter(inventory.nodes.values())).address
    print(f"ssh -i {key} -o UserKnownHostsFile={pins} {inventory.users.login}@{host}")
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
    options = top.parse_args(argv)
    inventory = inventories.load(options.inventory)
    made = secrets.ensure(inventory)
    credentials.trusted(inventory)
    own = credentials.certificate(inventory)
    lines = [_revocation(word) for word in options.what]
    if own is not None and {f"serial: {own[1].serial}", f"key: {own[1].key}"} & set(lines):
        raise InputError(
            "revoke: this is what you log in with; first make yourself a new one: `python -m provision certificate`"
        )
    new = [line for line in dict.fromkeys(lines) if line not in made.revoked()]
    if new:
        text = "".join(f"{line}\n" for line in (*made.revoked(), *new))
        secrets.write(made.revocations, text.encode(), inventory.root)
    for line in new:
        print(f"revoked: {line}")
    power.enter(inventory)
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
    options = top.parse_args(argv)
    inventory = inventories.load(options.inventory)
    names = targets(inventory, options.target)
    power.enter(inventory)
    return 0 if doing.run(inventory, names, RENEWED) else 1


def _seconds(text: str) -> float:
    try:
        seconds = fields.duration(text)
    except ValueError as error:
        raise InputError(f"--for: {error}") from error
    if seconds < 60:
        raise InputError(f"--for: {text} is over before it can be used; write a minute or more")
    return seconds


def _public(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--key: {path}: cannot be read as a public key; name a file such as ~/.ssh/id_ed25519.pub"
        ) from error
    if "PRIVATE KEY" in text:
        raise InputError(f"--key: {path} is a private key, which nobody else needs; name its .pub")
    return text


def _revocation(word: str) -> str:
    """A line of a revocation list for one word of the command line: ssh-keygen(1), KEY REVOCATION LISTS."""
    if word.isdigit():
        return f"serial: {int(word)}"
    text = _public(Path(word))
    try:
        return f"serial: {authority.read(text).serial}"
    except ValueError:
        return "key: " + " ".join(text.split()[:2])


def _shown(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
