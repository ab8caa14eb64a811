"""BusyBox's httpd, as a browser sees it from outside and as the node's kernel sees it from below.

RFC 9110, 9112; proc(5), systemd.exec(5).  That nothing listens on ports 80 and 443 is in test_nothing_else.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from cluster.errors import ClusterError
from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node
from cluster.probes import http
from cluster.probes.http import Page
from specs.lanservices.booting import addresses_of
from specs.lanservices.looks import must, servers
from specs.lanservices.webs import HELLO, INDEX, Web

Pages = Mapping[tuple[str, str], Page | ClusterError]
Webs = Mapping[str, Web | ClusterError]
TITLE = "R-Pi BB httpd"
AGE_S = 60.0  # between the look, at the run's beginning, and the spec; how true clocks are is in test_ntp.py


class Door(NamedTuple):
    """Where browsers ask."""

    name: str
    address: str


at_each_address = pytest.mark.each("door", lambda inventory: [Door(*pair) for pair in addresses_of(inventory).items()])
on_each_node = pytest.mark.group("lanservices")


def page(pages: Pages, door: Door, path: str) -> http.Response:
    """A page as it came, which must be with status 200."""
    response = must(pages[door.name, path]).response
    assert response.status == 200, f"{door.name} ({door.address}): {path}: {response.status} {response.reason}"
    return response


def said(pages: Pages, door: Door) -> dict[str, str]:
    """What the page about the node says, by its words."""
    lines = (line.partition(": ") for line in page(pages, door, HELLO).text.splitlines())
    return {word: value.strip() for word, _, value in lines}


# ---------------------------------------------------------------- pages


@pytest.mark.semantics("http-served")
@at_each_address
def test_the_index_is_served(door: Door, http_pages: Pages) -> None:
    text = page(http_pages, door, INDEX).text
    assert TITLE in text, f"{door.name} ({door.address}): the index does not say {TITLE}: {text[:80]!r}"


@pytest.mark.semantics("http-served")
def test_every_address_serves_the_same_index(http_pages: Pages, inventory: Inventory) -> None:
    bodies = {name: must(http_pages[name, INDEX]).response.body for name in addresses_of(inventory)}
    assert len(set(bodies.values())) == 1, f"the index differs among {', '.join(bodies)}"


@at_each_address
@pytest.mark.parametrize("word", ["hostname", "date", "uptime", "uname", "memory"])
def test_the_page_about_the_node_tells(door: Door, word: str, http_pages: Pages) -> None:
    told = said(http_pages, door)
    assert told.get(word), f"{door.name} ({door.address}): {HELLO} tells no {word}: {told}"


@at_each_address
def test_the_page_about_the_node_is_about_the_right_one(door: Door, http_pages: Pages, inventory: Inventory) -> None:
    names = servers(inventory)
    expected = {door.name} if door.name in names else set(names)
    told = said(http_pages, door).get("hostname")
    assert told in expected, f"{door.name} ({door.address}): {HELLO} is about {told}"


@at_each_address
def test_the_page_about_the_node_is_made_anew(door: Door, http_pages: Pages) -> None:
    text = said(http_pages, door).get("date", "")
    told = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    off = abs(must(http_pages[door.name, HELLO]).at - told.timestamp())
    assert off < AGE_S, f"{door.name}: {HELLO} tells {text}, {off:.0f} s from when it was asked for"


@pytest.mark.semantics("http-scripts")
@at_each_address
def test_scripts_run_in_the_chroot(door: Door, http_pages: Pages) -> None:
    """The script tells what it sees at its root: nothing of the node's own system."""
    around = said(http_pages, door).get("root", "").split()
    assert around == ["bin", "etc", "proc", "www"], f"{door.name} ({door.address}): a script sees {around}"


@pytest.mark.semantics("http-user")
@at_each_address
def test_scripts_run_as_the_user_without_rights(door: Door, http_pages: Pages, inventory: Inventory) -> None:
    told = said(http_pages, door).get("user")
    assert told == inventory.http.user, f"{door.name} ({door.address}): scripts run as {told}"


@at_each_address
def test_an_unknown_page_is_status_404(door: Door, inventory: Inventory) -> None:
    status = http.get(door.address, "/no-such-page", inventory.http.port).response.status
    assert status == 404, f"{door.name} ({door.address}): a page that is not there has status {status}"


CLIMBING = (
    "/../../etc/passwd",
    "/../etc/passwd",
    "/static/../../etc/passwd",
    "/cgi-bin/../../etc/passwd",
    "/%2e%2e/etc/passwd",
    "/..%2fetc%2fpasswd",
    "//etc/passwd",
    "/etc/passwd",
    "/cgi-bin/../../../bin/busybox",
)


@pytest.mark.semantics("http-no-climbing")
@at_each_address
@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_cannot_climb_out(door: Door, path: str, inventory: Inventory) -> None:
    """Sent as it stands here; neither the node's files nor those of the chroot beside the pages are served."""
    response = http.get(door.address, path, inventory.http.port).response
    assert response.status in (400, 403, 404), f"{door.name} ({door.address}) answers {path} with {response.status}"
    assert b"root:" not in response.body and b"\x7fELF" not in response.body, f"{door.name} serves {path}"


# ---------------------------------------------------------------- from below


@pytest.mark.semantics("http-chroot")
@on_each_node
def test_its_root_is_the_chroot(node: Node, http_webs: Webs, inventory: Inventory) -> None:
    root = must(http_webs[node.name]).root
    assert root == inventory.http.chroot, f"{node.name}: the root of httpd is {root}, not {inventory.http.chroot}"


@pytest.mark.semantics("http-user")
@on_each_node
def test_it_is_the_user_without_rights(node: Node, http_webs: Webs, inventory: Inventory) -> None:
    web = must(http_webs[node.name])
    assert web.user == inventory.http.user, f"{node.name}: httpd runs as {web.user}, not {inventory.http.user}"


@pytest.mark.semantics("http-user")
@on_each_node
@pytest.mark.parametrize("word", ["CapEff", "CapPrm", "CapInh", "CapAmb"])
def test_it_has_no_capability(node: Node, word: str, http_webs: Webs) -> None:
    held = must(http_webs[node.name]).status.get(word)
    assert held is not None and int(held, 16) == 0, f"{node.name}: httpd holds capabilities: {word} {held}"


@pytest.mark.semantics("http-user")
@on_each_node
def test_it_cannot_gain_rights(node: Node, http_webs: Webs) -> None:
    assert must(http_webs[node.name]).status.get("NoNewPrivs") == "1", f"{node.name}: httpd could gain new rights"


@on_each_node
@pytest.mark.each("word", lambda inventory, node: ["home", "shell"])
def test_its_user_cannot_log_in(node: Node, word: str, facts: Facts, inventory: Inventory) -> None:
    user = facts.users.get(inventory.http.user)
    assert user is not None, f"{node.name} has no user {inventory.http.user}"
    expected = {"home": "/nonexistent", "shell": "/bin/false"}[word]
    assert getattr(user, word) == expected, f"{node.name}: {inventory.http.user}: {word} is {getattr(user, word)}"


@on_each_node
def test_it_is_started_at_boot(node: Node, http_webs: Webs) -> None:
    states = must(http_webs[node.name]).unit
    assert states == ("enabled", "active"), f"{node.name}: bbhttpd is {' and '.join(states)}"


@on_each_node
@pytest.mark.parametrize("folder", ["", "/cgi-bin", "/reports", "/static", "/static/img"])
def test_a_folder_of_the_pages_is_the_login_users(
    node: Node, folder: str, http_webs: Webs, inventory: Inventory
) -> None:
    told = must(http_webs[node.name]).folders.get(f"/www{folder}")
    expected = f"0755 {inventory.users.login}"
    assert told == expected, f"{node.name}: /www{folder} is {told or 'missing'}, not {expected}"


@on_each_node
def test_the_user_can_change_nothing(node: Node, http_webs: Webs) -> None:
    loose = must(http_webs[node.name]).writable
    assert not loose, f"{node.name}: httpd's user can write {', '.join(loose)}"
