"""What a node of K3s needs besides its bundle: files too large for that, and that its name is free to be taken.

Files wait on the node, under their hashes, for the step that puts them in place (compute/40-k3s.sh).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cluster import artifacts, k3s
from cluster.artifacts import ArtifactMissing, Found
from cluster.errors import ClusterError
from cluster.inventory import Inventory
from cluster.inventory import Node as Plan
from cluster.node import Node
from cluster.probes.k3s import BINARY

IMAGES = "/var/lib/rancher/k3s/agent/images"
WAITING = "/var/lib/rpicluster/artifacts"
SEND_S = 300.0
ASK_S = 60.0
KUBECTL_S = 20.0

# Which of the files ($1: where they wait; then hash and place of each) are not here yet.
LACKS = r"""
install -d -m 0700 "$1"
waiting=$1
shift
is_it() { [ -f "$2" ] && [ "$(sha256sum <"$2")" = "$1  -" ]; }
while [ $# -gt 0 ]; do
  is_it "$1" "$2" || is_it "$1" "$waiting/$1" || echo "$1"
  shift 2
done
"""
# The name of a node is bound to a password that the node made; a server that is down knows none, or is asked later.
FORGET = (
    "[ ! -x {binary} ] || timeout {limit:g} {binary} kubectl -n kube-system delete secret --ignore-not-found {secret}"
)


def role(inventory: Inventory, name: str) -> str:
    """`server`, `agent`, or nothing."""
    if inventory.k3s is not None and inventory.k3s.server == name:
        return "server"
    return "agent" if name in {node.name for node in inventory.k3s_nodes} else ""


def files(inventory: Inventory, node: Plan) -> tuple[tuple[Found, str], ...]:
    """What goes to a node, and where; nothing without the binary."""
    found = k3s.at_hand(inventory)
    if not role(inventory, node.name) or found.binary is None:
        return ()
    return ((found.binary, BINARY), *((one, f"{IMAGES}/{one.artifact.file}") for one in found.images))


def declared(inventory: Inventory, node: Plan) -> tuple[tuple[str, str], ...]:
    """Hash and place of what a node is to have; `-` is the hash of what is not at hand: it keeps what it has there."""
    sums = {place: found.sha256 for found, place in files(inventory, node)}
    if not sums or inventory.k3s is None:
        return ()
    places = (BINARY, *(f"{IMAGES}/{inventory.artifacts[name].file}" for name in inventory.k3s.images))
    return tuple((sums.get(place, "-"), place) for place in places)


def obtain(inventory: Inventory, names: Iterable[str], say: Callable[[str], None]) -> None:
    """Download what can be; say what is missing if one of these nodes is meant to have it."""
    plan = inventory.k3s
    if plan is None or not any(role(inventory, name) for name in names):
        return
    for name in (plan.binary, *plan.images):
        try:
            artifacts.obtain(inventory, name, say)
        except ArtifactMissing as error:
            what = "K3s is" if name == plan.binary else "DNS within K3s, unless it is there already, is"
            say(f"{what} left out: {error}")
            if name == plan.binary:
                return


def send(node: Node, wanted: Iterable[tuple[Found, str]]) -> None:
    """Bring a node the files that it lacks; raises what Node.run and Node.put raise."""
    all_files = {found.sha256: (found, place) for found, place in wanted}
    if not all_files:
        return
    words = [word for sha256, (_, place) in all_files.items() for word in (sha256, place)]
    lacks = node.run(["sh", "-c", LACKS, "lacks", WAITING, *words], sudo=True, deadline=ASK_S, check=True).text.split()
    for sha256 in lacks:
        node.put(all_files[sha256][0].path.read_bytes(), f"{WAITING}/{sha256}", mode=0o600, sudo=True, deadline=SEND_S)


def free_name(node: Node, server: Node) -> None:
    """Let a node that was flashed anew join under its name: the server forgets the password that went with it.

    Otherwise the server refuses it, "Node password rejected".  A server that cannot be asked now is left alone: where
    it still knows the old one, the node's own step says so.
    """
    if node.run(["test", "-e", "/etc/rancher/node/password"], sudo=True, deadline=ASK_S).code == 0:
        return
    script = FORGET.format(binary=BINARY, limit=KUBECTL_S, secret=f"{node.name}.node-password.k3s")
    try:
        server.run(["sh", "-c", script], sudo=True, deadline=KUBECTL_S + 5)
    except ClusterError:
        return
