"""Whom sshd lets in, against a real sshd; and which servers hold failed logins against an address."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import ProbeFailed
from cluster.probes import door
from cluster.ssh import load_key
from tests.unit.sshd import SSHD, Sshd

needs_sshd = pytest.mark.skipif(SSHD is None, reason="no sshd: apt-get install openssh-server")


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd that offers passwords too."""
    daemon = Sshd(tmp_path_factory.mktemp("lax"))
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd that takes keys only."""
    off = "Match all\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    daemon = Sshd(tmp_path_factory.mktemp("strict"), extra=off)
    daemon.start()
    yield daemon
    daemon.stop()


@needs_sshd
def test_a_strict_server_offers_keys_and_takes_ours_last(strict: Sshd) -> None:
    seen = door.knock("127.0.0.1", strict.user, passwords=["x"], key=load_key(str(strict.key)), port=strict.port)
    assert seen.offered == {"publickey"} and seen.accepted == {"publickey"}
    assert seen.banner.startswith("SSH-2.0-OpenSSH_") and 0 < seen.seconds < 5


@needs_sshd
def test_a_lax_server_is_seen_to_offer_passwords(lax: Sshd) -> None:
    seen = door.knock("127.0.0.1", lax.user, passwords=["not the password"], port=lax.port)
    assert "password" in seen.offered and not seen.accepted


@needs_sshd
def test_a_strange_key_is_refused(strict: Sshd, tmp_path: Path) -> None:
    strict.keygen(tmp_path / "stranger")
    key = load_key(str(tmp_path / "stranger"))
    assert not door.knock("127.0.0.1", strict.user, key=key, port=strict.port).accepted


@needs_sshd
def test_nobody_is_let_in_who_is_not_there(strict: Sshd) -> None:
    seen = door.knock("127.0.0.1", "no-such-user", passwords=["x"], key=load_key(str(strict.key)), port=strict.port)
    assert not seen.accepted


def test_refused_and_mute() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ProbeFailed) as refused:
            door.knock("127.0.0.1", "pi", port=unused.getsockname()[1])
        assert refused.value.reason == "refused"
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(ProbeFailed):
        door.knock("127.0.0.1", "pi", port=mute.getsockname()[1], deadline=0.3)


@pytest.mark.parametrize(
    ("banner", "penalises"),
    [
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7", False),
        ("SSH-2.0-OpenSSH_9.7p1", False),
        ("SSH-2.0-OpenSSH_9.8p1", True),
        ("SSH-2.0-OpenSSH_10.0p2 Debian-7", True),
        ("SSH-2.0-dropbear_2022.83", False),
        ("", False),
    ],
)
def test_servers_that_hold_failures_against_an_address(banner: str, penalises: bool) -> None:
    assert door.penalises(banner) is penalises
