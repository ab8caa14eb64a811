"""Breaks a cluster on purpose, runs the specs that are meant to notice, heals it, and runs them again.

A `Break` is one thing that is wrong on one node, as data: what is done, how it is undone, and which specs must
say so in which words.  A `Round` is a set of breaks that do not hide each other: they are made together, so that
two runs of the specs, one broken and one healed, serve them all.  Healing needs neither SSH nor a service of the
node, and happens whatever became of the rest.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.health import Health
from cluster.inventory import PRODUCTION, Inventory
from cluster.node import Fleet
from cluster.wait import until
from lab.lab import Lab
from tests.outcomes import Result

KEEP = "/run/red"  # on the node: what `files` were before
COMMAND_S = 60.0
SETTLE_S = 60.0

Specs = Callable[..., Result]


@dataclass(frozen=True, eq=False)
class Break:
    """One thing wrong on one node.

    `do` and `undo` are shell scripts run there as root; `files` are saved before `do`, and are as they were when
    `undo` runs.  `red` maps specs that must fail to what their message must contain.  A spec is written as the end
    of its id, `test_names.py::test_the_node_has_its_name[beta-kernel]`; `*` stands for anything.  With `power_off`,
    the node is switched off after `do`.
    """

    what: str
    node: str
    red: Mapping[str, str]
    do: str = ""
    undo: str = ""
    files: tuple[str, ...] = ()
    power_off: bool = False


@dataclass(frozen=True, eq=False)
class Round:
    """Breaks made together, and the specs that are run while they last and after they are healed."""

    name: str
    specs: tuple[str, ...]
    breaks: tuple[Break, ...]
    ready: tuple[str, ...] = ()
    """Health checks (cluster/health.py) of the pair that must hold before the first look."""
    settled: tuple[str, ...] = ()
    """Those awaited after healing, where it takes a protocol's time."""
    k: str | None = None
    again: str | None = None
    """`k` after healing, where it is another."""
    disruptive: bool = False
    slow: bool = False
    profile: str = PRODUCTION
    """Whose timers the nodes have meanwhile."""
    needs: tuple[str, ...] = ()
    """Artifacts without which there is nothing to break."""


@dataclass(frozen=True)
class Played:
    """What the specs said while a round's breaks lasted, and after they were healed."""

    round: Round
    red: Result
    healed: Result


def play(chosen: Round, lab: Lab, fleet: Fleet, specs: Specs) -> Played:
    """Break, look, heal, wait until it has recovered, look again."""

    def look(k: str | None) -> Result:
        how = {"disruptive": chosen.disruptive, "slow": chosen.slow, "profile": chosen.profile}
        return specs(*chosen.specs, k=k, **how)

    with broken(chosen.breaks, lab):
        _await(chosen.ready, lab.inventory, fleet)
        red = look(chosen.k)
    _await(chosen.settled, lab.inventory, fleet)
    return Played(chosen, red, look(chosen.again or chosen.k))


def _await(names: tuple[str, ...], inventory: Inventory, fleet: Fleet) -> None:
    """Wait until these checks of the pair hold."""
    health = Health(inventory, fleet)
    for (name, node), check in health.checks(health.pair).items():
        if name in names:
            until(check, deadline=SETTLE_S, what=f"{name} of {node or 'the pair'}", every=0.2)


@contextmanager
def broken(breaks: tuple[Break, ...], lab: Lab) -> Iterator[None]:
    """Everything of `breaks` is wrong inside; afterwards all is put back, all of it even if some of it fails."""
    by_node: dict[str, list[Break]] = {}
    for one in breaks:
        by_node.setdefault(one.node, []).append(one)
    begun: dict[str, list[Break]] = {name: [] for name in by_node}
    try:
        with ThreadPoolExecutor(len(by_node)) as pool:
            list(pool.map(lambda name: _break(lab, name, by_node[name], begun[name]), by_node))
        yield
    finally:
        with ThreadPoolExecutor(len(by_node)) as pool:
            healing = {name: pool.submit(_heal, lab, name, begun[name]) for name in by_node}
        wrong = [f"{name} is not healed: {error}" for name, one in healing.items() if (error := one.exception())]
        assert not wrong, "; ".join(wrong)


def _break(lab: Lab, name: str, breaks: list[Break], begun: list[Break]) -> None:
    _run(lab, name, "\n".join(_save(file) for file in _files(breaks)))
    for one in breaks:
        begun.append(one)
        _run(lab, name, one.do)
        if one.power_off:
            lab.node(name).off()


def _heal(lab: Lab, name: str, begun: list[Break]) -> None:
    if any(one.power_off for one in begun):
        lab.node(name).on()
    _run(lab, name, "\n".join(_restore(file) for file in _files(begun)))
    failed = []
    for one in reversed(begun):
        try:
            _run(lab, name, one.undo)
        except AssertionError as error:
            failed.append(str(error))
    assert not failed, "; ".join(failed)


def _files(breaks: list[Break]) -> list[str]:
    return list(dict.fromkeys(file for one in breaks for file in one.files))


def _save(file: str) -> str:
    file, kept = shlex.quote(file), shlex.quote(KEEP + file)
    return f"rm -rf {kept}; mkdir -p $(dirname {kept}); [ ! -e {file} ] || cp -a {file} {kept}"


def _restore(file: str) -> str:
    file, kept = shlex.quote(file), shlex.quote(KEEP + file)
    return f"if [ -e {kept} ]; then cp -a --remove-destination {kept} {file}; else rm -f {file}; fi"


def _run(lab: Lab, name: str, script: str) -> None:
    """Run a script on a node as root, past SSH; a command in it that fails ends it, and the test."""
    if not script.strip():
        return
    done = subprocess.run(
        lab.node(name).command(["sh", "-eu", "-c", script]),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{name}: {script!r} ended with {done.returncode}: {done.stdout}{done.stderr}"


# ---------------------------------------------------------------- judging


def matching(spec: str, result: Result) -> list[str]:
    """The ids of the run that a spec of a Break stands for."""
    wanted = re.compile(".*/" + ".*".join(re.escape(part) for part in spec.split("*")))
    return [test for test in result.outcomes if wanted.fullmatch(test)]


def wrong_about(one: Break, red: Result) -> list[str]:
    """Where the run does not say what a break must make it say; empty when all is said."""
    wrong = []
    for spec, words in one.red.items():
        tests = matching(spec, red)
        if not tests:
            wrong.append(f"no test of the run is called {spec}")
        for test in tests:
            said = red.outcomes[test]
            if said.outcome not in ("failed", "error"):
                wrong.append(f"{test} {said.outcome}, although: {one.what}")
            elif words not in said.message.splitlines()[0]:
                wrong.append(f"{test} does not say {words!r}, but: {said.message.splitlines()[0]}")
    return wrong


def unexpected(played: Played) -> dict[str, str]:
    """What went red though no break of the round is meant to make it red."""
    expected = {t for one in played.round.breaks for spec in one.red for t in matching(spec, played.red)}
    return {test: message for test, message in played.red.red.items() if test not in expected}


def covered(rounds: tuple[Round, ...]) -> set[str]:
    """The specs that some break is meant to make red, without the brackets of their ids; `*` stands for anything."""
    return {spec.partition("[")[0] for chosen in rounds for one in chosen.breaks for spec in one.red}
