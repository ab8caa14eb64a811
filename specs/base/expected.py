"""What holds on every node, as data: named once, read by the look that gathers it and the specs that judge it."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

from cluster.probes import nft

if TYPE_CHECKING:
    from cluster.inventory import Inventory, Node


class Setting(NamedTuple):
    """A kernel setting; `ours` when a container has one of its own, else it is the host's."""

    name: str
    value: str
    ours: bool


def settings(inventory: Inventory) -> list[Setting]:
    """No IPv6, buffers that MPI wants, more local ports that are sooner used again, and protection."""
    interfaces = ("all", "default", inventory.network.interface)
    return [
        *(Setting(f"net.ipv6.conf.{name}.disable_ipv6", "1", True) for name in interfaces),
        Setting("net.ipv4.ip_local_port_range", "1024 65535", True),
        Setting("net.ipv4.tcp_tw_reuse", "1", True),
        Setting("net.ipv4.tcp_syncookies", "1", True),
        Setting("net.core.rmem_max", "16777216", False),
        Setting("net.core.wmem_max", "4194304", False),
        Setting("kernel.randomize_va_space", "2", False),
        Setting("kernel.sysrq", "1", False),
    ]


class Path(NamedTuple):
    """A folder or file and who may do what with it."""

    name: str
    mode: str
    owner: str
    group: str


def home(inventory: Inventory) -> str:
    """The login user's home."""
    return f"/home/{inventory.users.login}"


def folders(inventory: Inventory) -> list[Path]:
    """The folders of every node."""
    login = inventory.users.login
    return [
        Path("/opt/cluster", "0755", "root", "root"),
        Path("/opt/cluster/data", "0755", "root", "root"),
        Path("/opt/cluster/bin", "0755", login, login),
        Path("/opt/cluster/mysrc", "0700", login, login),
        *(Path(f"/root/{name}", "0750", "root", "root") for name in ("bin", "tmp", "crontab", "rpicluster")),
        Path("/etc/rpicluster", "0700", "root", "root"),
        Path(home(inventory), "0700", login, login),
        Path(f"{home(inventory)}/tmp", "0750", login, login),
        Path(f"{home(inventory)}/crontab", "0750", login, login),
        Path(f"{home(inventory)}/.ssh", "0700", login, login),
    ]


def files() -> list[Path]:
    """Files whose owner or mode decides who can get in, or who can become root."""
    return [
        Path("/opt/cluster/data/info_host.txt", "0444", "root", "root"),
        Path("/etc/ssh/ca.pub", "0644", "root", "root"),
        Path("/etc/ssh/revoked.krl", "0644", "root", "root"),
        Path("/etc/ssh/ssh_host_ed25519_key", "0600", "root", "root"),
        Path("/etc/passwd", "0644", "root", "root"),
        Path("/etc/shadow", "0640", "root", "shadow"),
        Path("/etc/sudoers", "0440", "root", "root"),
    ]


# Written by the provisioner: each says so in its first line, because changes made by hand do not last.
MANAGED = (
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc/machine-info",
    "/etc/modprobe.d/rpicluster.conf",
    "/etc/sysctl.d/60-rpicluster.conf",
    "/etc/ssh/sshd_config.d/10-rpicluster.conf",
    "/etc/ssh/ca.pub",
    "/etc/rpicluster/revoked",
    "/etc/chrony/chrony.conf",
    "/etc/default/chrony",
    "/etc/rpicluster/firewall.nft",
    "/etc/systemd/journald.conf.d/rpicluster.conf",
    "/etc/rsyslog.d/10-rpicluster.conf",
    "/etc/logrotate.d/rpicluster",
    "/etc/cron.d/rpicluster",
    "/opt/cluster/data/info_host.txt",
)

# Whom sshd believes, and what it refuses of that all the same.
SSH_CA, REVOKED = AUTHORITY_FILES = ("/etc/ssh/ca.pub", "/etc/rpicluster/revoked")


def tls_root(inventory: Inventory) -> str:
    """Where the system's store has the cluster's TLS root."""
    return f"/etc/ssl/certs/{inventory.cluster.name}.pem"


LOG_BYTES = 2**20  # from here on it is rotated


def log_file(inventory: Inventory) -> str:
    """Where the cluster's own scripts say what they did."""
    return f"/var/log/{inventory.cluster.name}.log"


RAMSTORE = "/mnt/ramstore/data"  # of the LAN services' nodes, in memory
HOUR_CHECK = f"{RAMSTORE}/hour_check.txt"
HOUR_CHECK_S = 3600 + 300  # cron's hour, and time to do it
MOST_PROCESSES = ("500", "1000")  # what a login gets, and what it may ask for

RUNNING = (
    "ssh.service",
    "chrony.service",
    "rpi-firewall.service",
    "cron.service",
    "rsyslog.service",
)  # on every node, now and after the next boot
NEVER = (  # nothing upgrades itself unasked, nothing announces names, nothing offers radio
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "avahi-daemon.service",
    "avahi-daemon.socket",
    "bluetooth.service",
    "ufw.service",  # a second firewall closes what the first opens
    "nftables.service",  # stops by flushing everybody's rules
)

# An operator's tools, every node.
COMMANDS = ("curl", "wget", "git", "gcc", "make", "dig", "lsof", "nc", "netstat", "tmux", "busybox", "chronyc", "sudo")
# While they wait for an answer, their UDP sockets look like a server's; what they are asked by is a spec, or a check.
ASKING = frozenset({"omshell", "busybox", "dig"})
MORE_UNITS = ("logrotate.timer", "uptimed.service", "sysstat-collect.timer")  # that some spec asks about

# sshd_config(5), as `sshd -T` prints it; ports and groups follow from the inventory.
SSHD = {
    "permitrootlogin": "no",
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "permitemptypasswords": "no",
    "hostbasedauthentication": "no",
    "pubkeyauthentication": "yes",
    "trustedusercakeys": "/etc/ssh/ca.pub",
    "revokedkeys": "/etc/ssh/revoked.krl",
    "hostcertificate": "/etc/ssh/ssh_host_ed25519_key-cert.pub",
    "authorizedkeysfile": "none",
    "authorizedprincipalsfile": "none",
    "authorizedkeyscommand": "none",
    "addressfamily": "inet",
    "clientaliveinterval": "120",
}

BLACKLISTED = ("snd_bcm2835", "brcmfmac", "brcmutil", "cfg80211", "bluetooth")
BLACKLISTED_ON_SERVERS = ("usb_storage", "usbhid")


def reachable_ports(inventory: Inventory, node: Node, source: str, protocol: str) -> tuple[nft.Range, ...]:
    """The ports of a node that the inventory opens to somebody at this address, on the LAN or elsewhere."""
    who, group = IPv4Address(source), inventory.groups[node.group]
    if any(who == other.address for other in inventory.trusted(node)):
        return nft.EVERY
    found: set[int] = set()
    if protocol == "tcp" and any(who in network for network in (inventory.network.cidr, *group.ssh_from)):
        found |= set(group.ssh_ports)
    if who in inventory.network.cidr:
        found |= {one.port for one in inventory.open_ports(node) if one.protocol == protocol}
    return nft.ranges(found)


def blacklisted(inventory: Inventory, node: Node) -> list[str]:
    """The kernel modules that stay out of a node: radio and sound, and on servers also USB disks and keyboards."""
    servers = node.group in ("lanservices", "compute")
    return [*BLACKLISTED, *(BLACKLISTED_ON_SERVERS if servers else ())]
