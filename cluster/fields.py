"""The kinds of value an inventory is written in: each turns what the YAML says into a value, or says why not.

A complaint is a ValueError whose text reads "what is wrong; remedy".  Nothing here knows about lines or keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator

T = TypeVar("T")

SERVICES = frozenset({"dhcp", "dns", "vip", "ntp", "tftp", "http", "k3s", "tcp"})
"""The services whose outages something can be claimed about: those that an experiment looks at."""
FAULTS: Mapping[str, tuple[str, ...]] = {
    "kill": (),
    "reset": (),
    "reboot": (),
    "hang": (),
    "unplug": (),
    "stop": ("unit",),
    "crash": ("unit",),
    "freeze": ("unit",),
    "sigkill": ("unit",),
    "partition": ("peer",),
    "wake": (),
    "rogue": (),
}
"""The faults that something can be claimed about, and what a claim has to say besides the node that is lost."""
NEVER = frozenset({"two-owners", "duplicate-lease", "wrong-answer", "rogue-server"})
"""What a claim can say that never happens."""
REACTIONS = frozenset({"not-ready", "replaced"})
"""What a claim can say that K3s does about an agent that is lost: take it for lost, and replace its pods."""
TRACKED = frozenset({"dns", "tftp", "http"})
"""What a node can be asked for, by itself, before it holds the floating address."""
ADMIN_GROUPS = ("deployer", "lanservices")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a host name label: RFC 1123 section 2.1
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([a-zA-Z]*)")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_OPENING = re.compile(r"(tcp|udp)/([1-9][0-9]{0,4})")
_IMPORTABLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


def show(value: object) -> str:
    """A value as it may be quoted in a one-line message: printable, and never long."""
    text = repr(value) if not isinstance(value, str) else f"'{value}'"
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 60 else text[:57] + "..."


def text(value: object) -> str:
    """Some printable ASCII on one line, at most 255 characters, without quotes or backslashes."""
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {show(value)}; put it in quotes")
    if not value or len(value) > 255 or not (value.isascii() and value.isprintable()) or set(value) & set("\"'\\"):
        raise ValueError(
            f"cannot be {show(value)}; write up to 255 printable ASCII characters, no quotes or backslashes"
        )
    return value


def pattern(expression: str, remedy: str) -> Callable[[object], str]:
    """A check that text matches `expression` as a whole."""
    compiled = re.compile(expression, re.ASCII)

    def check(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise ValueError(f"cannot be {show(value)}; {remedy}")
        return value

    return check


def whole(low: int, high: int) -> Callable[[object], int]:
    """A check for a whole number between two bounds, both included."""

    def check(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"cannot be {show(value)}; write a whole number from {low} to {high}")
        return value

    return check


def one_of(names: Collection[str], what: str) -> Callable[[object], str]:
    """A check for one of a known set of words."""
    known = ", ".join(sorted(names))

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"unknown {what} {show(value)}; use one of: {known}")
        return value

    return check


def duration(value: object) -> float:
    """Seconds from a number with its unit: ms, s, m, h or d."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"{show(value)} has no unit; write a duration such as {value}s (units: {', '.join(UNITS)})")
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"{show(value)} is not a duration; write for instance 4s, 250ms, 30m, 1h or 7d")
    number, unit = match.groups()
    if unit not in UNITS:
        wrong = f"{unit!r} is not a unit of time" if unit else f"{show(value)} has no unit"
        raise ValueError(f"{wrong}; use one of: {', '.join(UNITS)}")
    # One division for ms, so that 250ms is exactly 0.25
    return float(number) / 1000 if unit == "ms" else float(number) * UNITS[unit]


def whole_duration(low: int, high: int) -> Callable[[object], float]:
    """A check for a duration that is a whole number of seconds between two bounds, both included."""

    def check(value: object) -> float:
        seconds = duration(value)
        if not seconds.is_integer() or not low <= seconds <= high:
            raise ValueError(f"cannot be {show(value)}; write whole seconds, from {low}s to {high}s")
        return seconds

    return check


def address(value: object) -> IPv4Address:
    """An IPv4 address in dotted decimal."""
    try:
        if isinstance(value, str):
            return IPv4Address(value)
    except AddressValueError:
        pass
    raise ValueError(f"{show(value)} is not an IPv4 address; write four numbers from 0 to 255 with dots between")


def network(value: object) -> IPv4Network:
    """An IPv4 network in CIDR notation, of 8 to 29 bits."""
    try:
        if isinstance(value, str) and "/" in value:
            loose = IPv4Network(value, strict=False)
            if not 8 <= loose.prefixlen <= 29:
                raise ValueError(f"/{loose.prefixlen} is not a usable size; write a prefix from /8 to /29")
            if str(loose.network_address) != value.split("/")[0]:
                raise ValueError(f"{show(value)} is an address within a network; write {loose}")
            return loose
    except (AddressValueError, ValueError) as error:
        if ";" in str(error):
            raise
    raise ValueError(f"{show(value)} is not an IPv4 network; write it like 192.168.10.0/24")


def mac(value: object) -> str:
    """A unicast Ethernet address, in lower case."""
    if not isinstance(value, str) or not _MAC.fullmatch(value.lower()):
        raise ValueError(f"{show(value)} is not a MAC address; write six pairs of hex digits like b8:27:eb:00:00:06")
    if int(value[:2], 16) & 1 or not int(value.replace(":", ""), 16):
        raise ValueError(f"{show(value)} is not the address of one machine (multicast or zero); copy it from the node")
    return value.lower()


def domain(value: object) -> str:
    """Two or more labels with dots between (RFC 1034 section 3.5), at most 200 characters."""
    if isinstance(value, str) and len(value) <= 200:
        labels = value.split(".")
        if len(labels) > 1 and all(LABEL.fullmatch(part) for part in labels):
            return value
    raise ValueError(f"{show(value)} is not a domain name; write lower-case labels like b3rry.clust0r")


def record_name(value: object) -> str:
    """A name in a zone; it may end in a dot, then it is complete."""
    if isinstance(value, str) and len(value) <= 200:
        labels = value.removesuffix(".").split(".")
        if all(re.fullmatch(r"_?[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?", part) for part in labels):
            return value
    raise ValueError(f"{show(value)} is not a DNS name; write lower-case labels, with a dot at the end if complete")


def no_dynamic_bootp(value: object) -> bool:
    """Whether BOOTP clients get addresses of the pool: always False, since the pool is one of a failover pair.

    A BOOTP client never gives its address back and knows no lease time, so the peers could not agree how long
    it is taken; dhcpd.conf(5), "failover", refuses to serve such a pool.
    """
    if not isinstance(value, bool):
        raise ValueError(f"cannot be {show(value)}; write false, or leave it out")
    if value:
        raise ValueError(
            "a failover pool cannot serve dynamic BOOTP: such a client has no lease time that the peers could agree on "
            "(dhcpd.conf(5)); write false, and reserve an address for each BOOTP client"
        )
    return value


def driver(value: object) -> str:
    """Something that looks like a module's import path."""
    if not isinstance(value, str) or not _IMPORTABLE.fullmatch(value):
        raise ValueError(f"{show(value)} does not look like a module; write its import path, for instance lab.power")
    return value


class Opening(NamedTuple):
    """A port that somebody may reach: `tcp/53`."""

    protocol: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol}/{self.port}"


#: Services that a group can open by name: their ports, where these are not the inventory's to choose (RFC 1035, 2131,
#: 1350, 5905).
SERVICE_PORTS: Mapping[str, tuple[Opening, ...]] = {
    "dns": (Opening("tcp", 53), Opening("udp", 53)),
    "dhcp": (Opening("udp", 67),),
    "tftp": (Opening("udp", 69),),
    "ntp": (Opening("udp", 123),),
    "http": (),  # http.port
}


def opening(value: object) -> str | Opening:
    """What a group opens: a service by its name, or a port as `tcp/8080`."""
    if isinstance(value, str):
        if value in SERVICE_PORTS:
            return value
        match = _OPENING.fullmatch(value)
        if match and int(match[2]) <= 65535:
            return Opening(match[1], int(match[2]))
    known = ", ".join(SERVICE_PORTS)
    raise ValueError(f"cannot be {show(value)}; write a service ({known}) or a port such as tcp/8080")


def url(value: object) -> str:
    """An https or http address without spaces."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value:
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme in ("http", "https") and parts.hostname:
            return value
    raise ValueError(f"{show(value)} is not a URL; write it like https://host/path/file")


def _label(value: object) -> str:
    if not isinstance(value, str) or not LABEL.fullmatch(value):
        raise ValueError(
            f"{show(value)} is not a host name label; use lower-case letters, digits and hyphens, "
            "63 at most, no hyphen at either end (RFC 1123)"
        )
    return value


def _unique(values: tuple[T, ...]) -> tuple[T, ...]:
    for n, value in enumerate(values):
        if value in values[:n]:
            raise ValueError(f"names {show(value)} twice; remove one")
    return values


def _frozen(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value))


Text = Annotated[str, BeforeValidator(text)]
Label = Annotated[str, BeforeValidator(_label)]
Duration = Annotated[float, BeforeValidator(duration)]
Address = Annotated[IPv4Address, BeforeValidator(address)]
Network = Annotated[IPv4Network, BeforeValidator(network)]
Mac = Annotated[str, BeforeValidator(mac)]
Domain = Annotated[str, BeforeValidator(domain)]
RecordName = Annotated[str, BeforeValidator(record_name)]
Driver = Annotated[str, BeforeValidator(driver)]
Url = Annotated[str, BeforeValidator(url)]
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}"
Folder = Annotated[
    str, BeforeValidator(pattern(rf"(/{_NAME}){{2,6}}", "write an absolute path below another, such as /srv/tftp"))
]
RelativeFile = Annotated[
    str, BeforeValidator(pattern(rf"{_NAME}(/{_NAME}){{0,6}}", "write a path without .. that does not begin with /"))
]
Openings = Annotated[str | Opening, PlainValidator(opening)]
Device = Annotated[
    str, BeforeValidator(pattern(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", "write an interface name such as eth0"))
]
Interface = Annotated[
    str,
    BeforeValidator(pattern(r"[A-Za-z][A-Za-z0-9_.-]{0,13}\*?", "write an interface name such as cni0, or cni*")),
]
Port = Annotated[int, BeforeValidator(whole(1, 65535))]
User = Annotated[
    str,
    BeforeValidator(pattern(r"[a-z_][a-z0-9_-]{0,31}", "write a user name: lower-case letters, digits, _ and -")),
]
Word = Annotated[
    str, BeforeValidator(pattern(r"[A-Za-z0-9_-]{1,63}", "write letters, digits, _ and -, without spaces"))
]
Unique = AfterValidator(_unique)
FrozenMap = Annotated[Mapping[str, T], AfterValidator(_frozen)]
