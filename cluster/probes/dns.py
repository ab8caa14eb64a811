"""DNS: one question to one server, a stub resolver, zone transfers, and serial arithmetic.

`build` and `parse` are pure, so that an observer can send and match from a selector loop of its own.
Names and record data are in dnspython's text form: absolute, with the final dot, names in lower case.
"""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update
import dns.xfr
import dns.zone

from cluster.errors import ProbeFailed
from cluster.probes import wire
from cluster.wait import Deadline

PORT = 53
T = TypeVar("T")
TSIG_ERRORS = (
    dns.tsig.PeerError,
    dns.tsig.BadSignature,
    dns.tsig.BadKey,
    dns.tsig.BadTime,
    dns.message.UnknownTSIGKey,
)
Record = tuple[str, str, int, str]  # name, type, ttl in s, data


@dataclass(frozen=True)
class Tsig:
    """A transaction key (RFC 8945); the secret is base64 (else ValueError) and never printed."""

    name: str
    secret: str
    algorithm: str = "hmac-sha256"

    def __post_init__(self) -> None:
        base64.b64decode(self.secret, validate=True)  # dnspython would sign with whatever it is given

    def __repr__(self) -> str:
        return f"Tsig({self.name!r}, {self.algorithm})"

    def key(self) -> dns.tsig.Key:
        """The key as dnspython wants it."""
        return dns.tsig.Key(self.name, self.secret, self.algorithm)


@dataclass(frozen=True)
class Answer:
    """One response: rcode by name, flags, the data of the asked type (sorted), and s until it came.

    `section` is the whole answer section and `authority` the next one, as (name, type, ttl, data), sorted.
    """

    rcode: str
    aa: bool
    ra: bool
    records: tuple[str, ...]
    seconds: float
    section: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Message:
    """One parsed response; match `id` and `question` (name, type) with what was asked."""

    id: int
    response: bool
    question: tuple[str, str] | None
    rcode: str
    aa: bool
    ra: bool
    tc: bool
    section: tuple[Record, ...]
    authority: tuple[Record, ...]

    def answers(self, request: bytes) -> bool:
        """Whether this is the response to those bytes of `build` (RFC 5452 section 9.1)."""
        return self.response and request[:2] == self.id.to_bytes(2) and self.question == _asked(request)

    def answer(self, seconds: float) -> Answer:
        """The message as the Answer of a look that took that many seconds."""
        kind = self.question[1] if self.question else ""
        records = tuple(sorted(r[3] for r in self.section if kind in (r[1], "ANY")))
        return Answer(self.rcode, self.aa, self.ra, records, seconds, self.section, self.authority)


@dataclass(frozen=True)
class Lookup:
    """What a stub resolver got, from which server, after how many seconds and questions in all."""

    answer: Answer
    server: str
    seconds: float
    tries: int


def build(name: str, rdtype: str = "A", id: int | None = None, *, rd: bool = False, chaos: bool = False) -> bytes:
    """A query in wire form; `id` random unless given, `rd` asks for recursion, `chaos` is class CH."""
    message = dns.message.make_query(name, rdtype, "CH" if chaos else "IN", id=id, use_edns=False)
    message.flags = dns.flags.Flag.RD if rd else dns.flags.Flag(0)
    return message.to_wire()


def parse(data: bytes) -> Message:
    """Read a DNS message; raises Malformed for anything cut short, or followed by other bytes."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=False)
        question = message.question[0] if message.question else None
        return Message(
            message.id,
            bool(message.flags & dns.flags.QR),
            (_text(question.name), dns.rdatatype.to_text(question.rdtype)) if question is not None else None,
            dns.rcode.to_text(message.rcode()),
            bool(message.flags & dns.flags.AA),
            bool(message.flags & dns.flags.RA),
            bool(message.flags & dns.flags.TC),
            _records(message.answer),
            _records(message.authority),
        )
    except (dns.exception.DNSException, ValueError) as error:
        raise wire.Malformed(f"DNS message of {len(data)} bytes: {type(error).__name__}: {error}") from error


def _asked(request: bytes) -> tuple[str, str] | None:
    return parse(request).question


def _text(name: dns.name.Name) -> str:
    return name.canonicalize().to_text()


def _records(section: Sequence[dns.rrset.RRset]) -> tuple[Record, ...]:
    return tuple(
        sorted(
            (_text(rrset.name), dns.rdatatype.to_text(rrset.rdtype), rrset.ttl, rdata.to_text())
            for rrset in section
            for rdata in rrset
        )
    )


def query(
    server: str,
    name: str,
    rdtype: str = "A",
    *,
    tcp: bool = False,
    deadline: float | Deadline = 1.0,
    rd: bool = False,
    port: int = PORT,
) -> Answer:
    """Ask one server one question, once.

    Any rcode is an answer.  Packets from elsewhere, of another id or question, and malformed ones are
    passed over.  Raises ProbeFailed: `timeout`, `refused`, `unreachable`, `reset`, `closed`, and
    `truncated` when the answer does not fit into UDP (then ask with tcp=True).
    """
    return _exchange(server, build(name, rdtype, rd=rd), tcp, Deadline.of(deadline), port, f"{name} {rdtype}")


def _exchange(server: str, request: bytes, tcp: bool, end: Deadline, port: int, what: str) -> Answer:
    def ours(data: bytes) -> Message | None:
        message = parse(data)
        return message if message.answers(request) else None

    what = f"dns {what} @{server}{' tcp' if tcp else ''}"
    message, seconds = _ask(server, request, tcp, end, port, what, ours)
    if message.tc and not tcp:
        raise ProbeFailed(f"{what}: truncated, ask over TCP", reason="truncated")
    return message.answer(seconds)


def _ask(
    server: str, request: bytes, tcp: bool, end: Deadline, port: int, what: str, read: Callable[[bytes], T | None]
) -> tuple[T, float]:
    """Send, and wait for the first packet that `read` takes for the answer; also the seconds that took."""
    began, strays = time.monotonic(), ""
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:
        try:
            sock.settimeout(max(end.left, 0.001))
            sock.connect((server, port))  # for UDP: the kernel drops what comes from elsewhere
            sock.sendall(len(request).to_bytes(2) + request if tcp else request)
            while True:
                sock.settimeout(max(end.left, 0.001))
                data = read_tcp(sock, end, what) if tcp else sock.recv(65535)
                seconds = time.monotonic() - began
                try:
                    answer = read(data)
                except wire.Malformed as error:
                    strays = f"; passed over: {error}"
                else:
                    if answer is not None:
                        return answer, seconds
                    strays = "; passed over: the answer to another question"
                if end.passed:
                    raise TimeoutError
        except OSError as error:
            failure = wire.failed(error, what)
            raise ProbeFailed(f"{failure}{strays}", reason=failure.reason) from error


def read_tcp(sock: socket.socket, end: Deadline, what: str) -> bytes:
    """One message over TCP, without its length; raises ProbeFailed (`closed`) and OSError."""
    got, want = b"", 2
    while len(got) < want:
        sock.settimeout(max(end.left, 0.001))
        part = sock.recv(want - len(got))
        if not part:
            raise ProbeFailed(f"{what}: closed after {len(got)} bytes", reason="closed")
        got += part
        if len(got) == 2:
            want = 2 + int.from_bytes(got)
    return got[2:]


def stub(
    servers: Sequence[str],
    name: str,
    rdtype: str = "A",
    *,
    timeout: float = 1.0,
    attempts: int = 2,
    port: int = PORT,
) -> Lookup:
    """Look a name up as a stub resolver does: each server in turn, `timeout` s each, `attempts` rounds.

    A server that is silent, unreachable, or says SERVFAIL, REFUSED or NOTIMP is passed over; NXDOMAIN is
    an answer (resolv.conf(5), glibc's res_send).  Truncated answers are asked again over TCP.  Raises
    ProbeFailed (`no-server`) which quotes each server's failure.
    """
    began, failures, tries = time.monotonic(), list[str](), 0
    for _ in range(attempts):
        for server in servers:
            tries += 1
            try:
                try:
                    answer = query(server, name, rdtype, deadline=timeout, rd=True, port=port)
                except ProbeFailed as error:
                    if error.reason != "truncated":
                        raise
                    answer = query(server, name, rdtype, tcp=True, deadline=timeout, rd=True, port=port)
            except ProbeFailed as error:
                failures.append(f"{server}: {error.reason}")
                continue
            if answer.rcode in ("SERVFAIL", "REFUSED", "NOTIMP"):
                failures.append(f"{server}: {answer.rcode}")
                continue
            return Lookup(answer, server, time.monotonic() - began, tries)
    raise ProbeFailed(f"{name} {rdtype}: no server answered ({', '.join(failures)})", reason="no-server")


def serial(server: str, zone: str, deadline: float | Deadline = 1.0, *, port: int = PORT) -> int:
    """The SOA serial a server has for a zone; raises ProbeFailed, also with the rcode or `no-soa`."""
    answer = query(server, zone, "SOA", deadline=deadline, port=port)
    if answer.rcode != "NOERROR":
        raise ProbeFailed(f"SOA {zone} @{server}: {answer.rcode}", reason=answer.rcode)
    if not answer.records:
        raise ProbeFailed(f"SOA {zone} @{server}: no such record", reason="no-soa")
    return int(answer.records[0].split()[2])


def serial_newer(a: int, b: int) -> bool:
    """Whether serial `a` is newer than `b` (RFC 1982 section 3.2); false where that is undefined."""
    return 0 < (a - b) % 2**32 < 2**31


def axfr(
    server: str, zone: str, *, key: Tsig | None = None, deadline: float | Deadline = 5.0, port: int = PORT
) -> frozenset[Record]:
    """The whole zone by AXFR over TCP (RFC 5936), as a set of (name, type, ttl, data).

    Raises ProbeFailed with the rcode as reason (`REFUSED`, `NOTAUTH`), `BADKEY`, `BADSIG`, `BADTIME` for
    TSIG (RFC 8945), or a reason of the connection.
    """
    end = Deadline.of(deadline)
    what = f"AXFR {zone} @{server}"
    target = dns.zone.Zone(dns.name.from_text(zone), relativize=False)
    request = dns.message.make_query(zone, "AXFR", use_edns=False)
    if key is not None:
        request.use_tsig(key.key())
    try:
        dns.query.inbound_xfr(server, target, request, port=port, timeout=end.left, lifetime=end.left)
    except dns.xfr.TransferError as error:
        rcode = dns.rcode.to_text(error.rcode)
        raise ProbeFailed(f"{what}: {rcode}", reason=rcode) from error
    except TSIG_ERRORS as error:
        raise ProbeFailed(f"{what}: {error}", reason=tsig_reason(error)) from error
    except dns.exception.Timeout as error:
        raise ProbeFailed(f"{what}: no answer in time", reason="timeout") from error
    except (OSError, EOFError) as error:
        if isinstance(error, OSError):
            raise wire.failed(error, what) from error
        raise ProbeFailed(f"{what}: the server hung up", reason="closed") from error
    except (dns.exception.DNSException, ValueError) as error:
        raise wire.Malformed(f"{what}: {type(error).__name__}: {error}") from error
    return frozenset(
        (_text(name), dns.rdatatype.to_text(rdata.rdtype), ttl, rdata.to_text())
        for name, ttl, rdata in target.iterate_rdatas()
    )


def tsig_reason(error: dns.exception.DNSException) -> str:
    """What is wrong with a key or a signature, in RFC 8945's words."""
    if isinstance(error, dns.tsig.PeerBadKey | dns.tsig.BadKey | dns.message.UnknownTSIGKey):
        return "BADKEY"
    if isinstance(error, dns.tsig.PeerBadTime | dns.tsig.BadTime):
        return "BADTIME"
    return "BADSIG"


def version_bind(server: str, deadline: float | Deadline = 1.0, *, port: int = PORT) -> str | None:
    """What the server tells of its version (`version.bind` CH TXT), None when it does not tell."""
    request = build("version.bind", "TXT", chaos=True)
    answer = _exchange(server, request, False, Deadline.of(deadline), port, "version.bind CH TXT")
    return answer.records[0].strip('"') if answer.records else None


def update(
    server: str,
    zone: str,
    name: str | None = None,
    rdtype: str = "TXT",
    data: str = '"rpicluster"',
    *,
    ttl: int = 60,
    key: Tsig | None = None,
    deadline: float | Deadline = 2.0,
    port: int = PORT,
) -> str:
    """The rcode of a dynamic update (RFC 2136): one record added or, without `name`, no change at all.

    Raises ProbeFailed of the connection, or a TSIG reason as `axfr`.
    """
    request = dns.update.UpdateMessage(zone)
    if name is not None:
        request.add(name, ttl, rdtype, data)
    if key is not None:
        request.use_tsig(key.key())
    raw = request.to_wire()

    def ours(data: bytes) -> str | None:
        try:
            response = dns.message.from_wire(data, keyring=request.keyring, request_mac=request.mac)
        except dns.exception.DNSException as error:
            if data[:2] == raw[:2] and isinstance(error, TSIG_ERRORS):
                raise ProbeFailed(f"update {zone} @{server}: {error}", reason=tsig_reason(error)) from error
            raise wire.Malformed(f"{type(error).__name__}: {error}") from error
        same = response.id == request.id and response.opcode() == dns.opcode.UPDATE
        return dns.rcode.to_text(response.rcode()) if same and response.flags & dns.flags.QR else None

    what = f"update {zone} @{server}"
    return _ask(server, raw, False, Deadline.of(deadline), port, what, ours)[0]
