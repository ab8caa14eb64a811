"""One experiment: prove the partners fit, watch, break, hold, undo, prove the undo, and only then judge.

The order is the safety.  The journal entry is on the disk before the fault is applied and leaves when the undo is
proven; interrupts are requests; the undo runs whatever else fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from chaos import guard, halt, journal, judge, recovery
from chaos.canary import Canary
from chaos.faults import Fault, Means, admit, data
from chaos.interrupt import Interrupts
from chaos.looking import expected, plan
from chaos.observer import Observer
from chaos.outcome import Outcome
from chaos.ownership import ownership
from chaos.verdicts import Expected, verdicts
from cluster import power
from cluster.errors import ClusterError, InputError, NotUndone, Refused
from cluster.health import Check, Health
from cluster.inventory import Inventory
from cluster.journal import Entry, check_undone
from cluster.model import Claim
from cluster.node import Fleet
from cluster.record import Recorder, events

BASELINE_S = 1.5
"""How long services are watched before the fault at least."""
FIRST_LOOKS_S = 8.0
"""How long the first good look at every service may take: a DHCP client repeats itself after 1, 2 and 4 s."""
STEADY_S = 1.0
"""How long services are watched after all is back."""
HOLD_S = 10.0
WATCHED = ("vip", "dns", "ntp", "tcp", "tftp", "http", "dhcp", "vip-dns", "vip-ntp")
Say = Callable[[str], None]


def claims_about(inventory: Inventory, fault: Fault, *, patient: bool = False) -> tuple[Claim, ...]:
    """The inventory's claims that this fault puts to the test: those about it, and about all that it is a part of.

    When all is back is claimed of what the claim names only: a service that is started again proves nothing about it.
    What K3s does about a loss takes it a minute: who is `patient` has the fault last until then.
    """
    arguments = tuple(data(fault).values())
    return tuple(
        claim
        for claim in inventory.claims
        if (claim.experiment == arguments and (patient or claim.kind != "reaction"))
        or (claim.fault == fault.part_of and claim.losing in fault.nodes and claim.kind in ("outage", "never"))
    )


def prove(
    inventory: Inventory,
    fleet: Fleet,
    fault: Fault,
    claims: Sequence[Claim] | None = None,
    hold_s: float = HOLD_S,
    *,
    runs: Path | None = None,
    command: str | None = None,
    force: bool = False,
    say: Say = lambda line: None,
) -> Outcome:
    """Apply a fault for `hold_s` seconds, undo it, prove the undo, and judge the claims (default: all about it).

    It lasts longer where a claim about what K3s does is among them and there is a K3s, until that is done or is late.

    Raises Refused when another command is at work, a fault is not undone, the guard says no, or it could not begin;
    InputError for what cannot be done here.  Whatever happens after the fault is in the outcome, or raises NotUndone.
    Interrupted (SIGINT, SIGTERM, SIGHUP) it undoes early, and the verdict can be no better than inconclusive.
    """
    fault.fits(inventory)
    halt.check(inventory)
    chosen = claims_about(inventory, fault) if claims is None else tuple(claims)
    command = command or f"chaos {fault.kind} {' '.join(fault.nodes)}"
    with journal.held(inventory.state, command):
        check_undone(inventory.state)
        about = {
            "command": command,
            "cluster": inventory.cluster.name,
            "profile": inventory.profile,
            "fault": data(fault),
            "hold_s": hold_s,
            "nodes": [{"name": n.name, "group": n.group, "address": str(n.address)} for n in inventory.nodes.values()],
        }
        recorder = Recorder.start(runs or inventory.root / "reports" / "runs", "chaos", about)
        experiment = _Experiment(inventory, fleet, fault, chosen, hold_s, recorder, command, force, say)
        try:
            with Interrupts() as interrupts:
                outcome = experiment.run(interrupts)
        except ClusterError as error:
            why = experiment.why_none(error)
            status = "refused" if isinstance(why, Refused) else "failed"
            recorder.finish(status=status, exit=why.exit_code, reason=str(why))
            if why is error:
                raise
            raise why from error
        except BaseException as error:
            recorder.finish(status="failed", exit=1, reason=str(error))
            raise
        status = "interrupted" if experiment.interrupted else outcome.verdict
        passed = [check.title for check in outcome.overrode]
        recorder.finish(
            status=status, exit=outcome.exit_code, healed=outcome.healed, reason=outcome.reason, overrode=passed
        )
        return outcome


class _Experiment:
    """The state of one experiment, from the guard to the verdict."""

    def __init__(
        self,
        inventory: Inventory,
        fleet: Fleet,
        fault: Fault,
        claims: tuple[Claim, ...],
        hold_s: float,
        recorder: Recorder,
        command: str,
        force: bool,
        say: Say,
    ) -> None:
        self.inventory, self.fleet, self.fault, self.claims = inventory, fleet, fault, claims
        self.hold_s, self.recorder, self.command, self.force, self.say = hold_s, recorder, command, force, say
        self.node = next(iter(fault.nodes), inventory.dhcp.primary)
        self.means = Means(inventory, fleet, power.driver(inventory), hold_s)
        self.health = Health(inventory, fleet)
        self.interrupted = False
        self.doubts: list[str] = []
        self.seconds: dict[str, float] = {}
        self.expected: Expected | None = None
        self.overrode: tuple[Check, ...] = ()
        self.entry: Entry | None = None
        self._clients: dict[str, tuple[str, ...]] = {}

    def run(self, interrupts: Interrupts) -> Outcome:
        """From the guard to the verdict."""
        self.means = replace(self.means, stopping=lambda: interrupts.asked is not None or halt.is_set(self.inventory))
        admit(self.fault, self.means)
        proof = self._guard()
        look_at = plan(self.health, self.node)
        self._clients = {"dns": look_at.dns_servers, "ntp": look_at.ntp_servers, "dhcp": look_at.dhcp_servers}
        with (
            Canary(self.health, self.fault, self.claims, self.recorder, self.say) as k3s,
            Observer(look_at, self.recorder) as observer,
        ):
            self._baseline(observer)
            before = recovery.failed_units(self.health, self.health.pair)
            if interrupts.wait(0.0):
                self.interrupted = True
                self.doubts.append("interrupted before anything was done")
                return self._end(True, self.doubts[-1])
            halt.check(self.inventory)
            self._announce()
            try:
                self._break(observer, interrupts, k3s)
            finally:
                trouble = self._mend(proof)
            if not trouble:
                self.recorder.event("phase", name="steady")
                observer.await_(lambda: not observer.alive, STEADY_S)
            k3s.stop()
            try:
                observer.finish()
            except ClusterError as error:
                self.doubts.append(str(error))
        if not trouble:
            # What a client released while a peer was dead can be active again: the returned peer's older word won.
            with suppress(ClusterError):  # if a node cannot be asked, the look for residue says so
                if given := recovery.give_back_leases(self.health):
                    self.say(f"gave back {given} leases of synthetic clients once more")
            trouble = self._tell(recovery.residue(self.health, self.fault.nodes, before=before), "residue")
        if not trouble and self.entry is not None:
            journal.proven(self.entry)
        return self._end(not trouble, self._why_not(trouble), trouble)

    def _guard(self) -> guard.Proof:
        """Whether the cluster can lose that; raises Refused, or goes on and says so where it was told to."""
        self.say(f"looking whether the cluster can lose {self.fault.losing}")
        proof = guard.look(self.health, self.fault.nodes)
        for check in proof.checks:
            self.recorder.event("guard", **vars(check), forced=self.force)
        if not self.force:
            proof.demand()
        elif proof.failed:
            self.overrode = proof.failed
            self.say(f"--force passes over: {guard.story(proof.failed)}")
        return proof

    def _baseline(self, observer: Observer) -> None:
        """Every service seen well, where it can be, and all of them for a while."""
        began = time.monotonic()
        self.recorder.event("phase", name="baseline")
        self.recorder.event("clients", **self._clients)
        observer.await_(lambda: all(observer.seen_good(service) for service in WATCHED), FIRST_LOOKS_S)
        observer.await_(lambda: not observer.alive, began + BASELINE_S - time.monotonic())
        self._arithmetic(observer)

    def _arithmetic(self, observer: Observer) -> None:
        try:
            self.expected = expected(self.health, self.fault, observer.advertised)
        except (ClusterError, ValueError) as error:
            self.doubts.append(f"the takeover could not be predicted: {error}")

    def why_none(self, error: ClusterError) -> ClusterError:
        """The error of a run that came to no outcome: it is about the fault as soon as that was announced."""
        if self.entry is not None:
            return NotUndone(f"not proven undone: {error}; run: python -m chaos heal")
        return error if isinstance(error, (Refused, InputError)) else Refused(f"could not begin: {error}")

    def _announce(self) -> None:
        """The journal entry, on the disk before anything else happens."""
        self.entry = journal.write(
            self.inventory.state,
            data(self.fault),
            self.fault.nodes,
            undo=self.fault.undoing,
            command=self.command,
            run=self.recorder.folder,
        )
        self._record_fault("planned", None, None)
        self.recorder.flush()

    def _record_fault(self, state: str, began: float | None, ended: float | None) -> None:
        self.recorder.event(
            "fault",
            fault=self.fault.kind,
            node=self.node,
            takes_node=self.fault.takes_node,
            title=self.fault.title,
            state=state,
            began=began,
            ended=ended,
        )

    def _break(self, observer: Observer, interrupts: Interrupts, k3s: Canary) -> None:
        """Apply the fault and hold it, for as long as it is watched and nobody asks to stop."""
        self.recorder.event("phase", name="fault")
        began = time.monotonic()
        try:
            self.fault.apply(self.means)
        except Exception as error:  # a fault that failed half-way is undone and told, whatever made it fail
            self.doubts.append(f"the fault was not applied: {recovery.told(error)}")
            self.interrupted = self.means.stopping()
            return
        ended = time.monotonic()
        self._record_fault("applied", began, ended)
        self.say(f"{self.fault.title}; watching for {self.hold_s:g} s")
        while observer.alive and ((left := ended + self.hold_s - time.monotonic()) > 0 or k3s.waits(ended)):
            if interrupts.wait(min(max(left, 0.05), 0.2)) or halt.is_set(self.inventory):
                break
        self.seconds["held"] = time.monotonic() - ended
        if interrupts.asked is None and halt.is_set(self.inventory):
            self.interrupted = True
            self.doubts.append(f"stopped by {halt.path(self.inventory)} after {self.seconds['held']:.1f} s")
        if interrupts.asked is not None:
            self.interrupted = True
            self.doubts.append(f"interrupted by {interrupts.asked.name} after {self.seconds['held']:.1f} s")

    def _mend(self, proof: guard.Proof) -> tuple[Check, ...]:
        """Undo, and wait until everything is as before; what did not come true is returned, never raised."""
        try:
            return self._undo(proof)
        except Exception as error:  # whatever went wrong, what follows is that the undo is not proven
            return (Check("undo", self.node, False, recovery.told(error)),)

    def _undo(self, proof: guard.Proof) -> tuple[Check, ...]:
        self.recorder.event("phase", name="recovery")
        with suppress(ClusterError):  # who cannot be asked has not undone it for all we know
            if "held" in self.seconds and (why := self.fault.ended(self.means)):
                self.doubts.append(f"it did not last to its end: {why}")
        self.say(f"undoing: {self.fault.undoing}")
        began, ended = recovery.undo(self.means, [self.fault])
        self._record_fault("undone", began, ended)
        self.recorder.flush()
        self.health.last_false = ended if ended - began > 0.1 else None
        trouble = self._tell(recovery.prove(self.health, self.fault.nodes, excused=proof.excused), "recovery")
        self.seconds["recovery"] = took = time.monotonic() - began
        least = max(0.0, (self.health.last_false or began) - began)
        self.recorder.event("recovered", at_least=took if trouble else least, at_most=None if trouble else took)
        if not trouble:
            self.say(f"all is back {self.seconds['recovery']:.1f} s after the undo began")
        return trouble

    def _tell(self, checks: tuple[Check, ...], when: str) -> tuple[Check, ...]:
        for check in checks:
            self.recorder.event("proof", when=when, **vars(check))
        return tuple(check for check in checks if not check.ok)

    def _why_not(self, trouble: tuple[Check, ...]) -> str:
        if trouble:
            return f"not proven undone: {guard.story(trouble)}; run: python -m chaos heal"
        return "; ".join(self.doubts)

    # -- judging

    @property
    def _names(self) -> dict[str, str]:
        return {str(node.address): node.name for node in self.inventory.nodes.values()}

    def _end(self, healed: bool, reason: str, trouble: tuple[Check, ...] = ()) -> Outcome:
        self.recorder.flush()
        seen = list(events(self.recorder.folder))
        judged, window = verdicts(seen, self.claims, self.doubts, self.expected, self._names)
        if window is not None:
            self.recorder.event("window", **window)
        if (owners := ownership(seen)) is not None:
            self.recorder.event("ownership", **owners.as_json())
        for claim in judged:
            self.recorder.event("claim", losing=claim.losing, **claim.as_json())
        if not self.claims:
            reason = reason or f"the inventory claims nothing about losing {self.fault.losing}"
        return Outcome(
            self.fault,
            judge.overall(judged),
            healed,
            self.recorder.folder,
            judged,
            reason,
            trouble,
            self.seconds,
            self.inventory.profile,
            owners,
            self.interrupted,
            tuple(self.doubts),
            self.overrode,
        )
