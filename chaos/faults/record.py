"""`record` and `spoil`: an operator's edit of the primary's zone, one that is right and one with a slip of the pen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chaos.faults.fault import Means
from chaos.faults.on_node import MARK, NodeFault, must_run
from cluster.errors import InputError
from cluster.inventory import Inventory
from cluster.probes.named import ZONES

ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def record_name(inventory: Inventory) -> str:
    """The complete name of the record, with its final dot: one that no inventory can declare by accident."""
    return f"_{MARK}.{inventory.cluster.subdomain}."


@dataclass(frozen=True)
class Record(NodeFault):
    """A TXT record is added to the forward zone, whose serial grows, and named is told; the undo is one more edit.

    A serial never goes back (RFC 1982): after the undo the zone holds what it held, two serials later, which is what
    the provisioner goes on from.
    """

    node: str
    text: str
    kind: ClassVar[str] = "record"
    TITLE: ClassVar[str] = "{node} serves one TXT record more, {text}"
    UNDOING: ClassVar[str] = "the TXT record is taken out of the zone of {node}"

    def __post_init__(self) -> None:
        if not 0 < len(self.text) <= 63 or set(self.text) - ALLOWED:
            raise InputError(f"record: {self.text!r} cannot be the text; write up to 63 lower-case letters, digits, -")

    def begin(self, means: Means) -> str:
        """Add the record, instead of one that is there from an earlier time."""
        line = f'{record_name(means.inventory)} 1 IN TXT "{self.text}" ; {MARK}'
        return f"{must_run('named')}{_edit(means)}{_primary(means)}edit '{line}'\n"

    def end(self, means: Means) -> str:
        """Take it out, where it is in."""
        return _without(means)


@dataclass(frozen=True)
class Spoil(NodeFault):
    """A line that is no record is added to the forward zone, and named is told: it cannot load that."""

    node: str
    kind: ClassVar[str] = "spoil"
    TITLE: ClassVar[str] = "the zone file of {node} has a line that is no record"
    UNDOING: ClassVar[str] = "the line is taken out of the zone file of {node}"

    def begin(self, means: Means) -> str:
        """Add the line; that named complains is meant."""
        line = f"{record_name(means.inventory)} 1 IN A 999.1.1.1 ; {MARK}"
        return f"{must_run('named')}{_edit(means, complaint='|| true')}{_primary(means)}edit '{line}'\n"

    def end(self, means: Means) -> str:
        """Take it out, where it is in."""
        return _without(means)


def _without(means: Means) -> str:
    """Shell that takes our line out, where it is in."""
    return f"{_edit(means)}if grep -qs '; {MARK}$' $file; then edit; fi\n"


def _primary(means: Means) -> str:
    """Shell that fails, saying so, where there is no zone to edit."""
    zone = means.inventory.cluster.zone
    return f"[ -e $file ] || {{ echo 'this is not the primary of {zone}: it has no {ZONES}{zone}' >&2; exit 1; }}\n"


def _edit(means: Means, complaint: str = "") -> str:
    """A function for the shell: our lines out of the zone, its arguments in, the serial one further, named told."""
    zone = means.inventory.cluster.zone
    return (
        f"file={ZONES}{zone}\n"
        "edit() {\n"
        r"  serial=$(sed -nE 's/^@ IN SOA .*\( ([0-9]+) .*/\1/p' $file)" + "\n"
        '  [ -n "$serial" ] || { echo "$file has no serial" >&2; exit 1; }\n'
        "  next=$(( (serial + 1) & 4294967295 ))\n"
        "  cp -p $file $file.part\n"
        rf'  sed -E "/; {MARK}\$/d; s/^(@ IN SOA .*\( )[0-9]+ /\1$next /" $file > $file.part' + "\n"
        '  for line; do echo "$line" >> $file.part; done\n'
        "  mv -f $file.part $file\n"
        f"  if systemctl is-active --quiet named; then rndc reload {zone} >/dev/null {complaint}; fi\n"
        "}\n"
    )
