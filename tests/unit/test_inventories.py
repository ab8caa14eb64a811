"""Inventories made of the shipped one's text are inventories: they load, and have what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.inventory import load
from tests.inventories import OTHER_NAMES, elsewhere, with_compute, without

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "inventory.yaml").read_text()


@pytest.mark.parametrize("count", [1, 2, 4, 24])
def test_as_many_compute_nodes_as_asked_for(tmp_path: Path, count: int) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(with_compute(TEXT, count))
    model = load(file)
    herd = model.group("compute")
    assert len(herd) == count == len(model.nodes) - 4
    assert {claim.losing for claim in model.claims} == {node.name for node in model.nodes.values()}
    assert (model.k3s is not None) == ("epsilon" in model.nodes)


def test_four_are_those_that_are_shipped() -> None:
    assert with_compute(TEXT, 4) == TEXT == without(TEXT, ())


def test_twenty_more_have_the_addresses_that_follow(tmp_path: Path) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(with_compute(TEXT, 24))
    herd = load(file).group("compute")
    assert [str(node.address) for node in (herd[4], herd[-1])] == ["192.168.10.25", "192.168.10.44"]
    assert len({node.mac for node in herd}) == 24


def test_elsewhere_nothing_is_called_or_placed_as_in_the_shipped_inventory(tmp_path: Path) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(elsewhere(TEXT))
    here, there = load(ROOT / "inventory.yaml"), load(file)
    assert list(there.nodes) == [OTHER_NAMES[name] for name in here.nodes]
    assert not set(here.hosts) & set(there.hosts), "a name is the same"
    assert not set(here.hosts.values()) & set(there.hosts.values()), "an address is the same"
    assert len(there.claims) == len(here.claims)
    assert there.dns.primary == there.dhcp.secondary != there.dhcp.primary
