"""What K3s is installed from, as far as it is at hand, and what follows for what runs on it."""

from __future__ import annotations

from dataclasses import dataclass

from cluster import artifacts, images
from cluster.artifacts import ArtifactMissing, Found
from cluster.errors import ClusterError
from cluster.inventory import Inventory

DNS = "coredns"
IMAGE = "rpicluster.local/busybox:1"
"""What every node makes of its own BusyBox: it holds pods' networks, and is what the specs' canary is made of."""
LEFT_OUT = ("traefik", "servicelb", "metrics-server", "local-storage")
"""What comes with K3s and has no place here: nobody asks for it, and a Pi has better to do."""


@dataclass(frozen=True)
class Material:
    """The files at hand; `missing` and `no_dns` say why there is no K3s, or no DNS within it.

    Where not all images that are declared could be looked into, no DNS is not `sure`: nodes may have it already.
    """

    binary: Found | None
    images: tuple[Found, ...]
    missing: str | None = None
    no_dns: str | None = None
    sure: bool = True

    @property
    def disabled(self) -> tuple[str, ...]:
        """What of K3s's own is not to run."""
        return LEFT_OUT if self.no_dns is None else (*LEFT_OUT, DNS)


def at_hand(inventory: Inventory) -> Material:
    """What there is; nothing is downloaded here."""
    plan = inventory.k3s
    if plan is None:
        return Material(None, (), "the inventory has no K3s", "the inventory has no K3s")
    binary, missing = None, None
    try:
        binary = artifacts.find(inventory, plan.binary)
    except ArtifactMissing as error:
        missing = str(error)
    found, names, unseen = [], set[str](), list[str]()
    for name in plan.images:
        try:
            one = artifacts.find(inventory, name)
            names |= images.names(one.path)
            found.append(one)
        except ClusterError as error:
            unseen.append(str(error))
    why = None
    if not any(DNS in name for name in names):
        lacking = f"{', '.join(plan.images)}: no image of CoreDNS in it"
        why = [*unseen, lacking if plan.images else "the inventory names no tarball of images"][0]
    return Material(binary, tuple(found), missing, why, sure=why is None or not unseen)
