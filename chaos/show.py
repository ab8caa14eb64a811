"""What a person sees on standard output: verdicts, lists, what is broken now."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence

from chaos import guard, halt, judge
from chaos.campaign import Proof, Trial
from chaos.faults import FAULTS
from chaos.outcome import Outcome
from cluster import journal, power
from cluster.inventory import PRODUCTION, Inventory

COLOURS = {
    judge.HELD: "\033[32m",
    judge.BROKEN: "\033[31m",
    judge.INCONCLUSIVE: "\033[33m",
    judge.NOT_VERIFIED: "\033[36m",
}
PLAIN = "\033[0m"


def table(claims: Sequence[judge.Judged]) -> None:
    """The claims: budget against what was measured."""
    rows = [("CLAIM", "SERVICE", "BUDGET", "OUT FOR", "VERDICT", "")]
    for claim in claims:
        rows.append((claim.claim, claim.service, f"{claim.budget_s:g} s", _span(claim), claim.verdict, claim.reason))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    colour = sys.stdout.isatty()
    print()
    for n, row in enumerate(rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        if colour and n:
            cells[4] = COLOURS[claims[n - 1].verdict] + cells[4] + PLAIN
        reason = row[5] if row[4] != judge.HELD else ""
        print("  ".join([*cells, reason]).rstrip())
    print()


def _span(claim: judge.Judged) -> str:
    """How long it was out, by what was seen; nothing where nobody could look."""
    least, most = claim.outage.at_least, claim.outage.at_most
    if claim.verdict == judge.NOT_VERIFIED:
        return ""
    if most == 0:
        return "never"
    return f"{least:.3f} to {'?' if most == float('inf') else f'{most:.3f} s'}"


def outcome(found: Outcome) -> None:
    """One experiment."""
    table(found.claims)
    print(f"verdict: {found.verdict}{_under(found.profile)}")
    if found.reason:
        print(found.reason)
    if found.overrode:
        print(f"--force passed over: {guard.story(found.overrode)}")


def proof(found: Proof, profile: str) -> None:
    """A campaign."""
    table(found.judged)
    verdicts = Counter(claim.verdict for claim in found.judged)
    always = (judge.HELD, judge.BROKEN, judge.INCONCLUSIVE)
    counts = ", ".join(f"{verdicts[one]} {one}" for one in COLOURS if one in always or verdicts[one])
    print(f"verdict: {found.verdict}{_under(profile)} ({counts}; {len(found.trials)} experiments)")
    for why in found.reasons:
        print(why)


def _under(profile: str) -> str:
    return "" if profile == PRODUCTION else f", with the timers of profile {profile}"


def plan(planned: Sequence[Trial], hold_s: float) -> None:
    """What a campaign would do."""
    for trial in planned:
        print(f"{trial.fault.title}, for {hold_s:g} s; then: {trial.fault.undoing}")
        for claim in trial.claims:
            print(f"    {claim.name:32} {claim.promise}")


def faults(inventory: Inventory) -> int:
    """Faults and claims."""
    for name, kind in FAULTS.items():
        print(f"{' '.join((name, *kind.arguments)):28} {kind.help}")
        for claim in inventory.claims:
            if claim.fault == name:
                print(f"    {claim.name:32} {claim.promise}")
    return 0


def status(inventory: Inventory, as_json: bool) -> int:
    """What is broken on purpose, by whom, and who has power."""
    driver = power.driver(inventory)
    on = {name: power.known_on(driver, name) for name in inventory.nodes}
    running, undone = journal.running(inventory.state), journal.entries(inventory.state)
    if as_json:
        entries = [
            {"fault": dict(e.fault), "nodes": list(e.nodes), "undo": e.undo, "alive": e.owner.alive, "run": e.run}
            for e in undone
        ]
        about = {"running": running and str(running), "undone": entries, "power": on, "halt": halt.is_set(inventory)}
        print(json.dumps(about, indent=1))
        return 0
    print(f"at work: {running or 'nobody'}")
    if halt.is_set(inventory):
        print(f"halted: {halt.path(inventory)} is there, so nothing is broken")
    for entry in undone:
        print(f"not undone: {entry.story}")
    if undone and running is None:
        print("remedy: python -m chaos heal")
    print("without power: " + (", ".join(name for name, has in on.items() if has is False) or "no node"))
    if unknown := [name for name, has in on.items() if has is None]:
        print(f"nobody can tell: {', '.join(unknown)}")
    return 0
