"""Other answers than the inventory's, a rogue server, half a pair: specs/lanservices/test_dhcp.py."""

from __future__ import annotations

import shlex

from cluster.inventory import load
from cluster.probes.dhcp import synthetic_mac
from cluster.probes.dhcp_balance import bucket
from specs.lanservices.failing_dhcp import KEPT, NEW, OURS, WANTING, WATCHING
from tests.breaking import Break, Round

SPEC = "lanservices/test_dhcp.py::test_"
PAIR = "lanservices/test_dhcp_pair.py::test_"
FAILOVER = "lanservices/test_dhcp_failover.py::test_"
CONF = "/etc/dhcp/dhcpd.conf"
LEASES = "/var/lib/dhcp/dhcpd.leases"
RESTART = "systemctl restart isc-dhcp-server"
DROP_IN = "/run/systemd/system/isc-dhcp-server.service.d"

WRONG = {  # option: what alpha is made to tell, and how the spec shows it
    "routers": ("192.168.10.77", "('192.168.10.77',)"),
    "domain-name": ('"example.org"', "'example.org'"),
    "domain-name-servers": ("192.168.10.77", "('192.168.10.77',)"),
    "ntp-servers": ("192.168.10.77", "('192.168.10.77',)"),
    "broadcast-address": ("192.168.10.127", "'192.168.10.127'"),
}
EDITS = "; ".join(f"s/option {name} .*/option {name} {value};/" for name, (value, _) in WRONG.items())

# Everything in the lease file of a peer that no pair should write; shown in its place while dhcpd goes on with its own.
ENTRY = (
    r"'lease 192.168.10.%s {\n  starts 1 2026/01/05 00:00:00;\n  ends never;\n  binding state active;\n"
    r"  hardware ethernet 02:00:00:00:00:%s;\n}\n'"
)


# Two servers that know nothing of each other, each with leases elsewhere, and both with the same address for a client;
# the file that others read says that all is well but for one address, so that it is the wire, and the running daemon,
# that give them away.
NO_PAIR = (
    f"sed -i '/^failover peer/,/^}}/d; /failover peer/d; /dynamic bootp/d; s/range .*/range %s;/' {CONF}; "
    f"echo 'host red {{ hardware ethernet %s; fixed-address 192.168.10.242; }}' >> {CONF}; "
    "install -d -o dhcpd /run/red-dhcpd; install -o dhcpd /dev/null /run/red-dhcpd/leases; "
    f"mkdir -p {DROP_IN}; printf '%%s\\n' [Service] ExecStart= 'ExecStart=/usr/sbin/dhcpd -4 -f -q --no-pid -cf {CONF} "
    f"-lf /run/red-dhcpd/leases eth0' > {DROP_IN}/red.conf; systemctl daemon-reload; {RESTART}; "
    "{ printf 'failover peer \"rpiclust-failover\" state { my state normal; partner state normal; }\\n'; "
    'for n in $(seq 200 239); do echo "lease 192.168.10.$n { binding state backup; }"; done; '
    "echo 'lease 192.168.10.240 { binding state free; }'; "
    "echo 'lease 192.168.10.241 { binding state active; hardware ethernet 02:00:00:00:00:%s; }'; "
    f"}} > {LEASES}"
)

# Another server in the name of beta's, for two clients only: it knows of no partner.
TALKER = """
import socket, struct, subprocess
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
s.bind(("eth0", 0x0800))
me = socket.inet_aton("192.168.10.8")
subprocess.run(["systemd-notify", "--ready"])
while True:
    frame = s.recv(2048)
    asked = frame[42:]
    if frame[36:38] != bytes((0, 67)) or bytes((53, 1, 1)) not in asked[236:] or asked[28:34].hex(":") not in CLIENTS:
        continue
    body = bytes((2,)) + asked[1:12] + bytes(4) + socket.inet_aton("192.168.10.99") + me + bytes(4) + asked[28:44]
    body += bytes(192) + bytes((99, 130, 83, 99, 53, 1, 2, 54, 4)) + me + bytes((51, 4, 0, 0, 0, 60, 255))
    udp = struct.pack("!4H", 67, 68, 8 + len(body), 0) + body
    head = lambda check: struct.pack("!BBHHHBBH4s4s", 69, 0, 20 + len(udp), 0, 0, 64, 17, check, me, bytes((255,)) * 4)
    n = sum(struct.unpack("!10H", head(0)))
    n = (n & 65535) + (n >> 16)
    s.send(bytes((255,)) * 6 + s.getsockname()[4] + bytes((8, 0)) + head(~(n + (n >> 16)) & 65535) + udp)
"""
IMPATIENT = next(mac for mac in map(synthetic_mac, reversed(OURS)) if bucket(mac) >= load().dhcp.split)
"""Whom specs about a silent peer let ask for it, without a word of waiting."""

# Answers to one client never leave the node: its hardware address lies 28 bytes into the message (RFC 2131 section 2).
NO_ANSWER = f"""
table netdev red {{
chain out {{
type filter hook egress device eth0 priority 0
udp sport 67 @th,288,48 0x{synthetic_mac(WANTING).replace(":", "")} drop
}}
}}
"""


def lease_file(mac: str, addresses: str) -> str:
    """Shell: show another lease file, in which one client holds all of some addresses."""
    return (
        f"cp -a {LEASES} /run/red-leases; for n in {addresses}; do printf {ENTRY} $n {mac}; done >> /run/red-leases; "
        f"mount --bind /run/red-leases {LEASES}"
    )


ROUNDS = (
    Round(
        "dhcp: other answers",
        ("specs/lanservices/test_dhcp.py", "specs/lanservices/test_dhcp_pair.py"),
        (
            Break(
                "a server that tells other things", "alpha", files=(CONF,), undo=RESTART,
                do=f"sed -i '{EDITS}; s/lease-time .*/lease-time 60;/; "
                "s/address 192.168.10.21;/address 192.168.10.29;/; s/mclt .*/mclt 1801;/; "
                "s/response-delay .*/response-delay 31;/; s/max seconds .*/max seconds 5;/; "
                "s/^  pool {/  pool { deny all clients; range 192.168.10.241; }\\n&/' "
                f"{CONF}; {RESTART}",
                red={
                    **{f"{SPEC}an_offer_tells_the_right_option[alpha-{name}]": f"{name} from alpha: {shown}"
                       for name, (_, shown) in WRONG.items()},
                    **{f"{SPEC}a_lease_tells_the_right_option[alpha-{name}]": f"{name} from alpha: {shown}"
                       for name, (_, shown) in WRONG.items()},
                    f"{SPEC}both_servers_tell_the_same_options": "tell clients different things: {",
                    f"{SPEC}the_lease_time_is_within_its_bounds[alpha]": "alpha leases for 60 s, not 1800 to 3600 s",
                    f"{SPEC}a_reservation_is_offered[alpha-gamma]":
                        "alpha offers 192.168.10.29 to gamma, reserved is 192.168.10.21",
                    f"{SPEC}both_servers_have_the_same_reservation[gamma]": "'192.168.10.6': '192.168.10.29'",
                    f"{PAIR}the_pair_runs_with_the_timers_of_the_inventory[*-mclt]":
                        "runs with mclt 1801 s, the inventory says 1800 s",
                    f"{PAIR}the_pair_runs_with_the_timers_of_the_inventory[alpha-max_response_delay]":
                        "the dhcpd of alpha runs with max_response_delay 31 s, the inventory says 30 s",
                    f"{PAIR}the_pair_runs_with_the_timers_of_the_inventory[alpha-load_balance_max]":
                        "the dhcpd of alpha runs with load_balance_max 5 s, the inventory says 4 s",
                    f"{PAIR}the_server_leases_the_addresses_of_the_pool[alpha]":
                        "alpha does not lease nothing, and leases ['192.168.10.241'] beside",
                },
            ),
            Break(
                "a server with a clock of its own", "beta",
                do=f"mkdir -p {DROP_IN}; printf '%s\\n' [Service] \"Environment=LD_PRELOAD=$(ls "
                f"/usr/lib/*/faketime/libfaketimeMT.so.1)\" Environment=FAKETIME=+30 "
                f"Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 > {DROP_IN}/red.conf; systemctl daemon-reload; {RESTART}",
                undo=f"rm {DROP_IN}/red.conf; systemctl daemon-reload; {RESTART}",
                red={f"{PAIR}the_clocks_of_the_servers_agree": "the DHCP servers' clocks are at least 2"},
            ),
            Break(
                "a rogue server", "omega",
                do="printf '%s\\n' 'start 192.168.10.150' 'end 192.168.10.179' 'interface eth0' "
                "'lease_file /tmp/red-leases' 'pidfile /tmp/red-udhcpd.pid' > /tmp/red-udhcpd.conf; "
                "touch /tmp/red-leases; udhcpd -a 1 -I 192.168.10.2 /tmp/red-udhcpd.conf; "
                "for n in $(seq 100); do netstat -lnu | grep -q ':67 ' && exit 0; usleep 50000; done; exit 1",
                undo="kill $(cat /tmp/red-udhcpd.pid); rm -f /tmp/red-udhcpd.conf /tmp/red-leases",
                red={
                    f"{SPEC}only_the_expected_servers_answer":
                        "a rogue DHCP server answers on this LAN: 192.168.10.2 (from 192.168.10.2, b8:27:eb:00:00:02)",
                    f"{SPEC}both_servers_tell_the_same_options": "tell clients different things: {",
                    f"{SPEC}both_servers_have_the_same_reservation[*]": "'192.168.10.2': '192.168.10.1",
                    f"{PAIR}a_client_that_has_not_waited_*[*]": "was offered an address by ['192.168.10.2', ",
                },
            ),
        ),
        ready=("dhcp failover",),
        settled=("dhcp failover", "dhcp"),
    ),
    Round(
        "dhcp: half a pair",
        ("specs/lanservices/test_dhcp.py", "specs/lanservices/test_dhcp_pair.py"),
        (
            Break(
                "a server that is silent, with another lease file", "beta",
                do=f"systemctl stop isc-dhcp-server; {lease_file('0b', '50 $(seq 200 240)')}",
                undo=f"umount {LEASES}; rm /run/red-leases; systemctl start isc-dhcp-server",
                red={
                    **{f"{SPEC}{test}": "beta (192.168.10.8) offered nothing; offers came from ['192.168.10.6']"
                       for test in ("the_server_offers_an_address_of_the_pool[beta]",
                                    "the_offer_comes_from_the_node_itself[beta]",
                                    "an_offer_tells_the_right_option[beta-*]", "a_reservation_is_offered[beta-*]")},
                    **{f"{SPEC}{test}": "no lease after"
                       for test in ("a_client_gets_a_lease_from_the_server[beta]", "the_lease_time_*[beta]",
                                    "the_address_given_is_the_one_offered[beta]",
                                    "a_lease_tells_the_right_option[beta-*]", "renewal_and_rebinding_*[beta]",
                                    "a_lease_is_renewed_by_its_server[beta]", "a_lease_is_rebound_*[beta]",
                                    "a_client_that_was_rebooted_*[beta]", "what_was_released_is_free_again[beta]")},
                    **{f"{PAIR}{test}": "beta: OMAPI: not connected"
                       for test in ("the_running_server_is_in_the_normal_state[beta-*]", "one_is_the_primary_*",
                                    "the_pair_runs_with_the_timers_*[beta-*]", "the_server_leases_*[beta]")},
                    f"{PAIR}the_clocks_of_the_servers_agree": "192.168.10.2",
                    f"{SPEC}what_was_taken_is_given_back[beta]": "holds what our clients released: {'192.168.10.2",
                    f"{SPEC}every_lease_is_of_the_pool[beta]": "outside the pool: ['192.168.10.50']",
                    f"{SPEC}the_server_has_addresses_left[beta]": "the pool is empty on beta: states are ['active']",
                },
            ),
            Break(
                "its partner notices, and says that one of its addresses is another's", "alpha",
                do="for n in $(seq 200); do awk '/my state/ {s = $3} END {exit s != \"communications-interrupted\"}' "
                f"{LEASES} && break; sleep 0.05; done; {lease_file('0a', '240')}",
                undo=f"umount {LEASES}; rm /run/red-leases",
                red={
                    f"{SPEC}the_pair_is_in_the_normal_state[alpha-mine]":
                        "alpha reports its own failover state as communications-interrupted, not normal",
                    f"{SPEC}what_was_released_is_free_again[alpha]": "released to alpha, is not free: {",
                    f"{PAIR}the_running_server_is_in_the_normal_state[alpha-mine]":
                        "the dhcpd of alpha takes itself to be communications-interrupted, not normal",
                    f"{PAIR}a_client_that_has_not_waited_is_served_by_its_own_server[beta]":
                        "a client of beta was offered an address by ['192.168.10.6']",
                    f"{SPEC}no_address_is_held_by_two_clients":
                        "{'192.168.10.240': ['02:00:00:00:00:0a', '02:00:00:00:00:0b']}",
                },
            ),
        ),
        settled=("dhcp failover", "dhcp"),
    ),
    Round(
        "dhcp: two servers that are no pair",
        ("specs/lanservices/test_dhcp_failover.py", "specs/lanservices/test_dhcp_starved.py"),
        tuple(
            Break(
                "a server that leases as it likes", node, files=(CONF, LEASES), do=NO_PAIR % own,
                undo=f"rm -r {DROP_IN}/red.conf /run/red-dhcpd; systemctl daemon-reload; {RESTART}",
                red={
                    f"{FAILOVER}the_survivor_knows_that_it_is_alone": "alpha: OMAPI: can't open object: not found",
                    f"{FAILOVER}the_survivor_renews_a_lease_of_the_dead_server[*]": "dhcp re",
                    f"{FAILOVER}new_clients_are_given_addresses_of_the_survivors_own_half":
                        "to new clients, which are not of its half",
                    f"{FAILOVER}a_new_lease_lasts_for_mclt_at_most[new]": "leases for [3600.0, 3600.0, 3600.0] s",
                    f"{FAILOVER}the_pair_is_normal_again": "never that it was alone",
                    f"{FAILOVER}the_halves_are_even_after_the_balancing": "1 free and 40 backup addresses differ",
                    f"{FAILOVER}everybody_has_an_address_of_their_own": "alone, gave an address to two clients: ",
                    f"{FAILOVER}nothing_is_held_twice_or_by_our_clients":
                        "{'192.168.10.241': ['02:00:00:00:00:0a', '02:00:00:00:00:0b']}",
                    "lanservices/test_dhcp_starved.py::test_*": "set aside by both: not within the deadline",
                } if node == "alpha" else {},
            )
            for node, own in (
                ("alpha", ("192.168.10.200 192.168.10.229", synthetic_mac(NEW[0]), "0a")),
                ("beta", ("192.168.10.230 192.168.10.240", synthetic_mac(KEPT), "0b")),
            )
        ),
        settled=("dhcp failover", "dhcp"),
        k="not clocks and not difference and not wait",
        again="not clocks and not difference and not wait and not starved",
        disruptive=True,
    ),
    Round(
        "dhcp: a peer that forgets what it agreed to",
        ("specs/lanservices/test_dhcp_failover.py", "specs/lanservices/test_dhcp.py"),
        (
            Break(
                "a survivor that does not answer who wants the other half", "alpha",
                do=f"nft -f - <<'END'{NO_ANSWER}END", undo="nft delete table netdev red",
                red={f"{FAILOVER}after_the_order_the_survivor_gives_away_the_other_half": " offered: not within"},
            ),
            Break(
                "a server that is never silent", "beta",
                do="systemd-run --quiet --collect --unit=red-talker --service-type=notify -p NotifyAccess=all "
                "python3 -c " + shlex.quote(TALKER.replace("CLIENTS", repr([synthetic_mac(WATCHING), IMPATIENT]))),
                undo="systemctl stop red-talker",
                red={
                    f"{FAILOVER}it_is_silent_until_mclt_is_over": "beta, which had lost its lease file, made offers [",
                    f"{FAILOVER}who_has_waited_is_served_by_the_other_at_once":
                        "a client that has waited was offered an address by ['192.168.10.6', '192.168.10.8']",
                    f"{FAILOVER}who_never_says_that_it_waits_is_served_once_*": "a client of beta was served at once",
                },
            ),
        ),
        settled=("dhcp failover", "dhcp"),
        k="after_the_order or silent or has_waited or never_says", again="test_dhcp.py",
        disruptive=True, profile="short",
    ),
    Round(
        "dhcp: clocks that nobody minds",
        ("specs/lanservices/test_dhcp_failover.py", "specs/lanservices/test_dhcp.py"),
        (
            Break(
                "a server whose clock cannot be made to differ", "beta", undo=f"rm {DROP_IN}/zzz-red.conf; "
                f"systemctl daemon-reload; {RESTART}",
                do=f"mkdir -p {DROP_IN}; printf '%s\\n' [Service] 'UnsetEnvironment=LD_PRELOAD FAKETIME' > "
                f"{DROP_IN}/zzz-red.conf; systemctl daemon-reload",
                red={
                    f"{FAILOVER}peers_whose_clocks_differ_refuse_each_other":
                        "with clocks 90 s apart the peers are {'alpha': 'normal', 'beta': 'normal'}",
                    f"{FAILOVER}the_difference_is_seen_from_outside": "a clock 90 s ahead is seen as ",
                },
            ),
        ),
        settled=("dhcp failover", "dhcp"),
        k="clocks_differ or difference", again="test_dhcp.py", disruptive=True,
    ),
)  # fmt: skip
