"""TCP connects and banners against servers on loopback."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from cluster.errors import ProbeFailed
from cluster.probes import tcp
from tests.netns import Lan, needs_root
from tests.probing import tcp_server


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_an_open_port_tells_how_long_it_took() -> None:
    with tcp_server(lambda connection: None) as port:
        assert 0 < tcp.connect("127.0.0.1", port, 1.0) < 0.5


def test_a_closed_port_refuses() -> None:
    with pytest.raises(ProbeFailed, match="refused") as caught:
        tcp.connect("127.0.0.1", closed_port())
    assert caught.value.reason == "refused"


def test_a_full_backlog_is_a_timeout_in_time() -> None:
    """A listener that accepts nobody: the kernel drops what does not fit into its queue of one."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            began = time.monotonic()
            with pytest.raises(ProbeFailed) as caught:
                tcp.connect("127.0.0.1", port, 0.2)
            assert caught.value.reason == "timeout"
            assert time.monotonic() - began < 0.5


@needs_root
def test_nobody_at_the_address_and_no_route_to_it() -> None:
    with Lan("client") as lan, lan.inside("client"):
        with pytest.raises(ProbeFailed) as caught:
            tcp.connect("10.9.8.99", 22, 0.3)
        assert caught.value.reason == "timeout"
        with pytest.raises(ProbeFailed) as caught:
            tcp.connect("192.0.2.1", 22, 0.3)
        assert caught.value.reason == "unreachable"


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ([b"SSH-2.0-x\r\nmore"], b"SSH-2.0-x"),
        ([b"22", b"0 hel", b"lo\n"], b"220 hello"),
        ([b"\n"], b""),
        ([b"x" * 300], b"x" * 256),
    ],
)
def test_the_first_line_of_a_banner(parts: list[bytes], line: bytes) -> None:
    def greet(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.02)  # so that parts travel apart

    with tcp_server(greet) as port:
        assert tcp.banner("127.0.0.1", port, 1.0) == line


def test_a_server_that_hangs_up_or_says_nothing() -> None:
    with tcp_server(lambda connection: connection.sendall(b"half")) as port:
        with pytest.raises(ProbeFailed, match="closed after b'half'") as caught:
            tcp.banner("127.0.0.1", port, 1.0)
        assert caught.value.reason == "closed"
    gone = threading.Event()

    def be_silent(connection: socket.socket) -> None:
        gone.wait(2)

    with tcp_server(be_silent) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed, match="no banner") as caught:
            tcp.banner("127.0.0.1", port, 0.2)
        gone.set()
        assert caught.value.reason == "timeout"
        assert time.monotonic() - began < 0.5


def test_a_banner_dripping_in_does_not_outlive_the_deadline() -> None:
    gone = threading.Event()

    def drip(connection: socket.socket) -> None:
        while not gone.wait(0.05):
            connection.sendall(b".")

    with tcp_server(drip) as port:
        began = time.monotonic()
        with pytest.raises(ProbeFailed) as caught:
            tcp.banner("127.0.0.1", port, 0.3)
        gone.set()
    assert caught.value.reason == "timeout"
    assert time.monotonic() - began < 0.6
