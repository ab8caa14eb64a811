"""What BIND's own tools and logs say, read: rndc(8) zonestatus, dig(1), named-checkconf(8), the log of transfers.

They explain; what a server answers on the wire decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from cluster.probes.wire import Malformed

ZONES = "/etc/bind/zones/master/db."
"""Where the primary has its zones, each with its name behind (provision/lanservices)."""
XFER_LOG = "/var/log/named/xfer.log"
"""Where transfers and notifications are logged."""


@dataclass(frozen=True)
class ZoneStatus:
    """One zone as a server has it; a secondary's `refresh` and `expires` are epoch seconds, a primary has none."""

    serial: int | None
    refresh: float | None
    expires: float | None


@dataclass(frozen=True)
class Transferred:
    """One transfer that a server began to give: to whom, which zone, how, and between which serials."""

    to: str
    zone: str
    kind: str
    """`IXFR`, `AXFR`, or `AXFR-style IXFR` when asked for differences and giving the whole."""
    old: int | None
    serial: int


def zone_status(text: str) -> ZoneStatus:
    """Read `rndc zonestatus`; raises Malformed where it speaks of no zone."""
    fields = dict(re.findall(r"^([a-z ]+): (.*)$", text, re.M))
    if "type" not in fields:
        raise Malformed(f"rndc zonestatus: {text.strip()[:120]!r}")
    when = {key: parsedate_to_datetime(fields[key]).timestamp() for key in ("next refresh", "expires") if key in fields}
    serial = fields.get("serial")
    return ZoneStatus(int(serial) if serial else None, when.get("next refresh"), when.get("expires"))


def dug(text: str) -> tuple[str, frozenset[str]]:
    """The rcode and the flags of the answer that dig printed; raises Malformed where there was none."""
    status = re.search(r"^;; ->>HEADER<<-.* status: ([A-Z]+),", text, re.M)
    flags = re.search(r"^;; flags: ([a-z ]*);", text, re.M)
    if not status or not flags:
        raise Malformed(f"dig: {text.strip()[-160:]!r}")
    return status[1], frozenset(flags[1].split())


def setting(text: str, name: str) -> int | None:
    """The first number that a configuration gives to an option, s for timers; None where it says nothing."""
    found = re.search(rf"^\s*{re.escape(name)} (\d+);", text, re.M)
    return int(found[1]) if found else None


def given(text: str) -> tuple[Transferred, ...]:
    """The transfers that a log of category xfer-out says have begun, in order."""
    found = re.finditer(
        r"client (?:@\S+ )?([0-9.]+)#\d+.*: transfer of '([^/']+)/IN': (AXFR-style IXFR|IXFR|AXFR) started.*"
        r"\(serial (?:(\d+) -> )?(\d+)\)",
        text,
    )
    return tuple(Transferred(m[1], f"{m[2]}.", m[3], int(m[4]) if m[4] else None, int(m[5])) for m in found)


def notified(text: str) -> tuple[tuple[str, str], ...]:
    """The notifications that a log says came in: from which address, of which zone."""
    found = re.findall(r"client (?:@\S+ )?([0-9.]+)#\d+.*: received notify for zone '([^']+)'", text)
    return tuple((address, f"{zone}.") for address, zone in found)


def zone_file_serial(text: str) -> int | None:
    """The serial in a zone file as the provisioner writes it; None where there is none."""
    found = re.search(r"^@ IN SOA .*\( (\d+) ", text, re.M)
    return int(found[1]) if found else None
