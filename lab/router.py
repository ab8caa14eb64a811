"""The root of a node whose system is OpenWrt: a stand-in of BusyBox, dropbear and dnsmasq, and of a small uci.

OpenWrt's own root file system is in no package mirror: where the artifact `openwrt` is at hand, it is what boots, which
nobody has tried yet.  What else stands in for it has the same files at the same places as
far as this project touches them: /etc/config, /etc/init.d, /etc/uci-defaults, /etc/dropbear, and `uci`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster import artifacts
from cluster.inventory import Inventory
from lab.image import HERE, Say, built, host_apt_options, host_release, host_sources, run_step
from lab.site import Site, digest

PACKAGES = ("busybox-static", "dropbear-bin", "dnsmasq-base")
ARTIFACT = "openwrt"
STAND_IN = "a stand-in for OpenWrt: BusyBox, dropbear, dnsmasq, and a uci of our own"
FIRST_BOOT = HERE.parent / "provision/openwrt/first-boot.sh"


def genuine(inventory: Inventory) -> artifacts.Found | None:
    """OpenWrt's own root file system (a tar archive), where it is at hand."""
    if ARTIFACT not in inventory.artifacts:
        return None
    try:
        return artifacts.find(inventory, ARTIFACT)
    except artifacts.ArtifactMissing:
        return None


def router(site: Site, inventory: Inventory, say: Say) -> Path:
    """The tree of OpenWrt where it is at hand, else of what stands in for it; built once, in about ten seconds."""
    if found := genuine(inventory):
        with built(site.routers, found.sha256[:16]) as (done, part):
            if part is not None:
                say(f"unpacking {found.path.name}")
                (part / "root").mkdir()
                words = ["tar", "-xf", str(found.path), "-C", str(part / "root"), "--numeric-owner"]
                run_step(found.path.name, words, site.home / "router.log")
            return done
    return _stand_in(site, say)


def _stand_in(site: Site, say: Say) -> Path:
    sources = "".join(f"{source.line}\n" for source in host_sources())
    distribution, codename = host_release()
    key = digest([sources, distribution, " ".join(PACKAGES), HERE / "router.sh", HERE / "router"])
    with built(site.routers, key) as (done, part):
        if part is None:
            return done
        say("building the stand-in for OpenWrt; once, about ten seconds")
        debian, log = part / "debian", site.home / "router.log"
        run_step(
            "the stand-in for OpenWrt",
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "mmdebstrap", "--mode=root",
             "--variant=extract", "--format=directory", f"--include={','.join(PACKAGES)}", *host_apt_options(),
             codename, str(debian), "-"],
            log, input=sources,
        )  # fmt: skip
        run_step("the stand-in for OpenWrt", ["sh", str(HERE / "router.sh"), str(debian), str(part / "root")], log)
        shutil.rmtree(debian)
    return done


def prepare(upper: Path, inventory: Inventory, name: str) -> None:
    """Put on a router's card what its operator puts there: the script of the first boot, with the router's address."""
    folder = upper / "etc/uci-defaults"
    folder.mkdir(parents=True)
    script = FIRST_BOOT.read_text(encoding="utf-8")
    address, netmask = inventory.nodes[name].address, inventory.network.cidr.netmask
    (folder / "99-rpicluster").write_text(f"ADDRESS={address} NETMASK={netmask}\n{script}", encoding="utf-8")
