"""What can be done to a cluster on purpose: each fault is data first, then applied, and always undone.

A new fault is a file here (a frozen dataclass with the verbs of `Fault`) and a line in `FAULTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from chaos.faults.block import MATCHES, Block
from chaos.faults.fault import Fault, Kind, Means
from chaos.faults.on_node import unit_name
from chaos.faults.power_off import PowerOff
from chaos.faults.record import Record, Spoil
from chaos.faults.service import Crash, Freeze, Stop
from chaos.faults.skew import Skew
from chaos.faults.starve import Starve
from chaos.faults.stranger import Stranger
from chaos.faults.time_source import TimeSource
from cluster.errors import InputError

__all__ = [
    "FAULTS",
    "Block",
    "Crash",
    "Fault",
    "Freeze",
    "Kind",
    "Means",
    "PowerOff",
    "Record",
    "Skew",
    "Spoil",
    "Starve",
    "Stop",
    "Stranger",
    "TimeSource",
    "data",
    "from_data",
]

FAULTS: Mapping[str, Kind] = {
    PowerOff.kind: Kind(
        ("NODE",), "pull the plug of a node, and give it power again", lambda a: PowerOff(*a), claimed=True
    ),
    Stop.kind: Kind(
        ("NODE", "UNIT"), "stop a service in order, and start it again", lambda a: Stop(a[0], unit_name(a[1]))
    ),
    Crash.kind: Kind(
        ("NODE", "UNIT"), "kill a service's processes, and start it again", lambda a: Crash(a[0], unit_name(a[1]))
    ),
    Freeze.kind: Kind(
        ("NODE", "UNIT"), "let a service stand still, and go on again", lambda a: Freeze(a[0], unit_name(a[1]))
    ),
    Block.kind: Kind(
        ("NODE", "PEER", "TRAFFIC"),
        f"let NODE hear nothing of what PEER sends: {', '.join(MATCHES)}",
        lambda a: Block(*a),
    ),
    Skew.kind: Kind(
        ("NODE", "UNIT", "OFFSET"),
        "let one service's clock be OFFSET seconds ahead",
        lambda a: Skew(a[0], unit_name(a[1]), a[2]),
    ),
    Record.kind: Kind(
        ("NODE", "TEXT"), "add a TXT record to the zone of the primary name server", lambda a: Record(*a)
    ),
    Spoil.kind: Kind(("NODE",), "add a line that is no record to the zone of the primary", lambda a: Spoil(*a)),
    Stranger.kind: Kind(("NODE",), "give a node an address outside of the LAN", lambda a: Stranger(*a)),
    TimeSource.kind: Kind(("NODE", "ADDRESS"), "let a node ask one more server for the time", lambda a: TimeSource(*a)),
    Starve.kind: Kind((), "take every free address of the DHCP pool, and give all of them back", lambda a: Starve()),
}


def data(fault: Fault) -> dict[str, Any]:
    """The fault as it is written to the journal and to the record."""
    return {"fault": fault.kind, **asdict(fault)}


def from_data(written: Mapping[str, Any]) -> Fault:
    """The fault that `data` wrote; raises InputError for one that this version does not know."""
    arguments = [str(value) for key, value in written.items() if key != "fault"]
    try:
        return FAULTS[str(written["fault"])].make(arguments)
    except (KeyError, ValueError, TypeError, IndexError):
        raise InputError(f"the journal names a fault that is not known here: {dict(written)}") from None
