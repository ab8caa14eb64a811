"""DNS: answers that are none, the stub resolver, serial arithmetic, and real BIND servers."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR

from cluster.errors import ProbeFailed
from cluster.probes import dns, wire
from cluster.wait import until
from tests.netns import Lan, daemon, needs, needs_root
from tests.probing import cases, packet, plain, tcp_server, udp_server

NAME = "alpha.dc1.example."
Reply = Callable[[bytes], list[bytes]]


def answer(request: bytes, *, name: str = NAME, address: str = "10.0.0.1", **fields: Any) -> bytes:
    """A server's answer, by scapy: an independent codec."""
    asked = DNS(request)
    record = DNSRR(rrname=name, type="A", ttl=60, rdata=address)
    fields = {"id": asked.id, "qr": 1, "aa": 1, "qd": DNSQR(qname=name, qtype="A"), "an": record} | fields
    return bytes(DNS(**fields))


def no_answer(request: bytes, rcode: int) -> bytes:
    return bytes(DNS(id=DNS(request).id, qr=1, rcode=rcode, qd=DNSQR(qname=NAME, qtype="A"), an=[]))


# ---- packets


def test_a_query_is_what_scapy_reads() -> None:
    seen = DNS(dns.build(NAME, "MX", 0x1234, rd=True))
    assert (seen.id, seen.qr, seen.opcode, seen.rd, seen.qdcount, seen.ancount) == (0x1234, 0, 0, 1, 1, 0)
    assert (seen.qd[0].qname, seen.qd[0].qtype, seen.qd[0].qclass) == (NAME.encode(), 15, 1)
    assert DNS(dns.build(NAME)).rd == 0
    assert DNS(dns.build("version.bind", "TXT", chaos=True)).qd[0].qclass == 3
    assert len({dns.build(NAME)[:2] for _ in range(20)}) > 1


def test_an_answer_as_scapy_writes_it() -> None:
    request = dns.build("Alpha.dc1.example")
    message = dns.parse(answer(request, name="ALPHA.dc1.example."))
    assert message.answers(request), "names do not differ by their case (RFC 4343)"
    assert message.question == (NAME, "A")
    got = message.answer(0.5)
    assert (got.rcode, got.aa, got.ra, got.seconds) == ("NOERROR", True, False, 0.5)
    assert got.records == ("10.0.0.1",)
    assert got.section == ((NAME, "A", 60, "10.0.0.1"),)


def test_records_are_those_of_the_asked_type_and_sorted() -> None:
    chain = [
        DNSRR(rrname="www.example.", type="CNAME", ttl=1, rdata="float.example."),
        DNSRR(rrname="float.example.", type="A", ttl=2, rdata="10.0.0.9"),
        DNSRR(rrname="float.example.", type="A", ttl=2, rdata="10.0.0.10"),
    ]
    request = dns.build("www.example.")
    raw = answer(request, name="www.example.", an=chain)
    got = dns.parse(raw).answer(0)
    assert got.records == ("10.0.0.10", "10.0.0.9")
    assert ("www.example.", "CNAME", 1, "float.example.") in got.section and len(got.section) == 3


NOT_THE_ANSWER: dict[str, Reply] = {
    "another id": lambda r: [answer(r, id=DNS(r).id ^ 1)],
    "another name": lambda r: [answer(r, name="beta.dc1.example.")],
    "another type": lambda r: [answer(r, qd=DNSQR(qname=NAME, qtype="TXT"))],
    "no question": lambda r: [answer(r, qd=[])],
    "a query": lambda r: [answer(r, qr=0)],
    "our own query": lambda r: [r],
    "cut short": lambda r: [answer(r)[:-1]],
    "bytes behind the message": lambda r: [answer(r) + b"x"],
    "nothing": lambda r: [b""],
    "garbage": lambda r: [r[:2] + b"\xff" * 40],
    "a name that points at itself": lambda r: [r[:2] + b"\x84\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"],
}


@pytest.mark.parametrize("reply", NOT_THE_ANSWER.values(), ids=NOT_THE_ANSWER)
def test_what_is_not_the_answer_is_passed_over(reply: Reply) -> None:
    with udp_server(lambda request: [*reply(request), answer(request)]) as port:
        assert dns.query("127.0.0.1", NAME, port=port).records == ("10.0.0.1",)
    with udp_server(reply) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match="passed over") as caught:
            dns.query("127.0.0.1", NAME, deadline=0.2, port=port)
        assert caught.value.reason == "timeout"
        assert 0.2 <= time.monotonic() - began < 0.5


def test_an_answer_from_elsewhere_is_none() -> None:
    with udp_server(lambda r: [answer(r)], elsewhere=True) as port, pytest.raises(ProbeFailed) as caught:
        dns.query("127.0.0.1", NAME, deadline=0.2, port=port)
    assert caught.value.reason == "timeout"


def test_a_flood_of_wrong_answers_ends_at_the_deadline() -> None:
    with udp_server(lambda r: [r] * 20_000) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed) as caught:
            dns.query("127.0.0.1", NAME, deadline=0.2, port=port)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - began < 1.0


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for raw in (data, b"\0\1\x84\0\0\1\0\2\0\0\0\0" + data):
        try:
            dns.parse(raw)
        except wire.Malformed as error:
            assert error.reason == "malformed"


@given(st.data())
def test_one_changed_byte_is_read_or_malformed(data: st.DataObject) -> None:
    raw = bytearray(answer(dns.build(NAME)))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        dns.parse(bytes(raw))
    except wire.Malformed:
        return


@pytest.mark.parametrize(("path", "expected"), cases("dns", ".hex"))
def test_recorded_messages(path: Path, expected: Any) -> None:
    assert json.loads(json.dumps(plain(dns.parse(packet(path))))) == expected


# ---- queries


def test_every_rcode_is_an_answer() -> None:
    with udp_server(lambda r: [no_answer(r, 3)]) as port:
        got = dns.query("127.0.0.1", NAME, port=port)
    assert (got.rcode, got.records) == ("NXDOMAIN", ())


def test_a_truncated_answer_is_asked_again_over_tcp_by_the_stub_only() -> None:
    with udp_server(lambda r: [answer(r, tc=1, an=[])]) as port:
        with pytest.raises(ProbeFailed, match="truncated") as caught:
            dns.query("127.0.0.1", NAME, port=port)
        assert caught.value.reason == "truncated"


def test_a_closed_port_refuses_at_once() -> None:
    with udp_server(lambda r: []) as port:
        pass
    for tcp in (False, True):
        with pytest.raises(ProbeFailed, match="Connection refused") as caught:
            dns.query("127.0.0.1", NAME, tcp=tcp, deadline=5, port=port)
        assert caught.value.reason == "refused"


def over_tcp(*parts: Callable[[bytes], bytes]) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        request = connection.recv(4096)[2:]
        for part in parts:
            connection.sendall(part(request))
            time.sleep(0.02)  # so that parts travel apart

    return serve


def framed(raw: bytes) -> bytes:
    return len(raw).to_bytes(2) + raw


def test_an_answer_over_tcp_in_pieces() -> None:
    pieces = over_tcp(
        lambda r: framed(answer(r))[:1], lambda r: framed(answer(r))[1:9], lambda r: framed(answer(r))[9:]
    )
    with tcp_server(pieces) as port:
        assert dns.query("127.0.0.1", NAME, tcp=True, port=port).records == ("10.0.0.1",)


def test_a_server_that_hangs_up_within_an_answer() -> None:
    with tcp_server(over_tcp(lambda r: framed(answer(r))[:-3])) as port, pytest.raises(ProbeFailed) as caught:
        dns.query("127.0.0.1", NAME, tcp=True, port=port)
    assert caught.value.reason == "closed"


def test_a_server_that_drips_does_not_outlive_the_deadline() -> None:
    with tcp_server(over_tcp(*[lambda r: b"\xff"] * 50)) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed) as caught:
            dns.query("127.0.0.1", NAME, tcp=True, deadline=0.3, port=port)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - began < 0.6


# ---- the stub resolver: all servers on one port, told apart by their loopback address


def test_the_stub_goes_on_to_the_next_server() -> None:
    with udp_server(lambda r: [answer(r)]) as port:
        found = dns.stub(["127.0.0.9", "127.0.0.1"], NAME, timeout=0.2, port=port)
    assert (found.answer.records, found.server, found.tries) == (("10.0.0.1",), "127.0.0.1", 2)


@pytest.mark.parametrize("rcode", [2, 4, 5])
def test_the_stub_passes_a_server_over_that_cannot_say(rcode: int) -> None:
    with udp_server(lambda r: [no_answer(r, rcode)]) as port, pytest.raises(ProbeFailed) as caught:
        dns.stub(["127.0.0.1"], NAME, timeout=0.2, port=port)
    assert caught.value.reason == "no-server"
    assert str(caught.value).count("127.0.0.1: ") == 2, "one failure for each attempt"


def test_that_a_name_is_unknown_is_an_answer_for_the_stub() -> None:
    with udp_server(lambda r: [no_answer(r, 3)]) as port:
        found = dns.stub(["127.0.0.1"], NAME, port=port)
    assert (found.answer.rcode, found.tries) == ("NXDOMAIN", 1)


def test_the_stub_gives_up_in_time() -> None:
    with udp_server(lambda r: []) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match=r"127\.0\.0\.1: timeout, 127\.0\.0\.1: timeout"):
            dns.stub(["127.0.0.1"], NAME, timeout=0.15, attempts=2, port=port)
        assert 0.3 <= time.monotonic() - began < 0.6


# ---- serials


@pytest.mark.parametrize(
    ("a", "b", "newer"),
    [
        (2, 1, True),
        (1, 2, False),
        (1, 1, False),
        (0, 2**32 - 1, True),
        (2**31 - 1, 0, True),
        (2**31, 0, False),  # undefined by the RFC, both ways
        (0, 2**31, False),
        (44, 2**32 - 100, True),
    ],
)
def test_serial_arithmetic(a: int, b: int, newer: bool) -> None:
    """RFC 1982 section 3.2 and the examples of section 5."""
    assert dns.serial_newer(a, b) is newer


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1))
def test_adding_makes_a_serial_newer(serial: int, step: int) -> None:
    """RFC 1982 section 3.1: an addition of up to 2**31 - 1."""
    assert dns.serial_newer((serial + step) % 2**32, serial) is (step > 0)


# ---- real BIND: alpha primary, beta secondary

KEY = dns.Tsig("test-xfer", base64.b64encode(b"k" * 32).decode())
WRONG = dns.Tsig("test-xfer", base64.b64encode(b"w" * 32).decode())
UNKNOWN = dns.Tsig("nobody", base64.b64encode(b"k" * 32).decode())
ZONE = """$TTL 3600
@ IN SOA dns1 hostmaster 2024010101 3600 600 86400 300
@ IN NS dns1
@ IN NS dns2
dns1 IN A 10.9.8.1
dns2 IN A 10.9.8.2
alpha.dc1 IN A 10.9.8.1
www IN CNAME alpha.dc1
text IN TXT "a \\"quoted\\" text"
big IN TXT {big}
"""
NAMED = """
key "{key}" {{ algorithm hmac-sha256; secret "{secret}"; }};
options {{
  directory "{home}";
  listen-on port 53 {{ any; }};
  listen-on-v6 {{ none; }};
  allow-transfer {{ key "{key}"; }};
  allow-update {{ none; }};
  recursion no;
  version none;
  pid-file "{home}/pid";
  session-keyfile "{home}/session.key";
  dnssec-validation no;
  managed-keys-directory "{home}";
}};
controls {{ }};
zone "example" {{ {zone} }};
"""


class Pair:
    """A primary and a secondary of one zone; neither takes updates from anybody."""

    def __init__(self, lan: Lan, folder: Path) -> None:
        self.lan = lan
        big = " ".join(f'"{"x" * 250}{n}"' for n in range(8))
        for name in ("alpha", "beta"):
            home = folder / name
            home.mkdir()
            if name == "alpha":
                (home / "example.zone").write_text(ZONE.format(big=big))
                zone = 'type primary; file "example.zone"; notify no;'
            else:
                zone = f'type secondary; file "copy"; primaries {{ 10.9.8.1 key "{KEY.name}"; }};'
            conf = NAMED.format(key=KEY.name, secret=KEY.secret, home=home, zone=zone)
            (home / "named.conf").write_text(conf)
            argv = [daemon("named", home), "-g", "-4", "-n", "1", "-c", str(home / "named.conf")]
            lan.start(name, argv, home / "log")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with Lan("alpha", "beta", "client") as lan:
        it = Pair(lan, tmp_path_factory.mktemp("bind"))
        with lan.inside("client"):
            for address in ("10.9.8.1", "10.9.8.2"):
                until(lambda a=address: dns.serial(a, "example"), deadline=15, what=f"zone at {address}")  # type: ignore[misc]
        yield it


@pytest.fixture
def bind(shared: Pair) -> Iterator[Pair]:
    with shared.lan.inside("client"):
        yield shared


@needs_root
@needs("named")
@pytest.mark.usefixtures("bind")
@pytest.mark.parametrize("server", ["10.9.8.1", "10.9.8.2"])
class TestRealServer:
    """What both servers of a real pair must answer alike."""

    def test_it_answers_with_authority(self, server: str) -> None:
        for tcp in (False, True):
            got = dns.query(server, "alpha.dc1.example", tcp=tcp)
            assert (got.rcode, got.aa, got.ra, got.records) == ("NOERROR", True, False, ("10.9.8.1",))
        assert dns.query(server, "www.example").records == ("10.9.8.1",)
        assert dns.query(server, "text.example", "TXT").records == ('"a \\"quoted\\" text"',)
        assert dns.query(server, "example", "NS").records == ("dns1.example.", "dns2.example.")

    def test_a_denial_names_the_authority(self, server: str) -> None:
        got = dns.query(server, "nobody.example")
        assert (got.rcode, got.aa, got.records) == ("NXDOMAIN", True, ())
        assert [(name, kind) for name, kind, _, _ in got.authority] == [("example.", "SOA")]
        assert dns.query(server, "alpha.dc1.example", "MX").rcode == "NOERROR"

    def test_it_refuses_what_is_not_its_own(self, server: str) -> None:
        assert dns.query(server, "elsewhere.test", rd=True).rcode == "REFUSED"
        with pytest.raises(ProbeFailed) as caught:
            dns.serial(server, "elsewhere.test")
        assert caught.value.reason == "REFUSED"

    def test_a_large_answer_needs_tcp_and_the_stub_knows(self, server: str) -> None:
        with pytest.raises(ProbeFailed) as caught:
            dns.query(server, "big.example", "TXT")
        assert caught.value.reason == "truncated"
        assert len(dns.query(server, "big.example", "TXT", tcp=True).records[0]) > 2000
        assert len(dns.stub([server], "big.example", "TXT").answer.records[0]) > 2000

    def test_the_serial(self, server: str) -> None:
        assert dns.serial(server, "example") == 2024010101

    def test_the_zone_is_given_for_the_key_only(self, server: str) -> None:
        zone = dns.axfr(server, "example", key=KEY)
        assert ("alpha.dc1.example.", "A", 3600, "10.9.8.1") in zone
        assert ("www.example.", "CNAME", 3600, "alpha.dc1.example.") in zone
        assert len(zone) == 9
        for key, reasons in ((None, {"REFUSED"}), (WRONG, {"BADSIG", "NOTAUTH"}), (UNKNOWN, {"BADKEY", "NOTAUTH"})):
            with pytest.raises(ProbeFailed) as caught:
                dns.axfr(server, "example", key=key)
            assert caught.value.reason in reasons, key
        with pytest.raises(ProbeFailed) as caught:
            dns.axfr(server, "elsewhere.test", key=KEY)
        assert caught.value.reason == "NOTAUTH"

    def test_both_have_the_same_zone(self, server: str) -> None:
        assert dns.axfr(server, "example", key=KEY) == dns.axfr("10.9.8.1", "example", key=KEY)

    def test_the_version_is_not_told(self, server: str) -> None:
        assert dns.version_bind(server) is None

    def test_updates_are_refused_also_such_as_change_nothing(self, server: str) -> None:
        for name in (None, "new.example."):
            assert dns.update(server, "example", name) in ("REFUSED", "NOTIMP")
        assert dns.update(server, "example", "new.example.", key=KEY) in ("REFUSED", "NOTIMP")
        with pytest.raises(ProbeFailed) as caught:
            dns.update(server, "example", key=WRONG)
        assert caught.value.reason == "BADSIG"
        with pytest.raises(ProbeFailed) as caught:
            dns.update(server, "example", key=UNKNOWN)
        assert caught.value.reason == "BADKEY"
        assert dns.query(server, "new.example").rcode == "NXDOMAIN"


@needs_root
@needs("named")
def test_a_dead_first_server_costs_the_stub_one_timeout(tmp_path: Path, bind: Pair) -> None:
    found = dns.stub(["10.9.8.99", "10.9.8.2"], "alpha.dc1.example", timeout=0.3)
    assert (found.server, found.answer.records, found.tries) == ("10.9.8.2", ("10.9.8.1",), 2)
    assert 0.3 <= found.seconds < 0.6
    with pytest.raises(ProbeFailed) as caught:
        dns.axfr("10.9.8.99", "example", deadline=0.3)
    assert caught.value.reason in ("timeout", "unreachable")


def test_a_key_does_not_show_its_secret() -> None:
    assert KEY.secret not in repr(KEY) + str(KEY)


def test_a_key_that_is_not_base64_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="base64"):
        dns.Tsig("k", "not base64!")


# ---- transfers that go wrong


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([], "closed"),
        ([lambda r: framed(answer(r))[:-3]], "closed"),
        ([lambda r: framed(b"\xff" * 40)], "malformed"),
        ([lambda r: framed(answer(r))], "malformed"),
        ([lambda r: framed(no_answer(r, 5))], "malformed"),
        ([lambda r: framed(answer(r, qd=DNSQR(qname="example.", qtype="AXFR"), rcode=5, an=[]))], "REFUSED"),
        ([*[lambda r: b"\xff"] * 50], "timeout"),
    ],
    ids=["hung up", "cut short", "garbage", "no zone", "refusal of another question", "refused", "dripping"],
)
def test_a_transfer_that_goes_wrong_says_how(parts: list[Callable[[bytes], bytes]], reason: str) -> None:
    with tcp_server(over_tcp(*parts)) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match=r"AXFR example @127\.0\.0\.1") as caught:
            dns.axfr("127.0.0.1", "example", deadline=0.4, port=port)
        assert caught.value.reason == reason
        assert time.monotonic() - began < 0.8


def test_a_zone_without_a_start_has_no_serial() -> None:
    def empty(request: bytes) -> list[bytes]:
        return [answer(request, qd=DNSQR(qname="example.", qtype="SOA"), an=[])]

    with udp_server(empty) as port, pytest.raises(ProbeFailed, match="no such record") as caught:
        dns.serial("127.0.0.1", "example.", port=port)
    assert caught.value.reason == "no-soa"
