"""The neighbour table: messages against pyroute2, and a third host's own entry as an address moves on a LAN."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import ProbeFailed
from cluster.probes import arp, icmp, wire
from cluster.probes.neighbour import Listener, Neighbour, parse
from cluster.wait import Deadline
from tests.netns import Lan, needs_root

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


def message(kind: int = 28, family: int = 2, **fields: object) -> bytes:
    """A message as pyroute2 writes it: RTM_NEWNEIGH is 28, RTM_DELNEIGH 29."""
    from pyroute2.netlink.rtnl.ndmsg import ndmsg  # type: ignore[import-untyped]

    made = ndmsg()
    made["family"], made["ifindex"], made["state"] = family, 2, fields.pop("state", 4)
    made["attrs"] = [(f"NDA_{name}", value) for name, value in fields.items()]
    made["header"]["type"] = kind
    made.encode()
    return bytes(made.data)


def test_what_pyroute2_says_is_read() -> None:
    told = message(DST="10.0.0.1", LLADDR=MAC) + message(state=1, DST="10.0.0.2") + message(29, DST="10.0.0.1")
    assert list(parse(told, 7.0)) == [
        Neighbour(7.0, 2, "10.0.0.1", MAC, "stale"),
        Neighbour(7.0, 2, "10.0.0.2", None, "incomplete"),
        Neighbour(7.0, 2, "10.0.0.1", None, "deleted"),
    ]


def test_what_no_longer_counts_has_no_hardware_address() -> None:
    (failed,) = parse(message(state=0x20, DST="10.0.0.1", LLADDR=MAC))
    assert (failed.mac, failed.state) == (None, "failed")


def test_other_families_and_messages_are_passed_over() -> None:
    assert list(parse(message(family=10, DST="fe80::1", LLADDR=MAC))) == []
    assert list(parse(message(3, DST="10.0.0.1"))) == []


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    with suppress(wire.Malformed):
        list(parse(data))


@given(st.integers(1, 59))
def test_a_cut_message_is_malformed(size: int) -> None:
    whole = message(DST="10.0.0.1", LLADDR=MAC)
    with pytest.raises(wire.Malformed):
        list(parse(whole[: min(size, len(whole) - 1)]))


def news(ear: Listener, address: str) -> Iterator[Neighbour]:
    """What is told of an address, as it comes."""
    end = Deadline.after(5.0)
    for _ in count():
        yield from (entry for entry in ear.read() if entry.address == address)
        assert not end.passed, f"nothing more was told of {address}"
        time.sleep(0.01)


@needs_root
def test_an_entry_follows_who_announces_itself() -> None:
    with Lan("me", "one", "two") as lan:
        lan.ip("one", "address add 10.9.8.77/24 dev eth0")
        with lan.inside("me"):
            icmp.ping("10.9.8.77")
            with Listener("eth0") as ear:
                told = news(ear, "10.9.8.77")
                assert next(told).mac == lan.mac("one"), "the entry as it is comes first"
                lan.ip("one", "address del 10.9.8.77/24 dev eth0")
                with lan.inside("two"):
                    mouth = arp.Listener("eth0")
                before = time.monotonic()
                with mouth:
                    mac = lan.mac("two")
                    mouth.send(arp.build(arp.REQUEST, mac, "10.9.8.77", wire.BROADCAST, "10.9.8.77", to=wire.BROADCAST))
                changed = next(entry for entry in told if entry.mac == mac)
                assert before <= changed.t <= time.monotonic()


def test_no_such_interface() -> None:
    with pytest.raises(ProbeFailed, match="nope0") as caught:
        Listener("nope0")
    assert caught.value.reason == "interface"
