"""Other files, other rights, silence: specs/lanservices/test_tftp.py, test_boot.py and test_http.py."""

from __future__ import annotations

from tests.breaking import Break, Round
from tests.red.nodes import service

TFTP, BOOT, HTTP = (f"lanservices/test_{name}.py::test_" for name in ("tftp", "boot", "http"))
ROOT, WWW = "/srv/tftp", "/opt/chroot_bb/www"
DHCPD = "/etc/dhcp/dhcpd.conf"
KEEPALIVED = "/etc/keepalived/keepalived.conf"
# The address stays where the silence is: else it goes to the partner after a while, as it should.
STAY = f"sed -i '/track_script/,/}}/d' {KEEPALIVED}; systemctl reload keepalived"
ALONE = ("CapabilityBoundingSet=~", "ExecStart=")  # all rights, and no other command than the one that follows
DROP_IN = "/run/systemd/system/{}.service.d/red.conf"


def unit(name: str, *lines: str, restart: bool = True) -> str:
    """Shell: other settings for a unit until `undo_unit`."""
    file = DROP_IN.format(name)
    words = " ".join(f"'{line}'" for line in ("[Service]", *lines))
    made = f"mkdir -p {file.rpartition('/')[0]}; printf '%s\\n' {words} > {file}; systemctl daemon-reload"
    return f"{made}; systemctl restart {name}" if restart else made


def undo_unit(name: str, *, restart: bool = True) -> str:
    """Shell: the unit as it was."""
    undone = f"rm -f {DROP_IN.format(name)}; systemctl daemon-reload"
    return f"{undone}; systemctl restart {name}" if restart else undone


def all_of(prefix: str, words: str, *tests: str) -> dict[str, str]:
    """These specs, all with the same words."""
    return {f"{prefix}{test}": words for test in tests}


# Answers BOOTP, and nothing that says it is DHCP (option 53).
ROGUE = """
import socket, subprocess
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.bind(("", 67))
subprocess.run(["systemd-notify", "--ready"])
while True:
    d, _ = s.recvfrom(2048)
    if bytes((53, 1)) not in d[240:]:
        s.sendto(bytes((2,)) + d[1:16] + bytes((192, 168, 10, 99)) + d[20:236] + bytes(64), ("255.255.255.255", 68))
"""

ROUNDS = (
    Round(
        "tftp: other files",
        ("specs/lanservices/test_tftp.py",),
        (
            Break(
                "a folder that anybody can write", "alpha",
                do=f"chmod 0777 {ROOT}/pxelinux", undo=f"chmod 0755 {ROOT}/pxelinux",
                red={
                    f"{TFTP}a_folder_is_there[alpha-pxelinux]": "not mode 0755",
                    f"{TFTP}nobody_but_root_can_change_what_is_served[alpha]": "can be written by others: pxelinux",
                },
            ),
            Break(
                "another file", "beta", files=(f"{ROOT}/dl/sample.txt",), do=f"echo red >> {ROOT}/dl/sample.txt",
                red={
                    f"{TFTP}both_servers_have_the_same_tree": "differ in dl/sample.txt, pxelinux",
                    f"{TFTP}every_file_comes_as_it_lies_on_the_nodes[floating]": "dl/sample.txt is not the one on beta",
                },
            ),
        ),
    ),
    Round(
        "tftp and booting: other servers",
        ("specs/lanservices/test_tftp.py", "specs/lanservices/test_boot.py"),
        (
            Break(
                "silence", "alpha", files=(KEEPALIVED,),
                do=f"{STAY}; systemctl stop tftpd-hpa isc-dhcp-server",
                undo="systemctl start tftpd-hpa isc-dhcp-server; systemctl reload keepalived",
                red={
                    **all_of(TFTP, "", "*[alpha*]", "*[floating*]", "both_servers_have_the_same_tree"),
                    **all_of(TFTP, "no answer in time", "a_file_that_must_be_there_can_be_read[floating-*]",
                             "an_unknown_file_is_error_1[alpha]"),
                    f"{TFTP}it_answers_from_the_address_that_was_asked[floating]": "answered from nowhere",
                    **all_of(BOOT, "alpha does not answer BOOTP", "bootp_*[alpha]"),
                    **all_of(BOOT, "no lease after", "a_boot_rom_*[alpha]", "the_boot_server_*[alpha]"),
                },
            ),
            Break(
                "a server as root, with files of its system, that lets itself be written to, without options", "beta",
                do=f"cp -a {ROOT} /run/red-tftp; mkdir {ROOT}/etc; cp /etc/passwd {ROOT}/etc/; "
                + unit("tftpd-hpa", *ALONE, f"ReadWritePaths={ROOT}",
                       "ExecStart=/usr/sbin/in.tftpd --foreground --ipv4 "
                       "--user root --address 0.0.0.0:69 --secure --create --refuse tsize --refuse blksize " + ROOT),
                undo=f"rm -rf {ROOT}; mv -T /run/red-tftp {ROOT}; {undo_unit('tftpd-hpa')}",
                red={
                    f"{TFTP}the_size_is_told[beta]": "beta tells None bytes",
                    f"{TFTP}the_block_size_can_be_chosen[beta-*]": "beta does not take the option blksize",
                    **{f"{TFTP}a_path_cannot_climb_out[beta-{path}]": f"beta (192.168.10.8) serves {path}"
                       for path in ("/etc/passwd", "../../etc/passwd", "pxelinux/../../../etc/passwd")},
                    f"{TFTP}writing_is_refused[beta-*no-such-file]": "would let anybody write",
                    f"{TFTP}who_serves_a_client_has_no_rights[beta]": "not by a user without rights",
                },
            ),
            Break(
                "answers that lead elsewhere", "beta", files=(DHCPD,), undo="systemctl restart isc-dhcp-server",
                do="sed -i -e '/vendor/d' -e 's/tftp-server-name .*/tftp-server-name \"10.0.0.1\";/' "
                "-e 's/^  next-server .*/  next-server 10.0.0.1;/' -e 's/^  filename .*/  filename \"red\";/' "
                "-e 's/bootfile-name .*/bootfile-name \"red\";/' "
                f"-e 's/address 192.168.10.250/address 192.168.10.251/' {DHCPD}; systemctl restart isc-dhcp-server",
                red={
                    f"{BOOT}bootp_gives_the_reserved_address[beta]": "beta gives 192.168.10.251 by BOOTP",
                    f"{BOOT}bootp_leads_to_the_floating_address[beta]": "sends BOOTP clients to 10.0.0.1",
                    f"{BOOT}bootp_names_the_boot_file[beta]": "tells BOOTP clients to fetch 'red'",
                    f"{BOOT}a_boot_rom_is_recognised[beta]": "beta tells a boot ROM None",
                    f"{BOOT}a_boot_rom_is_led_to_the_floating_address[beta]": "sends a boot ROM to '10.0.0.1'",
                    f"{BOOT}the_boot_server_is_on_the_clients_own_network[beta]": "outside 192.168.10.0/24",
                    f"{BOOT}a_boot_rom_without_a_folder_of_its_own_goes_on[beta]": "Network is unreachable",
                    f"{BOOT}a_boot_rom_gets_its_file[beta]": "Network is unreachable",
                },
            ),
            Break(
                "a rogue server", **service("psi", "bootp", ROGUE, udp=67),
                red={f"{BOOT}only_the_expected_servers_answer_bootp": "BOOTP is also answered by 192.168.10.5"},
            ),
        ),
        settled=("dhcp failover", "dhcp"),
    ),
    Round(
        "http: other pages",
        ("specs/lanservices/test_http.py",),
        (
            Break(
                "silence", "alpha", files=(KEEPALIVED,),
                do=f"{STAY}; systemctl stop bbhttpd", undo="systemctl start bbhttpd; systemctl reload keepalived",
                red={
                    **{f"{HTTP}{test}[{server}*]": "Connection refused"
                       for server in ("alpha", "floating")
                       for test in ("the_index_is_served", "the_page_about_the_node_*", "scripts_run_*",
                                    "an_unknown_page_is_status_404", "a_path_cannot_climb_out")},
                    f"{HTTP}every_address_serves_the_same_index": "Connection refused",
                    **all_of(HTTP, "alpha: nothing listens on port 1080", "its_root_is_the_chroot[alpha]",
                             "it_is_the_user_without_rights[alpha]", "it_has_no_capability[alpha-*]",
                             "it_cannot_gain_rights[alpha]", "it_is_started_at_boot[alpha]",
                             "a_folder_of_the_pages_is_the_login_users[alpha-*]", "the_user_can_change_nothing[alpha]"),
                },
            ),
            Break(
                "a server as root, with the node for its root, and other pages", "beta",
                do=f"cp -a {WWW} /run/red-www; sed -i 's/R-Pi/red/' {WWW}/index.html; "
                "sed -i '/^echo \"uptime/d; s/$(hostname)/omega/; s/$(date .*)\"/2020-01-01T00:00:00Z\"/' "
                f"{WWW}/cgi-bin/hello; mkdir {WWW}/etc; cp /etc/passwd {WWW}/etc/; echo red > {WWW}/no-such-page; "
                f"chmod 0777 {WWW}/reports; systemctl -q disable bbhttpd; usermod -s /bin/bash -d /home bbweb; "
                + unit("bbhttpd", *ALONE, "NoNewPrivileges=no",
                       f"ExecStart=/bin/busybox httpd -f -p 0.0.0.0:1080 -h {WWW}"),
                undo=f"rm -rf {WWW}; mv -T /run/red-www {WWW}; {undo_unit('bbhttpd')}; systemctl -q enable bbhttpd; "
                "usermod -s /bin/false -d /nonexistent bbweb",
                red={
                    f"{HTTP}the_index_is_served[beta]": "the index does not say R-Pi BB httpd",
                    f"{HTTP}the_page_about_the_node_tells[beta-uptime]": "tells no uptime",
                    f"{HTTP}the_page_about_the_node_is_about_the_right_one[beta]": "is about omega",
                    f"{HTTP}the_page_about_the_node_is_made_anew[beta]": "tells 2020-01-01T00:00:00Z",
                    f"{HTTP}scripts_run_in_the_chroot[beta]": "a script sees ['bin', 'boot'",
                    f"{HTTP}scripts_run_as_the_user_without_rights[beta]": "scripts run as root",
                    f"{HTTP}an_unknown_page_is_status_404[beta]": "has status 200",
                    **{f"{HTTP}a_path_cannot_climb_out[beta-{path}]": f"answers {path} with 200"
                       for path in ("/etc/passwd", "//etc/passwd")},
                    f"{HTTP}its_root_is_the_chroot[beta]": "the root of httpd is /, not",
                    f"{HTTP}it_is_the_user_without_rights[beta]": "httpd runs as root",
                    f"{HTTP}it_has_no_capability[beta-CapEff]": "holds capabilities: CapEff",
                    f"{HTTP}it_has_no_capability[beta-CapPrm]": "holds capabilities: CapPrm",
                    f"{HTTP}it_cannot_gain_rights[beta]": "could gain new rights",
                    f"{HTTP}its_user_cannot_log_in[beta-home]": "home is /home",
                    f"{HTTP}its_user_cannot_log_in[beta-shell]": "shell is /bin/bash",
                    f"{HTTP}it_is_started_at_boot[beta]": "bbhttpd is disabled and active",
                    f"{HTTP}a_folder_of_the_pages_is_the_login_users[beta-/reports]": "is 0777 pi, not 0755 pi",
                    f"{HTTP}the_user_can_change_nothing[beta]": "can write /www/reports",
                },
            ),
        ),
    ),
)  # fmt: skip
