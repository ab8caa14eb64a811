"""What one node says about itself, gathered by one command: the text of the command and a pure parser.

A spec suite that asked for each fact by itself would spend its time starting processes on the nodes.  The
command only reads, needs no Python on the node, and goes on when a tool is missing: what it could not tell is
absent from the facts, and the spec that asks says so.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from typing import Any

from cluster.probes import nft

SECTION = "\x1e"  # record separator: begins a section's name, and is in nothing that we read

PROC_SYS = "/proc/sys/"


@dataclass(frozen=True)
class User:
    """A line of passwd(5), without the password."""

    uid: int
    gid: int
    home: str
    shell: str


@dataclass(frozen=True)
class File:
    """What stat(1) says: `kind` in its words ("regular file", "directory"...), `mode` as four octal digits.

    `first_line` is there for files that were asked for as texts; what may hold a secret is not read.
    """

    kind: str
    mode: str
    owner: str
    group: str
    size: int
    first_line: str = ""


@dataclass(frozen=True)
class Listener:
    """A socket that waits for anybody: `process` is the program's name, empty where the kernel owns it."""

    protocol: str
    address: str
    port: int
    process: str

    @property
    def local(self) -> bool:
        """Whether only the node itself can reach it."""
        return self.address.startswith("127.") or self.address in ("::1", "[::1]")


@dataclass(frozen=True)
class Lease:
    """The DHCP lease of an interface as its client holds it; `seconds` is how long it was given for."""

    address: str
    server: str
    seconds: int
    routers: tuple[str, ...]
    dns: tuple[str, ...]
    ntp: tuple[str, ...]
    domain: str


@dataclass(frozen=True)
class Facts:
    """The sections of one node's answer, parsed when they are asked for.

    Each property raises KeyError with the section's name when the node could not tell.
    """

    sections: Mapping[str, str]

    def _lines(self, name: str) -> list[str]:
        return [line for line in self.sections[name].splitlines() if line.strip()]

    def _pairs(self, name: str, sep: str = "=") -> dict[str, str]:
        return {k.strip(): v.strip() for k, _, v in (line.partition(sep) for line in self._lines(name))}

    @cached_property
    def container(self) -> bool:
        """Whether the node is a container, whose kernel is another machine's."""
        return self.sections["container"].strip() not in ("", "none")

    @cached_property
    def names(self) -> dict[str, str]:
        """The node's name: `kernel` (uname -n), `file` (/etc/hostname), `full` (hostname -f)."""
        return self._pairs("names")

    @cached_property
    def zone(self) -> dict[str, str]:
        """The time zone: `link` (where /etc/localtime leads), `offset` and `name` as date(1) prints them."""
        return self._pairs("zone")

    @cached_property
    def machine(self) -> dict[str, str]:
        """/etc/machine-info, machine-info(5)."""
        pairs = self._pairs("machine")
        return {key: value.strip("\"'") for key, value in pairs.items() if not key.startswith("#")}

    @cached_property
    def hosts(self) -> dict[str, tuple[str, ...]]:
        """/etc/hosts: each name and the addresses it has there, in their order."""
        found: dict[str, tuple[str, ...]] = {}
        for line in self._lines("hosts"):
            address, *names = line.partition("#")[0].split() or [""]
            for name in names:
                found[name] = (*found.get(name, ()), address)
        return found

    @cached_property
    def resolver(self) -> dict[str, tuple[str, ...]]:
        """resolv.conf(5): `nameserver` and `options` collect, of `search` the last line counts."""
        found: dict[str, tuple[str, ...]] = {}
        for line in self._lines("resolver"):
            word, *values = re.split(r"[#;]", line, maxsplit=1)[0].split() or [""]
            if word:
                found[word] = tuple(values) if word == "search" else (*found.get(word, ()), *values)
        return found

    @cached_property
    def sysctl(self) -> dict[str, str]:
        """The asked kernel settings that this kernel has, white space made single."""
        found = {}
        for file, value in self._pairs("sysctl", ":").items():
            found[file.removeprefix(PROC_SYS).replace("/", ".")] = " ".join(value.split())
        return found

    @cached_property
    def users(self) -> dict[str, User]:
        """Every user, from wherever the node takes them."""
        found = {}
        for line in self._lines("users"):
            name, _, uid, gid, _, home, shell = line.split(":")
            found[name] = User(int(uid), int(gid), home, shell)
        return found

    @cached_property
    def groups(self) -> dict[str, frozenset[str]]:
        """Every group and its members, those included whose first group it is."""
        found: dict[str, frozenset[str]] = {}
        first: dict[int, set[str]] = {}
        for name, user in self.users.items():
            first.setdefault(user.gid, set()).add(name)
        for line in self._lines("groups"):
            name, _, gid, members = line.split(":")
            found[name] = frozenset(filter(None, members.split(","))) | first.get(int(gid), set())
        return found

    @cached_property
    def sshd(self) -> dict[str, tuple[str, ...]]:
        """`sshd -T` for the login user: each keyword in lower case and its values."""
        found: dict[str, tuple[str, ...]] = {}
        for line in self._lines("sshd"):
            word, _, value = line.partition(" ")
            found[word] = (*found.get(word, ()), value)
        return found

    @cached_property
    def files(self) -> dict[str, File]:
        """The asked paths that exist."""
        found = {}
        for line in self._lines("files"):
            path, kind, mode, owner, group, size, *first = line.split("\t", 6)
            found[path] = File(kind, mode.zfill(4), owner, group, int(size), first[0].strip() if first else "")
        return found

    @cached_property
    def failed(self) -> tuple[str, ...]:
        """The systemd units that have failed."""
        return tuple(line.split()[0] for line in self._lines("failed"))

    @cached_property
    def system(self) -> str:
        """systemd's own summary: running, degraded, starting...; systemctl(1), is-system-running."""
        return self.sections["system"].strip()

    @cached_property
    def units(self) -> dict[str, tuple[str, str, str]]:
        """The asked systemd units: load, active and unit file state, such as ("loaded", "active", "enabled")."""
        found = {}
        for block in self.sections["units"].strip().split("\n\n"):
            pairs = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if pairs:
                found[pairs["Id"]] = (pairs["LoadState"], pairs["ActiveState"], pairs["UnitFileState"])
        return found

    @cached_property
    def listeners(self) -> tuple[Listener, ...]:
        """Every TCP socket that listens and every unconnected UDP socket, ss(8), that is there in both looks.

        A client's socket that is only on its way to be connected, or closed, is no service's.
        """
        again = {(protocol, local) for protocol, _, _, _, local, *_ in map(str.split, self._lines("listeners again"))}
        found = set()
        for line in self._lines("listeners"):
            protocol, _, _, _, local, _, *rest = line.split(None, 6)
            if (protocol, local) not in again:
                continue
            address, _, port = local.rpartition(":")
            process = re.search(r'users:\(\("([^"]*)"', rest[0]) if rest else None
            found.add(Listener(protocol, address.partition("%")[0], int(port), process[1] if process else ""))
        return tuple(sorted(found, key=lambda one: (one.protocol, one.port, one.address, one.process)))

    @cached_property
    def firewall(self) -> nft.Table | None:
        """Our table of nftables, None where the node has none; raises ValueError for rules that are not understood."""
        return nft.parse(self.sections["firewall"])

    @cached_property
    def links(self) -> dict[str, dict[str, Any]]:
        """`ip -j address`, by interface."""
        return {link["ifname"]: link for link in json.loads(self.sections["addresses"] or "[]")}

    @cached_property
    def routes(self) -> list[dict[str, Any]]:
        """`ip -j -4 route`: the main table."""
        routes: list[dict[str, Any]] = json.loads(self.sections["routes"] or "[]")
        return routes

    def addresses(self, interface: str) -> dict[str, int]:
        """The IPv4 addresses of an interface and their prefix lengths; empty where there is no such interface."""
        infos = self.links.get(interface, {}).get("addr_info", ())
        return {info["local"]: info["prefixlen"] for info in infos if info["family"] == "inet"}

    @cached_property
    def commands(self) -> frozenset[str]:
        """The asked commands that root can call."""
        return frozenset(path.rpartition("/")[2] for path in self._lines("commands"))

    @cached_property
    def disks(self) -> dict[str, tuple[int, int]]:
        """Mounted file systems: percent of space and of inodes in use (0 where there is no such limit)."""
        found: dict[str, tuple[int, int]] = {}
        for line in self._lines("disks"):
            _, space, inodes, mount = line.split(None, 3)
            found[mount] = (_percent(space), _percent(inodes))
        return found

    @cached_property
    def processes(self) -> int:
        """How many processes there are, kernel threads not counted."""
        return int(self.sections["processes"])

    @cached_property
    def neighbours(self) -> dict[str, str]:
        """The hardware address of each address that the node knows for good, and asks nobody about."""
        entries = json.loads(self.sections["neighbours"] or "[]")
        return {entry["dst"]: entry.get("lladdr", "") for entry in entries}

    @cached_property
    def mounts(self) -> dict[str, tuple[str, frozenset[str]]]:
        """Mounted file systems: type and options of each, by where it is."""
        found = {}
        for line in self._lines("mounts"):
            _, place, kind, options, *_ = line.split()
            found[place] = (kind, frozenset(options.split(",")))
        return found

    @cached_property
    def ages(self) -> dict[str, int]:
        """Seconds since each of the asked files was written, by the node's own clock."""
        return {path: int(age) for path, age in self._pairs("ages").items()}

    @cached_property
    def contents(self) -> dict[str, tuple[str, ...]]:
        """The lines of the asked files."""
        found: dict[str, tuple[str, ...]] = {}
        for line in self._lines("contents"):
            path, _, text = line.partition(":")
            found[path] = (*found.get(path, ()), text)
        return found

    @cached_property
    def most_processes(self) -> tuple[str, str]:
        """How many processes a login may have: what it gets, and what it may ask for; numbers or "unlimited"."""
        for line in self._lines("limits"):
            if line.startswith("Max processes"):
                soft, hard, *_ = line.removeprefix("Max processes").split()
                return soft, hard
        raise KeyError("limits")

    @cached_property
    def log(self) -> dict[str, str]:
        """The cluster's own log: `journal` and `file`, the newest line of each; `kept`, the folder of the journal.

        `arrived` is where the file has that newest line of the journal; not there, where it has not.
        """
        return self._pairs("log")

    @cached_property
    def trusted_root(self) -> str:
        """The SHA-256 of the TLS root that was asked for, in hex; empty where the system's store does not trust it."""
        print_, *verdict = [*self._lines("trusted"), ""]
        return print_.partition("=")[2].replace(":", "").lower() if any(v.endswith(": OK") for v in verdict) else ""

    @cached_property
    def hardware(self) -> dict[str, str]:
        """What sensors and the kernel tell, each where there is one: see `_HARDWARE`."""
        return self._pairs("hardware")

    @cached_property
    def passwordless(self) -> tuple[str, ...]:
        """The users whose password is empty: anybody can become one of them."""
        return tuple(self._lines("no password"))

    @cached_property
    def lookups(self) -> dict[str, frozenset[str]]:
        """What the node's DNS servers say to each complete name that was asked."""
        return self._answers("lookups")

    @cached_property
    def short_lookups(self) -> dict[str, frozenset[str]]:
        """The same for the short names, under the complete name that the search list made of each."""
        return self._answers("short lookups")

    def _answers(self, section: str) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        current = ""
        for line in self._lines(section):
            address, _, *name = line.split()
            current = name[0] if name else current  # it stands on the first line of each answer only
            found[current] = found.get(current, frozenset()) | {address}
        return found

    @cached_property
    def modules(self) -> frozenset[str]:
        """The kernel's loaded modules."""
        return frozenset(line.split()[0] for line in self._lines("modules"))

    @cached_property
    def blacklist(self) -> frozenset[str]:
        """The modules that are not loaded for the hardware they drive, modprobe.d(5)."""
        words = (line.split() for line in self._lines("blacklist"))
        return frozenset(line[1] for line in words if line[0] == "blacklist" and len(line) > 1)

    @cached_property
    def lease(self) -> Lease | None:
        """The DHCP lease of the interface, None where its client holds none or is one we cannot read.

        Read from NetworkManager (nmcli, DHCP4) or systemd-networkd, whose lease file is private to it; but
        nothing else in Debian 12's systemd 252 tells which server gave the lease.
        """
        text = self.sections["lease"]
        networkd = dict(re.findall(r"^([A-Z_0-9]+)=(.*)$", text, re.M))
        manager = dict(re.findall(r"^DHCP4\.OPTION\[\d+\]:\s*(\w+) = (.*)$", text, re.M))
        if networkd:
            names = ("ADDRESS", "SERVER_ADDRESS", "LIFETIME", "ROUTER", "DNS", "NTP", "DOMAINNAME")
            found = [networkd.get(name, "") for name in names]
        elif manager:
            names = (
                "ip_address",
                "dhcp_server_identifier",
                "dhcp_lease_time",
                "routers",
                "domain_name_servers",
                "ntp_servers",
                "domain_name",
            )
            found = [manager.get(name, "") for name in names]
        else:
            return None
        address, server, seconds, routers, dns, ntp, domain = found
        several = [tuple(text.split()) for text in (routers, dns, ntp)]
        return Lease(address, server, int(seconds or 0), several[0], several[1], several[2], domain)


def _percent(text: str) -> int:
    return int(text.rstrip("%")) if text.rstrip("%").isdigit() else 0


def parse(text: str) -> Facts:
    """The facts in the output of `command`; raises ValueError when it was cut off."""
    sections = {}
    for part in text.split(SECTION)[1:]:
        name, _, body = part.partition("\n")
        sections[name] = body
    if "end" not in sections:
        raise ValueError(f"cut off after section {next(reversed(sections), 'none')!r}")
    return Facts(sections)


def command(
    *,
    interface: str,
    login: str,
    address: IPv4Address | str,
    sysctls: Iterable[str] = (),
    paths: Iterable[str] = (),
    texts: Iterable[str] = (),
    aged: Iterable[str] = (),
    contents: Iterable[str] = (),
    log: str = "",
    trusted: str = "",
    units: Iterable[str] = (),
    commands: Iterable[str] = (),
    names: Iterable[str] = (),
    short_names: Iterable[str] = (),
) -> str:
    """The shell script (POSIX, for root) whose output `parse` understands; it changes nothing."""
    unit_names = shlex.join(units)
    sections = {
        "container": "systemd-detect-virt --container",
        "names": 'echo "kernel=$(uname -n)"; read -r name < /etc/hostname; '
        'echo "file=$(grep -v "^#" /etc/hostname)"; echo "full=$(hostname -f)"',
        "zone": 'echo "link=$(readlink -f /etc/localtime)"; date "+offset=%z%nname=%Z"',
        "machine": "cat /etc/machine-info",
        "hosts": "cat /etc/hosts",
        "resolver": "cat /etc/resolv.conf",
        "sysctl": _sysctl(sysctls),
        "users": "getent passwd",
        "groups": "getent group",
        "sshd": f"sshd -T -C user={shlex.quote(login)},host=$(uname -n),addr={address}",
        "files": _files(paths, texts),
        "failed": "systemctl list-units --state=failed --plain --no-legend --no-pager",
        "system": "systemctl is-system-running",
        "units": f"systemctl show --no-pager -p Id -p LoadState -p ActiveState -p UnitFileState -- {unit_names}"
        if unit_names
        else ":",
        "listeners": "ss -Hlntup",
        "firewall": nft.COMMAND,
        "addresses": "ip -j address",
        "routes": "ip -j -4 route",
        "commands": f"for c in {shlex.join(commands)}; do command -v $c; done",
        "disks": "df -x tmpfs -x devtmpfs -x squashfs --output=source,pcent,ipcent,target | tail -n +2",
        "processes": 'n=0; for p in /proc/[0-9]*/exe; do [ -e "$p" ] && n=$((n+1)); done; echo $n',
        "neighbours": f"ip -j -4 neighbour show nud permanent dev {shlex.quote(interface)}",
        "mounts": "cat /proc/mounts",
        "ages": f'now=$(date +%s); for f in {shlex.join(aged)}; do a=$(stat -c %Y -- "$f") && '
        'echo "$f=$((now - a))"; done',
        "contents": f"grep -sH '' {shlex.join(contents)} /dev/null",
        # Root's own shell has what the login that it came from had: sudo hands limits on.
        "limits": "cat /proc/$PPID/limits",
        "log": _log(log) if log else ":",
        "trusted": f"openssl x509 -in {shlex.quote(trusted)} -noout -fingerprint -sha256; "
        f"openssl verify -no-CAfile -CApath /etc/ssl/certs {shlex.quote(trusted)}"
        if trusted
        else ":",
        "hardware": _HARDWARE,
        "modules": "cat /proc/modules",
        "blacklist": "cat /etc/modprobe.d/*.conf",
        "lookups": _lookups(names),
        "short lookups": _lookups(short_names),
        "no password": 'getent shadow | while IFS=: read -r u p _; do [ -n "$p" ] || echo $u; done',
        "lease": f"cat /run/systemd/netif/leases/$(cat /sys/class/net/{shlex.quote(interface)}/ifindex) || "
        f"nmcli -t -f DHCP4 device show {shlex.quote(interface)}",
        "listeners again": "ss -Hlntu",  # as late as can be
        "end": ":",
    }
    lines = ["exec 2>/dev/null", "PATH=$PATH:/usr/sbin:/sbin", "export LC_ALL=C"]
    for name, body in sections.items():
        lines += [f"printf '\\036{name}\\n'", body]
    return "\n".join(lines) + "\n"


# Degrees and volts are told by the board's firmware on a Raspberry Pi, by the kernel where it knows the sensor.
_HARDWARE = r"""
t=$(cat /sys/class/thermal/thermal_zone0/temp) && echo "millidegrees=$t"
t=$(vcgencmd get_throttled) || t=throttled=0x$(cat /sys/devices/platform/soc/soc:firmware/get_throttled) && echo "$t"
read -r t _ < /proc/loadavg && echo "load=$t"
awk '/^(MemTotal|MemAvailable|SwapTotal|SwapFree):/ { sub(":", ""); print $1 "=" $2 }' /proc/meminfo
echo "processors=$(nproc)"
journalctl -q -k -o cat --since=-1h | awk '
  tolower($0) ~ /under-?voltage detected/ { volts++ } /rpicluster refused: / { refused++ }
  END { print "undervoltage=" volts + 0; print "refused=" refused + 0 }'
"""


def _log(tag: str) -> str:
    """The newest line with this tag in the journal, and where the tag's own file has it, to the second.

    It need not be the last one there: a node that loses its power keeps less of its journal than of its files.  What
    was said this moment has two seconds to arrive.
    """
    file = shlex.quote(f"/var/log/{tag}.log")
    return (
        f"newest=$(journalctl -q -n 1 -o short-unix -t {shlex.quote(tag)}); said=${{newest#*: }}; at=${{newest%%.*}}; "
        'echo "journal=$said"; '
        "for try in 1 2 3 4 5 6 7 8 9; do "
        f'line=$(for n in 0 1 -1; do grep -F "$(date -d "@$((at + n))" +%FT%T)" {file}; done | '
        'grep -m 1 -F -- ": $said"); '
        '[ -z "$line" ] || { echo "arrived=$line"; break; }; sleep 0.25; done; '
        f'echo "file=$(tail -n 1 {file})"; '
        'echo "kept=$(ls -d /var/log/journal/$(cat /etc/machine-id))"'
    )


def _lookups(names: Iterable[str]) -> str:
    """Ask DNS and nothing else; five seconds at most, though each name alone could take that long."""
    words = shlex.join(names)
    return f"timeout 5 getent -s hosts:dns ahostsv4 {words}" if words else ":"


def _sysctl(keys: Iterable[str]) -> str:
    files = [PROC_SYS + key.replace(".", "/") for key in keys]
    return f"grep -sH . {shlex.join(files)}" if files else ":"


def _files(paths: Iterable[str], texts: Iterable[str]) -> str:
    """stat of each path; the first line too of those that are texts for anybody to read, and of no other."""
    asked = dict.fromkeys(paths, "no") | dict.fromkeys(texts, "yes")
    if not asked:
        return ":"
    words = " ".join(f"{text}:{shlex.quote(path)}" for path, text in asked.items())
    return (
        f"for f in {words}; do text=${{f%%:*}}; f=${{f#*:}}; first=; "
        '[ $text = no ] || [ ! -f "$f" ] || read -r first < "$f"; '
        "stat --printf '%n\\t%F\\t%a\\t%U\\t%G\\t%s\\t' -- \"$f\" && printf '%s\\n' \"$first\"; done"
    )
