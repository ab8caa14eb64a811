"""python -m provision: configures the nodes; a second run changes nothing."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cluster import credentials, journal, power, secrets
from cluster import inventory as inventories
from cluster.errors import ClusterError, InputError
from cluster.hostkeys import HostKeys
from cluster.inventory import Inventory
from provision import harness, k3s, maintenance, render, show, signed
from provision.order import Provisioning, targets
from provision.settle import settle

#: Other things than configuring nodes: where each is done.
VERBS = {
    "certificate": ("provision.certificates", "certificate"),
    "revoke": ("provision.certificates", "revoke"),
    "renew": ("provision.certificates", "renew"),
    "backup": ("provision.keeping", "backup"),
    "restore": ("provision.keeping", "restore"),
}


def parser() -> argparse.ArgumentParser:
    """The command line; docs and tests read it too."""
    top = argparse.ArgumentParser(
        prog="python -m provision",
        description="Configure the cluster's nodes.  What is already as it should be is left alone.  Other verbs, each "
        f"with a --help of its own: {', '.join(VERBS)}.",
        epilog="Exit code: 0 done (or nothing to do), 1 a node failed (or --check found something to change), "
        "2 wrong usage or inventory, 3 refused while a fault is not undone.  Of rebuild and maintain: 3 also while a "
        "spec is red, and what chaos says: 1 a claim was broken, 4 inconclusive, 5 not undone.",
    )
    top.add_argument(
        "target", nargs="*", metavar="[rebuild|maintain] all|GROUP|NODE",
        help="what to configure (default: all); after `rebuild`, what to re-flash first, after `maintain`, what to "
        "upgrade and reboot: under a gate, and measured",
    )  # fmt: skip
    top.add_argument("--rolling", metavar="GROUP", help="with rebuild: every node of a group, one after the other")
    top.add_argument(
        "--unguarded", action="store_true",
        help="with rebuild and maintain: one node, at once, without gate and measurement",
    )  # fmt: skip
    top.add_argument("--check", action="store_true", help="change nothing; say what would change")
    top.add_argument("--json", action="store_true", help="print one object instead of a table")
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    top.add_argument(
        "--profile", default=inventories.PRODUCTION, metavar="NAME",
        help=f"give the nodes this profile's timers (default: {inventories.PRODUCTION})",
    )  # fmt: skip
    top.add_argument(
        "--bundle", type=Path, metavar="FOLDER",
        help="only write what ONE node would be sent into FOLDER, to be run by hand; holds secrets",
    )  # fmt: skip
    return top


def main(argv: Sequence[str]) -> int:
    """Run it; the exit code is that of the contract, or that of the error."""
    try:
        if argv and argv[0] in VERBS:
            room, function = VERBS[argv[0]]
            done: int = getattr(importlib.import_module(room), function)(argv[1:])
            return done
        options = parser().parse_intermixed_args(argv)
        inventory = inventories.load(options.inventory, options.profile)
        verb = options.target[0] if options.target[:1] in [[one] for one in maintenance.VERBS] else None
        words = [*(options.target[1:] if verb else options.target), *([options.rolling] if options.rolling else [])]
        names = targets(inventory, words)
        render.check(inventory)
        if verb:
            if options.check or options.json or options.bundle is not None:
                raise InputError(f"{verb}: --check, --json and --bundle are for configuring; leave them out")
            several = options.rolling is not None
            maintenance.command(inventory, verb, words, names, several=several, unguarded=options.unguarded)
        elif options.rolling or options.unguarded:
            raise InputError("--rolling and --unguarded go with rebuild or maintain; put it first")
        elif options.bundle is not None and (options.check or options.json):
            raise InputError("--bundle: only writes files; leave --check and --json out")
        if options.bundle is not None:
            return write_bundle(inventory, names, options.bundle)
        configured = maintenance.who_know(inventory, names) if verb == "rebuild" else names
        if verb != "maintain":
            k3s.obtain(inventory, configured, say)  # before the LAN is entered, which may have no way out
        power.enter(inventory)
        journal.check(inventory.state)
        if verb and not options.unguarded:
            return maintenance.rolling(inventory, verb, names, say=say)
        if verb == "maintain":
            for name in names:
                maintenance.maintain(inventory, name, say=say)
            return 0
        if verb == "rebuild":
            for name in names:
                maintenance.reflash(inventory, name, say=say)
        return provision(inventory, configured, check=options.check, as_json=options.json)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("provision: interrupted; steps under way end by themselves, run it again to finish", file=sys.stderr)
        return 130


def say(text: str) -> None:
    """Progress where there is no screen for it."""
    print(f"provision: {text}", file=sys.stderr, flush=True)


def provision(inventory: Inventory, names: Sequence[str], *, check: bool, as_json: bool) -> int:
    """Configure these nodes, show how it goes, and tell the power driver when the whole cluster is done."""
    began = time.monotonic()
    screen = show.Show(names, sys.stderr, check=check)
    trouble: str | None = None
    with Provisioning(inventory, secrets.ensure(inventory), names, check=check, say=screen.line) as work:

        def stop(*_: object) -> None:
            work.abandon()
            raise KeyboardInterrupt

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        outcomes = work.run()
        good = all(outcome.ok for outcome in outcomes)
        if good and not check and set(work.pair) <= set(names):
            try:
                if remark := settle(inventory, work.fleet):
                    screen.say(remark)
            except ClusterError as error:
                trouble = str(error)
    whole = set(names) == set(inventory.nodes) and inventory.profile == inventories.PRODUCTION
    if good and not check and trouble is None and whole:
        provisioned = getattr(power.driver(inventory), "provisioned", None)
        if provisioned is not None:
            screen.say("the cluster is provisioned: telling its power driver")
            provisioned()
    for outcome in outcomes:
        if not outcome.ok:
            print(show.report(outcome), file=sys.stderr)
    if trouble is not None:
        print(trouble, file=sys.stderr)
    if as_json:
        print(json.dumps(show.as_json(outcomes, check=check, seconds=time.monotonic() - began, error=trouble)))
    else:
        print(show.table(outcomes, check=check))
    would = check and any(outcome.changes for outcome in outcomes)
    return 1 if would or trouble is not None or not good else 0


def write_bundle(inventory: Inventory, names: Sequence[str], folder: Path) -> int:
    """Write one node's bundle into a new or empty folder that only its owner can read."""
    if len(names) != 1:
        raise InputError(f"--bundle: name one node, not {len(names)}")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"--bundle: {folder} is not empty; name a new folder")
    except OSError as error:
        raise _unwritable(folder, error) from error
    os.umask(0o077)
    credentials.trusted(inventory)  # an authority that is not here is told before anything is rendered
    node, made = inventory.node(names[0]), secrets.ensure(inventory)
    pins = HostKeys(inventory.state / "known_hosts").pins(node.name, str(node.address))
    seen = next((f"{pin.type} {pin.key}" for pin in pins), None)
    files = render.bundle(inventory, node, made) | signed.files(inventory, node, made, seen)
    files |= harness.files(inventory, node)
    try:
        for path, content in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o700 if target.suffix == ".sh" else 0o600)
    except OSError as error:
        raise _unwritable(folder, error) from error
    shell = "sh" if node.name in inventory.routers else "bash"
    print(f"{folder}: copy it to {names[0]}, then run there, as root: {shell} {folder.name}/run.sh --check")
    return 0


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(f"--bundle: {error.filename or folder}: {error.strerror}; name a new folder where you may write")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
