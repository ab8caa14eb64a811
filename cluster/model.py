"""What an inventory says, as frozen values; reading and checking one is the work of `cluster.inventory`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from cluster import fields as f
from cluster.errors import InputError


class Model(BaseModel):
    """Frozen, and refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Cluster(Model):
    """Names that belong to the whole."""

    name: f.Word
    domain: f.Domain
    location: f.Label
    timezone: Annotated[
        str,
        BeforeValidator(f.pattern(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}", "write a time zone such as UTC")),
    ]

    @property
    def zone(self) -> str:
        """The top level zone that the LAN services are authoritative for: `clust0r`."""
        return self.domain.rsplit(".", 1)[-1]

    @property
    def subdomain(self) -> str:
        """Where the nodes' own names live: `dc1.b3rry.clust0r`."""
        return f"{self.location}.{self.domain}"


class Operator(Model):
    """Where the harness is plugged in."""

    name: f.Label
    address: f.Address
    mac: f.Mac


class NetworkPlan(Model):
    """The LAN: `cidr`, the router, the floating address, and the interface the nodes use."""

    cidr: f.Network
    gateway: f.Address
    gateway_mac: f.Mac
    floating: f.Address
    interface: f.Device
    operator: Operator

    @property
    def reverse_zone(self) -> str:
        """The smallest reverse zone on an octet boundary that holds the network (RFC 1035 section 3.5)."""
        octets = str(self.cidr.network_address).split(".")[: self.cidr.prefixlen // 8]
        return ".".join(reversed(octets)) + ".in-addr.arpa"


class Users(Model):
    """Who logs in, and the password of a freshly flashed node."""

    login: f.User
    first_password: f.Text
    cluster: f.User
    ssh_group: f.User


class Group(Model):
    """Nodes that are configured alike; `name` is its key in the file."""

    name: f.Label
    addressing: Annotated[
        Literal["static", "dhcp"],
        BeforeValidator(f.one_of(frozenset({"static", "dhcp"}), "way of addressing")),
    ]
    system: Annotated[
        Literal["debian", "openwrt"],
        BeforeValidator(f.one_of(frozenset({"debian", "openwrt"}), "system")),
    ] = "debian"
    interface: f.Device = "eth0"
    """Of routers, which need not be called as the other nodes' (`NetworkPlan.interface`) are."""
    ssh_ports: Annotated[tuple[f.Port, ...], f.Unique, Field(min_length=1)]
    ssh_from: Annotated[tuple[f.Network, ...], f.Unique] = ()
    open: Annotated[tuple[f.Openings, ...], f.Unique] = ()
    trust: Annotated[tuple[f.Label, ...], f.Unique] = ()
    trust_interfaces: Annotated[tuple[f.Interface, ...], f.Unique] = ()


class Node(Model):
    """One computer; `name` is its key in the file, `power` its own options for the power driver."""

    name: f.Label
    group: f.Label
    address: f.Address
    mac: f.Mac
    power: f.FrozenMap[Any] = Field(default={}, validate_default=True)

    def __hash__(self) -> int:
        return hash(self.name)


class Reservation(NamedTuple):
    """An address that DHCP keeps for one MAC."""

    mac: str
    address: IPv4Address


class DhcpPlan(Model):
    """The failover pair and its pool, in the words of dhcpd.conf(5); durations in seconds."""

    primary: f.Label
    secondary: f.Label
    failover: f.Word
    port: f.Port
    peer_port: f.Port
    omapi_port: f.Port
    mclt: Annotated[float, BeforeValidator(f.whole_duration(1, 31_536_000))]
    split: Annotated[int, BeforeValidator(f.whole(0, 256))]
    max_response_delay: Annotated[float, BeforeValidator(f.whole_duration(1, 86_400))]
    max_unacked: Annotated[int, BeforeValidator(f.whole(1, 65535))]
    load_balance_max: Annotated[float, BeforeValidator(f.whole_duration(0, 65535))]
    pool_first: f.Address
    pool_last: f.Address
    max_lease: Annotated[float, BeforeValidator(f.whole_duration(60, 31_536_000))]
    default_lease: Annotated[float, BeforeValidator(f.whole_duration(60, 31_536_000))]
    reserve: Annotated[tuple[f.Label, ...], f.Unique]
    dynamic_bootp: Annotated[bool, BeforeValidator(f.no_dynamic_bootp)] = False


class Dhcp(DhcpPlan):
    """The plan with the reservations that follow from it and from the nodes."""

    reservations: Mapping[str, Reservation]


class DhcpTimers(Model):
    """Those of `DhcpPlan` that a profile may set otherwise."""

    mclt: Annotated[float, BeforeValidator(f.whole_duration(1, 31_536_000))] | None = None
    max_response_delay: Annotated[float, BeforeValidator(f.whole_duration(1, 86_400))] | None = None
    load_balance_max: Annotated[float, BeforeValidator(f.whole_duration(0, 65535))] | None = None
    max_lease: Annotated[float, BeforeValidator(f.whole_duration(60, 31_536_000))] | None = None
    default_lease: Annotated[float, BeforeValidator(f.whole_duration(60, 31_536_000))] | None = None


class Record(Model):
    """One DNS record; once loaded, its name and a value that is a name are complete, without a last dot."""

    name: f.RecordName
    type: Annotated[str, BeforeValidator(f.one_of(frozenset({"A", "MX", "TXT", "CNAME"}), "record type"))]
    value: f.Text
    priority: Annotated[int, BeforeValidator(f.whole(0, 65535))] | None = None


_Seconds = Annotated[int, BeforeValidator(f.whole_duration(1, 2**31 - 1))]  # RFC 2181 section 8


class Dns(Model):
    """Primary, secondary, and the timers of the zones in seconds (RFC 1035 section 3.3.13)."""

    primary: f.Label
    secondary: f.Label
    ttl: _Seconds
    refresh: _Seconds
    retry: _Seconds
    expire: _Seconds
    negative: _Seconds
    tsig_name: f.Label
    records: tuple[Record, ...] = ()


class DnsTimers(Model):
    """Those of `Dns` that a profile may set otherwise."""

    ttl: _Seconds | None = None
    refresh: _Seconds | None = None
    retry: _Seconds | None = None
    expire: _Seconds | None = None
    negative: _Seconds | None = None


class Vrrp(Model):
    """The floating address' instance, in the words of keepalived.conf(5); durations in seconds."""

    instance: f.Word
    virtual_router_id: Annotated[int, BeforeValidator(f.whole(1, 255))]
    router_id: f.Word
    # The interval is one byte of whole seconds on the wire: RFC 3768 section 5.3.7.
    advert: Annotated[float, BeforeValidator(f.whole_duration(1, 255))]
    # 255 is for the owner of a real address, 0 for resigning: RFC 3768 section 5.3.4.
    priorities: f.FrozenMap[Annotated[int, BeforeValidator(f.whole(1, 254))]]
    preempt_delay: Annotated[float, BeforeValidator(f.whole_duration(0, 1000))]
    tracks: Annotated[tuple[Annotated[str, BeforeValidator(f.one_of(f.TRACKED, "service"))], ...], f.Unique] = ()

    def __hash__(self) -> int:
        return hash((self.instance, self.virtual_router_id))

    @property
    def weight(self) -> int:
        """How much of its priority a node gives up for each service that it lost: one more than priorities differ.

        So whoever has lost fewer of them is ahead, and where both have lost as many, who would be without.
        """
        return max(self.priorities.values()) - min(self.priorities.values()) + 1


_Poll = Annotated[int, BeforeValidator(f.whole(-4, 17))]  # log2 s; chrony.conf(5) knows -7 to 24


class Ntp(Model):
    """The servers of time, where they get theirs, and who else is heard; polls in log2 s, durations in s."""

    servers: Annotated[tuple[f.Label, ...], f.Unique, Field(min_length=1)]
    witnesses: Annotated[tuple[f.Label, ...], f.Unique] = ()
    pool: tuple[f.Domain, ...]
    local_stratum: Annotated[int, BeforeValidator(f.whole(1, 15))]
    minpoll: _Poll
    maxpoll: _Poll
    max_change: f.Duration
    doubt: Annotated[float, BeforeValidator(f.whole_duration(1, 604_800))]

    @property
    def ignored(self) -> int:
        """How many changes beyond `max_change` fill the time of `doubt`, at the longest interval between polls."""
        return max(1, math.ceil(self.doubt / 2.0**self.maxpoll))

    def asked_by(self, name: str) -> tuple[str, ...]:
        """The nodes of the cluster that a node has as sources."""
        known = self.servers if name in self.servers else (*self.servers, *self.witnesses)
        return tuple(other for other in known if other != name)


class NtpTimers(Model):
    """Those of `Ntp` that a profile may set otherwise."""

    minpoll: _Poll | None = None
    maxpoll: _Poll | None = None


class Tftp(Model):
    """The files that boot clients fetch: where they lie on the servers, and which one is told to them."""

    root: f.Folder
    boot_file: f.RelativeFile


class Http(Model):
    """BusyBox's httpd: its port, the folder it is locked into, and the user without rights that it is."""

    port: f.Port
    chroot: f.Folder
    user: f.User


class Mpi(Model):
    """MPICH's jobs: whose they are, how many processes run on each node, how soon the loss of a node ends one, s."""

    user: f.User
    ranks_per_node: Annotated[int, BeforeValidator(f.whole(1, 1024))]
    # Less than it takes to notice that a connection is dead (ServerAliveInterval, ssh_config(5)) cannot be kept.
    abort: Annotated[float, BeforeValidator(f.whole_duration(10, 3600))]

    @property
    def alive_interval(self) -> int:
        """How often ssh asks whether a node still answers, s: two answers may fail, and time to abort is left."""
        return max(1, int(self.abort) // 5)

    @property
    def alive_count(self) -> int:
        """How many times in a row sshd may ask in vain, every second, whether who began the job is still there.

        It gives up about 4 s after the last of them, as measured with OpenSSH 9.2: half of `abort`, and these.
        """
        return int(self.abort) // 3 - 1


class Distcc(Model):
    """distccd on every compute node: where it listens, how much it takes on, and how politely."""

    port: f.Port
    jobs: Annotated[int, BeforeValidator(f.whole(1, 1024))]
    nice: Annotated[int, BeforeValidator(f.whole(0, 19))]


TimeOfDay = Annotated[str, BeforeValidator(f.pattern(r"([01]\d|2[0-3]):[0-5]\d", "write a time of day such as 02:30"))]


class Authority(Model):
    """Who signs for the cluster: how long its certificates live, in seconds, and what they are for.

    `renews`: when the deployer looks each day for what is near its end.  `sources`: where the login user's certificates
    may be used from; none means anywhere.  `serves`: what the deployer serves by TLS, a certificate each.
    """

    user: Annotated[float, BeforeValidator(f.whole_duration(3600, 31_536_000))]
    jobs: Annotated[float, BeforeValidator(f.whole_duration(3600, 31_536_000))]
    host: Annotated[float, BeforeValidator(f.whole_duration(86_400, 315_360_000))]
    root: Annotated[float, BeforeValidator(f.whole_duration(86_400, 1_577_880_000))]
    leaf: Annotated[float, BeforeValidator(f.whole_duration(3600, 31_536_000))]
    renews: TimeOfDay
    serves: Annotated[tuple[f.Label, ...], f.Unique]
    sources: Annotated[tuple[f.Network, ...], f.Unique] = ()


class Backup(Model):
    """The deployer's nightly archive: at what time of day, and how many are kept."""

    at: TimeOfDay
    keep: Annotated[int, BeforeValidator(f.whole(1, 366))]


class Nightly(Model):
    """The specs, run by the deployer: at what time of day, how many nights are kept, how long they may take (s)."""

    at: TimeOfDay
    keep: Annotated[int, BeforeValidator(f.whole(1, 366))]
    limit: Annotated[float, BeforeValidator(f.whole_duration(60, 36_000))]


class K3s(Model):
    """K3s on the compute nodes: who serves, who joins, and the artifacts that it is installed from.

    `agents` are nodes or groups; the server is an agent of its own and need not be left out.
    """

    server: f.Label
    agents: Annotated[tuple[f.Label, ...], f.Unique] = ()
    port: f.Port
    binary: f.Word
    images: Annotated[tuple[f.Word, ...], f.Unique] = ()


class Tools(Model):
    """What the deployer's tools serve on the deployer itself."""

    ara_port: f.Port


class Power(Model):
    """How nodes are switched: the import path of a driver and what it wants to know."""

    driver: f.Driver
    options: f.FrozenMap[Any] = Field(default={}, validate_default=True)


class Artifact(Model):
    """A file that no package mirror has, and the hash that proves it is the right one.

    Without a hash nothing is downloaded: what the operator puts into the cache by hand is taken as it is.
    """

    version: f.Text
    url: f.Url | None = None
    sha256: Annotated[str, BeforeValidator(f.pattern(r"[0-9a-f]{64}", "write 64 lower-case hex digits"))] | None = None
    file: Annotated[
        str,
        BeforeValidator(f.pattern(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,120}", "write a file name without folders")),
    ]


def _words(known: Collection[str], what: str) -> Callable[[object], tuple[str, ...]]:
    """A check for one word, or a list of words, each one of the known ones."""
    one = f.one_of(known, what)
    return lambda value: tuple(map(one, value if isinstance(value, list) and value else [value]))


K3S = "k3s"
"""The service: what runs on K3s answers."""


class Claim(NamedTuple):
    """Losing `losing` by `fault`, with these other `arguments`, `service` is out for at most `budget` seconds.

    Where `kind` is `recovery`, `service` is so, too: everything is proven back so long after the undo began.  Where
    it is `never`, `service` is what never happens, for longer than `budget` seconds.  Where it is `reaction`, K3s does
    something about the loss: `budget` seconds later, at most, than by its own settings.
    """

    name: str
    losing: str
    fault: str
    arguments: tuple[str, ...]
    kind: Literal["outage", "recovery", "never", "reaction"]
    service: str
    budget: float

    @property
    def experiment(self) -> tuple[str, ...]:
        """What has to be done to put it to the test: the fault, and its arguments."""
        return (self.fault, self.losing, *self.arguments)

    @property
    def loss(self) -> str:
        """What is done to put it to the test, as names of claims begin: `losing-alpha`, `stop-alpha-keepalived`."""
        return "-".join(("losing" if self.fault == "kill" else self.fault, self.losing, *self.arguments))

    @property
    def about_k3s(self) -> bool:
        """Whether only a K3s can show it."""
        return self.kind == "reaction" or (self.kind == "outage" and self.service == K3S)

    @property
    def promise(self) -> str:
        """What it says, as a clause for people."""
        if self.kind == "recovery":
            return f"all is proven back within {self.budget:g} s"
        if self.kind == "never":
            return f"never {self.service}" + (f" for more than {self.budget:g} s" if self.budget else "")
        if self.kind == "reaction":
            return f"{self.service} at most {self.budget:g} s after what K3s is set to"
        return f"{self.service} is out for at most {self.budget:g} s"


class ClaimLine(Model):
    """A line of claims: what is lost, a node or any one of a group, and what is promised of one thing or of several.

    An inventory has one `Claim` for each of these.
    """

    losing: f.Label
    fault: Annotated[str, BeforeValidator(f.one_of(f.FAULTS, "fault"))] = "kill"
    unit: f.Word | None = None
    peer: f.Label | None = None
    service: Annotated[tuple[str, ...], BeforeValidator(_words(f.SERVICES, "service"))] = ()
    budget: f.Duration | None = None
    recovery: f.Duration | None = None
    never: Annotated[tuple[str, ...], BeforeValidator(_words(f.NEVER, "event"))] = ()
    k3s: Annotated[tuple[str, ...], BeforeValidator(_words(f.REACTIONS, "reaction"))] = ()
    name: f.Word = ""

    @model_validator(mode="after")
    def _whole(self) -> ClaimLine:
        if sum([bool(self.service), self.recovery is not None, bool(self.never), bool(self.k3s)]) != 1:
            raise ValueError("claims nothing, or several things; write one of service, recovery, never and k3s")
        if self.service and self.budget is None:
            raise ValueError("has no budget; say how long the service may be out, for instance budget: 4s")
        if self.k3s and self.budget is None:
            raise ValueError("has no budget; say how much later than set K3s may be, for instance budget: 3s")
        if self.recovery is not None and self.budget is not None:
            raise ValueError("has a budget besides recovery; remove it, the time of recovery is one")
        for key in ("unit", "peer"):
            if (getattr(self, key) is None) == (key in f.FAULTS[self.fault]):
                what = f"write {key}: ..." if key in f.FAULTS[self.fault] else f"remove {key}"
                raise ValueError(f"does not fit fault {self.fault}; {what}")
        return self

    def each(self, nodes: Iterable[Node]) -> tuple[Claim, ...]:
        """Every claim that it makes; where it is about a group, those about each of its nodes."""
        group = [node.name for node in nodes if node.group == self.losing and node.name != self.losing]
        return tuple(claim for one in group or [self.losing] for claim in self._about(one, several=bool(group)))

    def _about(self, one: str, *, several: bool) -> Iterator[Claim]:
        arguments = tuple(str(getattr(self, key)) for key in f.FAULTS[self.fault])
        found: list[tuple[Literal["outage", "recovery", "never", "reaction"], str, float]]
        found = [("outage", service, self.budget or 0.0) for service in self.service]
        found += [("never", event, self.budget or 0.0) for event in self.never]
        found += [("reaction", f"{K3S}-{reaction}", self.budget or 0.0) for reaction in self.k3s]
        found += [("recovery", "recovery", self.recovery)] if self.recovery is not None else []
        for kind, what, budget in found:
            claim = Claim("", one, self.fault, arguments, kind, what, budget)
            name = f"{claim.loss}-never-{what}" if kind == "never" else f"{claim.loss}-{what}"
            if self.name:
                name = "-".join([self.name, *([one] if several else []), *([what] if len(found) > 1 else [])])
            yield claim._replace(name=name)


class Profile(Model):
    """Other timers than the sections', chosen with --profile; `only_with` names the power driver it is meant for."""

    name: f.Label
    only_with: f.Driver | None = None
    dhcp: DhcpTimers = DhcpTimers()
    dns: DnsTimers = DnsTimers()
    ntp: NtpTimers = NtpTimers()

    def timers(self, section: str) -> dict[str, Any]:
        """What it sets in a section."""
        return {key: value for key, value in dict(getattr(self, section)).items() if value is not None}


PRODUCTION = "production"
"""The profile that is the sections themselves."""


class Inventory(Model):
    """Everything the file says, checked as a whole."""

    path: Path
    cluster: Cluster
    network: NetworkPlan
    users: Users
    groups: Mapping[str, Group]
    nodes: Mapping[str, Node]
    dhcp: Dhcp
    dns: Dns
    vrrp: Vrrp
    ntp: Ntp
    tftp: Tftp
    http: Http
    mpi: Mpi
    distcc: Distcc
    authority: Authority
    backup: Backup
    nightly: Nightly
    k3s: K3s | None = None
    tools: Tools
    power: Power
    artifacts: Mapping[str, Artifact]
    claims: tuple[Claim, ...]
    profiles: Mapping[str, Profile]
    profile: str = PRODUCTION
    """The profile whose timers these are."""

    def __hash__(self) -> int:
        return hash((self.path, self.profile))

    def under(self, profile: str) -> Inventory:
        """This inventory with a profile's timers; raises InputError for one that is not there or not for this one."""
        if profile == self.profile:
            return self
        if profile not in self.profiles:
            known = ", ".join((PRODUCTION, *self.profiles))
            raise InputError(f"{self.path.name}: no profile named {profile}; known: {known}")
        chosen = self.profiles[profile]
        if chosen.only_with not in (None, self.power.driver):
            raise InputError(
                f"{self.path.name}: profile {profile} is only for the power driver {chosen.only_with}, "
                f"not {self.power.driver}; leave out --profile"
            )
        return self.model_copy(
            update={
                "profile": profile,
                "dhcp": self.dhcp.model_copy(update=chosen.timers("dhcp")),
                "dns": self.dns.model_copy(update=chosen.timers("dns")),
                "ntp": self.ntp.model_copy(update=chosen.timers("ntp")),
            }
        )

    @property
    def root(self) -> Path:
        """The folder of the file."""
        return self.path.parent

    @property
    def state(self) -> Path:
        """Where secrets, pinned host keys and the journal live."""
        return self.root / ".state"

    def group(self, name: str) -> tuple[Node, ...]:
        """The nodes of a group in the order of the file; raises InputError for a group that is not there."""
        if name not in self.groups:
            raise InputError(f"{self.path.name}: no group named {name}; known: {', '.join(self.groups)}")
        return tuple(node for node in self.nodes.values() if node.group == name)

    def node(self, name: str) -> Node:
        """A node by its name; raises InputError for a name that is not there."""
        if name not in self.nodes:
            raise InputError(f"{self.path.name}: no node named {name}; known: {', '.join(self.nodes)}")
        return self.nodes[name]

    def fqdn(self, name: str) -> str:
        """The complete name of a node or of another name below the location, without a dot at the end."""
        return f"{name}.{self.cluster.subdomain}"

    def system(self, name: str) -> str:
        """What a node runs: `debian`, whose kin Raspberry Pi OS is, or `openwrt`."""
        return self.groups[self.nodes[name].group].system

    def interface(self, name: str) -> str:
        """A node's interface on the LAN."""
        return self.groups[self.nodes[name].group].interface if name in self.routers else self.network.interface

    @property
    def debian(self) -> Mapping[str, Node]:
        """The nodes that base configures: all but the routers."""
        return {name: node for name, node in self.nodes.items() if self.system(name) == "debian"}

    @property
    def routers(self) -> Mapping[str, Node]:
        """The nodes that run OpenWrt: whom they give an address while nobody else does, see `bootstrapped`."""
        return {name: node for name, node in self.nodes.items() if self.system(name) == "openwrt"}

    @property
    def bootstrapped(self) -> Mapping[str, Node]:
        """Whom the routers give addresses to while the cluster is set up: the nodes whose addresses are static."""
        return {n: node for n, node in self.debian.items() if self.groups[node.group].addressing == "static"}

    def partner(self, node: Node | str) -> tuple[Node, ...]:
        """The other members of the node's group, which serve the same."""
        me = self.node(node) if isinstance(node, str) else node
        return tuple(other for other in self.group(me.group) if other.name != me.name)

    @property
    def k3s_nodes(self) -> tuple[Node, ...]:
        """The nodes that K3s runs on, if on any: the server, then its agents in the order of the file."""
        if self.k3s is None:
            return ()
        named = {self.k3s.server, *self.k3s.agents}
        agents = [n for n in self.nodes.values() if named & {n.name, n.group} and n.name != self.k3s.server]
        return (self.nodes[self.k3s.server], *agents)

    @property
    def admin_nodes(self) -> tuple[Node, ...]:
        """The nodes that the others depend on: the deployer, and those that serve the LAN."""
        return tuple(node for node in self.nodes.values() if node.group in f.ADMIN_GROUPS)

    def open_ports(self, node: Node | str) -> tuple[f.Opening, ...]:
        """The ports of a node that the whole LAN may reach besides SSH's, in order."""
        me = self.node(node) if isinstance(node, str) else node
        found = set(f.SERVICE_PORTS["ntp"]) if me.name in self.ntp.witnesses else set[f.Opening]()
        for one in self.groups[me.group].open:
            if isinstance(one, f.Opening):
                found.add(one)
            else:
                found |= {f.Opening("tcp", self.http.port)} if one == "http" else set(f.SERVICE_PORTS[one])
        return tuple(sorted(found))

    def ssh_sources(self, group: str) -> tuple[IPv4Network, ...]:
        """Where SSH to the group's nodes may come from: the LAN, and what `ssh_from` adds; no two overlap."""
        return tuple(collapse_addresses([self.network.cidr, *self.groups[group].ssh_from]))

    def trusted(self, node: Node | str) -> tuple[Node, ...]:
        """The other nodes that may reach everything on this one."""
        me = self.node(node) if isinstance(node, str) else node
        groups = self.groups[me.group].trust
        return tuple(other for other in self.nodes.values() if other.group in groups and other.name != me.name)

    @property
    def name_servers(self) -> Mapping[str, IPv4Address]:
        """The names the zones give to their servers: dns1 is the primary, dns2 the secondary."""
        return {
            self.fqdn("dns1"): self.nodes[self.dns.primary].address,
            self.fqdn("dns2"): self.nodes[self.dns.secondary].address,
        }

    @property
    def hosts(self) -> Mapping[str, IPv4Address]:
        """Complete name to address of all that has both an A and a PTR: nodes, gateway, floating address."""
        return {self.fqdn(node.name): node.address for node in self.nodes.values()} | {
            self.fqdn("dgw"): self.network.gateway,
            self.fqdn("float"): self.network.floating,
        }

    @property
    def forward_records(self) -> tuple[Record, ...]:
        """Every A, MX, TXT and CNAME record of the forward zone (SOA and NS follow from `dns`)."""
        addresses = {**self.hosts, **self.name_servers}
        return (
            *(Record.model_construct(name=n, type="A", value=str(a), priority=None) for n, a in addresses.items()),
            *self.dns.records,
        )

    @property
    def pointers(self) -> Mapping[str, str]:
        """Every PTR record of the reverse zone: complete name of the address to complete name of the host."""
        return {address.reverse_pointer: name for name, address in self.hosts.items()}
