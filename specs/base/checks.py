"""The node's monitoring plugins, asked by one command; the numbers are the cluster's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cluster.errors import ClusterError, ProbeFailed
from cluster.facts import SECTION

if TYPE_CHECKING:
    from cluster.node import Node
    from specs.looks import Place

CHECKS_S = 60.0  # 1 s in the lab; apt alone takes 20 s on a Pi B+
CHECKS = {
    "processes": "check_procs -w 300 -c 400",
    "users": "check_users -w 30 -c 50",
    "disk": "check_disk -w 10% -c 5% -W 10% -K 5% --local -X tmpfs -X devtmpfs -X squashfs",
    "updates": "check_apt -t 50",  # critical: updates that mend security
    # Those that journald has closed: what it writes to looks damaged meanwhile (systemd's issue 27532), and what was
    # not closed in order it puts aside itself (*.journal~).  One that is gone was removed to make room.
    "journal": "for f in /var/log/journal/*/*@*.journal; do"
    " journalctl --verify --quiet --file=$f || [ ! -e $f ] || exit 2; done",
}


class Said(NamedTuple):
    """A plugin's exit code and its first line."""

    code: int
    text: str


def command() -> str:
    """The shell script (POSIX, for root) whose output `parse` understands; it changes nothing."""
    lines = ["PATH=/usr/lib/nagios/plugins:/usr/sbin:/usr/bin:/sbin:/bin", "export LC_ALL=C"]
    for name, check in CHECKS.items():
        lines.append(f'printf \'\\036{name}\\n\'; said=$( ({check}) 2>&1 ); echo "$?"; echo "$said"')
    return "\n".join([*lines, "printf '\\036end\\n'"])


def parse(text: str) -> dict[str, Said]:
    """What each check said; raises ValueError when the output was cut off."""
    *parts, last = text.split(SECTION)[1:] or [""]
    if last.strip() != "end":
        raise ValueError("cut off")
    found = {}
    for part in parts:
        name, code, *said = part.splitlines()
        found[name] = Said(int(code), said[0] if said else "")
    return found


def all_checks(place: Place) -> dict[str, dict[str, Said] | ClusterError]:
    """What the plugins of each node say, all nodes at once."""

    def ask(node: Node) -> dict[str, Said]:
        text = node.run(["sh", "-c", command()], sudo=True, deadline=CHECKS_S).text
        try:
            return parse(text)
        except ValueError as error:
            raise ProbeFailed(f"{node.name}: its checks are incomplete: {error}", reason="incomplete") from error

    return place.fleet.each(ask, place.inventory.debian)
