"""TLS: a root that can sign for the cluster only, leaves that openssl believes, and why others do not hold."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster import tls
from cluster.errors import InputError
from cluster.inventory import Inventory, default_path, parse


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return parse(default_path().read_text(encoding="utf-8"), Path("/nowhere/inventory.yaml"))


@pytest.fixture(scope="module")
def root(inventory: Inventory) -> bytes:
    return tls.new_root(inventory)


def test_openssl_believes_a_leaf_and_the_root_signs_for_nobody_else(
    inventory: Inventory, root: bytes, tmp_path: Path
) -> None:
    leaf = tls.new_leaf(root, "r", inventory, "psi", "ara")
    certificate = tls.root_certificate(root, "r")
    assert b"PRIVATE" not in certificate + leaf.chain and repr(leaf) == "Pair()"
    (tmp_path / "root").write_bytes(certificate)
    (tmp_path / "leaf").write_bytes(leaf.chain)
    words = ["openssl", "verify", "-CAfile", str(tmp_path / "root"), "-purpose", "sslserver", "-verify_hostname"]
    subprocess.run([*words, "psi.dc1.b3rry.clust0r", str(tmp_path / "leaf")], check=True, capture_output=True)
    for host in ("psi.dc1.b3rry.clust0r", "ara.b3rry.clust0r", "localhost", "192.168.10.5", "192.168.10.111"):
        assert tls.why_not(leaf.chain, certificate, host) is None, host
    assert tls.why_not(leaf.chain, certificate, "example.org") is not None
    elsewhere = inventory.model_copy(
        update={"cluster": inventory.cluster.model_copy(update={"domain": "example.org", "location": "www"})}
    )
    outside = tls.new_leaf(root, "r", elsewhere, "psi", "ara")
    assert tls.why_not(outside.chain, certificate, "www.example.org") is not None, "names are constrained"


def test_what_does_not_hold_says_why(inventory: Inventory, root: bytes) -> None:
    leaf = tls.new_leaf(root, "r", inventory, "psi", "ara")
    certificate, other = tls.root_certificate(root, "r"), tls.root_certificate(tls.new_root(inventory), "o")
    assert tls.why_not(leaf.chain, other, "localhost") is not None
    late = datetime.now(UTC) + timedelta(seconds=inventory.authority.leaf + 60)
    assert tls.why_not(leaf.chain, certificate, "localhost", late) is not None
    assert "no certificate" in (tls.why_not(b"nonsense", certificate, "localhost") or "")
    assert tls.until(leaf.chain) <= datetime.now(UTC) + timedelta(seconds=inventory.authority.leaf)


def test_a_clock_that_is_behind_finds_no_certificate_of_the_future(inventory: Inventory, root: bytes) -> None:
    leaf, certificate = tls.new_leaf(root, "r", inventory, "psi", "ara"), tls.root_certificate(root, "r")
    assert tls.why_not(leaf.chain, certificate, "localhost", datetime.now(UTC) - timedelta(days=14)) is None


def test_a_root_that_is_over_is_one_clear_line(inventory: Inventory) -> None:
    over = tls.new_root(
        inventory.model_copy(update={"authority": inventory.authority.model_copy(update={"root": -60.0})})
    )
    for use in (lambda: tls.root_certificate(over, "r"), lambda: tls.new_leaf(over, "r", inventory, "psi", "ara")):
        with pytest.raises(InputError, match=r"^r: the TLS root was valid until .*; move it away") as caught:
            use()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_damaged_root_is_one_clear_line(damage: bytes) -> None:
    with pytest.raises(InputError, match=r"^r: not a TLS root") as caught:
        tls.root_certificate(damage, "r")
    assert "\n" not in str(caught.value)


def test_halves_of_two_roots_are_none(inventory: Inventory, root: bytes) -> None:
    other = tls.new_root(inventory)
    mixed = root[: root.index(b"-----BEGIN CERT")] + other[other.index(b"-----BEGIN CERT") :]
    with pytest.raises(InputError, match="do not belong together"):
        tls.root_certificate(mixed, "r")
