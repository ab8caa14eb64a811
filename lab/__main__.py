"""python -m lab: the virtual cluster.  `up`, `down`, `status`, `exec`, `shell`, `reflash`, `logs`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import ClusterError
from cluster.inventory import load
from lab.lab import Lab, as_json
from lab.privilege import elevate

_START = time.monotonic()


def say(line: str) -> None:
    """Progress for a person, on standard error with the seconds since the start."""
    print(f"lab: {time.monotonic() - _START:6.1f} s  {line}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line; docs and tests read it too."""
    top = argparse.ArgumentParser(prog="python -m lab", description="The virtual cluster on this machine.")
    top.add_argument("--inventory", type=Path, metavar="F", help="inventory file (default: inventory.yaml)")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    up = verbs.add_parser("up", help="bring every node up, from the provisioned snapshot when there is one")
    up.add_argument("--vanilla", action="store_true", help="fresh nodes, as if just flashed; what they held is gone")
    verbs.add_parser("down", help="remove every process, mount, namespace, cgroup and disk of this lab")
    status = verbs.add_parser("status", help="the nodes and whether they are off, booting or up")
    status.add_argument("--json", action="store_true", help="a list of objects: name, group, state, address, remark")
    run = verbs.add_parser("exec", help="run a command in a node as root, without SSH; its exit code is passed on")
    run.add_argument("node")
    run.add_argument("command", nargs="+", metavar="-- CMD", help="the command and its arguments")
    shell = verbs.add_parser("shell", help="a root shell in a node")
    shell.add_argument("node")
    reflash = verbs.add_parser("reflash", help="give a node a blank vanilla disk and boot it")
    reflash.add_argument("node")
    logs = verbs.add_parser("logs", help="a node's journal; the console's last words when it is off")
    logs.add_argument("node")
    logs.add_argument("--lines", type=int, default=200, metavar="N", help="how many lines from the end (default 200)")
    return top


def main(argv: Sequence[str]) -> int:
    """Run one verb; the exit code is the command's own, or that of the error."""
    options = parser().parse_args(argv)
    try:
        inventory = load(options.inventory)
        elevate(inventory.root, "to make namespaces and start nodes")
        return act(Lab(inventory, say), options)
    except ClusterError as error:
        print(f"{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lab: interrupted; `python -m lab down` removes what there is", file=sys.stderr)
        return 130


def act(lab: Lab, options: argparse.Namespace) -> int:
    """Carry out a parsed command line."""
    match options.verb:
        case "up":
            with lab.site.locked("up"):
                lab.up(vanilla=options.vanilla)
        case "down":
            with lab.site.locked("down"):
                lab.down()
        case "status":
            statuses = lab.status()
            if options.json:
                print(as_json(statuses))
            else:
                for status in statuses:
                    words = f"{status.name:10} {status.group:12} {status.state:8} {status.address:15} {status.remark}"
                    print(words.rstrip())
        case "exec":
            node = lab.node(options.node)
            lab.require()
            return subprocess.run(node.command(options.command), check=False).returncode
        case "shell":
            node = lab.node(options.node)
            lab.require()
            login = ["/bin/sh" if node.router else "/bin/bash", "-l"]
            return subprocess.run(node.command(login), check=False).returncode
        case "reflash":
            with lab.site.locked(f"reflash {options.node}"):
                lab.reflash(options.node)
        case "logs":
            return logs(lab, options.node, options.lines)
    return 0


def logs(lab: Lab, name: str, lines: int) -> int:
    """Print a node's journal, or what it last said on its console when it is off."""
    node = lab.node(name)
    lab.require()
    if node.leader() is not None:
        log = f"logread | tail -n {lines}" if node.router else f"journalctl --no-pager --lines={lines}"
        return subprocess.run(node.command(["sh", "-c", log]), check=False).returncode
    console = node.folder / "console.log"
    if console.exists():
        print("\n".join(console.read_text(errors="replace").splitlines()[-lines:]))
    print(f"lab: {name} is off; this was its console", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
