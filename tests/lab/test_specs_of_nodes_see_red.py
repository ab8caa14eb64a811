"""Every spec about single nodes has been seen red: nodes are broken in many ways at once, each with its undo.

The specs run once on the broken nodes and once after healing.  Each break names the specs that must notice it
and a part of the line they must say; and a spec that went red without being expected is a failure too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import pytest

from cluster.errors import ClusterError
from cluster.node import Fleet
from cluster.wait import until
from tests.outcomes import Result

BASE_FILES = ("checks", "files", "firewall", "health", "names", "network", "ssh", "users")
PATHS = (
    *(f"specs/base/test_{name}.py" for name in BASE_FILES),
    "specs/compute",
    "specs/deployer",
    "specs/openwrt",
    "specs/lanservices/test_nothing_else.py",
)
BASE, COMPUTE = "specs/base/test_", "specs/compute/test_addressing.py::test_"
# The lease that systemd-networkd holds, as it tells others; a copy is kept beside it.
LEASE = "/run/systemd/netif/leases/$(cat /sys/class/net/eth0/ifindex)"


@dataclass(frozen=True)
class Break:
    """What is done to a node as root, how it is undone, and what which specs must say of it."""

    name: str
    node: str
    do: str
    undo: str
    red: dict[str, str]


def kept(path: str, change: str) -> tuple[str, str]:
    """Change a file, and put the kept copy back."""
    return f"cp -a {path} {path}.kept && {change}", f"mv -fT {path}.kept {path}"


def server(port: int, *, udp: bool = False) -> tuple[str, str]:
    """A stranger that listens on a port of every address."""
    unit = f"red-{'udp' if udp else 'tcp'}-{port}"
    return (
        f"systemd-run -q --unit={unit} nc -{'u' if udp else ''}lk 0.0.0.0 {port}",
        f"systemctl stop {unit}; systemctl reset-failed {unit} 2>/dev/null || true",
    )


def sshd(lines: str) -> tuple[str, str]:
    """Lines that sshd reads before ours, so that they win (sshd_config(5)); taken up and given up again."""
    drop = "/etc/ssh/sshd_config.d/00-red.conf"
    return (
        f"printf '{lines}' > {drop} && sshd -t && systemctl reload ssh",
        f"rm -f {drop} && systemctl reload ssh",
    )


BREAKS = [
    # --- base/test_ssh.py
    Break(
        "passwords",
        "delta",
        *sshd(
            "PasswordAuthentication yes\\nPermitRootLogin yes\\nAllowGroups root\\nPort 2022\\n"
            "ClientAliveCountMax 0\\nListenAddress 0.0.0.0:22\\n"
        ),
        {
            BASE + "ssh.py::test_only_keys_are_offered[delta]": "also offers password",
            BASE + "ssh.py::test_the_first_password_is_refused[delta]": "lets pi in by password",
            BASE + "ssh.py::test_root_is_refused[delta]": "lets root in by publickey",
            BASE + "ssh.py::test_it_answers_on_the_port[delta-2020]": "no SSH on port 2020",
            BASE + "ssh.py::test_the_setting_is[delta-permitrootlogin]": "permitrootlogin yes, not no",
            BASE + "ssh.py::test_the_setting_is[delta-passwordauthentication]": "passwordauthentication yes, not no",
            BASE + "ssh.py::test_it_listens_on_its_groups_ports_only[delta]": "2022",
            BASE + "ssh.py::test_only_the_ssh_group_and_the_login_user_may_log_in[delta]": "root",
            BASE + "ssh.py::test_a_silent_client_is_given_up[delta]": "ClientAliveCountMax 0",
            BASE + "health.py::test_ssh_is_served_by_sshd[delta]": "nobody listens on port 2020",
            BASE + "firewall.py::test_somebody_serves_what_is_open[delta-tcp/2020]": "nothing listens there",
        },
    ),
    Break(
        "root's door",
        "delta",
        "mkdir -p /root/.ssh && cp /home/pi/.ssh/authorized_keys /root/.ssh/authorized_keys",
        "rm -rf /root/.ssh",
        {},  # with the break above, it lets root in
    ),
    Break(
        "host key",
        "delta",
        *kept("/etc/ssh/ssh_host_ed25519_key.pub", "echo 'ssh-ed25519 AAAA x' > /etc/ssh/ssh_host_ed25519_key.pub"),
        {BASE + "ssh.py::test_the_node_shows_the_pinned_host_key[delta]": "has no host key like the pinned one"},
    ),
    # --- base/test_names.py
    Break(
        "name",
        "epsilon",
        "hostname psi",  # one that /etc/hosts has: sudo looks its own host up each time
        "hostname epsilon",
        {
            BASE + "names.py::test_the_node_has_its_name[epsilon-kernel]": "calls itself psi",
            BASE + "names.py::test_the_node_knows_its_complete_name[epsilon]": "hostname -f says",
        },
    ),
    Break(
        "name's file",
        "delta",
        *kept("/etc/hostname", "echo red > /etc/hostname"),
        {
            BASE + "names.py::test_the_node_has_its_name[delta-file]": "calls itself red (/etc/hostname)",
            BASE + "files.py::test_it_says_that_it_is_managed[delta-/etc/hostname]": "begins with 'red'",
        },
    ),
    Break(
        "place",
        "delta",
        *kept("/etc/machine-info", "sed -i 's/embedded/desktop/; s/dc1/dc2/' /etc/machine-info"),
        {
            BASE + "names.py::test_it_says_what_and_where_it_is[delta-CHASSIS]": "CHASSIS=desktop, not embedded",
            BASE + "names.py::test_it_says_what_and_where_it_is[delta-LOCATION]": "LOCATION=dc2, not dc1",
        },
    ),
    Break(
        "hosts file",
        "delta",
        *kept("/etc/hosts", "sed -i '/ psi /s/^[0-9.]*/10.0.0.5/; s/localhost/localghost/' /etc/hosts"),
        {
            BASE + "names.py::test_the_hosts_file_knows[delta-psi]": "('10.0.0.5',), not 192.168.10.5",
            BASE + "names.py::test_localhost_is_the_node_itself[delta]": "localhost at no address",
        },
    ),
    Break(
        "resolver",
        "zeta",
        *kept(
            "/etc/resolv.conf",
            "printf 'search example\\nnameserver 192.168.10.250\\noptions timeout:5 attempts:1\\n' > /etc/resolv.conf",
        ),
        {
            BASE + "names.py::test_short_names_are_searched_in_the_clusters_domain[zeta]": "('example',)",
            BASE + "names.py::test_it_asks_the_clusters_name_servers[zeta]": "asks 192.168.10.250, not 192.168.10.6",
            BASE + "names.py::test_it_soon_asks_the_other_server[zeta]": "waits 5 s",
            BASE + "files.py::test_it_says_that_it_is_managed[zeta-/etc/resolv.conf]": "begins with 'search",
            **{
                BASE + f"names.py::test_dns_{what}[zeta-{name}]": "zeta: "
                for what, names in {
                    "tells_it_where": "omega psi alpha beta gamma delta epsilon zeta",
                    "completes_the_short_name": "omega psi alpha beta gamma delta epsilon zeta",
                    "tells_it_where_the_service_is": "dns1 dns2 float dgw",
                }.items()
                for name in names.split()
            },
        },
    ),
    # --- base/test_network.py
    Break(
        "second address",
        "delta",
        "ip address add 192.168.10.77/24 dev eth0",
        "ip address del 192.168.10.77/24 dev eth0",
        {
            BASE + "network.py::test_no_address_that_is_not_its_own[delta]": "also has 192.168.10.77",
            COMPUTE + "nothing_else_gives_it_an_address[delta]": "192.168.10.77 on eth0 is static",
        },
    ),
    Break(
        "small frames",
        "delta",
        "ip link set eth0 mtu 1400",
        "ip link set eth0 mtu 1500",
        {BASE + "network.py::test_frames_have_the_lans_size[delta]": "MTU 1400, not 1500"},
    ),
    Break(
        "second way out",
        "delta",
        "ip route add default via 192.168.10.66 metric 5",
        "ip route del default via 192.168.10.66 metric 5",
        {
            BASE + "network.py::test_one_way_out[delta]": "192.168.10.66 and 192.168.10.1",
            COMPUTE + "its_route_comes_with_the_lease[delta]": "not by DHCP",
        },
    ),
    Break(
        "kernel settings",
        "delta",
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv4.tcp_syncookies=0 && ip address add fd00::1/64 dev eth0",
        "sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1 net.ipv4.tcp_syncookies=1",
        {
            BASE + "network.py::test_no_ipv6_address[delta]": "fd00::1",
            BASE + "network.py::test_the_kernel_setting[delta-net.ipv6.conf.eth0.disable_ipv6]": "= 0, not 1",
            BASE + "network.py::test_the_kernel_setting[delta-net.ipv4.tcp_syncookies]": "= 0, not 1",
        },
    ),
    Break(
        "modules",
        "delta",
        *kept("/etc/modprobe.d/rpicluster.conf", "sed -i /usbhid/d /etc/modprobe.d/rpicluster.conf"),
        {BASE + "network.py::test_the_module_stays_out[delta-usbhid]": "usbhid is not blacklisted"},
    ),
    # --- base/test_users.py
    Break(
        "strong cluster user",
        "delta",
        "gpasswd -a piclust sudo",
        "gpasswd -d piclust sudo",
        {BASE + "users.py::test_the_cluster_user_is_not_root_by_another_name[delta]": "piclust is in sudo"},
    ),
    Break(
        "second root",
        "delta",
        "useradd -o -u 0 -M red && passwd -qd red",
        "userdel -f red",
        {
            BASE + "users.py::test_only_root_is_root[delta]": "uid 0 belongs to red, root",
            BASE + "users.py::test_nobody_has_an_empty_password[delta]": "no password is asked of red",
            BASE + "users.py::test_every_uid_is_one_users[delta]": "root, red",
        },
    ),
    Break(
        "lost users",
        "epsilon",
        "usermod -l red piclust && groupmod -n reds sshusers",
        "usermod -l piclust red && groupmod -n sshusers reds",
        {
            BASE + "users.py::test_the_cluster_user[epsilon]": "has no user piclust",
            BASE + "users.py::test_the_ssh_group[epsilon]": "has no group sshusers",
        },
    ),
    # --- base/test_files.py
    Break(
        "folders",
        "delta",
        "chmod 0777 /opt/cluster && chown root: /opt/cluster/bin && rmdir /root/crontab && chmod 0644 /etc/shadow",
        "chmod 0755 /opt/cluster; chown pi: /opt/cluster/bin; mkdir -m 0750 /root/crontab; chmod 0640 /etc/shadow",
        {
            BASE + "files.py::test_the_folder[delta-/opt/cluster]": "mode 0777, not 0755",
            BASE + "files.py::test_the_folder[delta-/opt/cluster/bin]": "belongs to root:root, not pi:pi",
            BASE + "files.py::test_the_folder[delta-/root/crontab]": "delta has no /root/crontab",
            BASE + "files.py::test_the_file[delta-/etc/shadow]": "mode 0644, not 0640",
        },
    ),
    Break(
        "time zone",
        "delta",
        "ln -sfT /usr/share/zoneinfo/Asia/Kolkata /etc/localtime",
        "ln -sfT /usr/share/zoneinfo/UTC /etc/localtime",
        {
            BASE + "files.py::test_time_is_told_in_the_clusters_zone[delta]": "Asia/Kolkata, not UTC",
            BASE + "files.py::test_logs_have_the_clusters_offset[delta]": "+0530",
        },
    ),
    # --- base/test_health.py
    Break(
        "failed unit",
        "delta",
        "systemd-run -q --unit=red-failed false; sleep 0.2",
        "systemctl reset-failed red-failed",
        {BASE + "health.py::test_no_unit_has_failed[delta]": "red-failed.service"},
    ),
    Break(
        "stopped daemon",
        "gamma",
        "systemctl stop chrony && systemctl -q disable ssh",
        "systemctl -q enable ssh && systemctl start chrony",
        {
            BASE + "health.py::test_it_runs[gamma-chrony.service]": "chrony.service is inactive",
            BASE + "health.py::test_it_will_run_after_the_next_boot[gamma-ssh.service]": "is disabled",
        },
    ),
    Break(
        "unasked upgrades",
        "delta",
        "systemctl -q unmask apt-daily.timer && systemctl -q enable --now apt-daily.timer",
        "systemctl -q disable --now apt-daily.timer && systemctl -q mask apt-daily.timer",
        {BASE + "health.py::test_it_never_runs[delta-apt-daily.timer]": "apt-daily.timer runs"},
    ),
    Break(
        "missing tool",
        "delta",
        "mv /usr/bin/lsof /usr/bin/lsof.kept",
        "mv /usr/bin/lsof.kept /usr/bin/lsof",
        {BASE + "health.py::test_the_command_is_there[delta-lsof]": "has no lsof"},
    ),
    Break(
        "crowd",
        "gamma",
        "systemd-run -q --unit=red-crowd sh -c 'for i in $(seq 450); do sleep 600 & done; wait'; "
        "until [ $(cat /sys/fs/cgroup/system.slice/red-crowd.service/cgroup.procs 2>/dev/null | wc -l) -gt 440 ] ||"
        " [ $(pgrep -c sleep) -gt 440 ]; do sleep 0.1; done",
        "systemctl stop red-crowd",
        {
            BASE + "health.py::test_not_too_many_processes[gamma]": "400 at most",
            BASE + "checks.py::test_the_check_is_not_critical[gamma-processes]": "processes: CRITICAL: PROCS CRITICAL",
        },
    ),
    Break(
        "stranger on a port",
        "delta",
        *server(8080),
        {BASE + "health.py::test_only_the_groups_services_can_be_reached[delta]": "nc on tcp 8080"},
    ),
    # --- compute/test_addressing.py
    Break(
        "another lease",
        "zeta",
        *kept(
            LEASE,
            f"sed -i 's/^ADDRESS=.*/ADDRESS=192.168.10.99/; s/^SERVER_ADDRESS=.*/SERVER_ADDRESS=192.168.10.2/;"
            f" s/^LIFETIME=.*/LIFETIME=99999/; /^ROUTER=/d; s/^DNS=.*/DNS=8.8.8.8/; /^NTP=/d;"
            f" s/^DOMAINNAME=.*/DOMAINNAME=home/' {LEASE}",
        ),
        {
            COMPUTE + "its_address_is_leased[zeta]": "a lease for 192.168.10.99, not 192.168.10.24",
            COMPUTE + "the_lease_comes_from_the_pair[zeta]": "from 192.168.10.2, which is none of",
            COMPUTE + "the_lease_is_not_too_long[zeta]": "99999 s, 3600 at most",
            COMPUTE + "the_gateway_is_leased[zeta]": "router none",
            COMPUTE + "the_name_servers_are_leased[zeta]": "8.8.8.8",
            COMPUTE + "the_time_servers_are_leased[zeta]": "time servers none",
            COMPUTE + "the_domain_is_leased[zeta]": "domain home, not dc1.b3rry.clust0r",
        },
    ),
    # --- deployer/test_exposure.py
    Break(
        "deployer serves",
        "psi",
        f"{server(8000)[0]} && {server(5000, udp=True)[0]}",
        f"{server(8000)[1]}; {server(5000, udp=True)[1]}",
        {
            "specs/deployer/test_exposure.py::test_nothing_but_sshd_listens_on_tcp[psi]": "nc on 0.0.0.0:8000",
            "specs/deployer/test_exposure.py::test_nothing_listens_on_udp[psi]": "nc on 0.0.0.0:5000",
            BASE + "health.py::test_only_the_groups_services_can_be_reached[psi]": "nc on tcp 8000",
        },
    ),
    Break(
        "deployer leases",
        "psi",
        f"mkdir -p /run/systemd/netif/leases && printf 'ADDRESS=1.2.3.4\\nSERVER_ADDRESS=192.168.10.2\\n' > {LEASE}",
        f"rm {LEASE}",
        {
            "specs/deployer/test_exposure.py::test_it_does_not_depend_on_the_pair_for_its_address[psi]": (
                "by DHCP from 192.168.10.2"
            )
        },
    ),
    # --- openwrt/test_quiet.py
    Break(
        "router serves",
        "omega",
        " && ".join(
            start for start, _ in (server(67, udp=True), server(53, udp=True), server(53), server(69, udp=True))
        )
        + f" && mkdir -p /run/systemd/netif/leases && echo SERVER_ADDRESS=192.168.10.6 > {LEASE}",
        "; ".join(stop for _, stop in (server(67, udp=True), server(53, udp=True), server(53), server(69, udp=True)))
        + f"; rm {LEASE}",
        {
            "specs/openwrt/test_quiet.py::test_it_no_longer_serves[omega-dhcp]": "still serves DHCP: nc",
            "specs/openwrt/test_quiet.py::test_it_no_longer_serves[omega-dns-udp]": "still serves DNS: nc",
            "specs/openwrt/test_quiet.py::test_it_no_longer_serves[omega-dns-tcp]": "still serves DNS: nc",
            "specs/openwrt/test_quiet.py::test_it_no_longer_serves[omega-tftp]": "still serves TFTP: nc",
            "specs/openwrt/test_quiet.py::test_it_does_not_depend_on_the_pair_for_its_address[omega]": "192.168.10.6",
            BASE + "health.py::test_only_the_groups_services_can_be_reached[omega]": "nc on udp 67",
        },
    ),
    # --- lanservices/test_nothing_else.py
    Break(
        "other roles",
        "beta",
        f"useradd -M redis && groupadd docker && {server(80)[0]} && {server(5353, udp=True)[0]}",
        f"userdel redis; groupdel docker; {server(80)[1]}; {server(5353, udp=True)[1]}",
        {
            "specs/lanservices/test_nothing_else.py::test_no_user_of_another_role[beta-redis]": "the user redis",
            "specs/lanservices/test_nothing_else.py::test_nothing_listens_on[beta-80]": "nc (tcp) listens on port 80",
            "specs/lanservices/test_nothing_else.py::test_nothing_listens_on[beta-5353]": "nc (udp)",
            "specs/lanservices/test_nothing_else.py::test_no_docker[beta]": "has docker: docker",
            BASE + "health.py::test_only_the_groups_services_can_be_reached[beta]": "nc on tcp 80",
        },
    ),
]
EXPECTED = dict(chain.from_iterable(one.red.items() for one in BREAKS))

Specs = Callable[..., Result]


def as_root(fleet: Fleet, node: str, script: str) -> None:
    fleet[node].run(script, sudo=True, deadline=30, check=True)


@pytest.fixture(scope="module")
def broken(fleet: Fleet, specs: Specs) -> Result:
    """What the specs said of nodes broken in every way at once; they are healed again when this is told."""
    assert len(EXPECTED) == sum(len(one.red) for one in BREAKS), "two breaks expect the same spec to go red"
    done: list[Break] = []
    failed: list[str] = []
    try:
        for one in BREAKS:
            done.append(one)
            as_root(fleet, one.node, one.do)
        result = specs(*PATHS)
    finally:
        for one in reversed(done):
            try:
                as_root(fleet, one.node, one.undo)
            except ClusterError as error:  # the other undos must be done all the same
                failed.append(f"{one.name}: {error}")
    assert not failed, f"not undone: {failed}"
    return result


@pytest.mark.parametrize(
    ("spec", "says"),
    [pytest.param(spec, says, id=spec.rpartition("::test_")[2]) for spec, says in EXPECTED.items()],
)
def test_it_is_seen(broken: Result, spec: str, says: str) -> None:
    assert spec in broken.outcomes, f"no such spec: {spec}"
    said = broken.outcomes[spec]
    assert said.outcome == "failed", f"{spec} {said.outcome}: {said.message}"
    first = said.message.splitlines()[0]
    assert says in first, f"{spec} says {first!r}, which does not tell {says!r}"


def test_nothing_else_goes_red(broken: Result) -> None:
    assert sorted(set(broken.red) - set(EXPECTED)) == []


def test_every_spec_file_is_seen_red(broken: Result) -> None:
    files = {spec.partition("::")[0] for spec in broken.outcomes}
    assert files == {spec.partition("::")[0] for spec in EXPECTED}


def test_sudo_that_asks_for_a_password(fleet: Fleet, specs: Specs) -> None:
    """The way back is not over SSH: a timer on the node puts the file back."""
    rule, away = "/etc/sudoers.d/010_pi-nopasswd", "/root/010_pi-nopasswd"
    spec = BASE + "users.py::test_the_login_user_becomes_root_without_a_password[delta]"
    as_root(fleet, "delta", f"systemd-run -q --on-active=12 --timer-property=AccuracySec=1 mv {away} {rule}")
    as_root(fleet, "delta", f"mv {rule} {away}")
    try:
        said = specs(BASE + "users.py", k="without_a_password and delta").outcomes[spec]
        assert said.outcome == "failed" and "a password is required" in said.message
    finally:
        until(
            lambda: fleet["delta"].run(["true"], sudo=True).code == 0,
            deadline=40,
            what="sudo without a password",
            every=1,
        )


def test_all_is_green_after_healing(broken: Result, specs: Specs) -> None:
    assert not broken.green
    result = specs(*PATHS)
    assert result.green, result.red
