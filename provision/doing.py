"""Run provisioning, of all steps or of some, and show how it goes: what the verbs beside it share."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable

from cluster import secrets
from cluster.inventory import Inventory
from provision import show
from provision.order import Provisioning


def run(inventory: Inventory, names: Iterable[str], only: Collection[str] = ()) -> bool:
    """Configure these nodes by `only` these steps (all of them, where none is named); whether all went well."""
    chosen = tuple(names)
    screen = show.Show(chosen, sys.stderr, check=False)
    with Provisioning(inventory, secrets.ensure(inventory), chosen, check=False, say=screen.line, only=only) as work:
        outcomes = work.run()
    for outcome in outcomes:
        if not outcome.ok:
            print(show.report(outcome), file=sys.stderr)
    print(show.table(outcomes, check=False))
    return all(outcome.ok for outcome in outcomes)
