"""The synthetic client against real dhcpd: a failover pair, in namespaces of their own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.errors import ProbeFailed
from cluster.probes import dhcp, wire
from cluster.probes.dhcp import Client, Lease, failover_state, leases
from cluster.wait import Deadline, until
from tests.netns import Lan, daemon, needs, needs_root

pytestmark = [needs_root, needs("dhcpd")]

CONF = """
authoritative;
ddns-update-style none;
default-lease-time 600;
max-lease-time 3600;
option broadcast-address 10.9.8.255;
option routers 10.9.8.254;
option domain-name "dc1.example";
option domain-name-servers 10.9.8.1, 10.9.8.2;
option ntp-servers 10.9.8.2, 10.9.8.1;
option tftp-server-name "10.9.8.1";
option bootfile-name "pxelinux/pxelinux.0";
failover peer "pair" {{
  {role};
  address {address};
  port {port};
  peer address {peer};
  peer port {peer_port};
  max-response-delay 30;
  max-unacked-updates 10;
  load balance max seconds 4;
  {primary}
}}
subnet 10.9.8.0 netmask 255.255.255.0 {{
  pool {{
    failover peer "pair";
    deny dynamic bootp clients;
    range 10.9.8.100 10.9.8.140;
  }}
}}
host reserved {{ hardware ethernet 02:52:50:49:43:05; fixed-address 10.9.8.77; }}
"""
OPTIONS = {
    "subnet-mask": "255.255.255.0",
    "routers": ("10.9.8.254",),
    "domain-name-servers": ("10.9.8.1", "10.9.8.2"),
    "domain-name": "dc1.example",
    "broadcast-address": "10.9.8.255",
    "ntp-servers": ("10.9.8.2", "10.9.8.1"),
    "tftp-server-name": "10.9.8.1",
    "bootfile-name": "pxelinux/pxelinux.0",
}


class Pair:
    """Two dhcpd in failover, `alpha` primary and `beta` secondary, and a third host."""

    def __init__(self, lan: Lan, folder: Path) -> None:
        self.lan, self.folder = lan, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("alpha", "beta"):
            (folder / name).mkdir()
            self.leases(name).touch()
            self.start(name)

    def start(self, name: str) -> None:
        home, peer = self.folder / name, "beta" if name == "alpha" else "alpha"
        primary = name == "alpha"
        text = CONF.format(
            role="primary" if primary else "secondary", primary="mclt 1800; split 128;" if primary else "",
            address=self.lan.address(name), port=647 if primary else 648,
            peer=self.lan.address(peer), peer_port=648 if primary else 647,
        )  # fmt: skip
        (home / "conf").write_text(text)
        argv = [daemon("dhcpd", home), "-4", "-f", "-d", "--no-pid", "-cf", str(home / "conf")]
        self.running[name] = self.lan.start(name, [*argv, "-lf", str(self.leases(name)), "eth0"], home / "log")

    def leases(self, name: str) -> Path:
        return self.folder / name / "leases"

    def log(self, name: str) -> str:
        return (self.folder / name / "log").read_text()

    def kill(self, name: str) -> None:
        self.lan.kill(self.running[name])

    def both_normal(self) -> bool:
        return all(failover_state(self.leases(name).read_text(), growing=True).normal for name in ("alpha", "beta"))

    def state_of(self, name: str, lease: Lease) -> str:
        return leases(self.leases(name).read_text(), growing=True).leases[lease.address].state


@contextmanager
def running_pair(folder: Path) -> Iterator[Pair]:
    with Lan("alpha", "beta", "client") as lan:
        it = Pair(lan, folder)
        until(it.both_normal, deadline=30, what="failover peers normal", every=0.2)
        yield it


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair")) as it:
        yield it


@pytest.fixture
def pair(shared: Pair) -> Iterator[Pair]:
    """A pair that the test leaves as it was; the test is on the LAN as the client."""
    with shared.lan.inside("client"):
        yield shared


@pytest.fixture
def own_pair(tmp_path: Path) -> Iterator[Pair]:
    """A pair that the test may break."""
    with running_pair(tmp_path) as it, it.lan.inside("client"):
        yield it


def test_nobody_sends_from_a_living_hosts_address_unsaid() -> None:
    mac = "b8:27:eb:00:00:05"
    with pytest.raises(ValueError, match="name the Ethernet source"):
        Client("eth0", mac)
    assert Client("eth0", mac, source=dhcp.synthetic_mac(1)).source == "02:52:50:49:43:01"


def test_a_clients_whole_life(pair: Pair) -> None:
    client = Client("eth0", dhcp.synthetic_mac(1))
    lease = client.lease()
    assert lease.address.startswith("10.9.8.1") and lease.lease_s == 600
    assert lease.server in ("10.9.8.1", "10.9.8.2")
    assert {name: lease.options[name] for name in OPTIONS} == OPTIONS
    assert 0.9 < lease.seconds < 8, "dhcpd pings for a second before it offers"
    for again in (client.renew(lease), client.rebind(lease), client.reboot(lease.address)):
        assert again.address == lease.address
    assert client.renew(lease).server == lease.server
    owner = "alpha" if lease.server == "10.9.8.1" else "beta"
    assert pair.state_of(owner, lease) == "active"
    client.release(lease)
    until(lambda: pair.state_of(owner, lease) in ("free", "backup"), deadline=3, what="the lease given back")


def test_both_peers_offer_once_secs_is_above_the_load_balance_maximum(pair: Pair) -> None:
    client = Client("eth0", dhcp.synthetic_mac(2))
    assert len({offer.server for offer in client.discover(secs=0)}) == 1
    offers = client.discover(secs=5)
    assert {(offer.server, offer.server_mac) for offer in offers} == {
        ("10.9.8.1", pair.lan.mac("alpha")),
        ("10.9.8.2", pair.lan.mac("beta")),
    }


def test_who_has_heard_all_that_must_offer_waits_for_strangers_alone(pair: Pair) -> None:
    client, both = Client("eth0", dhcp.synthetic_mac(7)), {"10.9.8.1", "10.9.8.2"}
    ended = []
    for enough, least in ((both, 0.0), (both, 2.0), ({*both, "10.9.8.9"}, 0.0)):
        began = time.monotonic()
        offers = client.discover(secs=5, wait=4.0, enough=enough, least=least)
        assert {offer.server for offer in offers} == both
        ended.append(time.monotonic() - began)
    soon, strangers, missing = ended
    assert soon < missing and 2.0 <= strangers < missing and missing >= 4.0


def test_a_reservation_is_given_by_dhcp_and_bootp_and_nobody_else_gets_a_bootp_answer(pair: Pair) -> None:
    client = Client("eth0", dhcp.synthetic_mac(5))
    reply = client.bootp()
    assert (reply.address, reply.lease_s) == ("10.9.8.77", float("inf"))
    assert reply.options["routers"] == ("10.9.8.254",)
    assert {r.src: r.message.yiaddr for r in client.bootp_replies()} == {
        "10.9.8.1": "10.9.8.77",
        "10.9.8.2": "10.9.8.77",
    }
    assert client.lease().address == "10.9.8.77"
    with pytest.raises(ProbeFailed) as caught:
        Client("eth0", dhcp.synthetic_mac(6)).bootp(patience=1.5)
    assert caught.value.reason == "timeout"


def test_an_address_of_another_network_is_refused(pair: Pair) -> None:
    with pytest.raises(ProbeFailed, match="refused") as caught:
        Client("eth0", dhcp.synthetic_mac(3)).reboot("192.168.99.1")
    assert caught.value.reason == "nak"


def test_a_declined_address_is_set_aside(pair: Pair) -> None:
    client = Client("eth0", dhcp.synthetic_mac(4))
    lease = client.lease()
    owner = "alpha" if lease.server == "10.9.8.1" else "beta"
    client.decline(lease)
    until(lambda: pair.state_of(owner, lease) == "abandoned", deadline=3, what="the address abandoned")
    assert client.lease().address != lease.address


def test_a_client_identifier_tells_clients_apart_and_is_in_the_lease_file(pair: Pair) -> None:
    mac, name = dhcp.synthetic_mac(7), b'\0a "client" \\ \xff'
    one, other = Client("eth0", mac, client_id=name).lease(), Client("eth0", mac).lease()
    assert one.address != other.address
    owner = "alpha" if one.server == "10.9.8.1" else "beta"
    assert leases(pair.leases(owner).read_text()).leases[one.address].uid == name


def test_a_killed_peer_leaves_the_other_interrupted_and_serving(own_pair: Pair) -> None:
    """A process that dies closes its connection: the survivor knows at once and serves every client at once."""
    clients = [Client("eth0", dhcp.synthetic_mac(n)) for n in range(0x20, 0x24)]
    own_pair.kill("alpha")
    interrupted = until(
        lambda: failover_state(own_pair.leases("beta").read_text(), growing=True),
        lambda state: state.mine == "communications-interrupted",
        deadline=5, what="beta interrupted",
    )  # fmt: skip
    assert interrupted.partner == "normal"
    taken = [client.lease() for client in clients]
    assert {lease.server for lease in taken} == {"10.9.8.2"}
    assert len({lease.address for lease in taken}) == len(taken)
    for client, lease in zip(clients, taken, strict=True):
        client.release(lease)
    again = [client.lease() for client in clients]
    assert [lease.address for lease in again] == [lease.address for lease in taken], "a known client, its old address"
    own_pair.start("alpha")
    until(own_pair.both_normal, deadline=30, what="failover peers normal again", every=0.2)


def test_a_peer_off_the_wire_is_replaced_once_secs_has_risen(own_pair: Pair) -> None:
    """No connection is closed when power goes: until max-response-delay only `secs` lets the other peer answer."""
    clients = {n: Client("eth0", dhcp.synthetic_mac(n)) for n in range(0x30, 0x38)}
    of_alpha = next(c for c in clients.values() if [o.server for o in c.discover()] == ["10.9.8.1"])
    own_pair.lan.unplug("alpha")
    lease = of_alpha.lease(patience=16.0)
    assert lease.server == "10.9.8.2"
    assert 5 <= lease.seconds < 12 and lease.tries >= 4
    assert failover_state(own_pair.leases("beta").read_text(), growing=True).normal, "beta does not know yet"


def test_the_survivor_takes_a_lease_of_the_dead_peer_back(own_pair: Pair) -> None:
    clients = {n: Client("eth0", dhcp.synthetic_mac(n)) for n in range(0x40, 0x50)}
    client, lease = next(
        (client, lease) for client in clients.values() if (lease := client.lease()).server == "10.9.8.1"
    )
    until(lambda: own_pair.state_of("beta", lease) == "active", deadline=3, what="beta told of the lease")
    own_pair.kill("alpha")
    client.release(lease)
    time.sleep(0.3)  # nothing happens, so nothing can be awaited: the only one who would hear is dead
    assert own_pair.state_of("beta", lease) == "active"
    client.release(lease, broadcast=True)
    until(lambda: own_pair.state_of("beta", lease) == "released", deadline=3, what="the lease given back to beta")


def test_two_silent_servers_end_in_a_timeout_that_tells_how_far_it_came(tmp_path: Path) -> None:
    with Lan("client") as lan, lan.inside("client"):
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match="no lease after 2 messages, still selecting") as caught:
            Client("eth0", dhcp.synthetic_mac(1)).lease(patience=1.5)
        assert caught.value.reason == "timeout"
        assert 1.5 <= time.monotonic() - began < 2.0


def test_a_server_that_offers_and_dies_is_given_up(tmp_path: Path) -> None:
    """A server of our own that never acknowledges: the client starts over and says so in the end."""
    from cluster.probes import dhcp_packet as packet

    with Lan("server", "client") as lan:
        with lan.inside("server"):
            ear = wire.packet_socket("eth0", wire.ETH_IP, wire.only_udp_to(67))
        with ear, lan.inside("client"):
            machine = dhcp.ClientMachine(dhcp.synthetic_mac(1))
            now = time.monotonic()
            machine.discover(now)
            with dhcp.open_socket("eth0", machine.mac) as sock:
                frame = machine.send(now)
                assert frame
                sock.send(frame)
                assert wire.wait(ear, Deadline.after(1))
                got = wire.receive(ear)
                assert got is not None
                asked = packet.parse(wire.udp(wire.ipv4(wire.ethernet(got.data).payload)).payload)
                payload = bytearray(
                    packet.build(asked.mac, asked.xid, options=[(53, b"\2"), (54, bytes((10, 9, 8, 1)))])
                )
                payload[0], payload[16:20] = 2, bytes((10, 9, 8, 99))
                answer = wire.build_udp("10.9.8.1", 67, "255.255.255.255", 68, bytes(payload))
                ear.send(wire.build_ethernet(wire.BROADCAST, lan.mac("server"), wire.ETH_IP, answer))
                assert wire.wait(sock, Deadline.after(1))
                got = wire.receive(sock)
                assert got is not None
                offer = machine.receive(got.t, got.data, verify=got.verify)
                assert isinstance(offer, dhcp.Offer) and offer.address == "10.9.8.99"
                assert now <= got.t <= time.monotonic()
