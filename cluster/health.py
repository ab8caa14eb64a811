"""Is a node fit to carry the LAN's services now?  Named checks, asked from outside first, explained from inside.

A check returns what it saw or raises ClusterError saying what is wrong; it changes nothing.  Guards ask all of
them once (`look`), recoveries ask until they come true (`await_all`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from cluster.errors import ClusterError, ProbeFailed
from cluster.inventory import PRODUCTION, Inventory
from cluster.node import Fleet
from cluster.probes import clock, dhcp, dns, http, icmp, k3s, keepalived, tftp, vrrp, wire
from cluster.wait import Deadline, WaitTimeout, until

ADDRESS = ("floating address", None)
"""The check that depends on the others: what answers may be about to move."""
DAEMONS = ("keepalived", "isc-dhcp-server", "named", "chrony", "tftpd-hpa", "bbhttpd")
COMPUTE = "compute"
"""The group whose nodes run jobs and compile for one another."""
OFFSET_S = 1.0
"""How far a server's clock may be from ours: the falseticker of RFC 5905 is one that is off by seconds."""
PATIENT = 10
"""`secs` of a client that has tried long: above any load balance maximum, so both peers answer."""
ADVERTS = 1.6
"""How many advertisement intervals hold an advertisement of every advertiser, also of one that is late."""
FRESH_S = 0.25
"""How old a node's facts may be: a look asks several checks about the same node in the same moment."""
CLIENT = dhcp.synthetic_mac(0xB0)
OFFER_S = 2.5
"""dhcpd pings an address for 1 s before it offers it (dhcpd(8)), and may look for another one after that."""
STRANGERS_S = 1.5
"""How long strangers are waited for, who may ping, too, when all others have made their offers."""

INFO = "/opt/cluster/data/info_host.txt"
"""Where a node says what it is."""

# Everything that has to be asked inside a node, in one command.  The last part lists leases that are active:
# the file is a log, so the last word on an address counts (dhcpd.leases(5)).
FACTS = r"""
systemctl is-active {daemons}
echo @failed; systemctl list-units --failed --plain --no-legend --no-pager | cut -d' ' -f1
echo @profile; sed -n 's/^profile: //p' {info}
echo @keepalived; cat /etc/keepalived/keepalived.conf
echo @failover; awk '/^failover peer/,/^}}/' /var/lib/dhcp/dhcpd.leases
echo @leases; awk '
  /^lease / {{ address = $2; state[address] = mac[address] = "" }}
  /^  binding state/ {{ state[address] = $3 }}
  /^  hardware ethernet/ {{ mac[address] = $3 }}
  END {{ for (a in state) if (state[a] == "active;") print a, substr(mac[a], 1, 17) }}' /var/lib/dhcp/dhcpd.leases
"""


@dataclass(frozen=True)
class Check:
    """What one check said; `node` is None for those about the pair."""

    name: str
    node: str | None
    ok: bool
    detail: str

    @property
    def title(self) -> str:
        """The name with the node it is about."""
        return f"{self.name} of {self.node}" if self.node else self.name


@dataclass(frozen=True)
class Facts:
    """What a node of the pair says of itself; passwords are not kept."""

    active: dict[str, str]
    failed_units: tuple[str, ...]
    profile: str
    """Whose timers it was provisioned with."""
    keepalived: str
    failover: str
    leases: tuple[tuple[str, str], ...]
    """Active leases: address and MAC."""


def facts(fleet: Fleet, name: str, deadline: float | Deadline = 8.0) -> Facts:
    """Ask a node for all of its facts in one command; raises NodeError."""
    script = FACTS.format(daemons=" ".join(DAEMONS), info=INFO)
    text = fleet[name].run(["sh", "-c", script], sudo=True, deadline=deadline).text
    parts: dict[str, list[str]] = {"active": []}
    here = parts["active"]
    for line in text.splitlines():
        if line in ("@failed", "@profile", "@keepalived", "@failover", "@leases"):
            here = parts.setdefault(line[1:], [])
        else:
            here.append(line)
    if len(parts["active"]) != len(DAEMONS) or len(parts) != 6:
        raise ProbeFailed(f"{name}: its facts cannot be read", reason="facts")
    return Facts(
        active=dict(zip(DAEMONS, parts["active"], strict=True)),
        failed_units=tuple(parts["failed"]),
        profile="".join(parts["profile"]),
        keepalived="\n".join(parts["keepalived"]),
        failover="\n".join(parts["failover"]),
        leases=tuple((a, m) for a, m in (line.split() for line in parts["leases"] if len(line.split()) == 2)),
    )


class Health:
    """The checks of one cluster; each method is one of them and may be called from any thread."""

    last_false: float | None = None
    """When the last check that was not true yet was asked, of all that `await_all` waited for (monotonic s)."""

    def __init__(self, inventory: Inventory, fleet: Fleet) -> None:
        self.inventory, self.fleet = inventory, fleet
        self.floating = str(inventory.network.floating)
        self.interface = wire.interface_towards(self.floating)
        self._offers = threading.Lock()
        self._asking = {name: threading.Lock() for name in inventory.nodes}
        self._known: dict[str, tuple[float, Facts]] = {}
        self._options: tuple[Mapping[str, object], ...] = ()

    @property
    def pair(self) -> tuple[str, ...]:
        """The nodes that carry the LAN's services."""
        return (self.inventory.dhcp.primary, self.inventory.dhcp.secondary)

    def checks(self, names: Iterable[str]) -> dict[tuple[str, str | None], Callable[[], str]]:
        """Every check about these nodes and, where one of the pair is among them, about the pair."""
        names = list(names)
        serving = [name for name in names if name in self.pair]
        found: dict[tuple[str, str | None], Callable[[], str]] = {}
        for name in names:
            found["ssh", name] = partial(self.ssh, name)
            if self.inventory.node(name).group == COMPUTE:
                found["distcc", name] = partial(self.distcc, name)
            if name in {node.name for node in self.inventory.k3s_nodes}:
                found["k3s", name] = partial(self.k3s, name)
        for name in serving:
            found["dns", name] = partial(self.dns, name)
            found["ntp", name] = partial(self.ntp, name)
            found["tftp", name] = partial(self.tftp, name)
            found["http", name] = partial(self.http, name)
            found["daemons", name] = partial(self.daemons, name)
            found["profile", name] = partial(self.profile, name)
        if serving:
            found["dhcp", None] = partial(self.dhcp, serving)
            found["dns serial", None] = self.serial
            found["dhcp failover", None] = self.failover
            found["vrrp configuration", None] = self.vrrp_configuration
            found["vrrp advertiser", None] = self.advertiser
            found[ADDRESS] = self.vip
        return found

    def address(self, name: str) -> str:
        """A node's address as text."""
        return str(self.inventory.node(name).address)

    def ssh(self, name: str) -> str:
        """The node runs a command over SSH."""
        took = self.fleet[name].run(["true"], deadline=5.0, check=True).seconds
        return f"a command took {took * 1000:.0f} ms"

    def distcc(self, name: str) -> str:
        """The node's distccd runs; it is open to compute nodes only, so the node itself is asked."""
        state = self.fleet[name].run(["systemctl", "is-active", "distcc"], deadline=5.0).text.strip()
        if state != "active":
            raise ProbeFailed(f"{name}: distcc is {state}", reason="inactive")
        return state

    def k3s(self, name: str) -> str:
        """The node's K3s works, where it has one; without its binary at hand it has none."""
        done = self.fleet[name].run(["sh", "-c", f"[ ! -x {k3s.READY} ] || {k3s.READY}"], sudo=True, deadline=30.0)
        if done.code != 0:
            raise ProbeFailed(f"{name}: K3s: {done.text.strip()[:200]}", reason="not-ready")
        return "works"

    def dns(self, name: str) -> str:
        """The node answers with authority for its zone, and rightly."""
        asked = f"{self.inventory.fqdn(name)}."
        answer = dns.query(self.address(name), asked)
        if answer.rcode != "NOERROR" or not answer.aa or answer.records != (self.address(name),):
            authority = "with" if answer.aa else "without"
            said = ", ".join(answer.records) or "nothing"
            raise ProbeFailed(f"{name}: DNS says {answer.rcode}, {said}, {authority} authority", reason="wrong")
        return "answers with authority"

    def serial(self) -> str:
        """Both name servers have the same serial for every zone."""
        zones = (self.inventory.cluster.zone, self.inventory.network.reverse_zone)
        said = []
        for zone in zones:
            serials = {name: dns.serial(self.address(name), f"{zone}.") for name in self._name_servers}
            if len(set(serials.values())) != 1:
                told = ", ".join(f"{name} {serial}" for name, serial in serials.items())
                raise ProbeFailed(f"serials of zone {zone} differ: {told}", reason="serial")
            said.append(f"{zone} {next(iter(serials.values()))}")
        return ", ".join(said)

    @property
    def _name_servers(self) -> tuple[str, ...]:
        return (self.inventory.dns.primary, self.inventory.dns.secondary)

    def ntp(self, name: str) -> str:
        """The node tells the time, is synchronised, and does not differ from us by seconds."""
        reply = clock.query(self.address(name))
        if reply.leap == clock.ALARM or reply.stratum >= clock.MAX_STRATUM:
            raise ProbeFailed(f"{name}: NTP is not synchronised (stratum {reply.stratum})", reason="unsynchronised")
        if abs(reply.offset) > OFFSET_S:
            raise ProbeFailed(f"{name}: its clock is {reply.offset:+.1f} s from ours", reason="offset")
        return f"stratum {reply.stratum}, {reply.offset * 1000:+.1f} ms from us"

    def tftp(self, name: str) -> str:
        """The node gives boot clients their file."""
        got = tftp.read(self.address(name), self.inventory.tftp.boot_file)
        return f"{len(got.content)} bytes of {self.inventory.tftp.boot_file}"

    def http(self, name: str) -> str:
        """The node serves its index page."""
        page = http.get(self.address(name), "/", self.inventory.http.port)
        if page.response.status != 200:
            raise ProbeFailed(f"{name}: HTTP says {page.response.status} {page.response.reason}", reason="wrong")
        return f"{len(page.response.body)} bytes in {page.seconds * 1000:.0f} ms"

    def daemons(self, name: str) -> str:
        """The services' daemons run; this only explains, other checks decide."""
        wrong = [f"{unit} is {state}" for unit, state in self.facts(name).active.items() if state != "active"]
        if wrong:
            raise ProbeFailed(f"{name}: {', '.join(wrong)}", reason="inactive")
        return ", ".join(DAEMONS)

    def facts(self, name: str) -> Facts:
        """What the node says of itself; checks that run at the same time share one answer."""
        with self._asking[name]:
            at, known = self._known.get(name, (0.0, None))
            if known is None or time.monotonic() - at > FRESH_S:
                self._known.pop(name, None)
                known = facts(self.fleet, name)
                self._known[name] = (time.monotonic(), known)
            return known

    def profile(self, name: str) -> str:
        """The node has the timers that this command takes it to have."""
        found, wanted = self.facts(name).profile, self.inventory.profile
        if found != wanted:
            remedy = "" if wanted == PRODUCTION else f" --profile {wanted}"
            raise ProbeFailed(
                f"{name} has the timers of profile {found or 'unknown'}, not {wanted}; run: "
                f"python -m provision {self.inventory.node(name).group}{remedy}",
                reason="profile",
            )
        return wanted

    def dhcp(self, names: Collection[str]) -> str:
        """Each of these nodes offers a lease to a client that has waited long, and nobody else does."""
        with self._offers:  # one client, so one question at a time
            offers = dhcp.Client(self.interface, CLIENT).discover(
                PATIENT, wait=OFFER_S, enough=[self.address(name) for name in names], least=STRANGERS_S
            )
        self._options = tuple(offer.options for offer in offers)
        servers = {offer.server for offer in offers}
        missing = [name for name in names if self.address(name) not in servers]
        if missing:
            raise ProbeFailed(f"{', '.join(missing)}: no DHCP offer", reason="timeout")
        if rogues := servers - {self.address(name) for name in self.pair}:
            raise ProbeFailed(f"DHCP offers from strangers: {', '.join(sorted(rogues))}", reason="rogue")
        return f"offers from {', '.join(sorted(servers))}"

    def told(self, service: str) -> tuple[tuple[str, ...], ...]:
        """The servers of `dns` or `ntp` that clients were told of, by each offer that `dhcp` last saw."""
        option = {"dns": "domain-name-servers", "ntp": "ntp-servers"}[service]
        lists = (options.get(option) for options in self._options)
        return tuple(tuple(map(str, told)) for told in lists if isinstance(told, tuple) and told)

    def failover(self) -> str:
        """Both DHCP peers have written down that both are in state normal."""
        for name in self.pair:
            state = dhcp.failover_state(self.facts(name).failover, self.inventory.dhcp.failover, growing=True)
            if not state.normal:
                raise ProbeFailed(f"{name}: its DHCP failover is {state.mine}, partner {state.partner}", reason="state")
        return "normal on both"

    def vrrp_instance(self, name: str) -> keepalived.Instance:
        """The live configuration of the floating address on a node."""
        conf = keepalived.keepalived_conf(self.facts(name).keepalived)
        return conf.instance(self.inventory.vrrp.instance)

    def vrrp_configuration(self) -> str:
        """The nodes' keepalived.conf agree in all that must be equal, and differ in priority."""
        instances = {name: self.vrrp_instance(name) for name in self.pair}
        for what in ("vrid", "advert_int", "addresses", "auth_type", "auth_sha256", "version"):
            if len({getattr(instance, what) for instance in instances.values()}) != 1:
                shown = what.removesuffix("_sha256")
                raise ProbeFailed(f"keepalived.conf of {' and '.join(instances)} differ in {shown}", reason="config")
        priorities = {name: instance.priority for name, instance in instances.items()}
        if len(set(priorities.values())) != len(priorities):
            raise ProbeFailed(f"keepalived.conf gives the same priority to {' and '.join(instances)}", reason="config")
        if masters := [name for name, instance in instances.items() if instance.state != "BACKUP"]:
            # keepalived.conf(5): neither nopreempt nor preempt_delay means anything to one that begins as MASTER.
            raise ProbeFailed(f"keepalived.conf of {' and '.join(masters)} does not begin as BACKUP", reason="config")
        one = next(iter(instances.values()))
        if self.floating not in one.addresses:
            raise ProbeFailed(f"keepalived.conf does not name {self.floating}", reason="config")
        told = ", ".join(f"{name} {priority}" for name, priority in priorities.items())
        return f"virtual router {one.vrid}, every {one.advert_int:g} s, priorities {told}"

    def advertiser(self) -> str:
        """Exactly one node advertises the floating address, and it is the one with the highest priority."""
        instances = {name: self.vrrp_instance(name) for name in self.pair}
        first = max(instances, key=lambda name: instances[name].priority)
        heard = False
        end = Deadline.after(ADVERTS * instances[first].advert_int)
        with vrrp.Listener(self.interface) as ear:
            while ear.wait(end):
                for ad in ear.read():
                    if ad.vrid == instances[first].vrid and ad.src != self.address(first):
                        raise ProbeFailed(
                            f"{ad.src} advertises the floating address, {first} should", reason="advertiser"
                        )
                    heard |= ad.vrid == instances[first].vrid
        if not heard:
            raise ProbeFailed(f"nobody advertises the floating address, {first} should", reason="advertiser")
        return f"{first}, alone"

    def vip(self) -> str:
        """The floating address answers a ping and a DNS query."""
        icmp.ping(self.floating)
        answer = dns.query(self.floating, f"{self.inventory.fqdn('float')}.")
        if answer.records != (self.floating,):
            raise ProbeFailed(f"DNS on {self.floating} says {answer.rcode}, {answer.records}", reason="wrong")
        return f"{self.floating} answers"

    def look(self, names: Iterable[str]) -> tuple[Check, ...]:
        """Ask every check about these nodes once, all at the same time."""
        checks = self.checks(names)

        def ask(key: tuple[str, str | None]) -> Check:
            try:
                return Check(*key, True, checks[key]())
            except ClusterError as error:
                return Check(*key, False, str(error))

        with ThreadPoolExecutor(max(1, len(checks))) as pool:
            return tuple(pool.map(ask, checks))

    def await_all(
        self, names: Iterable[str], deadline: float | Deadline, *, but: Sequence[tuple[str, str | None]] = ()
    ) -> tuple[Check, ...]:
        """Ask every check about these nodes, but some, until each came true.

        Returns what they said; a check that did not come true in time has `ok` false and says why.  The floating
        address is asked for once more in the end: it may have answered where it was, and not where it went.
        """
        end = Deadline.of(deadline)
        checks = {key: check for key, check in self.checks(names).items() if key not in but}

        def ask(key: tuple[str, str | None]) -> str:
            began = time.monotonic()
            try:
                return checks[key]()
            except ClusterError:
                self.last_false = max(began, self.last_false or began)
                raise

        def wait(key: tuple[str, str | None]) -> Check:
            try:
                said = until(lambda: ask(key), lambda _: True, deadline=end, what=Check(*key, False, "").title)
            except WaitTimeout as error:
                return Check(*key, False, str(error))
            return Check(*key, True, said)

        with ThreadPoolExecutor(max(1, len(checks))) as pool:
            said = dict(zip(checks, pool.map(wait, checks), strict=True))
        if ADDRESS in said and all(check.ok for check in said.values()):
            said[ADDRESS] = wait(ADDRESS)
        return tuple(said.values())
