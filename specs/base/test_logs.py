"""Logs: the journal outlives a reboot, and what the cluster's own scripts say is in a file of its own, rotated."""

from __future__ import annotations

from cluster.facts import Facts
from cluster.inventory import Inventory
from cluster.node import Node
from specs.base import expected


def test_the_journal_is_kept(node: Node, facts: Facts) -> None:
    """What led to a crash is told by the boot before."""
    kept = facts.log.get("kept")
    assert kept, f"{node.name} has no journal of its own below /var/log/journal: the next boot forgets this one"


def test_the_log_is_for_administrators(node: Node, facts: Facts, inventory: Inventory) -> None:
    path = expected.log_file(inventory)
    file = facts.files.get(path)
    assert file is not None, f"{node.name} has no {path}"
    found = f"{file.owner}:{file.group} {file.mode}"
    assert found == "root:adm 0640", f"{node.name}: {path} is {found}, not root:adm 0640"


def test_what_is_said_arrives_in_the_log(node: Node, facts: Facts, inventory: Inventory) -> None:
    """The newest line with the tag in the journal is in the file, too."""
    said, written = facts.log.get("journal"), facts.log.get("file", "")
    assert said, f"{node.name}: nothing was ever said with the tag {inventory.cluster.name}"
    assert facts.log.get("arrived"), f"{node.name}: the journal ends with {said!r}, the log with {written!r}"


def test_the_log_is_rotated(node: Node, facts: Facts, inventory: Inventory) -> None:
    """At 1 MiB, once a day; twice that in a day would be a script that runs wild."""
    file = facts.files.get(expected.log_file(inventory))
    assert file is not None and file.size < 3 * expected.LOG_BYTES, (
        f"{node.name}: the log has {file and file.size} bytes"
    )
    timer = facts.units.get("logrotate.timer", ("", "inactive", ""))
    assert timer[1] == "active", f"{node.name}: logrotate.timer is {timer[1]}: nothing is ever rotated"
