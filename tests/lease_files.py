"""Lease files as dhcpd writes them, for property tests: every statement of its writers, in every order and form.

After write_lease, write_host, write_group, write_billing_class and write_failover_state in server/db.c of ISC DHCP
4.4, with the dates, strings and identifiers of common/print.c.  Each piece comes with what it says.
"""

from __future__ import annotations

import calendar
import time
from dataclasses import dataclass

from hypothesis import strategies as st

from cluster.probes.leases import FailoverState, LeaseEntry

STATES = ("free", "active", "expired", "released", "abandoned", "reset", "backup")
FAILOVER_STATES = (
    "unknown-state", "partner-down", "normal", "communications-interrupted", "resolution-interrupted",
    "potential-conflict", "conflict-done", "recover", "recover-done", "recover-wait", "shutdown", "paused", "startup",
)  # fmt: skip
HARDWARE = ("ethernet", "token-ring", "fddi", "infiniband", "unknown-7")
STATEMENTS = """
    if (exists agent.circuit-id) and ("a;}" = option host-name) {
      set a = "}";
    } else {
      execute ("/bin/true", "a\\"b");
    }
"""


@dataclass(frozen=True)
class Piece:
    """One entry of a file: its text, and what it says about a lease or a failover peer, if it does."""

    text: str
    lease: LeaseEntry | None = None
    peer: tuple[str, FailoverState] | None = None


def quoted(raw: bytes) -> str:
    """quotify_buf: printable bytes as they are, quote and backslash escaped, others in octal."""
    return "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in raw
    )


def date(seconds: int | None, local: bool) -> str:
    """print_time: never, the days of the week and UTC, or (`db-time-format local`) the epoch with a comment."""
    if seconds is None:
        return "never;"
    at = time.gmtime(seconds)
    if local:
        return f"epoch {seconds}; {time.strftime('# %a %b %d %H:%M:%S %Y', at)}"
    return time.strftime("%w %Y/%m/%d %H:%M:%S;", at)


DATES = st.one_of(st.none(), st.integers(1, calendar.timegm((2106, 2, 7, 6, 28, 15))))
ADDRESSES = st.ip_addresses(v=4, network="10.0.0.0/30").map(str)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='"\\'), min_size=1, max_size=12)
BYTES = st.binary(min_size=1, max_size=12)
MACS = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))


@st.composite
def lease_entries(draw: st.DrawFn) -> Piece:
    """write_lease."""
    address, state = draw(ADDRESSES), draw(st.sampled_from(STATES))
    local, lines, times = draw(st.booleans()), list[str](), dict[str, float]()
    for what in ("starts", "ends", "tstp", "tsfp", "atsfp", "cltt"):
        if draw(st.booleans()):
            at = draw(DATES)
            lines.append(f"{what} {date(at, local)}")
            times[what] = float("inf") if at is None else float(at)
    lines.append(f"binding state {state};")
    next_state = draw(st.none() | st.sampled_from(STATES))
    lines += [f"next binding state {next_state};"] if next_state else []
    lines += draw(st.sampled_from([[], ["rewind binding state free;"]]))
    lines += draw(st.sampled_from([[], ["reserved;"], ["dynamic-bootp;"], ["reserved;", "dynamic-bootp;"]]))
    lines += draw(st.sampled_from([[], ['billing class "a";'], ['billing subclass "a" 01:02:03;']]))
    mac = draw(st.none() | MACS)
    lines += [f"hardware {draw(st.sampled_from(HARDWARE))} {mac};"] if mac else []
    uid = draw(st.none() | BYTES)
    if uid is not None:  # lease-id-format octal or hex
        lines.append(f'uid "{quoted(uid)}";' if draw(st.booleans()) else f"uid {uid.hex(':')};")
    if draw(st.booleans()):
        lines += [f'set vendor = "{quoted(draw(BYTES))}";', "set number = %-12;", "set flag = true;"]
    if draw(st.booleans()):
        lines.append(f'option agent.circuit-id "{quoted(draw(BYTES))}";')
        lines.append(f"option agent.unknown-9 {draw(BYTES).hex(':')};")
    hostname = draw(st.none() | NAMES)
    lines += [f'client-hostname "{hostname}";'] if hostname else []
    if draw(st.booleans()):
        lines.append(f"on {draw(st.sampled_from(['expiry', 'expiry or release', 'release']))} {{{STATEMENTS}  }}")
    said = LeaseEntry(
        address, state, mac, uid, hostname, times.get("starts"), times.get("ends"),
        times.get("tstp"), times.get("tsfp"), times.get("cltt"), next_state,
    )  # fmt: skip
    return Piece(f"lease {address} {{" + "".join(f"\n  {line}" for line in lines) + "\n}\n", lease=said)


@st.composite
def failover_entries(draw: st.DrawFn) -> Piece:
    """write_failover_state."""
    name, local = draw(st.sampled_from(["pair", "other pair"])), draw(st.booleans())
    (mine, since), (partner, partner_since) = (
        (draw(st.sampled_from(FAILOVER_STATES)), draw(DATES)) for _ in range(2)
    )  # fmt: skip
    text = f'\nfailover peer "{name}" state {{\n  my state {mine} at {date(since, local)}'
    text += f"\n  partner state {partner} at {date(partner_since, local)}"
    text += draw(st.sampled_from(["", "\n  mclt 1800;"])) + "\n}\n"
    at = [float("inf") if one is None else float(one) for one in (since, partner_since)]
    return Piece(text, peer=(name, FailoverState(mine, partner, *at)))


@st.composite
def other_entries(draw: st.DrawFn) -> Piece:
    """What else is in such a file, and says nothing about leases."""
    mac, uid, name = draw(MACS), draw(BYTES), draw(st.sampled_from(["a", "printer-3", "lease"]))
    return Piece(
        draw(
            st.sampled_from(
                [
                    "# The format of this file is documented in the dhcpd.leases(5) manual page.\n",
                    "# authoring-byte-order entry is generated, DO NOT DELETE\nauthoring-byte-order little-endian;\n\n",
                    f'server-duid "{quoted(uid)}";\n\n',
                    f"host {name} {{\n  dynamic;\n  deleted;\n}}\n",
                    f"host {name} {{\n  dynamic;\n  hardware ethernet {mac};\n  uid {uid.hex(':')};\n"
                    f'  fixed-address 10.0.0.1, 10.0.0.2;\n  group "{name}";\n{STATEMENTS}\n}}\n',
                    f"group {name} {{\n  dynamic;\n  static;\n{STATEMENTS}\n}}\n",
                    f'class "{name}" {{\n  match if substring (hardware, 1, 2) = 01:02;\n  lease limit 3;\n}}\n',
                    f'subclass "{name}" "{quoted(uid)}" {{\n  dynamic;\n}}\n',
                    f'subclass "{name}" {uid.hex(":")};\n',
                ]
            )
        )
    )


FILES = st.lists(st.one_of(lease_entries(), failover_entries(), other_entries()), max_size=6)
