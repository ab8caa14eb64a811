"""The root of a node whose system is OpenWrt: a stand-in of BusyBox, dropbear and dnsmasq, and of a small uci.

OpenWrt's own root file system is in no package mirror.  What stands in for it has the same files at the same places as
far as this project touches them: /etc/config, /etc/init.d, /etc/uci-defaults, /etc/dropbear, and `uci`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster.inventory import Inventory
from lab.image import HERE, Say, built, host_apt_options, host_release, host_sources, run_step
from lab.site import Site, digest

PACKAGES = ("busybox-static", "dropbear-bin", "dnsmasq-base")
STAND_IN = "a stand-in for OpenWrt: BusyBox, dropbear, dnsmasq, and a uci of our own"
FIRST_BOOT = HERE.parent / "provision/openwrt/first-boot.sh"


def router(site: Site, say: Say) -> Path:
    """The stand-in's tree, built when it is not in the cache; about ten seconds."""
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
