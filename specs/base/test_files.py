"""Folders and files of every node: there, of the right owner, and open to nobody else."""

from __future__ import annotations

import pytest

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node
from specs.base import expected


@pytest.mark.each("path", lambda inventory, node: expected.folders(inventory))
def test_the_folder(node: Node, path: expected.Path, facts: Facts) -> None:
    judge(node, path, facts, "directory")


@pytest.mark.each("path", lambda inventory, node: expected.files())
def test_the_file(node: Node, path: expected.Path, facts: Facts) -> None:
    judge(node, path, facts, "regular file")


def judge(node: Node, path: expected.Path, facts: Facts, kind: str) -> None:
    """Kind, mode, owner and group, in one line each."""
    file = facts.files.get(path.name)
    assert file is not None, f"{node.name} has no {path.name}"
    assert file.kind.removeprefix("regular empty ") in (kind, "file"), f"{node.name}: {path.name} is a {file.kind}"
    assert file.mode == path.mode, f"{node.name}: {path.name} has mode {file.mode}, not {path.mode}"
    found, wanted = f"{file.owner}:{file.group}", f"{path.owner}:{path.group}"
    assert found == wanted, f"{node.name}: {path.name} belongs to {found}, not {wanted}"


@pytest.mark.parametrize("path", expected.MANAGED)
def test_it_says_that_it_is_managed(node: Node, path: str, facts: Facts, inventory: Inventory) -> None:
    """Whoever opens the file learns first that changes made by hand are overwritten, and where to make them."""
    file = facts.files.get(path)
    assert file is not None, f"{node.name} has no {path}"
    mark = f"Managed by {inventory.cluster.name} from "
    assert mark in file.first_line, f"{node.name}: {path} begins with {file.first_line[:60]!r}, not {mark!r}"


def test_time_is_told_in_the_clusters_zone(node: Node, facts: Facts, inventory: Inventory) -> None:
    wanted, found = inventory.cluster.timezone, facts.zone.get("link", "")
    zone = found.partition("/zoneinfo/")[2]
    same = {"UTC", "Etc/UTC", "Etc/UCT", "UCT", "Universal", "Etc/Universal", "Zulu", "Etc/Zulu"}
    # UTC needs no file: without tzdata /etc/localtime leads nowhere and the C library takes UTC.
    right = zone == wanted or (wanted in same and zone in same) or (wanted in same and facts.zone.get("name") == "UTC")
    assert right, f"{node.name}: its time zone is {zone or found}, not {wanted}"


def test_logs_have_the_clusters_offset(node: Node, facts: Facts, inventory: Inventory) -> None:
    if inventory.cluster.timezone != "UTC":
        pytest.skip(f"the offset of {inventory.cluster.timezone} changes with the season")
    assert facts.zone.get("offset") == "+0000", f"{node.name}: date prints the offset {facts.zone.get('offset')}"
