"""Nodes: what single_nodes.py does not break, and nodes that do not let us in."""

from __future__ import annotations

import shlex
from typing import Any

from tests.breaking import Break, Round

PASSWD = "/etc/passwd"
GROUP = "/etc/group"


def let_in(protocol: str, port: int) -> str:
    """Shell: the node's firewall lets a port in until `AS_BEFORE`."""
    return f"nft insert rule inet rpicluster input {protocol} dport {port} accept"


AS_BEFORE = "systemctl reload rpi-firewall"


def service(node: str, name: str, program: str, udp: int) -> dict[str, Any]:
    """`node`, `do` and `undo` of a Break: a Python program of ours that runs there once it said `systemd-notify`.

    It is reached on a UDP port, whatever the node's firewall lets in otherwise.
    """
    return {
        "node": node,
        "do": f"{let_in('udp', udp)}; systemd-run --quiet --collect --unit=red-{name} --service-type=notify "
        f"-p NotifyAccess=all python3 -c {shlex.quote(program)}",
        "undo": f"systemctl stop red-{name}; {AS_BEFORE}",
    }


ROUNDS = (
    Round(
        "nodes: network, users, disks",
        (
            "specs/base/test_network.py",
            "specs/base/test_users.py",
            "specs/base/test_health.py",
            "specs/cluster/test_addresses.py",
            "specs/lanservices/test_profile.py",
        ),
        (
            Break(
                "a node with other timers than the run takes it to have", "beta",
                files=("/opt/cluster/data/info_host.txt",),
                do="sed -i 's/^profile: .*/profile: short/' /opt/cluster/data/info_host.txt",
                red={
                    "lanservices/test_profile.py::test_the_timers_are_those_of_the_profile[beta]":
                        "beta has the timers of profile short, not production; run: python -m provision lanservices",
                },
            ),
            Break(
                "a node at a wrong address in the hosts file", "delta", files=("/etc/hosts",),
                do="sed -i 's/^192.168.10.5\\b/192.168.10.55/' /etc/hosts",
                red={
                    "cluster/test_addresses.py::test_the_node_knows_every_other_by_name[delta]":
                        "delta takes psi.dc1.b3rry.clust0r for ['192.168.10.55'], not 192.168.10.5",
                },
            ),
            Break(
                "another mask", "psi",
                do="ip address add 192.168.10.5/25 dev eth0", undo="ip address del 192.168.10.5/25 dev eth0",
                red={"base/test_network.py::test_the_address_and_its_mask[psi]": "192.168.10.5/25, not /24"},
            ),
            Break(
                "another network card", "psi",
                do="ip link set eth0 address b8:27:eb:99:99:99; busybox arping -U -q -c 1 -I eth0 192.168.10.5",
                undo="ip link set eth0 address b8:27:eb:00:00:05; busybox arping -U -q -c 1 -I eth0 192.168.10.5; "
                "systemctl restart rpi-deployer",  # another address made the kernel forget its neighbours,
                red={
                    "base/test_network.py::test_the_mac_is_the_inventorys[psi]":
                        "psi has MAC b8:27:eb:99:99:99, the inventory says b8:27:eb:00:00:05",
                    "cluster/test_addresses.py::test_the_address_belongs_to_the_node_alone[psi]":
                        "is answered by ['b8:27:eb:99:99:99']",
                },
            ),
            Break(
                "no route to the whole LAN", "alpha",
                do="ip route add 192.168.10.0/25 dev eth0 src 192.168.10.6; ip route add 192.168.10.128/25 dev eth0 "
                "src 192.168.10.6; ip route del 192.168.10.0/24",
                undo="ip route add 192.168.10.0/24 dev eth0 proto kernel scope link src 192.168.10.6; "
                "ip route del 192.168.10.0/25; ip route del 192.168.10.128/25",
                red={"base/test_network.py::test_the_lan_is_on_the_link[alpha]":
                     "alpha has no route to 192.168.10.0/24"},
            ),
            Break(
                "another uid", "gamma", files=(PASSWD,),
                do=f"sed -i s/^pi:x:1000:/pi:x:1234:/ {PASSWD}; "
                "chown -R pi /home/pi /opt/cluster/bin /opt/cluster/mysrc",
                undo="chown -R pi /home/pi /opt/cluster/bin /opt/cluster/mysrc",
                red={"base/test_users.py::test_the_login_user[gamma]": "pi has uid 1234, not 1000"},
            ),
            Break(
                "another shell", "epsilon", files=(PASSWD, "/usr/local/bin/red-one"),
                do="ln -s /bin/bash /usr/local/bin/red-one; usermod -s /usr/local/bin/red-one pi",
                red={"base/test_users.py::test_the_login_user_has_a_shell[epsilon]":
                     "shell of pi is /usr/local/bin/red-one"},
            ),
            Break(
                "the login user without its group", "delta", files=(GROUP,),
                do=f"sed -i 's/^pi:x:/pie:x:/; s/^\\(sshusers:.*:\\)/\\1pi,/' {GROUP}",
                red={
                    "base/test_users.py::test_the_login_users_own_group[delta]": "pi is not in group pi",
                },
            ),
            Break(
                "a full disk", "delta",
                do="mkdir -p /run/red-disk /mnt/red; mount -t tmpfs -o size=64k,nr_inodes=16 none /run/red-disk; "
                "cd /run/red-disk; mkdir lower upper work; "
                "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none /mnt/red; "
                "for n in $(seq 20); do dd if=/dev/zero bs=8k count=1 of=/mnt/red/$n 2>/dev/null || true; done",
                undo="umount /mnt/red; umount /run/red-disk; rmdir /mnt/red /run/red-disk",
                red={
                    "base/test_health.py::test_the_disks_have_room[delta]": "nearly full: {'/mnt/red': '100 %'}",
                    "base/test_health.py::test_the_disks_have_inodes[delta]": "nearly out of inodes: {'/mnt/red': ",
                },
            ),
        ),
    ),
    Round(
        "nodes: no way in",
        ("specs/base/test_users.py",),
        (
            # Each costs one failure; the other specs about the node are skipped with the same reason.
            Break(
                "not our authority", "gamma", files=("/etc/ssh/ca.pub",),
                do="echo > /etc/ssh/ca.pub",
                red={"base/test_users.py::test_the_login_user[gamma]":
                     "gamma: pi@192.168.10.21 refused our certificate and our key"},
            ),
            Break(
                "another host key", "delta",
                files=("/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub"),
                do="rm /etc/ssh/ssh_host_ed25519_key; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; "
                "systemctl reload ssh",
                undo="systemctl reload ssh",
                red={"base/test_users.py::test_the_login_user[delta]":
                     "delta: host key changed: 192.168.10.22 shows ssh-ed25519 SHA256:"},
            ),
        ),
    ),
)  # fmt: skip
