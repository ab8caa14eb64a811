"""The observer against real sockets: servers of our own on loopback, and a veth pair in a private namespace."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from chaos.ask import Resolver, TimeClient
from chaos.faults import rogue
from chaos.fetchers import FileReader, PageReader
from chaos.leasing import DhcpClients, clients, newcomers
from chaos.loop import Loop, Prober
from chaos.observer import Observer
from chaos.reach import Handshake, Ping
from chaos.watch import Plan
from chaos.wiretap import Wiretap
from cluster.errors import ClusterError
from cluster.probes import arp, clock, tftp, vrrp, wire
from cluster.probes.dhcp_balance import bucket
from cluster.record import Recorder, events
from cluster.wait import until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets and namespaces need root")


def run(*probers: Prober, seconds: float, drain: float = 3.0, disturb: Callable[[], None] | None = None) -> list[Any]:
    """Every event of a loop that looks for that long."""
    got, put = os.pipe()
    loop = Loop(put)
    data = bytearray()

    def read() -> None:
        while part := os.read(got, 65536):
            data.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    timers = [threading.Timer(seconds, loop.finish, [drain])]
    if disturb is not None:
        timers.append(threading.Timer(seconds / 2, disturb))
    for timer in timers:
        timer.start()
    try:
        loop.run(list(probers))
    finally:
        os.close(put)
        reader.join()
        os.close(got)
        for timer in timers:
            timer.join()
    return [json.loads(line) for line in data.splitlines()]


def looks(found: list[Any], service: str) -> list[Any]:
    return [event for event in found if event["kind"] == "probe" and event["service"] == service]


@contextmanager
def udp_server(answer: Callable[[bytes], bytes | None], address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A server of one datagram at a time; yields its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        sock.settimeout(0.05)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    data, peer = sock.recvfrom(2048)
                except TimeoutError:
                    continue
                if (reply := answer(data)) is not None:
                    sock.sendto(reply, peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            done.set()
            thread.join()


def named(address: str = "10.0.0.1", rcode: int = 0) -> Callable[[bytes], bytes]:
    def answer(data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.Rcode(rcode))
        if not rcode:
            reply.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", address))
        return reply.to_wire()

    return answer


def silent(data: bytes) -> None:
    return None


# ---------------------------------------------------------------- dns


def resolver(port: int, servers: tuple[str, ...] = ("127.0.0.1",), **more: Any) -> Resolver:
    return Resolver("dns", servers, "float.dc1.example.", "10.0.0.1", port=port, **more)


def test_lookups_are_sent_on_schedule_and_answered() -> None:
    with udp_server(named()) as port:
        found = run(resolver(port), seconds=1.0)
    seen = looks(found, "dns")
    assert 10 < len(seen) <= 52
    assert all(look["ok"] and look["answered"] >= look["sent"] and look["server"] == "127.0.0.1" for look in seen)


def test_a_silent_first_server_costs_its_timeout_and_nothing_more() -> None:
    with udp_server(named(), "127.0.0.2") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", port))
        found = run(resolver(port, ("127.0.0.1", "127.0.0.2"), timeout=0.3), seconds=0.5)
    seen = looks(found, "dns")
    assert len(seen) > 20
    assert all(look["ok"] and look["server"] == "127.0.0.2" and look["tries"] == 2 for look in seen)
    assert all(0.3 <= look["value"] < 0.4 and look["last_try"] >= look["sent"] + 0.3 for look in seen)


def test_a_server_that_fails_is_passed_over_at_once() -> None:
    with udp_server(named(), "127.0.0.2") as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        other.settimeout(0.05)
        refuse = named(rcode=dns.rcode.REFUSED)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    data, peer = other.recvfrom(2048)
                except TimeoutError:
                    continue
                other.sendto(refuse(data), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        found = run(resolver(port, ("127.0.0.1", "127.0.0.2")), seconds=0.3)
        done.set()
        thread.join()
    assert looks(found, "dns")
    assert all(look["ok"] and look["value"] < 0.3 for look in looks(found, "dns"))


@pytest.mark.parametrize(
    ("server", "error"),
    [(silent, "timeout"), (named(rcode=dns.rcode.NXDOMAIN), "NXDOMAIN"), (named("10.9.9.9"), "wrong answer")],
)
def test_lookups_in_vain_say_why(server: Callable[[bytes], bytes | None], error: str) -> None:
    with udp_server(server) as port:
        found = run(resolver(port, timeout=0.1), seconds=0.3)
    seen = looks(found, "dns")
    assert seen and all(not look["ok"] and look["answered"] is None for look in seen)
    assert {look["error"] for look in seen} == {error}


def test_an_answer_to_another_question_is_none() -> None:
    def liar(data: bytes) -> bytes:
        query = dns.message.make_query("other.example.", "A", id=int.from_bytes(data[:2]))
        return named()(query.to_wire())

    with udp_server(liar) as port:
        found = run(resolver(port, timeout=0.1, attempts=1), seconds=0.2)
    assert {look["error"] for look in looks(found, "dns")} == {"timeout"}


def test_nobody_listening_is_a_failed_look_and_no_crash() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    seen = looks(run(resolver(port, timeout=0.1), seconds=0.3), "dns")
    assert len(seen) > 10
    assert not any(look["ok"] for look in seen)


# ---------------------------------------------------------------- ntp


def ntpd(leap: int = 0, stratum: int = 10, ahead: float = 0.0) -> Callable[[bytes], bytes]:
    def answer(data: bytes) -> bytes:
        now = clock.timestamp(time.time() + ahead).to_bytes(8)
        return bytes([leap << 6 | 4 << 3 | 4, stratum, 0, 0]) + bytes(20) + data[40:48] + now + now

    return answer


@pytest.mark.parametrize(
    ("server", "ok", "error"),
    [
        (ntpd(), True, None),
        (ntpd(leap=3), False, "127.0.0.1 is not synchronised"),
        (ntpd(stratum=0), False, "127.0.0.1 is not synchronised"),
        (ntpd(ahead=-3.0), False, "wrong answer"),
        (silent, False, "timeout"),
    ],
)
def test_a_time_server_must_be_synchronised(server: Callable[[bytes], bytes], ok: bool, error: str | None) -> None:
    with udp_server(server) as port:
        seen = looks(run(TimeClient("ntp", ["127.0.0.1"], port=port, patience=0.2), seconds=0.4), "ntp")
    assert 6 <= len(seen) <= 12  # 8, and those of the moment in which a busy machine stops it late
    assert {(look["ok"], look["error"]) for look in seen} == {(ok, error)}


def test_a_time_that_is_seconds_off_is_a_wrong_answer() -> None:
    with udp_server(ntpd(ahead=5.0)) as port:
        found = run(TimeClient("ntp", ["127.0.0.1"], port=port, patience=0.2), seconds=0.2)
    lies = [event for event in found if event["kind"] == "wrong"]
    assert lies and {(lie["service"], lie["said"]) for lie in lies} == {("ntp", "a time that is +5.0 s from ours")}


def test_one_good_time_server_of_two_is_enough() -> None:
    with udp_server(ntpd(), "127.0.0.2") as port:
        client = TimeClient("ntp", ["127.0.0.1", "127.0.0.2"], port=port, patience=0.2)
        seen = looks(run(client, seconds=0.4), "ntp")
    assert seen and all(look["ok"] and look["server"] == "127.0.0.2" for look in seen)


def test_a_time_server_that_lies_is_heard_though_another_was_faster() -> None:
    heard = threading.Semaphore(0)

    class Client(TimeClient):
        def good(self, *args: Any, **more: Any) -> None:
            super().good(*args, **more)
            heard.release()

    def second(data: bytes) -> bytes:
        assert heard.acquire(timeout=5)
        return ntpd(ahead=3600.0)(data)

    with udp_server(ntpd(), "127.0.0.2") as port, udp_server(second, "127.0.0.1", port):
        client = Client("ntp", ["127.0.0.1", "127.0.0.2"], port=port, patience=0.2)
        found = run(client, seconds=0.4)
    seen, lies = looks(found, "ntp"), [event for event in found if event["kind"] == "wrong"]
    assert seen and all(look["ok"] and look["server"] == "127.0.0.2" for look in seen)
    assert len(lies) == len(seen), "each answer is judged"
    assert {(lie["server"], lie["said"]) for lie in lies} == {("127.0.0.1", "a time that is +3600.0 s from ours")}


# ---------------------------------------------------------------- tcp


def tftp_server(content: bytes | None) -> Callable[[bytes], bytes | None]:
    """A server that sends one block for each request, and an error where there is no content."""

    def answer(data: bytes) -> bytes | None:
        if data[1] != tftp.RRQ:
            return None
        if content is None:
            return tftp.error(tftp.NOT_FOUND, "File not found")
        return tftp.DATA.to_bytes(2) + (1).to_bytes(2) + content

    return answer


@pytest.mark.parametrize(
    ("server", "ok", "error"),
    [
        (tftp_server(b"hello"), True, None),
        (tftp_server(None), False, "refused-by-server"),
        (tftp_server(b"x" * 513), False, "malformed"),
        (tftp_server(b"x" * 512), False, "timeout"),  # the second block never comes
        (silent, False, "timeout"),
    ],
)
def test_a_file_is_read_as_a_whole_or_not_at_all(
    server: Callable[[bytes], bytes | None], ok: bool, error: str | None
) -> None:
    with udp_server(server) as port:
        reader = FileReader("tftp", "127.0.0.1", "f", port=port, period=0.05, patience=0.2)
        seen = looks(run(reader, seconds=0.5), "tftp")
    assert len(seen) >= 5
    assert all((look["ok"], look["error"], look["server"]) == (ok, error, "127.0.0.1") for look in seen)
    assert all((look["answered"] is not None) == ok for look in seen)


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("answer", "ok", "error"),
    [
        (PAGE, True, None),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", True, None),  # its end is that of the connection
        (PAGE[:-1], False, "malformed"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", False, "status 503"),
        (b"", False, "malformed"),
    ],
)
def test_a_page_is_got_as_a_whole_or_not_at_all(answer: bytes, ok: bool, error: str | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            reader = PageReader("http", "127.0.0.1", server.getsockname()[1], period=0.05)
            seen = looks(run(reader, seconds=0.5), "http")
        finally:
            done.set()
            thread.join()
    assert len(seen) >= 5
    assert all((look["ok"], look["error"]) == (ok, error) for look in seen)


def test_a_page_that_never_comes_is_given_up_and_a_closed_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        reader = PageReader("http", "127.0.0.1", port, period=0.05, patience=0.2)
        seen = looks(run(reader, seconds=0.4), "http")
    assert seen and all(look["error"] == "timeout" and look["answered"] is None for look in seen)
    seen = looks(run(PageReader("http", "127.0.0.1", port, period=0.05), seconds=0.2), "http")
    assert seen and all(look["error"] == "refused" for look in seen)


def test_handshakes_leave_no_connection_behind() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        port = server.getsockname()[1]
        seen = looks(run(Handshake("tcp", "127.0.0.1", port, period=0.02), seconds=0.5), "tcp")
        assert 5 < len(seen) <= 27
        assert all(look["ok"] for look in seen)
        table = Path("/proc/net/tcp").read_text()
        # State 06 is TIME_WAIT: a reset leaves none
        assert not [line for line in table.splitlines() if f":{port:04X} " in line and line.split()[3] == "06"]


def test_a_closed_port_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    seen = looks(run(Handshake("tcp", "127.0.0.1", port), seconds=0.3), "tcp")
    assert {(look["ok"], look["error"]) for look in seen} == {(False, "refused")}


# ---------------------------------------------------------------- the loop


def test_an_answer_that_waits_while_the_loop_stalls_is_still_good() -> None:
    """The loop is late by half a second; what came meanwhile is stamped by the kernel, not by our lateness."""

    class Staller(Ping):
        def __init__(self) -> None:
            super().__init__("staller", "127.0.0.1", period=10)

        def open(self) -> None:
            self._next = time.monotonic() + 0.3

        def look(self, now: float) -> None:
            time.sleep(0.5)  # the stall itself

        def close(self) -> None: ...

    with udp_server(named()) as port:
        found = run(resolver(port, timeout=0.2), Staller(), seconds=1.2)
    stalls = [event for event in found if event["kind"] == "stall"]
    assert stalls and max(event["late_s"] for event in stalls) > 0.3
    seen = looks(found, "dns")
    assert all(look["ok"] and look["value"] < 0.1 for look in seen)
    assert max(b["sent"] - a["sent"] for a, b in itertools.pairwise(seen)) > 0.4, "no burst afterwards"


def test_events_wait_for_a_slow_reader_and_none_is_lost() -> None:
    with udp_server(named()) as port:
        got, put = os.pipe()
        loop = Loop(put)
        timer = threading.Timer(0.6, loop.finish, [1.0])
        timer.start()
        text: list[bytes] = []

        def late() -> None:
            time.sleep(0.8)  # a reader that is busy elsewhere
            while part := os.read(got, 65536):
                text.append(part)

        reader = threading.Thread(target=late)
        reader.start()
        loop.run([resolver(port, period=0.001)])
        os.close(put)
        reader.join()
        os.close(got)
    found = [json.loads(line) for line in b"".join(text).splitlines()]
    assert len(looks(found, "dns")) > 200


# ---------------------------------------------------------------- on a wire of our own


def in_namespace(work: Callable[[], Any]) -> Any:
    """Run `work` in a network namespace of its own, which ends with the thread that entered it (unshare(2))."""
    result: list[Any] = []
    errors: list[BaseException] = []

    def body() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x40000000):
            errors.append(OSError(ctypes.get_errno(), "unshare"))
            return
        try:
            script = (
                "ip link set lo up && ip link add left type veth peer name right && ip link set left up &&"
                " ip link set right up && ip address add 10.0.0.250/24 dev left"
            )
            subprocess.run(["sh", "-c", script], check=True, timeout=10)
            result.append(work())
        except BaseException as error:  # handed to the test's own thread
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


@needs_root
def test_pings_are_answered_and_matched() -> None:
    found = in_namespace(lambda: run(Ping("vip", "10.0.0.250"), Ping("node", "127.0.0.1", period=0.05), seconds=1.0))
    vip, node = looks(found, "vip"), looks(found, "node")
    assert 2 * len(node) < len(vip) <= 102  # a busy machine misses some, and nobody makes up for them
    assert 1 < len(node) <= 22
    assert all(look["ok"] and look["value"] < 0.1 for look in vip + node)


@needs_root
def test_pings_to_nobody_fail_one_by_one() -> None:
    found = in_namespace(lambda: run(Ping("vip", "10.0.0.111", patience=0.1), seconds=0.5))
    seen = looks(found, "vip")
    assert 10 < len(seen) <= 52
    assert not any(look["ok"] for look in seen)


@needs_root
def test_an_address_that_goes_and_comes_is_seen_to() -> None:
    def work() -> list[Any]:
        def address(verb: str) -> None:
            subprocess.run(["ip", "address", verb, "10.0.0.111/32", "dev", "lo"], check=True, timeout=10)

        times: list[float] = []

        def flap() -> None:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(namespace, 0x40000000) == 0
            times.append(time.monotonic())
            address("del")
            time.sleep(0.4)  # the outage itself
            address("add")
            times.append(time.monotonic())

        address("add")
        namespace = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        found = run(Ping("vip", "10.0.0.111"), seconds=1.5, disturb=flap)
        os.close(namespace)
        seen = looks(found, "vip")
        failed = [look["sent"] for look in seen if not look["ok"]]
        assert 0.3 < failed[-1] - failed[0] < 0.6
        assert times[0] <= failed[0] and failed[-1] <= times[1]
        assert seen[-1]["ok"]
        return found

    in_namespace(work)


@needs_root
def test_advertisements_and_owners_are_overheard() -> None:
    def work() -> list[Any]:
        other = wire.packet_socket("right", wire.ETH_ARP)
        mac = wire.own_mac("right")

        def speak() -> None:
            packet = vrrp.build("10.0.0.6", 51, 100, 1.0, ("10.0.0.111",), password=b"secret")
            other.send(wire.build_ethernet("01:00:5e:00:00:12", mac, wire.ETH_IP, packet))
            other.send(arp.request(mac, "10.0.0.111", "10.0.0.111"))
            other.send(arp.request(mac, "10.0.0.99", "10.0.0.99"))
            asked = [arp.parse(got.data) for got in iter(lambda: wire.receive(other), None)]
            question = next(one for one in asked if one.target == "10.0.0.111" and one.sender == "0.0.0.0")
            frame = arp.build(arp.REPLY, mac, "10.0.0.111", question.sender_mac, "0.0.0.0", to=question.sender_mac)
            other.send(frame)

        found = run(Wiretap("left", "10.0.0.111"), seconds=0.6, disturb=speak)
        other.close()
        return found

    found = in_namespace(work)
    frames = [event for event in found if event["kind"] == "frame"]
    (ad,) = [frame for frame in frames if frame["proto"] == "vrrp"]
    assert (ad["src"], ad["vrid"], ad["priority"], ad["addresses"]) == ("10.0.0.6", 51, 100, ["10.0.0.111"])
    (announced,) = [frame for frame in frames if frame["proto"] == "arp"]
    assert announced["src"] == "10.0.0.111"
    owners = [event["macs"] for event in found if event["kind"] == "owners"]
    assert owners == [[], [announced["mac"]], []], "nobody, the one that answered one question, nobody"
    assert "secret" not in json.dumps(found)


@needs_root
def test_an_impostor_is_overheard_and_its_leases_are_wrong_answers(tmp_path: Path) -> None:
    """What `rogue` runs on a node, as it is given to one."""
    ready = tmp_path / "ready"

    def work() -> list[Any]:
        words = [sys.executable, "-", "right", "10.0.0.66", str(ready)]
        with subprocess.Popen(words, stdin=subprocess.PIPE) as impostor:
            assert impostor.stdin is not None
            impostor.stdin.write(rogue.PROGRAM.read_bytes())
            impostor.stdin.close()
            try:
                until(ready.exists, deadline=10, what="the impostor")
                macs = clients(128)[:2]
                strict = DhcpClients("strict", "left", macs[:1], servers=("10.0.0.6",), pause=0.1)
                believing = DhcpClients("believing", "left", macs[1:], pause=0.1)
                return run(Wiretap("left", "10.0.0.111"), strict, believing, seconds=0.6)
            finally:
                impostor.kill()

    found = in_namespace(work)
    frames = [event for event in found if event["kind"] == "frame" and event["proto"] == "dhcp"]
    assert {frame["said"] for frame in frames} == {"offer", "ack"}
    assert {(frame["src"], frame["server"]) for frame in frames} == {("10.0.0.66", "10.0.0.66")}
    assert {frame["client"] for frame in frames} == set(clients(128)[:2])
    leased = looks(found, "believing")
    assert leased and all(look["ok"] and look["address"].startswith("203.0.113.") for look in leased)
    refused = looks(found, "strict")
    assert refused and {look["error"] for look in refused} == {"wrong answer"}
    wrong = [event for event in found if event["kind"] == "wrong"]
    assert {(event["service"], event["server"]) for event in wrong} == {("strict", "10.0.0.66")}


@needs_root
def test_dhcp_clients_that_are_left_while_they_ask_are_told_of() -> None:
    found = in_namespace(lambda: run(DhcpClients("dhcp", "left", clients(128)[:1]), seconds=0.2, drain=0.5))
    assert not looks(found, "dhcp"), "its patience was not at an end"
    (left,) = [event for event in found if event["kind"] == "unfinished"]
    assert (left["service"], left["client"]) == ("dhcp", clients(128)[0])
    assert 0.5 <= left["t"] - left["sent"] <= 2.0


@needs_root
def test_dhcp_clients_without_a_server_run_out_of_patience() -> None:
    found = in_namespace(
        lambda: run(DhcpClients("dhcp", "left", clients(128)[:2], patience=1.4, pause=0.1), seconds=0.5)
    )
    seen = looks(found, "dhcp")
    assert {look["client"] for look in seen} == set(clients(128)[:2])
    assert all(not look["ok"] and 0.9 <= look["last_try"] - look["sent"] <= 1.2 for look in seen)
    assert all("selecting" in look["error"] for look in seen)


# ---------------------------------------------------------------- which clients


def test_clients_cover_both_halves() -> None:
    macs = clients(128)
    assert len(macs) == len(set(macs)) == 6
    assert [bucket(mac) < 128 for mac in macs] == [True, False] * 3


@pytest.mark.parametrize(("split", "primary"), [(0, 0), (256, 3), (255, 3)])
def test_a_lopsided_split_still_gives_clients(split: int, primary: int) -> None:
    macs = clients(split)
    assert sum(bucket(mac) < split for mac in macs) == primary
    assert len(macs) >= 3


def test_every_bucket_can_be_hit() -> None:
    assert len({bucket(f"02:00:00:00:{a:02x}:{b:02x}") for a in range(16) for b in range(256)}) == 256


# ---------------------------------------------------------------- the process


def plan(parent: int) -> Plan:
    return Plan(parent, "lo", "127.0.0.1", "127.0.0.1", ("127.0.0.1",), "x.", ("127.0.0.1",), (), tcp_port=1)


@needs_root
def test_the_observer_records_until_it_is_told_to_finish(tmp_path: Path) -> None:
    recorder = Recorder.start(tmp_path, "chaos", {})
    with Observer(plan(os.getpid()), recorder) as observer:
        assert observer.await_(lambda: observer.latest("vip") is not None, 5.0)
        observer.finish()
        assert not observer.alive
    recorder.finish()
    seen = looks(list(events(recorder.folder)), "vip")
    assert len(seen) > 5 and all(look["ok"] for look in seen)
    assert all(abs(look["wall"] - time.time()) < 60 for look in seen)


@needs_root
def test_a_killed_observer_is_noticed(tmp_path: Path) -> None:
    recorder = Recorder.start(tmp_path, "chaos", {})
    with Observer(plan(os.getpid()), recorder) as observer:
        os.kill(observer._process.pid, signal.SIGKILL)
        assert observer.await_(lambda: not observer.alive, 5.0)
        with pytest.raises(ClusterError, match="observer died"):
            observer.finish()
    recorder.finish()


@needs_root
@pytest.mark.parametrize(
    ("sign", "words"),
    [
        (signal.SIGSTOP, "did not end when it was told to"),
        (signal.SIGSEGV, "observer died when it was to end: exit code"),
    ],
)
def test_an_observer_that_does_not_end_as_it_is_told_to_is_noticed(
    sign: signal.Signals, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.observer.DRAIN_S", -1.5)  # half a second is enough
    recorder = Recorder.start(tmp_path, "chaos", {})
    with Observer(plan(os.getpid()), recorder) as observer:
        tell = observer._tell

        def instead(word: bytes) -> None:
            os.kill(observer._process.pid, sign)
            tell(word)

        monkeypatch.setattr(observer, "_tell", instead)
        with pytest.raises(ClusterError, match=words):
            observer.finish()
        assert observer._process.poll() is not None, "it is not left behind"
    recorder.finish()


@needs_root
def test_an_observer_that_cannot_begin_says_why(tmp_path: Path) -> None:
    recorder = Recorder.start(tmp_path, "chaos", {})
    broken = Plan(os.getpid(), "no-such-if", "127.0.0.1", "127.0.0.1", (), "x.", (), ())
    with pytest.raises(ClusterError, match=r"did not begin: .*no-such-if"), Observer(broken, recorder):
        pass
    recorder.finish()


@needs_root
def test_the_observer_dies_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from chaos.observer import Observer\n"
        "from cluster.record import Recorder\n"
        "from tests.unit.test_observer import plan\n"
        f"with Observer(plan(os.getpid()), Recorder.start(Path({str(tmp_path)!r}), 'chaos', {{}})) as observer:\n"
        "    print(observer._process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == -9, done.stderr
    child = int(done.stdout)
    end = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()


def test_newcomers_are_others_than_those_that_come_again() -> None:
    regulars, once = clients(128), newcomers(128)
    assert len(once) == 4 and not set(regulars) & set(once)
    assert sum(bucket(mac) < 128 for mac in once) == 2
