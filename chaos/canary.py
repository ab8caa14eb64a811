"""K3s during an experiment, where something is claimed about it: its pods asked from nodes, its server asked for news.

From outside no pod can be reached, so nodes ask: every pod on a node that stays, asked by the next such node, again and
again.  Where K3s is claimed to do something about a loss, its server is asked whether it has.  The looks are recorded
like the observer's; verdicts are made of them by `chaos.judge` and `chaos.reactions`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from chaos.faults import Fault
from cluster import canary
from cluster import k3s as material
from cluster.errors import ClusterError, NodeError, ProbeFailed
from cluster.health import Health
from cluster.inventory import Claim, Inventory
from cluster.model import K3S
from cluster.node import Node
from cluster.probes import k3s
from cluster.record import Recorder
from cluster.wait import until

EVERY_S = 0.1  # between two looks at a pod, each of which takes some 30 ms
POLL_S = 0.5  # between two questions to the server: kubectl is no small program
PATIENCE_S = 3  # what a client waits for an answer: a segment that was lost is sent again after 1 s (RFC 6298)
ASKERS = 8  # pods that are looked at; more of them show no more, and cost a connection each
ASK = 'exec curl -sS -m "$2" "http://$1/" 2>&1'


@dataclass(frozen=True)
class Times:
    """What K3s goes by, s: when it takes a silent node for lost, how often it looks, how long pods stay there then."""

    grace: float
    period: float
    tolerated: float

    def limit(self, reaction: str) -> float:
        """How long K3s may take by this: for a node to be `not-ready`, or from then on to a pod that is `replaced`.

        The node's last sign of life is seen, and then missed, by a controller that looks once a period.
        """
        return self.grace + 2 * self.period if reaction == f"{K3S}-not-ready" else self.tolerated + self.period


class Canary:
    """A canary that stands and is looked at until `stop`; a context manager, and nothing at all without such claims.

    Where there is no K3s, or no canary comes to stand, that is recorded and tells on the claims about it alone.
    """

    def __init__(
        self, health: Health, fault: Fault, claims: Sequence[Claim], recorder: Recorder, say: Callable[[str], None]
    ) -> None:
        self._health, self._fault, self._recorder, self._say = health, fault, recorder, say
        self._claims = [claim for claim in claims if claim.about_k3s]
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stack = ExitStack()
        self._limit_s = 0.0
        self._done = threading.Event()

    def __enter__(self) -> Canary:
        if not self._claims:
            return self
        try:
            self._begin()
        except ClusterError as error:
            self._recorder.event(K3S, doubt=f"no canary in K3s: {error}")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()
        self._stack.close()

    def waits(self, since: float) -> bool:
        """Whether something that is claimed to happen after `since` (monotonic s) has not, and still may in time."""
        return bool(self._limit_s) and not self._done.is_set() and time.monotonic() < since + self._limit_s

    def stop(self) -> None:
        """Look no more; a look that is under way is still recorded, before this is left for good."""
        self._over.set()

    def _begin(self) -> None:
        inventory, fleet = self._health.inventory, self._health.fleet
        assert inventory.k3s is not None, "an inventory without K3s has no claims about it"
        server = fleet[inventory.k3s.server]
        if (absent := _absent(inventory, server)) is not None:
            self._recorder.event(K3S, absent=absent)
            self._say(f"claims about K3s are {absent}")
            return
        self._say("putting a canary on every node of K3s")
        names = [node.name for node in inventory.k3s_nodes]
        space = self._stack.enter_context(canary.standing(server, len(names)))
        pods = until(
            lambda: {pod.node: pod for pod in canary.serving(server, space)},
            lambda found: set(names) <= set(found),
            deadline=canary.STANDS_S,
            every=POLL_S,
            what="a canary on every node",
        )
        left = [name for name in names if name not in self._fault.nodes]
        for asker, other in list(zip([*left[1:], left[0]], left, strict=True))[:ASKERS] if len(left) > 1 else []:
            pod = pods[other]
            said = f"{other} {pod.name}"
            self._watch(partial(self._ask, fleet[asker], f"{pod.address}:{canary.PORT}", said), EVERY_S)
        if reactions := [claim for claim in self._claims if claim.kind == "reaction"]:
            self._follow(server, space, pods, reactions)

    def _follow(self, server: Node, space: str, pods: dict[str | None, k3s.Pod], claims: Sequence[Claim]) -> None:
        """Ask the server what it does about the loss, by times that it tells itself."""
        lost, timing = claims[0].losing, canary.settings(server)
        tolerated = pods[lost].tolerates.get(k3s.UNREACHABLE)
        if tolerated is None:
            raise ProbeFailed(f"the canary on {lost} stays there for ever", reason="tolerates")
        times = Times(timing.grace, timing.period, tolerated)
        limits = {claim.service: times.limit(claim.service) for claim in claims}
        self._recorder.event(K3S, limits=limits)
        self._limit_s = times.limit(f"{K3S}-not-ready") + times.limit(f"{K3S}-replaced") + sum(c.budget for c in claims)
        self._watch(partial(self._news, server, space, lost, len(pods)), POLL_S)

    def _watch(self, look: Callable[[], None], every: float) -> None:
        def again() -> None:
            while not self._over.is_set():
                look()
                self._over.wait(every)

        thread = threading.Thread(target=again, name="canary", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _ask(self, node: Node, address: str, wanted: str) -> None:
        """One look at a pod: a node asks it, and hears its own name."""
        sent = time.monotonic()
        try:
            words = ["sh", "-c", ASK, "ask", address, str(PATIENCE_S)]
            said = node.run(words, deadline=PATIENCE_S + 5).text.strip()
        except ClusterError as error:
            self._recorder.event(K3S, doubt=f"{node.name} cannot ask: {error}")
            return
        ok, now = said == wanted, time.monotonic()
        self._recorder.event(
            "probe",
            service=K3S,
            client=f"{node.name} of {wanted.split()[0]}",
            server=address,
            sent=sent,
            answered=now if ok else None,
            ok=ok,
            value=round(now - sent, 6) if ok else None,
            error=None if ok else said[:120] or "silence",
        )

    def _news(self, server: Node, space: str, lost: str, wanted: int) -> None:
        """One question to the server: is the node lost to it, and do as many pods serve as are wanted, elsewhere?"""
        sent = time.monotonic()
        try:
            ready = lost in canary.ready_nodes(server)
            asked = time.monotonic()
            there = [pod.node for pod in canary.serving(server, space)]
        except ClusterError as error:
            self._recorder.event(K3S, doubt=f"{server.name} does not tell what it does: {error}")
            return
        replaced = len(there) >= wanted and lost not in there
        self._recorder.event(f"{K3S}-news", sent=sent, asked=asked, answered=time.monotonic(), ready=ready,
                             replaced=replaced)  # fmt: skip
        if not ready and replaced:
            self._done.set()


def _absent(inventory: Inventory, server: Node) -> str | None:
    """Why there is no K3s to look at, or None; a server that cannot be asked has none where its binary is missing."""
    try:
        return canary.why_absent(inventory, server)
    except NodeError:
        if (missing := material.at_hand(inventory).missing) is None:
            raise
        return f"not verified: {missing}"
