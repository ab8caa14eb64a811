"""The DHCP client without sockets, against a server made of scapy's packets: an independent codec."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether

from cluster.probes import arp, wire
from cluster.probes import dhcp_machine as machine
from cluster.probes import dhcp_packet as packet
from cluster.probes.dhcp_machine import ClientMachine, Lease, Nak, Offer, State
from tests.probing import cases, plain
from tests.probing import packet as packet_of

MAC = "02:52:50:49:43:01"
SERVER, SERVER_MAC, GIVEN = "10.9.8.1", "02:00:00:00:00:01", "10.9.8.100"


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def client(**more: Any) -> ClientMachine:
    return ClientMachine(MAC, rng=NoJitter(), **more)


def state(it: ClientMachine) -> State:
    """As a call, so that mypy does not believe the state stays what it was."""
    return it.state


def reply(request: bytes, kind: str | None, *, server: str = SERVER, **fields: Any) -> bytes:
    """A server's answer to a frame of the client, by scapy; `fields` replace those of BOOTP."""
    asked = Ether(request)[BOOTP]
    options: list[Any] = fields.pop("options", [("lease_time", 600), ("router", "10.9.8.254")])
    if kind is not None:
        options = [("message-type", kind), ("server_id", server), *options]
    bootp = {"op": 2, "xid": asked.xid, "chaddr": asked.chaddr, "yiaddr": GIVEN, "flags": 0x8000, **fields}
    frame = Ether(dst="ff:ff:ff:ff:ff:ff", src=SERVER_MAC) / IP(src=server, dst="255.255.255.255")
    frame /= UDP(sport=67, dport=68) / BOOTP(**bootp) / DHCP(options=[*options, "end"])
    return bytes(frame)


def sent(frame: bytes | None) -> tuple[Any, dict[str, Any]]:
    """The BOOTP header and the options of what the client sent, as scapy reads them."""
    assert frame is not None
    seen = Ether(frame)
    checksums = seen[IP].chksum, seen[UDP].chksum
    del seen[IP].chksum, seen[UDP].chksum
    again = Ether(bytes(seen))
    assert (again[IP].chksum, again[UDP].chksum) == checksums
    assert seen.src == MAC
    return seen, {o[0]: o[1] for o in seen[DHCP].options if isinstance(o, tuple)}


def bound(**more: Any) -> tuple[ClientMachine, Lease]:
    it = client(**more)
    it.discover(100.0)
    discover = it.send(100.0)
    assert discover
    it.receive(101.0, reply(discover, "offer"))
    request = it.send(101.0)
    assert request
    lease = it.receive(101.2, reply(request, "ack"))
    assert isinstance(lease, Lease)
    return it, lease


def test_a_lease_as_scapy_sees_it() -> None:
    it = client()
    assert it.next_timer is None
    it.discover(100.0)
    assert it.next_timer == 100.0
    frame = it.send(100.0)
    seen, options = sent(frame)
    assert (seen.dst, seen[IP].src, seen[IP].dst) == ("ff:ff:ff:ff:ff:ff", "0.0.0.0", "255.255.255.255")
    assert (seen[UDP].sport, seen[UDP].dport) == (68, 67)
    assert (seen[BOOTP].op, seen[BOOTP].secs, int(seen[BOOTP].flags), seen[BOOTP].ciaddr) == (1, 0, 0x8000, "0.0.0.0")
    assert seen[BOOTP].chaddr[:6] == wire.mac_bytes(MAC)
    assert options["message-type"] == packet.DISCOVER
    assert set(options["param_req_list"]) == set(packet.WANTED)
    assert it.send(100.0) is None
    assert frame
    offer = it.receive(101.0, reply(frame, "offer"))
    assert offer == Offer(GIVEN, SERVER, SERVER, SERVER_MAC, offer.options, 1.0) if isinstance(offer, Offer) else False
    assert state(it) is State.REQUESTING
    frame = it.send(101.0)
    seen, options = sent(frame)
    assert options["message-type"] == packet.REQUEST
    assert (options["requested_addr"], options["server_id"]) == (GIVEN, SERVER)
    assert seen[IP].dst == "255.255.255.255"
    assert frame
    lease = it.receive(101.25, reply(frame, "ack"))
    assert isinstance(lease, Lease)
    assert (lease.address, lease.server, lease.lease_s, lease.tries) == (GIVEN, SERVER, 600.0, 2)
    assert (lease.seconds, lease.at, lease.server_mac) == (1.25, 101.25, SERVER_MAC)
    assert lease.options["routers"] == ("10.9.8.254",)
    assert state(it) is State.BOUND and it.lease is lease
    assert it.next_timer is None and it.send(1e9) is None


def test_discover_is_sent_again_with_secs_rising_and_one_transaction() -> None:
    it = client()
    it.discover(100.0)
    seen = []
    for _ in range(6):
        now = it.next_timer
        assert now is not None
        assert it.send(now - 0.001) is None
        header, _options = sent(it.send(now))
        seen.append((now, header[BOOTP].secs, header[BOOTP].xid))
    assert [(now, secs) for now, secs, _ in seen] == [
        (100, 0), (101, 1), (103, 3), (107, 7), (111, 11), (115, 15)
    ]  # fmt: skip
    assert len({xid for _, _, xid in seen}) == 1
    assert it.tries == 6


@given(st.randoms(use_true_random=False))
def test_jitter_keeps_intervals_near_their_plan(rng: random.Random) -> None:
    it = ClientMachine(MAC, rng=rng)
    it.discover(0.0)
    at = [0.0]
    for _ in range(5):
        assert it.send(at[-1]) is not None
        assert it.next_timer is not None
        at.append(it.next_timer)
    for planned, (one, two) in zip((1, 2, 4, 4, 4), itertools.pairwise(at), strict=True):
        assert planned * 0.9 - 1e-9 <= two - one <= planned * 1.1 + 1e-9


def test_request_repeats_the_secs_of_its_discover() -> None:
    it = client()
    it.discover(100.0)
    it.send(100.0)
    it.send(101.0)
    discover = it.send(103.0)
    assert discover
    it.receive(104.9, reply(discover, "offer"))
    header, options = sent(it.send(104.9))
    assert (header[BOOTP].secs, options["message-type"]) == (3, packet.REQUEST)


def test_unanswered_requests_start_over_and_secs_go_on() -> None:
    it = client()
    it.discover(100.0)
    discover = it.send(100.0)
    assert discover
    it.receive(100.5, reply(discover, "offer"))
    kinds = []
    for _ in range(4):
        now = it.next_timer
        assert now is not None
        header, options = sent(it.send(now))
        kinds.append((now, options["message-type"], header[BOOTP].secs))
    assert kinds == [
        (100.5, packet.REQUEST, 0),
        (101.5, packet.REQUEST, 0),
        (103.5, packet.REQUEST, 0),
        (107.5, packet.DISCOVER, 7),
    ]
    assert state(it) is State.SELECTING and it.offers == []
    assert it.receive(108.0, reply(discover, "offer")) is None, "an offer of the transaction given up"


def test_a_refusal_starts_over_at_once_and_then_with_patience() -> None:
    it = client()
    it.discover(100.0)
    waits = []
    for _ in range(3):
        discover = it.send(it.next_timer or 0)
        assert discover
        it.receive(100.0, reply(discover, "offer"))
        request = it.send(100.0)
        assert request
        refused = it.receive(100.0, reply(request, "nak", yiaddr="0.0.0.0", options=[("error_message", b"no")]))
        assert refused == Nak(SERVER, "no")
        assert state(it) is State.SELECTING
        assert it.next_timer is not None
        waits.append(it.next_timer - 100.0)
    assert waits == [0.0, 1.0, 1.0]


def test_only_the_chosen_server_can_accept_or_refuse() -> None:
    it = client()
    it.discover(0.0)
    discover = it.send(0.0)
    assert discover
    it.receive(0.5, reply(discover, "offer"))
    request = it.send(0.5)
    assert request
    assert it.receive(0.6, reply(request, "nak", server="10.9.8.66", yiaddr="0.0.0.0")) is None
    assert it.receive(0.6, reply(request, "ack", server="10.9.8.66")) is None
    assert state(it) is State.REQUESTING
    assert isinstance(it.receive(0.7, reply(request, "ack")), Lease)


def test_all_offers_are_collected_once_each_for_the_search_of_rogues() -> None:
    it = client(accept=False)
    it.discover(0.0, secs=10)
    discover = it.send(0.0)
    assert discover
    assert sent(discover)[0][BOOTP].secs == 10
    for server in (SERVER, "10.9.8.2", SERVER, "10.9.8.66"):
        it.receive(1.0, reply(discover, "offer", server=server))
    again = it.send(1.0)
    assert again
    it.receive(1.1, reply(again, "offer"))
    assert [offer.server for offer in it.offers] == [SERVER, "10.9.8.2", "10.9.8.66"]
    assert state(it) is State.SELECTING


def test_reboot_asks_by_broadcast_without_server_and_hears_any() -> None:
    it = client(restart=False)
    it.reboot(0.0, GIVEN)
    frame = it.send(0.0)
    header, options = sent(frame)
    assert (options["message-type"], options["requested_addr"]) == (packet.REQUEST, GIVEN)
    assert "server_id" not in options
    assert (header[BOOTP].ciaddr, header[IP].dst) == ("0.0.0.0", "255.255.255.255")
    assert frame
    assert isinstance(it.receive(0.1, reply(frame, "nak", yiaddr="0.0.0.0")), Nak)
    assert state(it) is State.IDLE and it.next_timer is None


def test_renew_is_unicast_and_the_client_answers_for_its_address() -> None:
    it, lease = bound()
    it.renew(200.0, lease)
    frame = it.send(200.0)
    header, options = sent(frame)
    assert (header.dst, header[IP].src, header[IP].dst) == (SERVER_MAC, GIVEN, SERVER)
    assert (header[BOOTP].ciaddr, int(header[BOOTP].flags)) == (GIVEN, 0)
    assert options["message-type"] == packet.REQUEST
    assert not {"requested_addr", "server_id"} & set(options)
    asked = bytes(Ether(src=SERVER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=SERVER_MAC, psrc=SERVER, pdst=GIVEN))
    assert it.receive(200.0, asked) is None
    answer = it.send(200.0)
    assert answer
    told = Ether(answer)
    assert (told.dst, told[ARP].op, told[ARP].hwsrc, told[ARP].psrc) == (SERVER_MAC, 2, MAC, GIVEN)
    assert it.receive(200.0, arp.request(SERVER_MAC, SERVER, "10.9.8.77")) is None
    assert it.send(200.0) is None, "another's address is another's business"
    assert frame
    assert isinstance(it.receive(200.1, reply(frame, "ack")), Lease)


def test_rebind_is_broadcast() -> None:
    it, lease = bound()
    it.rebind(200.0, lease)
    header, options = sent(it.send(200.0))
    assert (header[IP].src, header[IP].dst, header[BOOTP].ciaddr) == (GIVEN, "255.255.255.255", GIVEN)
    assert options["message-type"] == packet.REQUEST


def test_release_and_decline() -> None:
    _, lease = bound(client_id=b"\0me")
    header, options = sent(machine.release(lease, 7))
    assert (header.dst, header[IP].src, header[IP].dst) == (SERVER_MAC, GIVEN, SERVER)
    assert (header[BOOTP].ciaddr, header[BOOTP].xid, options["message-type"]) == (GIVEN, 7, packet.RELEASE)
    assert (options["server_id"], options["client_id"]) == (SERVER, b"\0me")
    header, _ = sent(machine.release(lease, 7, broadcast=True))
    assert (header.dst, header[IP].dst) == (wire.BROADCAST, "255.255.255.255")
    header, options = sent(machine.decline(lease, 8))
    assert (header[IP].src, header[BOOTP].ciaddr) == ("0.0.0.0", "0.0.0.0")
    assert (options["message-type"], options["requested_addr"]) == (packet.DECLINE, GIVEN)


def test_bootp_has_no_options_and_a_lease_for_ever() -> None:
    it = client()
    it.bootp(0.0)
    frame = it.send(0.0)
    assert frame
    assert packet.parse(wire.udp(wire.ipv4(wire.ethernet(frame).payload)).payload).options == {}
    assert it.receive(0.1, reply(frame, "offer")) is None, "a DHCP answer to a BOOTP question"
    lease = it.receive(0.2, reply(frame, None, siaddr=SERVER, options=[("router", "10.9.8.254")]))
    assert isinstance(lease, Lease)
    assert (lease.address, lease.server, lease.lease_s) == (GIVEN, SERVER, float("inf"))


def test_a_client_asks_for_an_address_and_tells_more_where_it_is_told_to() -> None:
    it = client(wanted="10.9.8.123", extra=[(55, b"\1\3"), (60, b"PXEClient")], source="02:00:00:00:00:99")
    it.discover(0.0)
    frame = it.send(0.0)
    assert frame
    seen = Ether(frame)
    options = {o[0]: o[1] for o in seen[DHCP].options if isinstance(o, tuple)}
    assert options["requested_addr"] == "10.9.8.123"
    assert (options["param_req_list"], options["vendor_class_id"]) == ([1, 3], b"PXEClient")
    assert (seen.src, wire.mac_text(seen[BOOTP].chaddr[:6])) == ("02:00:00:00:00:99", MAC)


def test_only_the_named_server_is_taken_up() -> None:
    it = client(server="10.9.8.2")
    it.discover(0.0)
    discover = it.send(0.0)
    assert discover
    assert isinstance(it.receive(0.1, reply(discover, "offer")), Offer)
    assert state(it) is State.SELECTING
    it.receive(0.2, reply(discover, "offer", server="10.9.8.2"))
    assert state(it) is State.REQUESTING
    request = it.send(0.2)
    assert request
    assert it.receive(0.3, reply(request, "ack", server="10.9.8.2", options=[])) is None, "an ACK without a lease time"
    lease = it.receive(0.4, reply(request, "ack", server="10.9.8.2"))
    assert isinstance(lease, Lease) and lease.server == "10.9.8.2" and len(lease.offers) == 2


def test_a_busy_client_does_not_begin_again() -> None:
    it, lease = bound()
    it.renew(0.0, lease)
    begin: list[Callable[[], None]] = [lambda: it.discover(1.0), lambda: it.bootp(1.0), lambda: it.reboot(1.0, GIVEN)]
    for each in begin:
        with pytest.raises(ValueError, match="renewing"):
            each()
    assert state(it) is State.RENEWING
    it.stop()
    it.discover(2.0)
    assert state(it) is State.SELECTING


Spoil = Callable[[bytes], bytes]
NOT_AN_ANSWER: dict[str, Spoil] = {
    "another transaction": lambda r: reply(r, "offer", xid=1),
    "another client": lambda r: reply(r, "offer", chaddr=b"\x02\x00\x00\x00\x00\x09"),
    "a request": lambda r: reply(r, "offer", op=1),
    "an ack before any request": lambda r: reply(r, "ack"),
    "an offer of nothing": lambda r: reply(r, "offer", yiaddr="0.0.0.0"),
    "an offer by nobody": lambda r: reply(r, None, options=[("message-type", "offer"), ("lease_time", 600)]),
    "cut short": lambda r: reply(r, "offer")[:-1],
    "cut within the header": lambda r: reply(r, "offer")[:100],
    "nothing": lambda r: b"",
    "wrong checksum": lambda r: reply(r, "offer").replace(b"\x0a\x09\x08\x64", b"\x0a\x09\x08\x65"),
    "lease time of three bytes": lambda r: reply(r, "offer", options=[(51, b"\0\0\1")]),
    "options without an end": lambda r: without_end(r),
    "our own question": lambda r: r,
}


def without_end(request: bytes) -> bytes:
    payload = wire.udp(wire.ipv4(wire.ethernet(reply(request, "offer")).payload)).payload
    cut = payload[: payload.rindex(b"\xff")]
    return wire.build_ethernet(
        wire.BROADCAST, SERVER_MAC, wire.ETH_IP, wire.build_udp(SERVER, 67, "255.255.255.255", 68, cut)
    )


@pytest.mark.parametrize("spoil", NOT_AN_ANSWER.values(), ids=NOT_AN_ANSWER)
def test_what_is_not_an_answer_is_passed_over(spoil: Spoil) -> None:
    it = client()
    it.discover(0.0)
    discover = it.send(0.0)
    assert discover
    before = (it.state, it.next_timer)
    assert it.receive(0.5, spoil(discover)) is None
    assert (it.state, it.next_timer, it.offers) == (*before, [])
    assert isinstance(it.receive(0.6, reply(discover, "offer")), Offer)


@given(st.binary(max_size=600))
def test_any_bytes_are_survived(data: bytes) -> None:
    it = client()
    it.discover(0.0)
    it.send(0.0)
    assert it.receive(0.1, data) is None


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_payload_is_survived(data: bytes, overload: int) -> None:
    it = client()
    it.discover(0.0)
    frame = it.send(0.0)
    assert frame
    answer = wire.udp(wire.ipv4(wire.ethernet(reply(frame, "offer")).payload)).payload
    payload = answer[:240] + bytes((52, 1, overload)) + data
    packed = wire.build_udp(SERVER, 67, "255.255.255.255", 68, payload)
    it.receive(0.1, wire.build_ethernet(MAC, SERVER_MAC, wire.ETH_IP, packed))


def test_overloaded_and_long_options_are_joined() -> None:
    head = packet.build(MAC, 1)[:236]
    sname, file = b"\x0f\x03abc\xff", b"\x42\x02hi\xff"
    head = head[:44] + sname.ljust(64, b"\0") + file.ljust(128, b"\0")
    message = packet.parse(head + packet.MAGIC + b"\x34\x01\x03\x0f\x02xy\xff")
    assert message.options == {15: b"xyabc", 66: b"hi"}
    assert packet.named(message.options) == {"domain-name": "xyabc", "tftp-server-name": "hi"}


def test_unknown_options_keep_their_bytes() -> None:
    assert packet.named({43: b"\1\2", 3: b"\1\2\3\4" * 2}) == {
        "option-43": b"\1\2",
        "routers": ("1.2.3.4", "1.2.3.4"),
    }


@pytest.mark.parametrize(("path", "expected"), cases("dhcp", ".hex"))
def test_recorded_frames(path: Any, expected: Any) -> None:
    if "error" in expected:
        with pytest.raises(wire.Malformed, match=expected["error"]):
            packet.reply(packet_of(path))
        return
    got = packet.reply(packet_of(path))
    seen = {"src": got.src, "mac": got.mac, "yiaddr": got.message.yiaddr, "xid": got.message.xid,
            "kind": got.message.kind, "options": plain(packet.named(got.message.options))}  # fmt: skip
    assert seen == expected
