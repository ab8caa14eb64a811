"""What is looked at once for all specs about the web server (see specs/looks.py)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.errors import ClusterError, ProbeFailed
from cluster.node import Node
from cluster.probes import http
from cluster.probes.http import Page
from specs.lanservices.booting import addresses_of
from specs.lanservices.looks import outcome, servers
from specs.looks import Place

INDEX, HELLO = "/", "/cgi-bin/hello"


@dataclass(frozen=True)
class Web:
    """The server as the node sees it.

    `root` of the process that listens, its user, its lines of /proc/PID/status; whether the unit is enabled and
    active; mode and owner of the folders below the chroot, and what in there its user could write.
    """

    root: str
    user: str
    status: Mapping[str, str]
    unit: tuple[str, str]
    folders: Mapping[str, str]
    writable: tuple[str, ...]


_LOOK = r"""
pid=$(ss -Hltnp "sport = :$1" | sed -n 's/.*pid=\([0-9]*\).*/\1/p' | head -n 1)
systemctl is-enabled bbhttpd; systemctl is-active bbhttpd
echo ==
[ -n "$pid" ] && readlink "/proc/$pid/root" && ps -o user= -p "$pid"
echo ==
[ -n "$pid" ] && cat "/proc/$pid/status"
echo ==
cd "$2" && find . -mount -type d -printf '/%P %04m %u\n'
echo ==
find . -mount \( -user "$3" -o -group "$3" -o -perm -002 \) ! -type l -printf '/%P\n'
"""


def http_webs(place: Place) -> dict[str, Web | ClusterError]:
    """Each node's server, from below."""
    plan = place.inventory.http

    def web(node: Node) -> Web:
        script = ["sh", "-c", _LOOK, "sh", str(plan.port), plan.chroot, plan.user]
        text = node.run(script, sudo=True, deadline=10.0).text
        parts = [part.strip("\n").splitlines() for part in text.split("==\n")]
        if len(parts) != 5 or len(parts[0]) != 2 or len(parts[1]) != 2:
            raise ProbeFailed(f"{node.name}: nothing listens on port {plan.port}", reason="refused")
        unit, process, status, folders, writable = parts
        return Web(
            process[0],
            process[1].strip(),
            {word: value.strip() for word, _, value in (line.partition(":") for line in status)},
            (unit[0], unit[1]),
            {path: f"{mode} {owner}" for path, mode, owner in (line.rsplit(" ", 2) for line in folders)},
            tuple(writable),
        )

    return place.fleet.each(web, servers(place.inventory))


def http_pages(place: Place) -> dict[tuple[str, str], Page | ClusterError]:
    """The index and the page about the node, from every address."""
    return pages_of(place, INDEX, HELLO)


def pages_of(place: Place, *paths: str) -> dict[tuple[str, str], Page | ClusterError]:
    """These pages, from every address; by its name, and the path."""
    port, addresses = place.inventory.http.port, addresses_of(place.inventory)
    asked = [(name, path) for name in addresses for path in paths]

    def get(name: str, path: str) -> Page | ClusterError:
        return outcome(lambda: http.get(addresses[name], path, port))

    with ThreadPoolExecutor(len(asked)) as pool:
        return dict(zip(asked, pool.map(lambda one: get(*one), asked), strict=True))
