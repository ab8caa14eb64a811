"""DNS: what a zone changed since a serial, by incremental transfer (RFC 1995)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.probes.dns import PORT, TSIG_ERRORS, Record, Tsig, read_tcp, serial_newer, tsig_reason
from cluster.wait import Deadline

Kind = Literal["none", "incremental", "whole"]


@dataclass(frozen=True)
class Changes:
    """What a server sent: nothing, differences, or the whole zone; the SOA records themselves are left out.

    `removed` and `added` are over all steps of the way; of a whole zone, all records are `added`.
    """

    kind: Kind
    serial: int
    removed: frozenset[Record]
    added: frozenset[Record]


def changes(records: Sequence[Record], serial: int) -> Changes | None:
    """Read the records of an answer to IXFR from `serial`, in their order; None where more must follow.

    RFC 1995 section 4: the newest SOA, then pairs of an old SOA with what went and a new SOA with what came, then
    the newest SOA again.  Raises Malformed for anything else.
    """
    if not records:
        return None
    if records[0][1] != "SOA":
        raise wire.Malformed(f"an incremental transfer begins with {records[0][1]}, not with SOA")
    newest = _serial(records[0])
    if len(records) == 1:
        # Whoever has nothing newer sends just that (section 2); else there is more to come.
        return None if serial_newer(newest, serial) else Changes("none", newest, frozenset(), frozenset())
    if records[1][1] != "SOA":
        if records[-1][1] != "SOA":
            return None
        return Changes("whole", newest, frozenset(), frozenset(records[1:-1]))
    if _serial(records[1]) != serial:
        raise wire.Malformed(f"an incremental transfer from serial {_serial(records[1])}, asked from {serial}")
    removed, added = set[Record](), set[Record]()
    reached: int | None = None  # the serial whose new records are being read; None among the old ones
    for number, record in enumerate(records[2:], 2):
        if record[1] == "SOA":
            if reached is None:
                reached = _serial(record)
            elif reached != newest:
                reached = None
            elif number == len(records) - 1:
                return Changes("incremental", newest, frozenset(removed), frozenset(added))
            else:
                raise wire.Malformed("an incremental transfer goes on after its end")
        elif reached is None:
            added.discard(record)
            removed.add(record)
        else:
            removed.discard(record)
            added.add(record)
    return None


def _serial(record: Record) -> int:
    return int(record[3].split()[2])


def ixfr(
    server: str,
    zone: str,
    serial: int,
    *,
    key: Tsig | None = None,
    deadline: float | Deadline = 5.0,
    port: int = PORT,
) -> Changes:
    """Ask, over TCP, for what changed since `serial`; raises ProbeFailed with the rcode or as `dns.axfr`."""
    end, what = Deadline.of(deadline), f"IXFR {zone} from {serial} @{server}"
    request = dns.message.make_query(zone, "IXFR", use_edns=False)
    request.authority.append(
        dns.rrset.from_text(zone, 0, dns.rdataclass.IN, dns.rdatatype.SOA, f". . {serial} 0 0 0 0")
    )
    if key is not None:
        request.use_tsig(key.key())
    raw, got = request.to_wire(), list[Record]()
    context = None
    try:
        with socket.create_connection((server, port), timeout=max(end.left, 0.001)) as sock:
            sock.sendall(len(raw).to_bytes(2) + raw)
            while True:
                message = dns.message.from_wire(
                    read_tcp(sock, end, what), keyring=request.keyring, request_mac=request.mac, xfr=True,
                    tsig_ctx=context, multi=True, one_rr_per_rrset=True,
                )  # fmt: skip
                context = message.tsig_ctx
                if message.rcode():
                    rcode = dns.rcode.to_text(message.rcode())
                    raise ProbeFailed(f"{what}: {rcode}", reason=rcode)
                got += [
                    (r.name.canonicalize().to_text(), dns.rdatatype.to_text(r.rdtype), r.ttl, r[0].to_text())
                    for r in message.answer
                ]
                if (found := changes(got, serial)) is not None:
                    return found
    except TSIG_ERRORS as error:
        raise ProbeFailed(f"{what}: {error}", reason=tsig_reason(error)) from error
    except OSError as error:
        raise wire.failed(error, what) from error
    except (dns.exception.DNSException, ValueError) as error:
        raise wire.Malformed(f"{what}: {type(error).__name__}: {error}") from error
