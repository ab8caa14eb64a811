"""A server of time that lies, and nodes that follow the wrong one or nobody: specs/lanservices/test_ntp.py."""

from __future__ import annotations

from tests.breaking import Break, Round
from tests.red.nodes import service

SPEC = "lanservices/test_ntp.py::test_"
WIRE = "lanservices/test_ntp.py::TestOnTheWire::test_"
FAULTS = "lanservices/test_ntp_faults.py::test_"
CONF = "/etc/chrony/chrony.conf"
DATE = "/usr/local/bin/date"


def liar(leap: int, stratum: int, distance: float, ahead: float, *addresses: str) -> str:
    """A server of time in Python, RFC 5905 figure 8: root delay and dispersion both `distance` s."""
    return f"""
import select, socket, struct, subprocess, time
sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in {addresses}]
for s, address in zip(sockets, {addresses}):
    s.bind((address, 123))
subprocess.run(["systemd-notify", "--ready"])
root = int({distance} * 65536)
while True:
    for s in select.select(sockets, [], [])[0]:
        asked, who = s.recvfrom(512)
        whole, part = divmod(time.time() + 2208988800 + {ahead}, 1)
        now = struct.pack("!II", int(whole), int(part * 2**32))
        head = struct.pack("!BB1sbII4s", {leap << 6 | 4 << 3 | 4}, {stratum}, asked[2:3], -20, root, root, b"GPS")
        s.sendto(head + now + asked[40:48] + now + now, who)
"""


ALPHA = "192.168.10.6"


def follows(node: str, *sources: str) -> str:
    """Shell: the node asks only these, often, and chrony has begun to."""
    lines = " ".join(f"'server {source} iburst minpoll -2 maxpoll -2'" for source in sources)
    return f"sed -i '/^server/d' {CONF}; printf '%s\\n' {lines} >> {CONF}; systemctl restart chrony"


ROUNDS = (
    Round(
        "ntp: nodes that follow others",
        ("specs/lanservices/test_ntp.py",),
        (
            Break("a liar", **service("psi", "liar", liar(0, 1, 0.001, 3.0, "192.168.10.5"), udp=123), red={}),
            Break(
                "a third server, which lies", "zeta", files=(CONF,), undo="systemctl restart chrony",
                do=follows("zeta", ALPHA, "192.168.10.8", "192.168.10.5"),
                red={
                    f"{SPEC}a_client_asks_nobody_else[zeta-*]": "zeta also asks ['192.168.10.5'], not only alpha and ",
                    f"{SPEC}a_node_has_the_source[zeta-gamma]": "zeta does not ask gamma (192.168.10.21); it asks",
                    f"{SPEC}a_node_has_the_source[zeta-delta]": "zeta does not ask delta (192.168.10.22); it asks",
                    f"{SPEC}a_node_reaches_the_source[zeta-gamma]": "zeta does not ask gamma",
                    f"{SPEC}a_node_reaches_the_source[zeta-delta]": "zeta does not ask delta",
                    f"{SPEC}a_client_has_three_to_vote[zeta]": "could not be outvoted",
                    f"{SPEC}no_source_is_a_falseticker[zeta]": "zeta holds ['192.168.10.5'] for falsetickers",
                },
            ),
            Break(
                "a liar as the only server", "epsilon", files=(CONF,), undo="systemctl restart chrony",
                do=follows("epsilon", "192.168.10.5"),
                red={
                    f"{SPEC}a_node_has_the_source[epsilon-*]": "it asks ['192.168.10.5']",
                    f"{SPEC}a_node_reaches_the_source[epsilon-*]": "epsilon does not ask ",
                    f"{SPEC}a_client_asks_nobody_else[epsilon-*]": "epsilon also asks ['192.168.10.5']",
                    f"{SPEC}a_client_has_three_to_vote[epsilon]": "a server that lies could not be outvoted",
                    f"{SPEC}a_node_is_near_its_source[epsilon]": "3.00",
                    f"{SPEC}a_node_has_its_time_from_where_all_have_it[epsilon]": "psi has its time from nobody",
                },
            ),
            Break(
                "servers that are none", "psi", files=(CONF,), undo="systemctl restart chrony",
                do=follows("psi", "192.168.10.24", "192.168.10.8").replace(".8 iburst", ".8 port 1234 iburst"),
                red={
                    f"{SPEC}a_node_has_the_source[psi-alpha]": "psi does not ask alpha (192.168.10.6)",
                    f"{SPEC}a_node_has_the_source[psi-gamma]": "psi does not ask gamma",
                    f"{SPEC}a_node_has_the_source[psi-delta]": "psi does not ask delta",
                    f"{SPEC}a_node_reaches_the_source[psi-alpha]": "psi does not ask alpha",
                    f"{SPEC}a_node_reaches_the_source[psi-gamma]": "psi does not ask gamma",
                    f"{SPEC}a_node_reaches_the_source[psi-delta]": "psi does not ask delta",
                    f"{SPEC}a_node_reaches_the_source[psi-beta]": "psi got no answer from beta (192.168.10.8)",
                    f"{SPEC}a_client_asks_nobody_else[psi-*]": "psi also asks ['192.168.10.24']",
                    f"{SPEC}a_client_has_three_to_vote[psi]": "psi has only [] to compare",
                    f"{SPEC}a_node_follows_one_source[psi]": "psi has selected no source; states: {",
                    f"{SPEC}a_node_is_synchronised[psi]": "chronyd on psi says: Not synchronised",
                    f"{SPEC}a_node_has_a_usable_stratum[psi]": "psi has stratum 0",
                    f"{SPEC}a_node_has_its_time_from_where_all_have_it[psi]": "psi has its time from nobody",
                },
            ),
            Break(
                "a reference of its own", "delta", files=(CONF,), undo="systemctl restart chrony",
                do=f"sed -i '/^server/d' {CONF}; echo local stratum 11 >> {CONF}; systemctl restart chrony",
                red={
                    f"{SPEC}a_node_has_the_source[delta-*]": "delta does not ask ",
                    f"{SPEC}a_node_reaches_the_source[delta-*]": "delta does not ask ",
                    f"{SPEC}a_client_has_three_to_vote[delta]": "delta has only [] to compare",
                    f"{SPEC}a_node_follows_one_source[delta]": "delta has selected no source",
                    f"{SPEC}without_an_uplink_one_server_is_the_reference": "is alpha and delta, not one server",
                    f"{SPEC}its_stratum_is_above_any_real_one": "references: {'delta': 11}, the inventory says 10",
                    f"{SPEC}a_node_has_its_time_from_where_all_have_it[delta]":
                        "delta has its time from delta in the end, alpha from alpha",
                },
            ),
            Break(
                "another clock", "delta", files=(DATE,),
                do=f"printf '#!/bin/sh\\nexec /bin/date -d \"+3 seconds\" \"$@\"\\n' > {DATE}; chmod 0755 {DATE}",
                red={f"{SPEC}a_clock_agrees_with_the_others[*]": "s apart, 0.1 at most"},
            ),
        ),
        k="not TestOnTheWire",
    ),
    # After the round above: a server that was restarted hears its peer at that one's next poll, up to a minute later.
    Round(
        "ntp: a server that lies",
        ("specs/lanservices/test_ntp.py",),
        (
            Break("no chrony", "alpha", red={}, do="systemctl stop chrony", undo="systemctl start chrony"),
            Break(
                "a stranger in its place",
                **service("alpha", "liar", liar(3, 16, 2.0, 3.0, ALPHA, "192.168.10.111"), udp=123),
                red={
                    f"{WIRE}{test}[{server}]": f"{server}{words}"
                    for server in ("alpha", "floating")
                    for test, words in {
                        "it_is_synchronised": " says its clock is not synchronised (leap 3)",
                        "its_stratum_can_be_followed": " has stratum ",
                        "its_root_distance_can_be_followed": ": root distance 3.0",
                        "its_dispersion_is_small": ": root dispersion 2.0",
                        "it_agrees_with_our_own_clock": " is +",
                        "it_agrees_with_the_other_servers": " is +3.0",
                    }.items()
                } | {f"{WIRE}it_agrees_with_the_other_servers[beta]": f" s from {ALPHA}, 0.1 s at most"},
            ),
        ),
        k="TestOnTheWire",
        settled=("ntp", "daemons"),
    ),
    Round(
        "ntp: a cluster that believes a liar",
        ("specs/lanservices/test_ntp_faults.py", "specs/lanservices/test_ntp.py"),
        (
            Break(
                "a client of one server", "zeta", files=(CONF,), undo="systemctl restart chrony",
                do=f"{follows('zeta', ALPHA)}; sed -i /^maxjitter/d {CONF}; systemctl restart chrony",
                red={
                    f"{FAULTS}a_client_rejects_a_server_that_lies[zeta]": "zeta does not hold alpha, 5 s ahead",
                    f"{FAULTS}it_goes_on_with_an_honest_server[zeta]": "zeta follows ['192.168.10.6'] while alpha lies",
                    f"{FAULTS}nobody_follows_the_lie[zeta]": "s of alpha, 0.1 s at most",
                },
            ),
            *(
                Break(
                    "references that go before real time", node, files=(CONF,), undo="systemctl restart chrony",
                    do=f"sed -i 's/^local stratum .*/local stratum 2 orphan/' {CONF}; systemctl restart chrony",
                    red={
                        f"{FAULTS}real_time_comes_before_the_reference[*]": " has its time from alpha ",
                        f"{FAULTS}without_real_time_all_agree_on_one_reference[*]": "alpha has stratum 2",
                    },
                )
                for node in ("alpha", "beta")
            ),
        ),
        k="test_ntp_faults", again="test_ntp.py", disruptive=True, profile="short", settled=("ntp",),
    ),
    Round(
        "ntp: one that goes with a lie, and one that has nobody",
        ("specs/lanservices/test_ntp_faults.py", "specs/lanservices/test_ntp.py"),
        (
            Break(
                "a server that believes its partner", "beta", files=(CONF,), undo="systemctl restart chrony",
                do=f"{follows('beta', ALPHA)}; sed -i '/^maxjitter/d; /^maxchange/d; /^local/d' {CONF}; "
                "systemctl restart chrony",
                red={f"{FAULTS}the_other_servers_go_on_telling_the_time": "beta told a time +"},
            ),
            Break(
                "a client of nobody", "zeta", files=(CONF,), undo="systemctl restart chrony",
                do=f"sed -i '/^server/d' {CONF}; systemctl restart chrony",
                red={f"{FAULTS}a_cut_uplink_moves_nobody[zeta]": "zeta is Not synchronised "},
            ),
        ),
        # The clients go with the two, some sooner and some later; the witness for the cut is the one that has nobody.
        k="go_on_telling or cut_uplink", again="test_ntp.py", disruptive=True, profile="short", settled=("ntp",),
    ),
)  # fmt: skip
