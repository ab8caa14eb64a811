"""Inventories with fewer nodes or more than the shipped one, or with nothing as it is there, made of its text."""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import IPv4Address

NODE = re.compile(r"(?m)^  (?P<name>\w+): +{group: compute, +address: (?P<address>[\d.]+), +mac: (?P<mac>[\w:]+)}\n")


def without(text: str, names: Collection[str]) -> str:
    """An inventory without these nodes, and without what names them: claims, witnesses of time, K3s's server."""
    if not names:
        return text
    gone = "|".join(names)
    # One witness of time alone is refused, so a list that names one of these nodes goes as a whole; so do claims.
    listed = rf"\s*({gone}):|\s*witnesses: \[.*\b({gone})\b|\s*- {{losing: ({gone}),"
    text = "".join(line for line in text.splitlines(keepends=True) if not re.match(listed, line))
    if re.search(rf"(?m)^  server: ({gone})$", text):  # no K3s without its server
        text = re.sub(r"(?ms)^k3s:.*?(?=^\S)", "", text)
        text = re.sub(r"(?m)^  - {losing: .*\bk3s\b.*\n", "", text)
    return text


def with_compute(text: str, count: int) -> str:
    """An inventory with `count` compute nodes: the last ones are left out, or more follow, each one more line."""
    found = list(NODE.finditer(text))
    text = without(text, [match["name"] for match in found[count:]])
    last = found[-1]
    more = [
        f"  node{n:02}: {{group: compute, address: {IPv4Address(last['address']) + n - len(found)}, "
        f"mac: b8:27:eb:00:01:{n:02x}}}\n"
        for n in range(len(found) + 1, count + 1)
    ]
    return text.replace(last[0], last[0] + "".join(more))


OTHER_NAMES = {
    "omega": "wrt", "psi": "boss", "alpha": "due", "beta": "uno", "gamma": "work4", "delta": "work3",
    "epsilon": "work2", "zeta": "work1",
}  # fmt: skip
OTHER_WORDS = {
    "192.168.10.0/24": "10.77.4.0/22", "192.168.10.": "10.77.5.", "b3rry.clust0r": "hut.example",
    "clust0r.": "example.", "location: dc1 ": "location: shed ", "timezone: UTC": "timezone: Europe/Berlin",
    "name: rpicluster\n": "name: hut\n",
    "interface: eth0": "interface: lan0", "name: admin": "name: desk", "login: pi ": "login: ops ",
    "first_password: raspberry": "first_password: \"c0rrect $horse & battery\"",
    "cluster: piclust": "cluster: hutters", "ssh_group: sshusers": "ssh_group: visitors",
    "[22, 2222]": "[22, 2200]", "[22, 2220]": "[22, 2201]", "[22, 2020]": "[22, 2202]",
    "failover: rpiclust-failover": "failover: hut", "port: 647": "port: 847", "peer_port: 648": "peer_port: 848",
    "omapi_port: 7911": "omapi_port: 7999", "mclt: 30m": "mclt: 20m", "split: 128": "split: 100",
    "max_lease: 1h": "max_lease: 90m", "default_lease: 1h": "default_lease: 40m", "ttl: 7d": "ttl: 1d",
    "tsig_name: rpicluster-xfer ": "tsig_name: hut-key ", "instance: VI_1": "instance: HUT",
    "virtual_router_id: 51": "virtual_router_id: 77", "router_id: RPI_CLUST": "router_id: HUT_WAY",
    "root: /srv/tftp": "root: /srv/boot", "boot_file: pxelinux/boot.txt": "boot_file: dl/sample.txt",
    "port: 1080": "port: 8081", "chroot: /opt/chroot_bb": "chroot: /srv/pages", "user: bbweb": "user: pages",
    "user: mpiuser": "user: runner", "ranks_per_node: 8": "ranks_per_node: 3", "port: 3632": "port: 3700",
    "ara_port: 8443": "ara_port: 9443",
}  # fmt: skip


def elsewhere(text: str) -> str:
    """The same cluster where nothing is called, numbered or placed as in the shipped inventory.

    What is at the primary of everything there is shared out here: DNS and DHCP have different ones.
    """
    for old, new in OTHER_WORDS.items():
        assert old in text, f"the inventory has no {old!r} any more"
        text = text.replace(old, new)
    text = re.sub(rf"\b({'|'.join(OTHER_NAMES)})\b", lambda match: OTHER_NAMES[match[0]], text)
    before, dns, after = re.split(r"(?m)^(?=dns:|vrrp:)", text)
    return before + re.sub("primary: due(.*\n.*)secondary: uno", r"primary: uno\1secondary: due", dns) + after
