"""Many nodes: who waits for whom, and what is done about a node that has no address yet.

Routers come first.  On a bare LAN, where neither of the DHCP servers answers, they give addresses to the statically
addressed nodes and to nobody else, until one of the pair serves; then they fall silent, and only then nodes addressed
by DHCP are waited for.  Where the pair answers, routers are made silent at once.

Every other node is on a thread of its own, the DHCP servers first.  One that nobody has ever spoken with, and that
stays silent though it could have an address, is power-cycled once: a client that was not answered asks again only after
up to 64 s (RFC 2131 section 4.1), but at once when it boots.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial

from cluster import credentials, power
from cluster.errors import ClusterError, InputError, NodeError, Unreachable
from cluster.hostkeys import HostKeys, host_pattern
from cluster.inventory import Inventory
from cluster.node import Fleet, Node
from cluster.secrets import Secrets
from cluster.wait import Deadline, WaitTimeout, until
from provision import harness, k3s, render, runner, signed
from provision.runner import Line, Outcome

ALL = "all"
AT_ONCE = 16  # nodes at a time; the work is the nodes' own, here they are threads that wait
STATIC_S = 20.0  # a node that was just switched on has its address by then
ADDRESS_S = 120.0  # and one that first has to be given it
PATIENCE_S = 5.0  # how long a never-seen node may be silent once it could have an address
PAIR_S = float(runner.LIMIT_S)  # for the pair to serve DHCP; its own limit ends it sooner
CONFIRMED = "/run/rpicluster/{}-confirmed"  # where base/60-ssh.sh and base/65-firewall.sh wait for it
CONFIRM_S = 10.0  # less than they wait
DHCPD = ("systemctl", "is-active", "--quiet", "isc-dhcp-server")
SERVES_S = 8.0

Say = Callable[[str, Line], None]


def targets(inventory: Inventory, words: Iterable[str]) -> tuple[str, ...]:
    """The nodes that `words` (all, a group, a node; nothing is all) mean, in the inventory's order.

    Raises InputError for a word that is none of these.
    """
    wanted: set[str] = set()
    for word in tuple(words) or (ALL,):
        if word == ALL:
            wanted.update(inventory.nodes)
        elif word in inventory.groups:
            wanted.update(node.name for node in inventory.group(word))
        elif word in inventory.nodes:
            wanted.add(word)
        else:
            known = ", ".join([ALL, *inventory.groups, *inventory.nodes])
            raise InputError(f"{inventory.path.name}: no node or group named {word}; known: {known}")
    return tuple(name for name in inventory.nodes if name in wanted)


class Interrupted(NodeError):
    """The operator does not want to wait for this node any more."""


class Gate:
    """Opens when one of the pair serves DHCP; is lost when none of it will."""

    def __init__(self, pair: Iterable[str]) -> None:
        self._pending = set(pair)
        self._open = not self._pending  # nobody to wait for: it serves already, or never
        self._changed = threading.Condition()

    def report(self, name: str, *, serves: bool) -> None:
        """One of the pair serves, or will not."""
        with self._changed:
            self._pending.discard(name)
            self._open = self._open or serves
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody will be waited for any more."""
        with self._changed:
            self._pending.clear()
            self._changed.notify_all()

    def wait(self, name: str) -> None:
        """Return once it is open; raises Unreachable for node `name` when it never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._open or not self._pending, PAIR_S)
            if not self._open:
                raise Unreachable(name, "has no address, and no DHCP server came up to give it one")


class Provisioning:
    """One run over some nodes, of `only` some steps or of all; with `check`, nothing is changed.  A context manager."""

    def __init__(
        self,
        inventory: Inventory,
        secrets: Secrets,
        names: Iterable[str],
        *,
        check: bool,
        say: Say,
        only: Collection[str] = (),
    ) -> None:
        self.inventory, self.secrets, self.check, self.say = inventory, secrets, check, say
        credentials.trusted(inventory)
        secrets.tls_root()  # what cannot be used is told once, before any node is touched
        secrets.revoked()
        self.names, self.only = tuple(names), only
        self.pair = (inventory.dhcp.primary, inventory.dhcp.secondary)
        self.fleet = Fleet(inventory)
        self._first = Fleet(inventory, first_contact=True)
        self._anew = Fleet(inventory)
        self._gate = Gate(name for name in self.pair if name in self.names)
        self._switching = threading.Lock()
        self._serving: list[str] = []  # routers that must fall silent once the pair serves
        self._silencing = threading.Lock()
        self._routed: dict[str, Outcome] = {}
        self._abandoned = threading.Event()

    def __enter__(self) -> Provisioning:
        return self

    def __exit__(self, *_: object) -> None:
        for fleet in (self.fleet, self._first, self._anew):
            fleet.close()

    def abandon(self) -> None:
        """Stop waiting for nodes, as after Ctrl-C; steps under way on them end by themselves."""
        self._abandoned.set()
        self._gate.abandon()
        for fleet in (self.fleet, self._first, self._anew):
            fleet.close()

    def run(self) -> list[Outcome]:
        """Provision every node and return what each came to; one node's trouble stops no other."""
        routers = [name for name in self.names if name in self.inventory.routers]
        if self.only:  # steps of other nodes: a router has none
            self._routed = {n: Outcome(n, self.inventory.nodes[n].group, True, (), 0.0) for n in routers}
        elif routers:
            serving = self._bare()
            self.fleet.each(lambda node: self._route(node, serving=serving), routers)
        order = sorted(
            (name for name in self.names if name not in routers),
            key=lambda name: (name not in self.pair, self._by_dhcp(name), k3s.role(self.inventory, name) == "agent"),
        )
        done = self.fleet.each(self._one, order, limit=AT_ONCE)
        found = self._routed
        for name, result in done.items():
            if isinstance(result, ClusterError):
                raise result
            found[name] = result
        if not self.only:
            found |= self._late(found)
        return [found[name] for name in self.names]

    def _bare(self) -> bool:
        """Whether nobody gives addresses yet: on neither of the pair dhcpd runs, as far as they let us in."""
        served = self.fleet.each(lambda node: node.run(DHCPD, deadline=SERVES_S, check=True), self.pair)
        return all(isinstance(answer, ClusterError) for answer in served.values())

    def _route(self, node: Node, *, serving: bool) -> None:
        """Configure a router to serve those that have no address yet, or to be silent."""
        name, plan = node.name, self.inventory.nodes[node.name]
        began, before = time.monotonic(), self._routed.get(node.name)
        try:
            files = render.router_bundle(self.inventory, plan, self.secrets, serving=serving)
            link, installed = self._reach(node, files[render.ROUTER_KEYS])
            lines = self._first_contact(name, "the operator's key") if installed else []
            lines += runner.run(link, files, check=self.check, say=partial(self._heard, name))
            outcome = runner.outcome(name, plan.group, lines, time.monotonic() - began)
        except ClusterError as error:
            outcome = Outcome(name, plan.group, False, (), time.monotonic() - began, str(error))
        self._routed[name] = _together(before, outcome) if before else outcome
        if serving and outcome.ok:
            self._serving.append(name)
            self.say(name, Line("note", "serves until the pair does"))
        else:
            self.say(name, Line("end", outcome.error or "ok"))

    def _pair_serves(self, name: str) -> None:
        """One of the pair serves: routers fall silent, then nodes addressed by DHCP may come."""
        with self._silencing:
            routers, self._serving = self._serving, []
            if not self.check:
                self.fleet.each(lambda node: self._route(node, serving=False), routers)
        self._gate.report(name, serves=True)

    def _first_contact(self, name: str, what: str) -> list[Line]:
        lines = [Line("step", "first contact"), Line("change", what)]
        for line in lines:
            self.say(name, line)
        return lines

    def _late(self, found: Mapping[str, Outcome]) -> dict[str, Outcome]:
        """The steps that need all of the others to be done."""
        names = [name for name, outcome in found.items() if outcome.ok and any(map(render.late, self._steps(name)))]
        done = self.fleet.each(self._once_more, names, limit=AT_ONCE)
        merged = {}
        for name, more in done.items():
            first = found[name]
            if isinstance(more, ClusterError):
                merged[name] = replace(first, ok=False, error=str(more))
            else:
                merged[name] = _together(first, more)
        return merged

    def _steps(self, name: str) -> tuple[str, ...]:
        return render.steps(self.inventory.nodes[name])

    def _once_more(self, node: Node) -> Outcome:
        began, plan = time.monotonic(), self.inventory.nodes[node.name]
        late = list(filter(render.late, self._steps(node.name)))
        files = render.bundle(self.inventory, plan, self.secrets, only=late)
        lines = runner.run(node, files, check=self.check, say=partial(self._heard, node.name))
        return runner.outcome(node.name, plan.group, lines, time.monotonic() - began)

    def _by_dhcp(self, name: str) -> bool:
        return self.inventory.groups[self.inventory.nodes[name].group].addressing == "dhcp"

    def _one(self, node: Node) -> Outcome:
        name, group = node.name, self.inventory.nodes[node.name].group
        began = time.monotonic()
        try:
            only = self.only or [step for step in self._steps(name) if not render.late(step)]
            files = render.bundle(self.inventory, self.inventory.nodes[name], self.secrets, only=only)
            link, installed = self._reach(node, files[render.AUTHORITY])
            self.say(name, Line("note", "connected"))
            lines = self._first_contact(name, "the authority") if installed else []
            plan = self.inventory.nodes[name]
            files |= signed.files(self.inventory, plan, self.secrets, link.host_key()) | harness.files(
                self.inventory, plan
            )
            if not self.check:
                self._bring(name, link)
            lines += runner.run(link, files, check=self.check, say=partial(self._heard, name))
            outcome = runner.outcome(name, group, lines, time.monotonic() - began)
        except ClusterError as error:
            outcome = Outcome(name, group, False, (), time.monotonic() - began, str(error))
            if self.check and isinstance(error, Unreachable) and not self._met(node):
                change = f"everything: it has no address yet ({error})"
                outcome = Outcome(name, group, True, (change,), outcome.seconds)
        if name in self.pair and outcome.ok:
            self._pair_serves(name)
        elif name in self.pair:
            self._gate.report(name, serves=False)
        self.say(name, Line("end", outcome.error or "ok"))
        return outcome

    def _bring(self, name: str, link: Node) -> None:
        """What the node's K3s needs: its files, and its name."""
        plan, wanted = self.inventory.k3s, k3s.files(self.inventory, self.inventory.nodes[name])
        k3s.send(link, wanted)
        if wanted and plan is not None and name != plan.server:
            k3s.free_name(link, self.fleet[plan.server])

    def _heard(self, name: str, line: Line) -> None:
        if line.kind == "reached" and line.text == "dhcp":
            self._pair_serves(name)
        if line.kind == "reached" and line.text in ("firewall", "ssh"):
            self._confirm_way_in(name, line.text)
        if line.kind != "end":
            self.say(name, line)

    def _confirm_way_in(self, name: str, under: str) -> None:
        """Get in under the new rules of the firewall or of sshd, by a connection of its own, and tell the node.

        Where that fails, the node waits in vain, puts the old rules back, and its step says so.
        """
        with contextlib.suppress(ClusterError):
            self._anew[name].run(["touch", CONFIRMED.format(under)], sudo=True, deadline=CONFIRM_S)
        self._anew[name].close()

    def _reach(self, node: Node, authority: bytes) -> tuple[Node, bool]:
        """A connection by certificate, and whether the authority was new there; waits for the node's address."""
        try:
            return self._open(node, authority)
        except Unreachable:
            if self._has_power(node.name) is False:
                raise Unreachable(node.name, "has no power; switch it on, then provision again") from None
            if self.check and not self._met(node):
                raise
        if not self._by_dhcp(node.name) and (self._met(node) or not self.inventory.routers):
            return self._await(node, authority, STATIC_S)
        self.say(node.name, Line("note", "waits for an address"))
        if self._by_dhcp(node.name):
            self._gate.wait(node.name)
        limit = Deadline.after(ADDRESS_S)
        if not self._met(node):
            try:
                return self._await(node, authority, PATIENCE_S)
            except WaitTimeout:
                self._power_cycle(node.name)
        return self._await(node, authority, limit)

    def _open(self, node: Node, authority: bytes) -> tuple[Node, bool]:
        if self._abandoned.is_set():
            raise Interrupted(node.name, "interrupted before it was provisioned")
        return runner.open_by_certificate(node, self._first[node.name], authority, check=self.check)

    def _await(self, node: Node, authority: bytes, deadline: float | Deadline) -> tuple[Node, bool]:
        """Open it once it answers; anything but silence is told at once."""

        def knock() -> tuple[Node, bool] | ClusterError:
            try:
                return self._open(node, authority)
            except Unreachable:
                raise
            except ClusterError as error:
                return error

        answer = until(knock, deadline=deadline, every=0.2, what=f"{node.name}: SSH")
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    def _met(self, node: Node) -> bool:
        pins = HostKeys(self.inventory.state / "known_hosts")
        return bool(pins.pins(node.name, host_pattern(node.address, node.port)))

    def _has_power(self, name: str) -> bool | None:
        """What the power driver says; None where there is no driver, or it cannot tell."""
        try:
            return power.driver(self.inventory).is_on(name)
        except ClusterError:
            return None

    def _power_cycle(self, name: str) -> None:
        """Switch a silent node off and on, where there is a driver and the node has power."""
        with self._switching:
            if self._has_power(name):
                self.say(name, Line("note", "is silent: power-cycled, so that it asks for its address now"))
                driver = power.driver(self.inventory)
                driver.off(name)
                driver.on(name)


def _together(first: Outcome, more: Outcome) -> Outcome:
    """What two runs on one node came to: a failure of either is one of both."""
    return replace(
        more, ok=first.ok and more.ok, changes=first.changes + more.changes, seconds=first.seconds + more.seconds,
        error=first.error or more.error, output=first.output + more.output,
    )  # fmt: skip
