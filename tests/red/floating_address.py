"""Two owners of the floating address, none, the wrong one: test_floating_address.py, and the claims about losing it."""

from __future__ import annotations

import shlex
from typing import Any

from tests.breaking import Break, Round
from tests.red.files import undo_unit, unit

FILE = "specs/lanservices/test_floating_address.py"
SPEC = "lanservices/test_floating_address.py::test_"
CLAIMS = "cluster/test_claims.py::test_"
MOVES = "cluster/test_takeover.py::test_"
CONF = "/etc/keepalived/keepalived.conf"
NAMED = "/etc/bind/named.conf.options"
RESTART = "systemctl restart keepalived"
BOTH = f"{SPEC}both_nodes_have_the_same_live_configuration"
LIVE = f"{SPEC}the_live_configuration_is_that_of_the_inventory"

REFUSED = "not tried: alpha is powered off: refused"

# Advertises our address with priority 99, without a password: RFC 3768 section 5.3.
STRANGER = """
import socket, struct, subprocess, time
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.168.10.5"))
body = lambda check: struct.pack("!6BH4s8x", 0x21, VRID, 99, 1, 0, 1, check, socket.inet_aton("192.168.10.111"))
total = sum(struct.unpack("!10H", body(0)))
total = (total & 0xFFFF) + (total >> 16)
while True:
    s.sendto(body(~(total + (total >> 16)) & 0xFFFF), ("224.0.0.18", 0))
    time.sleep(0.8)
"""


def stranger(vrid: int) -> dict[str, Any]:
    """`node`, `do` and `undo` of a machine that advertises a virtual router."""
    program = shlex.quote(STRANGER.replace("VRID", str(vrid)))
    return {
        "node": "psi",
        "do": f"systemd-run --quiet --collect --unit=red-vrrp python3 -c {program}",
        "undo": "systemctl stop red-vrrp",
    }


# Goes on dropping what alpha advertises, for 3 s after the cut that chaos made is healed.
DEAF = """
cut() { nft list tables | grep -q rpicluster_chaos_; }
until cut; do sleep 0.02; done
nft -f - <<END
table inet red {
chain input {
type filter hook input priority 0
ip saddr 192.168.10.6 meta l4proto 112 drop
}
}
END
while cut; do sleep 0.02; done
sleep 3
nft delete table inet red
"""


OTHER_CONF = ("ExecStart=", "ExecStart=/usr/sbin/keepalived --dont-fork -f /run/red-keepalived.conf")

# keepalived's own packets do not pass the tables of arp; these they do.  No announcement, and no goodbye: a daemon that
# is killed instead may still say one, when its child hears of that before it is killed itself (PR_SET_PDEATHSIG).
MUTE = """
table netdev red {
chain out {
type filter hook egress device eth0 priority 0
arp saddr ip 192.168.10.111 arp daddr ip 192.168.10.111 drop
ip protocol 112 @th,16,8 0 drop
}
}
"""

# Announces itself 2 s too late, but not never: whoever heard the other would go on believing it for up to 50 s.
BACK = """
has() { ip -4 -o address show dev eth0 | grep -q 192.168.10.111/; }
while systemctl -q is-active keepalived; do sleep 0.02; done
while has; do sleep 0.02; done
until has; do sleep 0.02; done
sleep 2
"""
WON = """
hears() { journalctl -q -u keepalived --since -2s | grep -q 'lower priority'; }
until hears; do sleep 0.1; done
while hears; do sleep 0.1; done
"""
LATE = """
nft delete table netdev red
busybox arping -U -q -c 1 -I eth0 192.168.10.111
"""
DUMB = """
table arp red {
chain in {
type filter hook input priority 0
arp daddr ip 192.168.10.111 drop
}
}
"""


def appears(address: str) -> str:
    """Shell: wait until the node has an address."""
    return f"timeout 15 sh -c 'until ip -4 -o address | grep -q {address}/; do sleep 0.05; done'"


ROUNDS = (
    Round(
        "vrrp: other settings",
        (FILE,),
        (
            Break(
                "another configuration than the one in use", "alpha", files=(CONF,),
                do=f"sed -i 's/priority .*/priority 80/; s/advert_int .*/advert_int 2/; "
                "s/router_id RPI.*/router_id RED/; s/preempt_delay .*/preempt_delay 6/; "
                "s/auth_pass .*/auth_pass other/; "
                "s/auth_type .*/auth_type AH/; "
                "s/interface eth0/interface eth1/; s/192.168.10.111/192.168.10.112/; s/vrrp_version 2/vrrp_version 3/; "
                f"s/virtual_router_id 51/virtual_router_id 52/; s/state BACKUP/state MASTER \\n nopreempt/' {CONF}",
                red={
                    f"{SPEC}the_advertiser_is_the_one_of_the_highest_priority":
                        "alpha (priority 80) advertises, not beta (90)",
                    f"{SPEC}advertisements_carry_the_priority_of_the_live_configuration":
                        "alpha advertises priority [100], its configuration says 80",
                    f"{LIVE}[alpha-vrid]": "vrid on alpha: 52, the inventory says 51",
                    f"{LIVE}[alpha-advert_int]": "advert_int on alpha: 2.0, the inventory says 1.0",
                    f"{LIVE}[alpha-addresses]": "('192.168.10.112',), the inventory says ('192.168.10.111',)",
                    f"{LIVE}[alpha-interface]": "eth1, the inventory says eth0",
                    f"{LIVE}[alpha-auth_type]": "ah, the inventory says pass",
                    f"{LIVE}[alpha-preempt_delay]": "6.0, the inventory says 5.0",
                    f"{SPEC}the_priority_is_that_of_the_inventory[alpha]": "80, the inventory says 100",
                    f"{SPEC}the_router_id_is_that_of_the_inventory[alpha]": "RED, the inventory says RPI_CLUST",
                    f"{SPEC}the_node_begins_as_backup[alpha]":
                        "alpha begins as MASTER, so that its nopreempt means nothing",
                    f"{BOTH}[vrid]": "vrid differs: {'alpha': 52, 'beta': 51}",
                    f"{BOTH}[version]": "version differs: {'alpha': 3, 'beta': 2}",
                    f"{BOTH}[nopreempt]": "nopreempt differs: {'alpha': True, 'beta': False}",
                    f"{BOTH}[*]": "differs: {'alpha': ",
                    f"{SPEC}both_nodes_have_the_same_password":
                        "auth_pass differs between alpha and beta: they do not believe each other",
                },
            ),
            Break(
                "a name server that would not notice the address", "beta", files=(NAMED,),
                do=f"sed -i 's/automatic-interface-scan yes/automatic-interface-scan no/' {NAMED}",
                red={f"{SPEC}the_service_is_there_when_the_address_comes[beta-dns-*]":
                     "is bound to 127.0.0.1, 192.168.10.8, not to 192.168.10.111"},
            ),
        ),
    ),
    Round(
        "vrrp: split brain",
        (FILE,),
        (
            Break(
                # keepalived that hears what it does not believe may put off its own advertisements for ever: this
                # split brain is seen by who has the address and who answers for it.
                "a standby that believes nobody", "beta", files=(CONF,),
                do=f"sed -i 's/auth_pass .*/auth_pass other/' {CONF}; {RESTART}; {appears('192.168.10.111')}",
                undo="systemctl reload keepalived",
                red={
                    f"{SPEC}exactly_one_hardware_address_answers_arp":
                        "is answered by 2: b8:27:eb:00:00:06 (alpha), b8:27:eb:00:00:08 (beta)",
                    f"{SPEC}exactly_one_node_has_the_address":
                        "192.168.10.111 is configured on ['alpha', 'beta'], not on exactly one",
                    f"{SPEC}both_nodes_have_the_same_password": "they do not believe each other",
                },
            ),
            Break(
                "a second advertiser", **stranger(51),
                red={
                    f"{SPEC}{test}":
                        "virtual router 51 is advertised by a stranger"
                    for test in ("exactly_one_node_advertises", "the_advertiser_is_the_one_of_the_highest_priority",
                                 "advertisements_*", "the_hardware_address_is_that_of_the_advertiser",
                                 "the_address_is_where_the_advertiser_is[*]")
                },
            ),
        ),
        settled=("vrrp advertiser", "floating address"),
    ),
    Round(
        "vrrp: the wrong owner",
        (FILE,),
        (
            Break(
                "an owner that stopped, and kept the address", "alpha",
                do="systemctl stop keepalived; ip address add 192.168.10.111/32 dev eth0",
                undo="ip address del 192.168.10.111/32 dev eth0; systemctl start keepalived",
                red={
                    f"{SPEC}the_advertiser_is_the_one_of_the_highest_priority":
                        "beta (priority 90) advertises, not alpha (100)",
                    f"{SPEC}keepalived_runs[alpha]": "keepalived on alpha is inactive: it could not take over",
                    f"{SPEC}the_node_listens_to_advertisements[alpha]": "nothing on alpha has a socket for VRRP",
                    f"{SPEC}exactly_one_hardware_address_answers_arp": "192.168.10.111 is answered by 2: ",
                    f"{SPEC}the_hardware_address_is_that_of_the_advertiser":
                        "beta (b8:27:eb:00:00:08) advertises, but ARP is answered by ['b8:27:eb:00:00:06', 'b8",
                    f"{SPEC}exactly_one_node_has_the_address": "['alpha', 'beta']",
                    f"{SPEC}the_address_is_where_the_advertiser_is[alpha]":
                        "alpha has 192.168.10.111 configured, but beta advertises it",
                },
            ),
            Break(
                "a slow one with an address too many", "beta", files=(CONF,), undo=RESTART,
                do="sed -i 's/advert_int .*/advert_int 2/; s|192.168.10.111.*|&\\n192.168.10.112/32 dev eth0|' "
                f"{CONF}; "
                f"{RESTART}; {appears('192.168.10.112')}",
                red={
                    f"{SPEC}advertisements_carry_the_floating_address": "('192.168.10.111', '192.168.10.112')",
                    f"{SPEC}advertisements_tell_the_interval_of_the_inventory": "advertised: [2.0] s, ",
                    f"{SPEC}advertisements_come_at_their_interval": "every 1 s",
                    f"{LIVE}[beta-advert_int]": "advert_int on beta: 2.0, the inventory says 1.0",
                    f"{LIVE}[beta-addresses]": "('192.168.10.111', '192.168.10.112'), the inventory says",
                    f"{BOTH}[advert_int]": "advert_int differs: {'alpha': 1.0, 'beta': 2.0}",
                    f"{BOTH}[addresses]": "addresses differs: {'alpha': ('192.168.10.111',), 'beta': (",
                },
            ),
        ),
        settled=("vrrp advertiser", "floating address"),
    ),
    Round(
        "vrrp: no owner",
        (FILE, "specs/cluster/test_claims.py", "specs/cluster/test_takeover.py"),
        (
            *(
                Break(
                    "no daemon", node, do="systemctl stop keepalived", undo="systemctl start keepalived",
                    red={
                        f"{SPEC}keepalived_runs[{node}]": f"keepalived on {node} is inactive: it could not take over",
                        f"{SPEC}the_node_listens_to_advertisements[{node}]": f"nothing on {node} has a socket for VRRP",
                        f"{SPEC}the_address_is_where_the_advertiser_is[{node}]": "nobody advertises virtual router 51",
                        **{f"{SPEC}{test}": "nobody advertises virtual router 51; heard only [77]"
                           for test in ("exactly_one_node_advertises", "the_advertiser_is_the_one_*",
                                        "advertisements_*", "the_hardware_address_is_that_of_the_advertiser")},
                        f"{SPEC}exactly_one_hardware_address_answers_arp": "nobody answers ARP for 192.168.10.111",
                        f"{SPEC}exactly_one_node_has_the_address": "192.168.10.111 is configured on no node",
                        f"{SPEC}a_connection_to_the_address_is_accepted[*]": "192.168.10.111:",
                        f"{SPEC}dns_answers_on_the_address[*]": "@192.168.10.111",
                        # Nobody would take over, so the guard does not let alpha be lost.
                        f"{CLAIMS}a_claim_holds[losing-alpha-*]": REFUSED,
                        f"{CLAIMS}what_was_taken_away_is_proven_back[losing-alpha]": REFUSED,
                        f"{MOVES}a_dead_owner_is_followed_after_three_intervals": REFUSED,
                        f"{MOVES}nobody_owns_it_for_as_long_as_promised[lost]": REFUSED,
                        f"{MOVES}two_own_it_for_as_long_as_promised[lost]": REFUSED,
                        f"{MOVES}the_service_answers_on_the_address_once_it_moved[*]": REFUSED,
                    },
                )
                for node in ("alpha", "beta")
            ),
            Break(
                "another virtual router with our address", **stranger(77),
                red={f"{SPEC}nobody_else_claims_the_address": "others advertise: [('192.168.10.5', 77)]"},
            ),
        ),
        k="test_floating_address or losing-alpha or dead_owner or promised[lost] or once_it_moved",
        again="test_floating_address",  # claims after healing: test_red.py, with another inventory
        disruptive=True,
        settled=("vrrp advertiser", "floating address"),
    ),
    Round(
        "vrrp: stopped",
        ("specs/cluster/test_takeover.py",),
        (
            Break(
                "an owner that does not say goodbye, is back too soon, and does not announce itself", "alpha",
                do=f"sed 's/preempt_delay .*/preempt_delay 1/' {CONF} > /run/red-keepalived.conf; "
                f"{unit('keepalived', *OTHER_CONF, restart=False)}; nft -f - <<'END'{MUTE}END\n"
                f"systemd-run --quiet --collect --unit=red-late sh -c {shlex.quote(BACK + LATE)}",
                # It goes on with its other settings until the healed look stops and starts it.
                undo="systemctl stop red-late 2>/dev/null || true; nft delete table netdev red 2>/dev/null || true; "
                f"{undo_unit('keepalived', restart=False)}; rm /run/red-keepalived.conf",
                red={
                    f"{MOVES}an_owner_that_is_stopped_says_goodbye": "and sent no advertisement of priority 0",
                    f"{MOVES}a_goodbye_is_followed_after_the_skew": "beta came after the goodbye: 3.6",
                    f"{MOVES}a_returned_owner_waits_as_configured[stopped]":
                        "alpha heard beta before it took the address back: ",
                    f"{MOVES}the_new_owner_announces_itself[stopped-back]":
                        "alpha announced itself after it came: ",
                    f"{MOVES}our_own_neighbour_entry_follows[stopped-back]": "we noticed alpha: ",
                },
            ),
        ),
        # With another goodbye, whose the address is meanwhile is a matter of luck.
        k="(stopped or goodbye) and not promised[stopped]",
        disruptive=True,
        settled=("vrrp advertiser", "floating address"),
    ),
    Round(
        "vrrp: services that nobody minds",
        (FILE, "specs/cluster/test_takeover.py"),
        (
            Break(
                "an owner that runs without what its configuration says", "alpha",
                do=f"sed '/track_script/,/}}/d' {CONF} > /run/red-keepalived.conf; " + unit("keepalived", *OTHER_CONF),
                undo=f"rm /run/red-keepalived.conf; {undo_unit('keepalived')}",
                red={f"{MOVES}the_address_goes_where_the_service_is": "alpha lost tftp and kept the address for "},
            ),
            Break(
                "a standby that minds none, or too little", "beta", files=(CONF,),
                do=f"sed -i '/track_script/,/}}/{{/tftp/d}}; s/weight .*/weight -5/' {CONF}",
                red={
                    f"{SPEC}it_gives_up_priority_for_a_lost_service[beta-tftp]": "does not mind whether tftp is lost",
                    f"{SPEC}it_gives_up_priority_for_a_lost_service[beta-*]": " on beta",
                },
            ),
        ),
        ready=("vrrp advertiser",),
        k="gives_up or goes_where", again="test_floating_address",
        disruptive=True,
        settled=("vrrp advertiser", "floating address"),
    ),
    Round(
        "vrrp: deaf",
        ("specs/cluster/test_takeover.py",),
        (
            Break(
                "an owner that announces itself too late", "alpha",
                do=f"nft -f - <<'END'{MUTE}END\n"
                f"systemd-run --quiet --collect --unit=red-late sh -c {shlex.quote(WON + LATE)}",
                undo="systemctl stop red-late 2>/dev/null || true; nft delete table netdev red 2>/dev/null || true",
                red={f"{MOVES}the_winner_announces_itself_again": "alpha announced itself after beta gave up: "},
            ),
            Break(
                "a standby that runs with another priority than its configuration says", "beta",
                do=f"sed 's/priority .*/priority 1/' {CONF} > /run/red-keepalived.conf; "
                + unit("keepalived", *OTHER_CONF),
                undo=f"rm /run/red-keepalived.conf; {undo_unit('keepalived')}",
                red={f"{MOVES}advertisements_lost_one_way_make_two_masters":
                     "beta came after the last it heard: 3.99"},
            ),
            Break(
                "one that stays deaf", "beta",
                do=f"systemd-run --quiet --collect --unit=red-deaf sh -c {shlex.quote(DEAF)}",
                undo="systemctl stop red-deaf 2>/dev/null || nft delete table inet red 2>/dev/null || true",
                red={f"{MOVES}two_masters_end_with_the_next_advertisement": "after they could hear each other: "},
            ),
            Break(
                "one that answers no ARP", "beta",
                do=f"nft -f - <<'END'{DUMB}END", undo="nft delete table arp red",
                red={
                    f"{MOVES}both_masters_answer_for_the_address": "alpha and beta were never seen to answer at once",
                    f"{MOVES}two_own_it_for_as_long_as_promised[deaf]": "two answered for the address: 0.000 s, ",
                },
            ),
        ),
        k="one_way or masters or winner or deaf",
        disruptive=True,
        settled=("vrrp advertiser", "floating address"),
    ),
)  # fmt: skip
