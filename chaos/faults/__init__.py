"""What can be done to a cluster on purpose: each fault is data first, then applied, and always undone.

A new fault is a file here (a frozen dataclass with the verbs of `Fault`) and a line in `FAULTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from chaos.faults.block import MATCHES, Block
from chaos.faults.during import During
from chaos.faults.fault import Fault, Kind, Means, admit, too_long
from chaos.faults.hang import Hang
from chaos.faults.link import Partition, Unplug
from chaos.faults.lossy import Delay, Duplicate, Lose
from chaos.faults.on_node import unit_name
from chaos.faults.power_off import PowerOff
from chaos.faults.pressure import Busy, Fill, Squeeze
from chaos.faults.record import Record, Spoil
from chaos.faults.restart import Reboot, Reset
from chaos.faults.rogue import Rogue
from chaos.faults.service import Crash, Freeze, SigKill, Stop
from chaos.faults.skew import Skew
from chaos.faults.squat import Squat
from chaos.faults.starve import Starve
from chaos.faults.stranger import Stranger
from chaos.faults.time_source import TimeSource
from chaos.faults.wake import Wake
from cluster.errors import InputError

__all__ = [
    "FAULTS",
    "Block",
    "Busy",
    "Crash",
    "Delay",
    "Duplicate",
    "During",
    "Fault",
    "Fill",
    "Freeze",
    "Hang",
    "Kind",
    "Lose",
    "Means",
    "Partition",
    "PowerOff",
    "Reboot",
    "Record",
    "Reset",
    "Rogue",
    "SigKill",
    "Skew",
    "Spoil",
    "Squat",
    "Squeeze",
    "Starve",
    "Stop",
    "Stranger",
    "TimeSource",
    "Unplug",
    "Wake",
    "admit",
    "data",
    "from_data",
    "too_long",
]


def _unit(kind: type[Stop] | type[Crash] | type[SigKill] | type[Freeze]) -> Callable[[Sequence[str]], Fault]:
    return lambda a: kind(a[0], unit_name(a[1]))


_NODE, _UNIT = ("NODE",), ("NODE", "UNIT")
FAULTS: Mapping[str, Kind] = {
    PowerOff.kind: Kind(
        _NODE, "pull the plug of a node, and give it power again", lambda a: PowerOff(*a), claimed=True
    ),
    Reset.kind: Kind(_NODE, "let a node start anew without a word", lambda a: Reset(*a), claimed=True),
    Reboot.kind: Kind(_NODE, "let a node reboot in order", lambda a: Reboot(*a), claimed=True),
    Hang.kind: Kind(_NODE, "let all of a node stand still, and go on again", lambda a: Hang(*a), claimed=True),
    Unplug.kind: Kind(_NODE, "pull the cable of a node, and plug it in again", lambda a: Unplug(*a), claimed=True),
    Stop.kind: Kind(_UNIT, "stop a service in order, and start it again", _unit(Stop), claimed=True),
    Crash.kind: Kind(_UNIT, "kill a service's processes, and start it again", _unit(Crash), claimed=True),
    SigKill.kind: Kind(
        _UNIT,
        "kill a service's main process, and leave it to its unit what becomes of it",
        _unit(SigKill),
        claimed=True,
    ),
    Freeze.kind: Kind(_UNIT, "let a service stand still, and go on again", _unit(Freeze), claimed=True),
    Block.kind: Kind(
        ("NODE", "PEER", "TRAFFIC"),
        f"let NODE hear nothing of what PEER sends: {', '.join(MATCHES)}",
        lambda a: Block(*a),
    ),
    Partition.kind: Kind(
        ("NODE", "PEER"),
        "let two nodes, or sets such as alpha,gamma, not hear each other",
        lambda a: Partition(*a),
        claimed=True,
    ),
    Lose.kind: Kind(("NODE", "PERCENT"), "lose some of a node's packets, in and out", lambda a: Lose(*a)),
    Delay.kind: Kind(("NODE", "MILLISECONDS"), "delay what a node sends (needs netem)", lambda a: Delay(*a)),
    Duplicate.kind: Kind(
        ("NODE", "PERCENT"), "send some packets of a node twice (needs netem)", lambda a: Duplicate(*a)
    ),
    Fill.kind: Kind(("NODE", "FOLDER"), "fill the disk below a folder of a node", lambda a: Fill(*a)),
    Squeeze.kind: Kind(("NODE", "MEGABYTES"), "take some of a node's memory", lambda a: Squeeze(*a)),
    Busy.kind: Kind(("NODE", "LOOPS"), "let endless loops run on a node", lambda a: Busy(*a)),
    Squat.kind: Kind(("NODE", "ADDRESS"), "give a node an address that is another's", lambda a: Squat(*a)),
    Skew.kind: Kind(
        ("NODE", "UNIT", "OFFSET"),
        "let one service's clock be OFFSET seconds ahead",
        lambda a: Skew(a[0], unit_name(a[1]), a[2]),
    ),
    Record.kind: Kind(
        ("NODE", "TEXT"), "add a TXT record to the zone of the primary name server", lambda a: Record(*a)
    ),
    Spoil.kind: Kind(_NODE, "add a line that is no record to the zone of the primary", lambda a: Spoil(*a)),
    Stranger.kind: Kind(_NODE, "give a node an address outside of the LAN", lambda a: Stranger(*a)),
    Wake.kind: Kind(_NODE, "let the router serve addresses and names again", lambda a: Wake(*a), claimed=True),
    Rogue.kind: Kind(_NODE, "let a node answer DHCP clients, wrongly", lambda a: Rogue(*a), claimed=True),
    TimeSource.kind: Kind(("NODE", "ADDRESS"), "let a node ask one more server for the time", lambda a: TimeSource(*a)),
    During.kind: Kind(
        ("NODE", "COMMAND"),
        "measure what clients notice while a command of yours works on a node",
        lambda a: During(*a),
    ),
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
        raise InputError(f"a fault that is not known here: {dict(written)}") from None
