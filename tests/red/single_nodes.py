"""Single nodes wrong in every way at once: all of specs/base, specs/compute, specs/deployer, specs/openwrt."""

from __future__ import annotations

from typing import Any

from tests.breaking import Break, Round

BASE_FILES = ("checks", "files", "firewall", "health", "names", "network", "ssh", "users")
PATHS = (
    *(f"specs/base/test_{name}.py" for name in BASE_FILES),
    "specs/compute",
    "specs/deployer",
    "specs/openwrt",
    "specs/lanservices/test_nothing_else.py",
)
BASE, COMPUTE, MPI = "base/test_", "compute/test_addressing.py::test_", "compute/test_mpi.py::test_"
# The lease that systemd-networkd holds, as it tells others; a copy is kept beside it.
LEASE = "/run/systemd/netif/leases/$(cat /sys/class/net/eth0/ifindex)"
SUDO = "/etc/sudoers.d/010_pi-nopasswd"


def kept(path: str, change: str) -> dict[str, Any]:
    """`do` and `undo`: change a file, and put the kept copy back."""
    return {"do": f"cp -a {path} {path}.kept && {change}", "undo": f"mv -fT {path}.kept {path}"}


def server(port: int, *, udp: bool = False) -> dict[str, Any]:
    """`do` and `undo`: a stranger that listens on a port of every address."""
    unit = f"red-{'udp' if udp else 'tcp'}-{port}"
    return {
        "do": f"systemd-run -q --unit={unit} nc -{'u' if udp else ''}lk 0.0.0.0 {port}",
        "undo": f"systemctl stop {unit}; systemctl reset-failed {unit} 2>/dev/null || true",
    }


HOST_CERTIFICATE = "/etc/ssh/ssh_host_ed25519_key-cert.pub"
# Says of each certificate that sshd asks about ($1) that whoever signed it may: his key stands before the signature.
SIGNED_BY_ANYBODY = r"""cat >/usr/sbin/red-keys <<'END'
#!/bin/sh
printf 'cert-authority ssh-ed25519 %s\n' "$(echo "$1" | base64 -d | tail -c 138 | head -c 51 | base64 -w0)"
END
chmod 755 /usr/sbin/red-keys"""


def sshd(lines: str, before: str = "true") -> dict[str, Any]:
    """`do` and `undo`: lines that sshd reads before ours, so that they win (sshd_config(5))."""
    drop = "/etc/ssh/sshd_config.d/00-red.conf"
    return {
        "do": f"{before}\nprintf '{lines}' > {drop} && sshd -t && systemctl reload ssh",
        "undo": f"rm -f {drop} && systemctl reload ssh",
    }


BREAKS = (
    # --- base/test_ssh.py
    Break(
        "passwords",
        "delta",
        **sshd(
            "PasswordAuthentication yes\\nPermitRootLogin yes\\nAllowGroups root\\nPort 2022\\n"
            "ClientAliveCountMax 0\\nListenAddress 0.0.0.0:22\\n"
        ),
        red={
            BASE + "ssh.py::test_only_keys_are_offered[delta]": "also offers password",
            BASE + "ssh.py::test_the_first_password_is_refused[delta]": "lets pi in by password",
            BASE + "ssh.py::test_root_is_refused[delta]": "lets root in by a certificate for root",
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
        "an authority and a list of others",
        "delta",
        files=("/etc/ssh/ca.pub", "/etc/rpicluster/revoked"),
        do="ssh-keygen -q -t ed25519 -N '' -f /run/foreign-other; cat /run/foreign-other.pub >> /etc/ssh/ca.pub; "
        "echo 'serial: 2' >> /etc/rpicluster/revoked",
        undo="rm /run/foreign-other /run/foreign-other.pub",
        red={
            BASE + "ssh.py::test_it_believes_our_authority_alone[delta]": "delta believes SHA256:",
            BASE + "ssh.py::test_its_list_of_what_is_revoked_is_ours[delta]": "refuses ['serial: 1', 'serial: 2']",
        },
    ),
    # What must be refused, each where sshd lets just that in.
    Break(
        "whose key it is does not matter",
        "gamma",
        **sshd("AuthorizedKeysCommand /usr/bin/echo %%t %%k\nAuthorizedKeysCommandUser root\n"),
        red={
            BASE + "ssh.py::test_it_is_refused[gamma-plain key]": "by the operator's key without its certificate",
            BASE + "ssh.py::test_the_setting_is[gamma-authorizedkeyscommand]": "/usr/bin/echo %t %k, not none",
        },
    ),
    Break(
        "whose signature it is does not matter",
        "epsilon",
        **sshd("AuthorizedKeysCommand /usr/sbin/red-keys %%k\nAuthorizedKeysCommandUser root\n", SIGNED_BY_ANYBODY),
        red={
            BASE + "ssh.py::test_it_is_refused[epsilon-foreign authority]": "that somebody else signed",
            BASE + "ssh.py::test_the_setting_is[epsilon-authorizedkeyscommand]": "/usr/sbin/red-keys %k, not none",
        },
    ),
    Break(
        "whose certificate it is does not matter",
        "zeta",
        **sshd("AuthorizedPrincipalsFile /etc/ssh/red\n", "printf 'pi\npiclust\nmpiuser\n' > /etc/ssh/red"),
        red={
            BASE + "ssh.py::test_it_is_refused[zeta-wrong principal]": "by a certificate of another user's",
            BASE + "ssh.py::test_the_setting_is[zeta-authorizedprincipalsfile]": "/etc/ssh/red, not none",
        },
    ),
    Break(
        "nothing is revoked",
        "psi",
        **sshd("RevokedKeys none\n"),
        red={
            BASE + "ssh.py::test_it_is_refused[psi-revoked]": "lets pi in by a certificate that is revoked",
            BASE + "ssh.py::test_the_setting_is[psi-revokedkeys]": "revokedkeys none, not /etc/ssh/revoked.krl",
        },
    ),
    Break(
        "it comes from elsewhere, it seems",
        "alpha",
        do="nft 'table ip red { chain input { type nat hook input priority 100; "
        "ip saddr 192.168.10.250 tcp dport 22 snat to 192.0.2.1; }; }'; "
        "ip route add 192.0.2.1 via 192.168.10.250",
        undo="nft delete table ip red; ip route del 192.0.2.1",
        red={BASE + "ssh.py::test_it_is_refused[alpha-elsewhere]": "that may only be used from another network"},
    ),
    Break(
        "a clock that is behind",
        "beta",
        do="mkdir -p /run/systemd/system/ssh.service.d && printf '[Service]\nEnvironment=LD_PRELOAD=%s FAKETIME=-1h\n' "
        "/usr/lib/*/faketime/libfaketimeMT.so.1 > /run/systemd/system/ssh.service.d/red.conf && "
        "systemctl daemon-reload && systemctl restart ssh",
        undo="rm -r /run/systemd/system/ssh.service.d && systemctl daemon-reload && systemctl restart ssh",
        red={BASE + "ssh.py::test_it_is_refused[beta-expired]": "lets pi in by a certificate that is over"},
    ),
    Break(
        "a host certificate that somebody else signed",
        "psi",
        files=(HOST_CERTIFICATE,),
        do="ssh-keygen -q -t ed25519 -N '' -f /run/foreign-ca; "
        "cp /etc/ssh/ssh_host_ed25519_key.pub /run/foreign.pub && "
        "ssh-keygen -q -s /run/foreign-ca -I red -h -n alpha -V +1h /run/foreign.pub && "
        f"cat /run/foreign-cert.pub > {HOST_CERTIFICATE} && systemctl reload ssh",
        undo="rm /run/foreign*; systemctl reload ssh",
        red={
            BASE + "ssh.py::test_the_node_proves_who_it_is[psi]": "does not hold: it is signed by SHA256:",
            BASE + "ssh.py::test_it_proves_each_of_its_names[psi]": "is for ['alpha'], not for",
            BASE + "ssh.py::test_its_certificate_lasts[psi]": "ends in 0.0 days",
        },
    ),
    Break(
        "a root that is not trusted",
        "epsilon",
        do="mv /etc/ssl/certs/rpicluster.pem /run/foreign.pem",
        undo="mv /run/foreign.pem /etc/ssl/certs/rpicluster.pem",
        red={BASE + "ssh.py::test_the_clusters_tls_root_is_trusted[epsilon]": "epsilon trusts no root of ours for TLS"},
    ),
    # --- base/test_names.py
    Break(
        "name",
        "epsilon",
        do="hostname psi",  # one that /etc/hosts has: sudo looks its own host up each time
        undo="hostname epsilon",
        red={
            BASE + "names.py::test_the_node_has_its_name[epsilon-kernel]": "calls itself psi",
            BASE + "names.py::test_the_node_knows_its_complete_name[epsilon]": "hostname -f says",
        },
    ),
    Break(
        "name's file",
        "delta",
        **kept("/etc/hostname", "echo red > /etc/hostname"),
        red={
            BASE + "names.py::test_the_node_has_its_name[delta-file]": "calls itself red (/etc/hostname)",
            BASE + "files.py::test_it_says_that_it_is_managed[delta-/etc/hostname]": "begins with 'red'",
        },
    ),
    Break(
        "place",
        "delta",
        **kept("/etc/machine-info", "sed -i 's/embedded/desktop/; s/dc1/dc2/' /etc/machine-info"),
        red={
            BASE + "names.py::test_it_says_what_and_where_it_is[delta-CHASSIS]": "CHASSIS=desktop, not embedded",
            BASE + "names.py::test_it_says_what_and_where_it_is[delta-LOCATION]": "LOCATION=dc2, not dc1",
        },
    ),
    Break(
        "hosts file",
        "delta",
        **kept("/etc/hosts", "sed -i '/ psi /s/^[0-9.]*/10.0.0.5/; s/localhost/localghost/' /etc/hosts"),
        red={
            BASE + "names.py::test_the_hosts_file_knows_every_node[delta]": "('10.0.0.5',), not 192.168.10.5",
            BASE + "names.py::test_localhost_is_the_node_itself[delta]": "localhost at no address",
        },
    ),
    Break(
        "resolver",
        "zeta",
        **kept(
            "/etc/resolv.conf",
            "printf 'search example\\nnameserver 192.168.10.250\\noptions timeout:5 attempts:1\\n' > /etc/resolv.conf",
        ),
        red={
            BASE + "names.py::test_short_names_are_searched_in_the_clusters_domain[zeta]": "('example',)",
            BASE + "names.py::test_it_asks_the_clusters_name_servers[zeta]": "asks 192.168.10.250, not 192.168.10.6",
            BASE + "names.py::test_it_soon_asks_the_other_server[zeta]": "waits 5 s",
            BASE + "files.py::test_it_says_that_it_is_managed[zeta-/etc/resolv.conf]": "begins with 'search",
            BASE + "names.py::test_dns_tells_it_where_every_node_is[zeta]": "zeta: DNS says omega.dc1.b3rry.clust0r is",
            BASE + "names.py::test_dns_completes_short_names[zeta]": "zeta: the short name omega leads to",
            **{
                BASE + f"names.py::test_dns_tells_it_where_the_service_is[zeta-{name}]": "zeta: "
                for name in ("dns1", "dns2", "float", "dgw")
            },
        },
    ),
    # --- base/test_network.py
    Break(
        "second address",
        "delta",
        do="ip address add 192.168.10.77/24 dev eth0",
        undo="ip address del 192.168.10.77/24 dev eth0",
        red={
            BASE + "network.py::test_no_address_that_is_not_its_own[delta]": "also has 192.168.10.77",
            COMPUTE + "nothing_else_gives_it_an_address[delta]": "192.168.10.77 on eth0 is static",
        },
    ),
    Break(
        "small frames",
        "delta",
        do="ip link set eth0 mtu 1400",
        undo="ip link set eth0 mtu 1500",
        red={BASE + "network.py::test_frames_have_the_lans_size[delta]": "MTU 1400, not 1500"},
    ),
    Break(
        "second way out",
        "delta",
        do="ip route add default via 192.168.10.66 metric 5",
        undo="ip route del default via 192.168.10.66 metric 5",
        red={
            BASE + "network.py::test_one_way_out[delta]": "192.168.10.66 and 192.168.10.1",
            COMPUTE + "its_route_comes_with_the_lease[delta]": "not by DHCP",
        },
    ),
    Break(
        "kernel settings",
        "delta",
        do="sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0 net.ipv4.tcp_syncookies=0 && "
        "ip address add fd00::1/64 dev eth0",
        undo="sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1 net.ipv4.tcp_syncookies=1",
        red={
            BASE + "network.py::test_no_ipv6_address[delta]": "fd00::1",
            BASE + "network.py::test_the_kernel_setting[delta-net.ipv6.conf.eth0.disable_ipv6]": "= 0, not 1",
            BASE + "network.py::test_the_kernel_setting[delta-net.ipv4.tcp_syncookies]": "= 0, not 1",
        },
    ),
    Break(
        "modules",
        "delta",
        **kept("/etc/modprobe.d/rpicluster.conf", "sed -i /usbhid/d /etc/modprobe.d/rpicluster.conf"),
        red={BASE + "network.py::test_the_module_stays_out[delta-usbhid]": "usbhid is not blacklisted"},
    ),
    # --- base/test_users.py
    Break(
        "strong cluster user",
        "delta",
        do="gpasswd -a piclust sudo",
        undo="gpasswd -d piclust sudo",
        red={BASE + "users.py::test_the_cluster_user_is_not_root_by_another_name[delta]": "piclust is in sudo"},
    ),
    Break(
        "second root",
        "delta",
        do="useradd -o -u 0 -M red && passwd -qd red",
        undo="userdel -f red",
        red={
            BASE + "users.py::test_only_root_is_root[delta]": "uid 0 belongs to red, root",
            BASE + "users.py::test_nobody_has_an_empty_password[delta]": "no password is asked of red",
            BASE + "users.py::test_every_uid_is_one_users[delta]": "root, red",
        },
    ),
    Break(
        "lost users",
        "epsilon",
        do="usermod -l red piclust && groupmod -n reds sshusers",
        undo="usermod -l piclust red && groupmod -n sshusers reds",
        red={
            BASE + "users.py::test_the_cluster_user[epsilon]": "has no user piclust",
            BASE + "users.py::test_the_ssh_group[epsilon]": "has no group sshusers",
            # The user of jobs gets in by that group.
            MPI + "the_user_of_jobs_may_log_in[epsilon]": "mpiuser is not in group sshusers",
            MPI + "the_next_node_is_reached_without_a_question[delta]": "delta does not get to epsilon by SSH",
            MPI + "its_results_are_right": "mpiuser@epsilon",
            MPI + "its_processes_run_where_they_were_placed[*]": "mpiuser@epsilon",
            MPI + "a_pair_is_about_as_fast_as_before[*]": "mpiuser@epsilon",
        },
    ),
    # --- base/test_files.py
    Break(
        "folders",
        "delta",
        do="chmod 0777 /opt/cluster && chown root: /opt/cluster/bin && rmdir /root/crontab && chmod 0644 /etc/shadow",
        undo="chmod 0755 /opt/cluster; chown pi: /opt/cluster/bin; mkdir -m 0750 /root/crontab; chmod 0640 /etc/shadow",
        red={
            BASE + "files.py::test_the_folder[delta-/opt/cluster]": "mode 0777, not 0755",
            BASE + "files.py::test_the_folder[delta-/opt/cluster/bin]": "belongs to root:root, not pi:pi",
            BASE + "files.py::test_the_folder[delta-/root/crontab]": "delta has no /root/crontab",
            BASE + "files.py::test_the_file[delta-/etc/shadow]": "mode 0644, not 0640",
        },
    ),
    Break(
        "time zone",
        "delta",
        do="ln -sfT /usr/share/zoneinfo/Asia/Kolkata /etc/localtime",
        undo="ln -sfT /usr/share/zoneinfo/UTC /etc/localtime",
        red={
            BASE + "files.py::test_time_is_told_in_the_clusters_zone[delta]": "Asia/Kolkata, not UTC",
            BASE + "files.py::test_logs_have_the_clusters_offset[delta]": "+0530",
        },
    ),
    # --- base/test_health.py
    Break(
        "failed unit",
        "delta",
        do="systemd-run -q --unit=red-failed false; sleep 0.2",
        undo="systemctl reset-failed red-failed",
        red={BASE + "health.py::test_no_unit_has_failed[delta]": "red-failed.service"},
    ),
    Break(
        "stopped daemon",
        "gamma",
        do="systemctl stop chrony && systemctl -q disable ssh",
        undo="systemctl -q enable ssh && systemctl start chrony",
        red={
            BASE + "health.py::test_it_runs[gamma-chrony.service]": "chrony.service is inactive",
            BASE + "firewall.py::test_somebody_serves_what_is_open[gamma-udp/123]": "nothing listens there",
            BASE + "health.py::test_it_will_run_after_the_next_boot[gamma-ssh.service]": "is disabled",
        },
    ),
    Break(
        "unasked upgrades",
        "delta",
        do="systemctl -q unmask apt-daily.timer && systemctl -q enable --now apt-daily.timer",
        undo="systemctl -q disable --now apt-daily.timer && systemctl -q mask apt-daily.timer",
        red={BASE + "health.py::test_it_never_runs[delta-apt-daily.timer]": "apt-daily.timer runs"},
    ),
    Break(
        "missing tool",
        "delta",
        do="mv /usr/bin/lsof /usr/bin/lsof.kept",
        undo="mv /usr/bin/lsof.kept /usr/bin/lsof",
        red={BASE + "health.py::test_the_command_is_there[delta-lsof]": "has no lsof"},
    ),
    Break(
        "crowd",
        "gamma",
        do="systemd-run -q --unit=red-crowd sh -c 'for i in $(seq 450); do sleep 600 & done; wait'; "
        "until [ $(cat /sys/fs/cgroup/system.slice/red-crowd.service/cgroup.procs 2>/dev/null | wc -l) -gt 440 ] ||"
        " [ $(pgrep -c sleep) -gt 440 ]; do sleep 0.1; done",
        undo="systemctl stop red-crowd",
        red={
            BASE + "health.py::test_not_too_many_processes[gamma]": "400 at most",
            BASE + "checks.py::test_the_check_is_not_critical[gamma-processes]": "processes: CRITICAL: PROCS CRITICAL",
        },
    ),
    Break(
        "stranger on a port",
        "delta",
        **server(8080),
        red={BASE + "health.py::test_only_the_groups_services_can_be_reached[delta]": "nc on tcp 8080"},
    ),
    # --- compute/test_addressing.py
    Break(
        "another lease",
        "zeta",
        **kept(
            LEASE,
            f"sed -i 's/^ADDRESS=.*/ADDRESS=192.168.10.99/; s/^SERVER_ADDRESS=.*/SERVER_ADDRESS=192.168.10.2/;"
            f" s/^LIFETIME=.*/LIFETIME=99999/; /^ROUTER=/d; s/^DNS=.*/DNS=8.8.8.8/; /^NTP=/d;"
            f" s/^DOMAINNAME=.*/DOMAINNAME=home/' {LEASE}",
        ),
        red={
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
        do=f"{server(8000)['do']} && {server(5000, udp=True)['do']}",
        undo=f"{server(8000)['undo']}; {server(5000, udp=True)['undo']}",
        red={
            "deployer/test_exposure.py::test_nothing_but_sshd_listens_on_tcp[psi]": "nc on 0.0.0.0:8000",
            "deployer/test_exposure.py::test_nothing_listens_on_udp[psi]": "nc on 0.0.0.0:5000",
            BASE + "health.py::test_only_the_groups_services_can_be_reached[psi]": "nc on tcp 8000",
        },
    ),
    Break(
        "deployer leases",
        "psi",
        do=f"mkdir -p /run/systemd/netif/leases && printf 'ADDRESS=1.2.3.4\\nSERVER_ADDRESS=192.168.10.2\\n' > {LEASE}",
        undo=f"rm {LEASE}",
        red={
            "deployer/test_exposure.py::test_it_does_not_depend_on_the_pair_for_its_address[psi]": (
                "by DHCP from 192.168.10.2"
            )
        },
    ),
    # --- openwrt
    Break(
        "a router awake",
        "omega",
        do="uci set dhcp.dnsmasq.port=53; uci set dhcp.lan.ignore=0; uci commit dhcp; "
        "/etc/init.d/dnsmasq enable; /etc/init.d/dnsmasq restart; "
        "dnsmasq --conf-file=/dev/null --port=0 --enable-tftp --tftp-root=/tmp --user=root --pid-file=/tmp/red-tftp",
        undo="uci set dhcp.dnsmasq.port=0; uci set dhcp.lan.ignore=1; uci commit dhcp; "
        "/etc/init.d/dnsmasq disable; /etc/init.d/dnsmasq stop; kill $(cat /tmp/red-tftp)",
        red={
            "openwrt/test_quiet.py::test_it_no_longer_serves[omega-dhcp]": "still serves DHCP on udp port 67",
            "openwrt/test_quiet.py::test_it_no_longer_serves[omega-dns-udp]": "still serves DNS on udp",
            "openwrt/test_quiet.py::test_it_no_longer_serves[omega-dns-tcp]": "still serves DNS on tcp",
            "openwrt/test_quiet.py::test_it_no_longer_serves[omega-tftp]": "still serves TFTP on udp",
            "openwrt/test_quiet.py::test_it_stays_silent_when_it_boots[omega]": "dnsmasq is enabled",
            "openwrt/test_quiet.py::test_it_offers_no_addresses[omega]": (
                "omega is a rogue DHCP server: psi is offered 192.168.10.5"
            ),
            "openwrt/test_quiet.py::test_it_answers_no_names[omega-udp]": "NOERROR 192.168.10.2",
            "openwrt/test_quiet.py::test_it_answers_no_names[omega-tcp]": "NOERROR 192.168.10.2",
            "openwrt/test_configuration.py::test_it_is_told_to_be_silent[omega]": "not told to answer no names",
        },
    ),
    Break(
        "another router",
        "omega",
        files=tuple(f"/etc/config/{name}" for name in ("system", "network", "dropbear")),
        do="uci set system.system.hostname=red; uci delete system.ntp.server; uci set network.lan.netmask=255.255.0.0; "
        "uci set dhcp.alpha.mac=b8:27:eb:00:00:21; uci set dropbear.ssh.PasswordAuth=on; "
        "uci set dropbear.ssh.RootPasswordAuth=on; uci commit; /etc/init.d/dropbear restart; "
        "mv /etc/rpicluster/backup /etc/rpicluster/red; cp /etc/rpicluster/dhcp.leases /tmp/red-leases; "
        "echo 1795428711 b8:27:eb:00:00:21 192.168.10.21 gamma 01:b8:27:eb:00:00:21 >> /etc/rpicluster/dhcp.leases",
        undo="uci set dhcp.alpha.mac=b8:27:eb:00:00:06; uci commit; /etc/init.d/dropbear restart; "
        "mv /etc/rpicluster/red /etc/rpicluster/backup; mv /tmp/red-leases /etc/rpicluster/dhcp.leases",
        red={
            f"openwrt/test_configuration.py::test_{test}[omega]": words
            for test, words in {
                "its_name": "configured to be called red",
                "its_address": "{'netmask': '255.255.0.0'}, not {'netmask': '255.255.255.0'}",
                "it_knows_exactly_the_static_nodes": "would give addresses to {'b8:27:eb:00:00:05': '192.168.10.5'",
                "it_is_told_of_the_time_servers": "is told the time servers none",
                "only_keys_open_it": "offers root a way in without a key",
                "what_was_there_is_kept": "no copy of the configuration it was found with",
            }.items()
        }
        | {
            "openwrt/test_quiet.py::test_it_gave_addresses_to_the_static_nodes_only[omega]": (
                "gave addresses to others: b8:27:eb:00:00:21 had 192.168.10.21 (gamma)"
            )
        },
    ),
    # --- lanservices/test_nothing_else.py
    Break(
        "other roles",
        "beta",
        do=f"useradd -M redis && groupadd docker && {server(80)['do']} && {server(5353, udp=True)['do']}",
        undo=f"userdel redis; groupdel docker; {server(80)['undo']}; {server(5353, udp=True)['undo']}",
        red={
            "lanservices/test_nothing_else.py::test_no_user_of_another_role[beta-redis]": "the user redis",
            "lanservices/test_nothing_else.py::test_nothing_listens_on[beta-80]": "nc (tcp) listens on port 80",
            "lanservices/test_nothing_else.py::test_nothing_listens_on[beta-5353]": "nc (udp)",
            "lanservices/test_nothing_else.py::test_no_docker[beta]": "has docker: docker",
            BASE + "health.py::test_only_the_groups_services_can_be_reached[beta]": "nc on tcp 80",
        },
    ),
)

ROUNDS = (
    Round("single nodes", PATHS, BREAKS),
    Round(
        "single nodes: sudo asks for a password",
        ("specs/base/test_users.py",),
        (
            Break(
                "no rule for the login user",
                "delta",
                do=f"mv {SUDO} /root/",
                undo=f"mv /root/{SUDO.rpartition('/')[2]} {SUDO}",
                red={
                    BASE
                    + "users.py::test_the_login_user_becomes_root_without_a_password[delta]": "a password is required",
                },
            ),
        ),
        k="without_a_password",
    ),
)
