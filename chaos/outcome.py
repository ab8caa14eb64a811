"""What an experiment came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import judge
from chaos.faults import Fault
from chaos.ownership import Ownership
from cluster.errors import NotUndone
from cluster.health import Check
from cluster.model import PRODUCTION


@dataclass(frozen=True)
class Outcome:
    """What an experiment came to; `healed` says that the undo is proven."""

    fault: Fault
    verdict: judge.Verdict
    healed: bool
    run: Path
    claims: tuple[judge.Judged, ...]
    reason: str
    """Why, in one clause, where the claims do not say it."""
    trouble: tuple[Check, ...] = ()
    """Checks that did not come true again."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long the parts took: held, recovery."""
    profile: str = PRODUCTION
    """Under which timers it was measured."""
    owners: Ownership | None = None
    """How long the floating address was nobody's, and how long two nodes'."""
    interrupted: bool = False
    doubts: tuple[str, ...] = ()
    """Why it can prove nothing, also where nothing is claimed about it."""
    overrode: tuple[Check, ...] = ()
    """What the guard found wrong, and `--force` passed over."""

    @property
    def exit_code(self) -> int:
        """0 held, 1 broken, 4 inconclusive, 5 not undone."""
        return judge.EXIT[self.verdict] if self.healed else NotUndone.exit_code

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "fault": self.fault.kind,
            "nodes": list(self.fault.nodes),
            "profile": self.profile,
            "verdict": self.verdict,
            "healed": self.healed,
            "run": str(self.run),
            "claims": [claim.as_json() for claim in self.claims],
            **(self.owners.as_json() if self.owners is not None else {"gap_s": None, "overlap_s": None}),
            "reason": self.reason,
            "overrode": [vars(check) for check in self.overrode],
        }
