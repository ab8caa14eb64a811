"""What is looked at once for all specs about MPI and distcc (see specs/looks.py)."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import ClusterError, ProbeFailed
from cluster.health import COMPUTE
from cluster.node import Node, Result
from cluster.probes import mpi
from specs.looks import Place

if TYPE_CHECKING:
    from cluster.inventory import Inventory

GROUP = COMPUTE
HERD_S = 60.0  # 0.5 s on a lab node; a Pi compiles three small files, one of them elsewhere
JOB_S = 30.0  # 2 s in a lab of two cores; on Pis the connections of 32 processes take their time
NODE_S = 2.0  # and for each node, where they are many: their containers share two cores
MANY = 64  # processes: each makes connections to the others, so a job's beginning grows with the square of them
SECTION = "\x1e"

# compile HOST THEN: the last line is the exit code of distcc, which compiles on this host only, or of what is then done
# with it; or `local:` and what fails on the asking node itself, whose fault it is.
COMPILE = r"""
compile() {{
  here=$(runuser -u {user} -- mktemp -d) || {{ echo "local: there is no folder to compile in"; return; }}
  runuser -u {user} -- sh -c 'ours() {{ echo "local: $*"; exit; }}
    cd "$1" || ours "there is no folder to compile in"
    cat >one.c <<END || ours "the source cannot be written"
#include <stdio.h>
int main(void) {{ for (int n = 1; ; n++) if (n * n > 2000) return !printf("%d", n); }}
END
    command -v distcc >/dev/null || ours "there is no distcc"
    gcc -E one.c -o one.i || ours "gcc does not preprocess"
    export DISTCC_DIR="$1" DISTCC_HOSTS="$2" DISTCC_FALLBACK=0 DISTCC_IO_TIMEOUT=15
    timeout 20 distcc gcc -c one.c -o one.o && eval "$3"
    code=$?; echo; echo "exit $code"' sh "$here" "$1" "$2"
  rm -rf "$here"
}}
"""

# One command for each node.  The next one compiles for it; its own loopback is a stranger to its distccd, which hangs
# up on it: only distccd's log tells that from one that is out of order.  The daemon's children are left out: each of
# them becomes a compiler sooner or later.
HERD = (
    r"""
exec 2>&1
section() {{ printf '\036%s\n' "$1"; }}
home=$(getent passwd {user} | cut -d: -f6)
section compiler; gcc -dumpfullversion -dumpversion; gcc -dumpmachine
section mpich; mpichversion | sed -n 's/^MPICH Version:[[:space:]]*//p'
section linked; ldd {program}
section hosts; grep -v '^#' /opt/hpc/mpi-hosts
section known; grep -v '^#' $home/.ssh/known_hosts
section certificate; cat $home/.ssh/id_ed25519-cert.pub
section user; id -nG {user}
section account; getent passwd {user} | cut -d: -f6,7
section modes; stat -c '%n %a %U' $home $home/.ssh $home/.ssh/id_ed25519 $home/.ssh/id_ed25519-cert.pub
section hop; runuser -u {user} -- timeout 20 ssh {next} hostname
section herd; grep -v '^#' /etc/distcc/hosts
section daemon; for p in $(pgrep -P 1 -x distccd); do ps -o user=,ni=,args= -p $p; done
"""
    + COMPILE
    + r"""
section alone; compile {address}:{port}/1 "gcc one.o -o one && ./one"
began=$(date +%s.%N)
section stranger; compile 127.0.0.1:{port}/1 true
section denied; n=0
until journalctl -q -u distcc -o cat --since "@$began" | grep "'127.0.0.1:.* denied by access list"; do
  n=$((n + 1)); [ "$n" -lt 10 ] || break
  sleep 0.2
done
section end
"""
)
NUMBER = "45"  # what the compiled program prints: the first whole number whose square is above 2000


@dataclass(frozen=True)
class Herd:
    """What one compute node says of its part in the herd; `next` is the node that compiled for it."""

    next: str
    sections: Mapping[str, str]

    def lines(self, section: str) -> list[str]:
        """The lines of a section that say something."""
        return [line.strip() for line in self.sections[section].splitlines() if line.strip()]


def following(inventory: Inventory, name: str, silent: Collection[str] = ()) -> str:
    """The next compute node after this one, in a ring of those that answer: so each is asked by one other."""
    names = [node.name for node in inventory.group(GROUP) if node.name == name or node.name not in silent]
    return names[(names.index(name) + 1) % len(names)]


def that_are_silent(place: Place) -> list[str]:
    """The compute nodes that cannot be used: each is one failure by itself, and must not be one of others, too."""
    names = [node.name for node in place.inventory.group(GROUP)]
    answers = place.fleet.each(lambda node: node.connect(), names, limit=16)
    return [name for name in names if isinstance(answers[name], ClusterError)]


def herds(place: Place) -> dict[str, Herd | ClusterError]:
    """What each compute node says, by one command each."""
    inventory, silent = place.inventory, that_are_silent(place)

    def ask(node: Node) -> Herd:
        other = following(inventory, node.name, silent)
        script = HERD.format(
            user=shlex.quote(inventory.mpi.user),
            program=mpi.PROGRAM,
            next=other,
            address=inventory.node(other).address,
            port=inventory.distcc.port,
        )
        text = node.run(["sh", "-c", script], sudo=True, deadline=HERD_S).text
        parts = [part.partition("\n") for part in text.split(SECTION)[1:]]
        found = {name.strip(): body for name, _, body in parts}
        if "end" not in found:
            raise ProbeFailed(f"{node.name}: did not tell all of its part in the herd", reason="incomplete")
        return Herd(other, found)

    return place.fleet.each(ask, [node.name for node in inventory.group(GROUP)], limit=16)


def processes(inventory: Inventory, nodes: int) -> int:
    """How many processes of a job run on each of so many nodes: as declared, but no more than `MANY` in all."""
    return min(inventory.mpi.ranks_per_node, max(1, MANY // max(1, nodes)))


def fewer(inventory: Inventory, nodes: int) -> int | None:
    """How many processes a job on so many nodes is told to run on each; None where it is what the host file says."""
    each = processes(inventory, nodes)
    return each if each < inventory.mpi.ranks_per_node else None


def mpi_job(place: Place) -> mpi.Job:
    """One job over all compute nodes that answer, started on the first of them."""
    inventory, silent = place.inventory, that_are_silent(place)
    there = [node.name for node in inventory.group(GROUP) if node.name not in silent]
    if not there:
        raise ProbeFailed("no compute node answers", reason="silent")
    each = fewer(inventory, len(there))
    seconds = max(JOB_S, NODE_S * len(there))
    return mpi.run(place.fleet[there[0]], inventory.mpi.user, seconds=seconds, without=silent, each=each)


BUILDS = "/tmp/herd."
"""How the names of folders begin in which a build is made: by them it is seen whether one has begun."""

# A build of our own project: $1 is `herd` (by all nodes) or `alone` (by this one's own compiler).  Its lines: what the
# program printed and how long the build took; how many files were compiled; how many of them by whom, a line each.
BUILD = rf"""
set -eu
folder=$(mktemp -d {BUILDS}XXXXXX)
trap 'rm -rf "$folder"' EXIT
export DISTCC_DIR="$folder" HERD_RECORD="$folder/record"
/opt/hpc/src/herd-project "$folder"
cd "$folder"
: >"$HERD_RECORD"
began=$(date +%s.%N)
if [ "$1" = herd ]; then /opt/hpc/bin/herd-make -s; else make -s -j "$(nproc)"; fi
ended=$(date +%s.%N)
echo "$(./herd) $(echo "$ended $began" | awk '{{ print $1 - $2 }}')"
ls -- *.o | wc -l
sort "$HERD_RECORD" | uniq -c
"""
BUILD_S = 120.0


def build(node: Node, user: str, how: str = "herd") -> Result:
    """Build our own project on a node; `built` reads what it says."""
    words = ["runuser", "-u", user, "--", "timeout", f"{BUILD_S:g}", "sh", "-c", BUILD, "build", how]
    return node.run(words, sudo=True, deadline=BUILD_S + 10)


@dataclass(frozen=True)
class Built:
    """What a build came to: what its program printed, its time, and by which address how many of its files."""

    printed: str
    seconds: float
    files: int
    compiled: Mapping[str, int]


def built(text: str) -> Built:
    """Read what a build says; raises ProbeFailed (`malformed`)."""
    try:
        (printed, seconds), (files,), *counts = (line.split() for line in text.splitlines())
        return Built(printed, float(seconds), int(files), {host: int(count) for count, host in counts})
    except ValueError as error:
        raise ProbeFailed(f"a build says what cannot be read: {text[:200]!r}", reason="malformed") from error
