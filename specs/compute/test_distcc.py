"""distcc: each compute node compiles for the others, for them alone, and with the same compiler.

distcc(1), distccd(1).  Without a fallback, else a volunteer that is dead would pass silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Fleet, Node
from specs.compute.looks import NUMBER, Herd, build, built, following
from specs.lanservices.looks import must

pytestmark = pytest.mark.group("compute")

DENIED = "denied by access list"  # distccd's word for it
NO_HOST_DID = "exit 116"  # distcc(1): its exit code where fallbacks are off, whatever kept the host from compiling


@pytest.fixture(scope="module")
def herd(node: Node, herds: dict[str, Herd | ClusterError]) -> Herd:
    """What the node says of its part in the herd."""
    return must(herds[node.name])


def client(inventory: Inventory, node: Plan) -> list[str]:
    """The node that has this one compile for it."""
    return [one.name for one in inventory.group("compute") if following(inventory, one.name) == node.name]


@pytest.mark.semantics("distcc-each")
@pytest.mark.each("asker", client)
def test_alone_it_compiles_what_then_runs(node: Node, asker: str, herds: dict[str, Herd | ClusterError]) -> None:
    said = must(herds[asker]).lines("alone")
    ours = [line for line in said if line.startswith("local: ")]
    assert not ours, f"{asker} could not ask {node.name}: {'; '.join([*ours, *said[:-1]])}"
    assert said == [NUMBER, "exit 0"], f"{node.name} did not compile for {asker}: {'; '.join(said) or 'silence'}"


@pytest.mark.semantics("distcc-compilers")
def test_its_compiler_is_that_of_the_others(node: Node, herd: Herd, herds: dict[str, Herd | ClusterError]) -> None:
    mine = herd.lines("compiler")
    others = [other.lines("compiler") for other in herds.values() if isinstance(other, Herd) and other is not herd]
    common = max(others or [mine], key=others.count)
    assert mine == common, f"{node.name} has the compiler {' '.join(mine)}, others have {' '.join(common)}"


@pytest.mark.semantics("distcc-stranger")
def test_a_stranger_is_refused(node: Node, herd: Herd) -> None:
    """Its own loopback address is not of the LAN.

    Whoever is denied sees a connection that is broken off, as it may be for other reasons: distccd says that it was it.
    """
    said = herd.lines("stranger")  # a preprocessor that distcc leaves behind may have the last word
    assert "exit 0" not in said, f"{node.name} compiles for 127.0.0.1, which is not of the LAN: {'; '.join(said)}"
    log = herd.lines("denied")
    denied = NO_HOST_DID in said and any(DENIED in line for line in log)
    story = "; ".join([*said, *log]) or "silence"
    assert denied, f"{node.name}: whether a stranger is refused was not tried, because {story}"


@pytest.mark.semantics("distcc-each")
def test_it_knows_the_whole_herd(node: Node, herd: Herd, inventory: Inventory) -> None:
    plan = inventory.distcc
    wanted = [f"{one.address}:{plan.port}/{plan.jobs},cpp,lzo" for one in inventory.group("compute")]
    assert herd.lines("herd") == wanted, f"{node.name} has the herd {herd.lines('herd')}, not {wanted}"


@pytest.mark.semantics("distcc-polite")
def test_it_is_polite_and_has_no_rights(node: Node, herd: Herd, inventory: Inventory) -> None:
    wanted = inventory.distcc
    daemons = [line.split(None, 2) for line in herd.lines("daemon")]
    assert daemons, f"{node.name}: no distccd runs"
    strange = [
        f"{user} at niceness {nice}" for user, nice, _ in daemons if (user, nice) != ("distccd", str(wanted.nice))
    ]
    assert not strange, f"{node.name}: distccd runs as {', '.join(strange)}, not as distccd at {wanted.nice}"
    jobs = [args for _, _, args in daemons if f"--jobs={wanted.jobs}" not in args.split()]
    assert not jobs, f"{node.name}: distccd was not told to take {wanted.jobs} jobs: {jobs[0]}"


@pytest.mark.slow
@pytest.mark.semantics("distcc-herd")
def test_the_herd_builds_what_one_node_builds(
    inventory: Inventory, fleet: Fleet, record_property: Callable[[str, object], None]
) -> None:
    """How much sooner is measured, not demanded: nodes that are containers share the cores of one machine.

    Every file is compiled by a volunteer, and every volunteer compiles: else the herd is no herd, however right it is.
    """
    node, user = fleet[inventory.group("compute")[0].name], inventory.mpi.user
    alone, together = build(node, user, "alone"), build(node, user)
    for done, who in ((alone, f"{node.name} alone"), (together, "the herd")):
        last = " | ".join(done.err.decode("utf-8", "replace").strip().splitlines()[-3:])
        assert done.code == 0, f"{who} did not build: {last}"
    one, herd = built(alone.text), built(together.text)
    assert one.printed == herd.printed, (
        f"the herd's program prints {herd.printed}, that of {node.name} alone {one.printed}"
    )
    others = dict(herd.compiled)
    counts = {volunteer.name: others.pop(str(volunteer.address), 0) for volunteer in inventory.group("compute")}
    record_property("compiled", listed(counts))
    record_property("alone_s", one.seconds)
    record_property("herd_s", herd.seconds)
    record_property("speed_up", f"{one.seconds / herd.seconds:.2f}")
    record_property("pump_mode", "no pump mode" not in together.err.decode("utf-8", "replace"))
    idle = [name for name, count in counts.items() if not count]
    story = f"the herd compiled {sum(counts.values())} of {herd.files} files"
    assert not idle, f"{story}; nothing: {', '.join(idle)}"
    assert sum(counts.values()) == herd.files, f"{story}; others: {listed(others) or 'nobody says who'}"


def listed(counts: Mapping[str, int]) -> str:
    """Who compiled how many files."""
    return ", ".join(f"{who} {count}" for who, count in counts.items())
