"""The inventory: the shipped one says what the cluster is, and every mistake in one is named with its line."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster import fields
from cluster.errors import InputError
from cluster.inventory import OPTIONAL, Claim, Inventory, InventoryError, default_path, load, parse

SHIPPED = default_path().read_text(encoding="utf-8")
WHERE = Path("/somewhere/inventory.yaml")


def mistakes(text: str) -> list[str]:
    """Every line of the complaint about a text, without the file's name; none when it is good."""
    try:
        parse(text, WHERE, shown="inventory.yaml")
    except InventoryError as error:
        lines = str(error).split("\n")
        assert all(re.match(r"inventory\.yaml:\d+: ", line) for line in lines), lines
        return [line.removeprefix("inventory.yaml:") for line in lines]
    return []


def changed(old: str, new: str) -> tuple[str, int]:
    """The shipped text with the one place changed, and the line of that place."""
    assert SHIPPED.count(old) >= 1, old
    at = SHIPPED.index(old)
    return SHIPPED[:at] + new + SHIPPED[at + len(old) :], SHIPPED.count("\n", 0, at) + 1


# What is written instead, the key that is named, words of the complaint; the line is that of the change.
ONE_MISTAKE = [
    # keys
    ("timezone: UTC", "time_zone: UTC", "cluster.time_zone", "unknown key; did you mean timezone?"),
    ("zeta:    {group: compute", "zeta: {grup: compute", "nodes.zeta.grup", "did you mean group?"),
    ("mac: b8:27:eb:00:00:24}", "}", "nodes.zeta.mac", "missing; add `mac: ...`"),
    ("omega:   {group:", "omega: {name: omega, group:", "nodes.omega.name", "word before the colon"),
    ("  beta:    {", "  alpha: {", "nodes.alpha", "written twice, first on line 44; remove one"),
    ("  location: dc1", "  domain: dc1", "cluster.domain", "written twice"),
    ("name: admin", "nmae: admin", "network.operator.nmae", "did you mean name?"),
    ("{name: mail,", "{nam: mail,", "dns.records.1.nam", "did you mean name?"),
    # duplicates
    ("192.168.10.24,", "192.168.10.23,", "nodes.zeta.address", "192.168.10.23 already belongs to epsilon"),
    ("192.168.10.24,", "192.168.10.1,", "nodes.zeta.address", "already belongs to the gateway"),
    ("192.168.10.24,", "192.168.10.111,", "nodes.zeta.address", "already belongs to the floating address"),
    ("192.168.10.24,", "192.168.10.250,", "nodes.zeta.address", "already belongs to the operator"),
    ("b8:27:eb:00:00:24", "B8:27:EB:00:00:23", "nodes.zeta.mac", "b8:27:eb:00:00:23 already belongs to epsilon"),
    ("b8:27:eb:00:00:24", "b8:27:eb:00:00:01", "nodes.zeta.mac", "already belongs to the gateway"),
    ("  zeta: ", "  admin: ", "nodes.admin", "the operator has this name too (line 19"),
    ("  zeta: ", "  float: ", "nodes.float", "given to something else by DNS"),
    # malformed values
    ("b8:27:eb:00:00:24", "b8:27:eb:00:00", "nodes.zeta.mac", "is not a MAC address"),
    ("b8:27:eb:00:00:24", "12-34-56-12-34-56", "nodes.zeta.mac", "is not a MAC address"),
    ("b8:27:eb:00:00:24", "01:00:5e:00:00:12", "nodes.zeta.mac", "multicast"),
    ("192.168.10.24,", "192.168.10.256,", "nodes.zeta.address", "is not an IPv4 address"),
    ("192.168.10.24,", "24,", "nodes.zeta.address", "24 is not an IPv4 address"),
    ("192.168.10.24,", "192.168.10.024,", "nodes.zeta.address", "is not an IPv4 address"),
    ("cidr: 192.168.10.0/24", "cidr: 192.168.10.5/24", "network.cidr", "write 192.168.10.0/24"),
    ("cidr: 192.168.10.0/24", "cidr: 192.168.10.0/31", "network.cidr", "prefix from /8 to /29"),
    ("cidr: 192.168.10.0/24", "cidr: 192.168.10.0", "network.cidr", "is not an IPv4 network"),
    ("  zeta: ", "  Zeta: ", "nodes.Zeta", "not a host name label"),
    ("  zeta: ", "  ze_ta: ", "nodes.ze_ta", "not a host name label"),
    ("  zeta: ", "  -zeta: ", "nodes.-zeta", "not a host name label"),
    ("driver: lab.power", "driver: lab/power.py", "power.driver", "does not look like a module"),
    ("driver: lab.power", "driver: 7", "power.driver", "does not look like a module"),
    ("ssh_ports: [22]", "ssh_ports: []", "groups.openwrt.ssh_ports", "name one at least"),
    ("ssh_ports: [22]", "ssh_ports: [2222]", "groups.openwrt.ssh_ports", "lacks 22, by which the harness logs in"),
    ("ssh_ports: [22]", "ssh_ports: [2222, 22]", "groups.openwrt.ssh_ports", "only the first is opened; put 22 there"),
    ("ssh_ports: [22, 2220]", "ssh_ports: [2220]", "groups.lanservices.ssh_ports", "lacks 22, by which the harness"),
    ("ssh_ports: [22]", "ssh_ports: 22", "groups.openwrt.ssh_ports", "is 22, not a list"),
    ("ssh_ports: [22]", "ssh_ports: [22, 22]", "groups.openwrt.ssh_ports", "names 22 twice"),
    ("ssh_ports: [22]", "ssh_ports: [70000]", "groups.openwrt.ssh_ports.0", "from 1 to 65535"),
    # the firewall
    ("open: [dns,", "open: [dnss,", "groups.lanservices.open.0", "write a service (dns, dhcp, tftp, ntp, http) or"),
    ("open: [dns,", "open: [tcp/70000, dns,", "groups.lanservices.open.0", "such as tcp/8080"),
    ("open: [dns,", "open: [tcp/53, dns,", "groups.lanservices.open.0", "tcp/53 is the port of dns; write dns"),
    ("open: [dns,", "open: [tcp/1080, dns,", "groups.lanservices.open.0", "tcp/1080 is the port of http; write http"),
    ("open: [dns,", "open: [tcp/2220, dns,", "groups.lanservices.open.0", "a port of SSH, which is open already"),
    ("open: [dns, dhcp,", "open: [dns,", "groups.lanservices.open", "lacks dhcp, which its nodes serve"),
    ("trust: [lanservices]", "trust: [compute]", "groups.lanservices.trust", "come from the partner; add it"),
    ("trust: [deployer,", "trust: [deploier,", "groups.compute.trust.0", "did you mean deployer?"),
    ("[cni*,", "['cni 0',", "groups.compute.trust_interfaces.0", "write an interface name such as cni0"),
    ("ssh_from: [10.0.0.0/8", "ssh_from: [10.0.0.1/8", "groups.deployer.ssh_from.0", "write 10.0.0.0/8"),
    ("addressing: static", "addressing: statik", "groups.openwrt.addressing", "use one of: dhcp, static"),
    ("{addressing: static, ssh_ports: [22], system", "{addressing: static, ssh_ports: [22], interface: e/0, system",
     "groups.openwrt.interface", "write an interface name"),
    ("deployer:    {", "deployer:    {interface: eth1, ", "groups.deployer.interface", "is for routers"),
    ("interface: eth0", "interface: eth 0", "network.interface", "write an interface name"),
    ("split: 128", "split: true", "dhcp.split", "whole number from 0 to 256"),
    ("split: 128", "split: 257", "dhcp.split", "whole number from 0 to 256"),
    ("port: 647", "port: 0", "dhcp.port", "from 1 to 65535"),
    ("location: dc1", "location: 7", "cluster.location", "not a host name label"),
    ("domain: b3rry.clust0r", "domain: clust0r", "cluster.domain", "is not a domain name"),
    ("login: pi", "login: p i", "users.login", "write a user name"),
    ("first_password: raspberry", "first_password: 7", "users.first_password", "put it in quotes"),
    ("value: testing}", 'value: "a\\"b"}', "dns.records.7.value", "no quotes"),
    ("version: v1.21.2+k3s1, file: k3s-v1", "version: 1.21, file: k3s-v1", "artifacts.k3s.version", "quotes"),
    ("file: k3s-v1.21.2}", "sha256: a, file: k3s}", "artifacts.k3s.sha256", "write 64 lower-case hex digits"),
    ("file: k3s-v1.21.2}", "url: 'https://a.b/c', file: k3s}", "artifacts.k3s.url", "add `sha256: ...`"),
    ("file: k3s-airgap-images-v1.21.2.tar}", "file: k3s-v1.21.2}", "artifacts.k3s-images.file", "is already the file"),
    # K3s
    ("server: epsilon", "server: epsilom", "k3s.server", "did you mean epsilon"),
    ("server: epsilon", "server: psi", "k3s.server", "psi is not of group compute"),
    ("agents: [compute]", "agents: [lanservices]", "k3s.agents.0", "lanservices is not of group compute"),
    ("agents: [compute]", "agents: [eta]", "k3s.agents.0", "unknown node 'eta'"),
    ("binary: k3s ", "binary: k4s ", "k3s.binary", "unknown artifact 'k4s'; did you mean k3s?"),
    ("images: [k3s-images]", "images: [other]", "k3s.images.0", "unknown artifact 'other'"),
    # addresses and the network
    ("192.168.10.24,", "192.168.11.24,", "nodes.zeta.address", "outside the network 192.168.10.0/24"),
    ("192.168.10.24,", "192.168.10.0,", "nodes.zeta.address", "is the network address"),
    ("192.168.10.24,", "192.168.10.255,", "nodes.zeta.address", "is the broadcast address"),
    ("gateway: 192.168.10.1 ", "gateway: 10.0.0.1 ", "network.gateway", "outside the network"),
    ("floating: 192.168.10.111", "floating: 10.0.0.1", "network.floating", "outside the network"),
    ("address: 192.168.10.250", "address: 10.0.0.1", "network.operator.address", "outside the network"),
    # the pool
    ("pool_first: 192.168.10.200", "pool_first: 192.168.10.24", "dhcp.pool_first", "of zeta; move the pool"),
    ("pool_first: 192.168.10.200", "pool_first: 192.168.10.111", "dhcp.pool_first", "of the floating address"),
    ("pool_last: 192.168.10.240", "pool_last: 192.168.10.199", "dhcp.pool_last", "lies before pool_first"),
    ("pool_last: 192.168.10.240", "pool_last: 192.168.11.240", "dhcp.pool_last", "outside the network"),
    ("reserve: [gateway,", "reserve: [gatway,", "dhcp.reserve.0", "did you mean gateway?"),
    ("default_lease: 1h", "default_lease: 2h", "dhcp.default_lease", "longer than max_lease"),
    # durations
    ("advert: 1s", "advert: 1", "vrrp.advert", "1 has no unit; write a duration such as 1s"),
    ("advert: 1s", 'advert: "1"', "vrrp.advert", "has no unit"),
    ("advert: 1s", "advert: 1sec", "vrrp.advert", "'sec' is not a unit of time; use one of: ms, s, m, h, d"),
    ("advert: 1s", "advert: 1S", "vrrp.advert", "'S' is not a unit of time"),
    ("advert: 1s", "advert: -1s", "vrrp.advert", "is not a duration"),
    ("advert: 1s", "advert: 0s", "vrrp.advert", "whole seconds, from 1s to 255s"),
    ("advert: 1s", "advert: 250ms", "vrrp.advert", "whole seconds, from 1s to 255s"),
    ("mclt: 30m", "mclt: soon", "dhcp.mclt", "is not a duration"),
    ("ttl: 7d", "ttl: 7w", "dns.ttl", "'w' is not a unit of time"),
    ("budget: 4s}", "budget: 4}", "claims.0.budget", "has no unit"),
    # who serves
    ("primary: alpha", "primary: alhpa", "dhcp.primary", "unknown node 'alhpa'; did you mean alpha"),
    ("secondary: beta", "secondary: alpha", "dhcp.secondary", "is 'alpha' like the primary"),
    ("secondary: beta", "secondary: gamma", "dhcp.secondary", "gamma is in group compute"),
    ("beta: 90}", "zeta: 90}", "vrrp.priorities.zeta", "zeta is in group compute"),
    ("beta: 90}", "bta: 90}", "vrrp.priorities.bta", "unknown node 'bta'"),
    ("beta: 90}", "beta: 255}", "vrrp.priorities.beta", "whole number from 1 to 254"),
    ("beta: 90}", "beta: 0}", "vrrp.priorities.beta", "whole number from 1 to 254"),
    ("beta: 90}", "beta: 100}", "vrrp.priorities.beta", "already the priority of alpha"),
    (", beta: 90}", "}", "vrrp.priorities", "name two nodes at least"),
    ("{alpha: 100, beta: 90}", "[alpha, beta]", "vrrp.priorities", "not a mapping"),
    ("router_id: 51", "router_id: 256", "vrrp.virtual_router_id", "from 1 to 255"),
    ("router_id: 51", "router_id: 0", "vrrp.virtual_router_id", "from 1 to 255"),
    ("servers: [alpha, beta]", "servers: [alpha, psi]", "ntp.servers.1", "psi is in group deployer"),
    ("servers: [alpha, beta]", "servers: []", "ntp.servers", "name one at least"),
    ("witnesses: [gamma, delta]", "witnesses: [gamma, detla]", "ntp.witnesses.1", "did you mean delta"),
    ("witnesses: [gamma, delta]", "witnesses: [gamma, alpha]", "ntp.witnesses.1", "alpha is a server of time already"),
    ("witnesses: [gamma, delta]", "witnesses: [gamma, gamma]", "ntp.witnesses", "names 'gamma' twice"),
    ("witnesses: [gamma, delta]", "witnesses: [gamma]", "ntp.witnesses", "name two at least, or none"),
    ("minpoll: 4 ", "minpoll: 7 ", "ntp.minpoll", "is more than maxpoll"),
    ("maxpoll: 6 ", "maxpoll: 64s ", "ntp.maxpoll", "write a whole number from -4 to 17"),
    ("max_change: 100ms", "max_change: 1", "ntp.max_change", "has no unit"),
    ("doubt: 1h", "doubt: 0s", "ntp.doubt", "whole seconds, from 1s"),
    ("{minpoll: -1, maxpoll: -1}", "{minpoll: 7}", "profiles.short.ntp", "makes minpoll more than maxpoll"),
    ("group: openwrt", "group: openwart", "nodes.omega.group", "unknown group 'openwart'; did you mean openwrt?"),
    # booting from the network
    ("mclt: 30m", "dynamic_bootp: true\n  mclt: 30m", "dhcp.dynamic_bootp", "failover pool cannot serve"),
    ("mclt: 30m", "dynamic_bootp: some\n  mclt: 30m", "dhcp.dynamic_bootp", "cannot be 'some'; write false"),
    ("[gateway, operator", "[gateway, operators", "dhcp.reserve.1", "unknown group 'operators'; did you mean operator"),
    ("root: /srv/tftp", "root: srv/tftp", "tftp.root", "write an absolute path below another"),
    ("root: /srv/tftp", "root: /", "tftp.root", "write an absolute path below another"),
    ("root: /srv/tftp", "root: /srv/../etc", "tftp.root", "write an absolute path below another"),
    ("boot_file: pxelinux", "boot_file: ../pxelinux", "tftp.boot_file", "write a path without .."),
    ("boot_file: pxelinux", "boot_file: /pxelinux", "tftp.boot_file", "write a path without .."),
    ("port: 1080", "port: 0", "http.port", "write a whole number from 1 to 65535"),
    ("chroot: /opt/chroot_bb", "chroot: /", "http.chroot", "write an absolute path below another"),
    ("user: bbweb", "user: BB", "http.user", "write a user name"),
    # claims
    ("losing: beta, ", "losing: betta, ", "claims.5.losing", "unknown node 'betta'; did you mean beta"),
    ("service: tcp,", "service: tpc,", "claims.1.service", "unknown service 'tpc'; use one of: dhcp"),
    ("{losing: alpha,", "{losing: alpha, fault: melt,", "claims.0.fault", "unknown fault 'melt'; use one of: "),
    # DNS records
    ("value: mail, priority: 10", "value: mail", "dns.records.0.priority", "an MX record needs one"),
    ("value: float}", "value: float, priority: 1}", "dns.records.2.priority", "remove it"),
    ("value: 192.168.10.111}", "value: float}", "dns.records.1.value", "is not an IPv4 address"),
    ("name: mail,", "name: mail.example.org.,", "dns.records.1.name", "outside the zone clust0r"),
    ("type: CNAME", "type: ALIAS", "dns.records.2.type", "unknown record type 'ALIAS'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "key", "words"), ONE_MISTAKE, ids=[f"{k}-{n[:24]}" for _, n, k, _ in ONE_MISTAKE]
)
def test_a_mistake_is_one_line_with_its_place_and_remedy(old: str, new: str, key: str, words: str) -> None:
    text, line = changed(old, new)
    found = [m for m in mistakes(text) if m.startswith(f"{line}: {key}: ") and words in m]
    assert len(found) == 1, mistakes(text)
    assert ";" in found[0], "a complaint without a remedy"


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = SHIPPED
    for old, new in (("timezone: UTC", "timezone: 7"), ("192.168.10.24,", "10.0.0.24,"), ("ttl: 7d", "ttl: 7"),
                     ("group: openwrt", "group: x"), ("service: tcp", "service: tpc")):  # fmt: skip
        assert old in text
        text = text.replace(old, new, 1)
    keys = [m.split(": ")[1] for m in mistakes(text)]
    assert keys == ["cluster.timezone", "nodes.omega.group", "nodes.zeta.address", "dns.ttl", "claims.1.service"]


def test_a_claim_made_twice_names_the_first() -> None:
    text, line = changed("{losing: alpha, service: tcp,  budget: 4s}", "{losing: beta, service: ntp, budget: 1s}")
    first = line + 5
    assert mistakes(text) == [
        f"{first}: claims.5: claim losing-beta-ntp is already on line {line}; remove one or name it"
    ]
    assert mistakes(text.replace("budget: 1s}", "budget: 1s, name: beta-ntp-slow}", 1)) == []


def test_a_mistake_in_one_place_does_not_make_others_look_wrong() -> None:
    text, _ = changed("mac: b8:27:eb:00:00:06}", "mac: oops}")
    assert len(mistakes(text)) == 1, "alpha is known, though its line is wrong"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is empty; write the sections"),
        ("# only a comment\n", 1, "is empty"),
        ("- a\n- b\n", 1, "is not a mapping"),
        ("just words", 1, "is not a mapping"),
        ("cluster:\n  name: x\n domain: y\n", 3, "not YAML"),
        ("cluster:\n\tname: x\n", 2, "not YAML"),
        ("cluster: [1\nnodes: 2\n", 2, "not YAML"),
        ("a: 'open\n", 2, "not YAML"),
        ("a: 1\nb: &x 2\nc: *x\n", 3, "alias *x is not supported"),
        ("a: 1\nb: !!python/object/apply:os.getcwd []\n", 2, "tag "),
        ("a: 1\n---\nb: 2\n", 2, "single document"),
        ("a: 1\nb: \x07\n", 2, "control character"),
        ("a:\n  ? [1, 2]\n  : 3\n", 2, "a key that is a list"),
        ("[" * 100_000, 1, "nested deeper than 32"),
        ("a: {" * 500, 1, "nested deeper than 32"),
    ],
)
def test_what_is_not_an_inventory_is_told_in_one_line(text: str, line: int, words: str) -> None:
    assert any(m.startswith(f"{line}: ") and words in m for m in mistakes(text)), mistakes(text)


@pytest.mark.parametrize("section", [n for n in yaml.safe_load(SHIPPED) if n not in OPTIONAL])
def test_each_section_is_required_and_named_when_missing(section: str) -> None:
    text = re.sub(rf"(?ms)^{section}:.*?(?=^\S)", "", SHIPPED)
    assert [m for m in mistakes(text) if m.startswith(f"1: {section}: missing; add a section")], mistakes(text)


def without(section: str, text: str) -> str:
    """A text without one of its sections."""
    return re.sub(rf"(?ms)^{section}:.*?(?=^\S|\Z)", "", text)


@pytest.mark.parametrize("section", OPTIONAL)
def test_a_cluster_may_do_without_these_sections(section: str) -> None:
    text = SHIPPED
    if section in ("k3s", "artifacts"):  # what is of K3s goes with it
        text = re.sub(r"(?m)^  - {losing: .*\bk3s\b.*\n", "", text if section == "k3s" else without("k3s", text))
    assert mistakes(without(section, text)) == []
    assert mistakes(re.sub(rf"(?ms)^{section}:.*?(?=^\S|\Z)", f"{section}:\n", text)) == []


def test_files_that_cannot_be_read_are_told_with_the_remedy(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path, "no\0name", "x" * 5000):
        with pytest.raises(InventoryError, match="--inventory") as caught:
            load(path)
        assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: 2\nc: caf\xe9\n")
    with pytest.raises(InventoryError, match=r"latin\.yaml:3: not UTF-8 text"):
        load(tmp_path / "latin.yaml")


def test_the_shipped_inventory_is_the_cluster() -> None:
    inventory = load()
    groups = {name: [n.name for n in inventory.group(name)] for name in inventory.groups}
    assert groups == {
        "openwrt": ["omega"],
        "deployer": ["psi"],
        "lanservices": ["alpha", "beta"],
        "compute": ["gamma", "delta", "epsilon", "zeta"],
    }
    assert [int(n.address) & 255 for n in inventory.nodes.values()] == [2, 5, 6, 8, 21, 22, 23, 24]
    assert all(n.mac.startswith("b8:27:eb:") for n in inventory.nodes.values())
    assert inventory.network.cidr == IPv4Network("192.168.10.0/24")
    assert str(inventory.network.floating) == "192.168.10.111"
    assert inventory.network.reverse_zone == "10.168.192.in-addr.arpa"
    assert inventory.cluster.zone == "clust0r"
    assert inventory.fqdn("alpha") == "alpha.dc1.b3rry.clust0r"
    assert (inventory.dhcp.mclt, inventory.dhcp.max_lease, inventory.dhcp.load_balance_max) == (1800, 3600, 4)
    assert dict(inventory.vrrp.priorities) == {"alpha": 100, "beta": 90}
    assert inventory.dns.expire == 2419200 and isinstance(inventory.dns.expire, int)
    assert inventory.root == default_path().parent and inventory.state == inventory.root / ".state"
    assert {(c.losing, c.service) for c in inventory.claims if c.kind == "outage"} == {
        (node, service) for node in inventory.nodes for service in ("vip", "tcp", "tftp", "http", "dns", "ntp", "dhcp")
    } | {(node.name, "k3s") for node in inventory.group("compute")}
    never = {"two-owners", "duplicate-lease", "wrong-answer", "rogue-server"}
    assert {c.service for c in inventory.claims if c.kind == "never" and c.losing == "beta"} == never
    assert [c.name for c in inventory.claims if c.kind == "recovery"] == [
        "losing-alpha-recovery",
        "losing-beta-recovery",
    ]


def test_a_claim_about_a_group_is_one_about_each_of_its_nodes(tmp_path: Path) -> None:
    text = default_path().read_text(encoding="utf-8")
    head = text[: text.index("claims:")]
    written = "claims:\n  - {losing: deployer, service: vip, budget: 0s}\n"
    written += "  - {losing: compute, service: vip, budget: 0s, name: any}\n"
    claims = parse(head + written, tmp_path / "inventory.yaml").claims
    assert [claim.name for claim in claims] == ["losing-psi-vip", "any-gamma", "any-delta", "any-epsilon", "any-zeta"]
    assert [claim.losing for claim in claims] == ["psi", "gamma", "delta", "epsilon", "zeta"]
    twice = "  - {losing: psi, service: vip, budget: 1s}\n"
    with pytest.raises(InventoryError, match=r"claims\.2: claim losing-psi-vip is already on line"):
        parse(head + written + twice, tmp_path / "inventory.yaml")


def claims_of(line: str) -> tuple[Claim, ...]:
    text = default_path().read_text(encoding="utf-8")
    return parse(f"{text[: text.index('claims:')]}claims:\n  - {line}\n", WHERE).claims


def test_a_line_makes_a_claim_for_each_thing_that_it_promises() -> None:
    found = claims_of("{losing: beta, fault: crash, unit: keepalived, service: [vip, dns], budget: 2s}")
    assert [(c.name, c.experiment) for c in found] == [
        ("crash-beta-keepalived-vip", ("crash", "beta", "keepalived")),
        ("crash-beta-keepalived-dns", ("crash", "beta", "keepalived")),
    ]
    (never,) = claims_of("{losing: alpha, fault: partition, peer: beta, never: duplicate-lease}")
    assert never.promise == "never duplicate-lease" and never.experiment == ("partition", "alpha", "beta")
    (back,) = claims_of("{losing: psi, recovery: 1m, name: soon}")
    assert (back.name, back.promise) == ("soon", "all is proven back within 60 s")
    two = claims_of("{losing: psi, never: [two-owners, wrong-answer], budget: 2s, name: calm}")
    assert [c.name for c in two] == ["calm-two-owners", "calm-wrong-answer"]
    assert two[0].promise == "never two-owners for more than 2 s"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "{losing: alpha, budget: 2s}",
            "claims nothing, or several things; write one of service, recovery, never and k3s",
        ),
        ("{losing: alpha, service: vip}", "has no budget; say how long"),
        ("{losing: alpha, recovery: 9s, budget: 2s}", "has a budget besides recovery"),
        ("{losing: alpha, recovery: 9s, never: two-owners}", "claims nothing, or several things"),
        ("{losing: alpha, never: two-oners}", "unknown event 'two-oners'; use one of: duplicate-lease"),
        ("{losing: alpha, service: [], budget: 2s}", "unknown service"),
        ("{losing: alpha, fault: crash, service: vip, budget: 2s}", "does not fit fault crash; write unit: ..."),
        ("{losing: alpha, unit: named, service: dns, budget: 2s}", "does not fit fault kill; remove unit"),
        ("{losing: alpha, fault: partition, peer: bet, recovery: 2s}", "claims.0.peer: unknown node 'bet'"),
        ("{losing: alpha, fault: smoke, recovery: 2s}", "unknown fault 'smoke'; use one of: crash"),
        ("{losing: alpha, service: ssh, budget: 2s}", "unknown service 'ssh'; use one of: dhcp, dns, http, k3s, ntp, "),
        ("{losing: zeta, service: [dns, mpi], budget: 2s}", "unknown service 'mpi'; use one of: "),
        ("{losing: zeta, service: distcc, budget: 2s}", "unknown service 'distcc'; use one of: "),
        ("{losing: alpha, fault: wake, recovery: 2s}", "claims.0.losing: alpha is no router, and only a router can"),
        ("{losing: compute, fault: wake, recovery: 2s}", "claims.0.losing: gamma is no router, and only a router can"),
        ("{losing: omega, fault: rogue, recovery: 2s}", "claims.0.losing: omega is a router, which cannot be made rog"),
        ("{losing: openwrt, fault: rogue, recovery: 2s}", "claims.0.losing: omega is a router, which cannot be made r"),
        ("{losing: alpha, fault: partition, peer: alpha, recovery: 2s}", "alpha cannot be parted from itself; name a"),
        ("{losing: lanservices, fault: partition, peer: beta, recovery: 2s}", "claims.0.peer: beta cannot be parted"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_a_mistake(line: str, words: str) -> None:
    with pytest.raises(InventoryError) as caught:
        claims_of(line)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_follows_from_the_file_is_derived_once() -> None:
    inventory = load()
    nodes = ("psi", "alpha", "beta", "gamma", "delta", "epsilon", "zeta")
    assert set(inventory.dhcp.reservations) == {"dgw", "admin", *nodes} == {"dgw", "admin", *inventory.debian}
    assert set(inventory.routers) == {"omega"} and set(inventory.bootstrapped) == {"psi", "alpha", "beta"}
    assert inventory.dhcp.reservations["zeta"] == ("b8:27:eb:00:00:24", IPv4Address("192.168.10.24"))
    assert inventory.pointers["6.10.168.192.in-addr.arpa"] == "alpha.dc1.b3rry.clust0r"
    assert inventory.pointers["111.10.168.192.in-addr.arpa"] == "float.dc1.b3rry.clust0r"
    assert len(inventory.pointers) == 10
    records = {(r.name, r.type): r.value for r in inventory.forward_records}
    assert records["clust0r", "MX"] == "mail.dc1.b3rry.clust0r"
    assert records["lansrv.b3rry.clust0r", "CNAME"] == "float.dc1.b3rry.clust0r"
    assert records["dns2.dc1.b3rry.clust0r", "A"] == "192.168.10.8"
    assert records["txttest.dc1.b3rry.clust0r", "TXT"] == "txttest rpi_cluster_test"
    assert [n.name for n in inventory.partner("alpha")] == ["beta"]
    assert [n.name for n in inventory.partner(inventory.node("gamma"))] == ["delta", "epsilon", "zeta"]
    assert inventory.partner("psi") == ()


def test_names_that_are_not_there_are_answered_with_those_that_are() -> None:
    inventory = load()
    with pytest.raises(InputError, match="no node named alfa; known: omega, psi, alpha"):
        inventory.node("alfa")
    with pytest.raises(InputError, match="no group named lan; known: openwrt"):
        inventory.group("lan")


def test_adding_a_compute_node_is_one_line() -> None:
    line = "  eta: {group: compute, address: 192.168.10.25, mac: b8:27:eb:00:00:25}\n"
    text, _ = changed("\ndhcp: ", "\n" + line + "dhcp: ")
    grown = parse(text.replace("\n\n" + line, "\n" + line), WHERE)
    assert [n.name for n in grown.group("compute")] == ["gamma", "delta", "epsilon", "zeta", "eta"]
    assert str(grown.dhcp.reservations["eta"].address) == "192.168.10.25"
    assert grown.pointers["25.10.168.192.in-addr.arpa"] == "eta.dc1.b3rry.clust0r"


def test_a_mac_of_digits_needs_no_quotes() -> None:
    text, _ = changed("b8:27:eb:00:00:24", "12:34:56:12:34:56")
    assert parse(text, WHERE).node("zeta").mac == "12:34:56:12:34:56"


def test_an_inventory_is_frozen() -> None:
    inventory = load()
    with pytest.raises(ValidationError):
        inventory.cluster.name = "other"
    with pytest.raises(TypeError):
        inventory.nodes["alpha"] = inventory.nodes["beta"]  # type: ignore[index]
    with pytest.raises(TypeError):
        inventory.vrrp.priorities["alpha"] = 1  # type: ignore[index]
    assert hash(inventory) == hash(load()) and inventory == load()
    assert len({*inventory.nodes.values()}) == 8


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("4s", 4.0), ("250ms", 0.25), ("0s", 0.0), ("1.5s", 1.5), ("30m", 1800.0), ("1h", 3600.0), ("7d", 604800.0)],
)
def test_durations_are_seconds(written: str, seconds: float) -> None:
    assert fields.duration(written) == seconds


@pytest.mark.parametrize("prefix", [8, 12, 16, 20, 23, 24, 26, 29])
def test_the_reverse_zone_holds_the_network(prefix: int) -> None:
    cidr = IPv4Network(f"10.20.30.0/{prefix}", strict=False)
    plan = load().network.model_copy(update={"cidr": cidr})
    for address in (cidr[0], cidr[-1]):
        assert address.reverse_pointer.endswith("." + plan.reverse_zone)


def verdict(text: str) -> Inventory | InventoryError:
    """What reading a text comes to; anything but these two is the bug that the properties below look for."""
    try:
        return parse(text, WHERE, shown="inventory.yaml")
    except InventoryError as error:
        for line in str(error).split("\n"):
            assert re.match(r"inventory\.yaml:\d+: .", line) and line.isprintable(), line
        return error


@given(st.text(max_size=300))
@example("\ufeff")
@example("<<: {a: 1}")
@example("? ")
@example("a: 0x")
@example("1e999: .5e999")
@example("%YAML 9.9\n---\n")
def test_no_text_at_all_makes_a_traceback(text: str) -> None:
    verdict(text)


LINES = SHIPPED.splitlines(keepends=True)
values = st.one_of(
    st.sampled_from(
        ["[]", "{}", "~", "''", "0", "-1", "true", "1.5", "alpha", "10.0.0.1", "4s", "[[a]]", "{a: b}", "*a", "!x"]
    ),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_edit_of_an_inventory_makes_a_traceback(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["drop", "double", "value", "inner", "swap", "indent"]))
        if what == "drop":
            del lines[at]
        elif what == "double":
            lines.insert(at, lines[data.draw(st.integers(0, len(lines) - 1))])
        elif what == "value":
            lines[at] = lines[at].split(":")[0] + ": " + data.draw(values) + "\n"
        elif what == "inner":
            parts = re.split(r"(?<=: )([^,:{}\n]+)", lines[at])
            n = data.draw(st.integers(0, len(parts) - 1))
            lines[at] = "".join(parts[:n]) + data.draw(values) + "".join(parts[n + 1 :])
        elif what == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = " " + lines[at]
    verdict("".join(lines))


tree = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["alpha", "4s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(yaml.safe_load(SHIPPED))), st.data())
def test_no_value_in_any_place_makes_a_traceback(section: str, data: st.DataObject) -> None:
    whole = yaml.safe_load(SHIPPED)
    place: Any = whole
    key: Any = section
    while isinstance(place, (dict, list)):
        inner = place[key]
        deeper = (
            sorted(inner) if isinstance(inner, dict) else list(range(len(inner))) if isinstance(inner, list) else []
        )
        if not deeper or data.draw(st.booleans()):
            break
        place, key = inner, data.draw(st.sampled_from(deeper))
    place[key] = data.draw(tree)
    verdict(yaml.safe_dump(whole, allow_unicode=True))


def test_a_claim_can_name_the_faults_that_there_are() -> None:
    """And each has the arguments that a claim gives it."""
    from chaos.faults import FAULTS

    claimed = {name: tuple(map(str.lower, kind.arguments)) for name, kind in FAULTS.items() if kind.claimed}
    assert claimed == {name: ("node", *more) for name, more in fields.FAULTS.items()}
