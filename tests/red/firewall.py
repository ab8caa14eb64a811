"""Firewalls that let in too much, too little, or nothing: specs/base/test_firewall.py, specs/cluster/test_ports.py."""

from __future__ import annotations

from tests.breaking import Break, Round
from tests.red.nodes import AS_BEFORE, let_in

RULES, PORTS = "base/test_firewall.py::test_", "cluster/test_ports.py::test_"
# Nobody hears an answer, not even the node itself; names can be looked up, so that what the node tells comes in time.
SPOILED = """table inet rpicluster { chain input { type filter hook input priority filter; policy drop;
  tcp dport { 22, 2020 } accept; udp sport 53 accept; log prefix "red"
}
}"""

ROUNDS = (
    Round(
        "firewall: other rules",
        ("specs/base/test_firewall.py", "specs/cluster/test_ports.py"),
        (
            Break(
                "a door for anybody", "psi",
                do=f"{let_in('tcp', 8080)}; systemd-run -q --unit=red-door nc -lk 0.0.0.0 8080",
                undo=f"systemctl stop red-door; {AS_BEFORE}",
                red={
                    f"{RULES}it_lets_in_what_is_declared[psi-stranger-tcp]":
                        "psi lets stranger in on tcp 22, 2222, 8080; declared is 22, 2222",
                    f"{RULES}it_lets_in_what_is_declared[psi-*-tcp]": "8080",
                    f"{PORTS}exactly_the_declared_tcp_ports_are_open[psi-operator]":
                        "psi: tcp ports open to operator: 22, 2222, 8080, not 22, 2222",
                },
            ),
            Break(
                "a service that is not there", "alpha", do="systemctl stop tftpd-hpa", undo="systemctl start tftpd-hpa",
                red={
                    f"{RULES}somebody_serves_what_is_open[alpha-udp/69]": "udp/69 is open, but nothing listens there",
                    f"{PORTS}the_declared_udp_services_are_open[alpha-operator]": "udp ports closed to operator: [69]",
                },
            ),
            Break(
                "no rules", "beta", do="nft delete table inet rpicluster", undo=AS_BEFORE,
                red={
                    **{f"{RULES}{test}[beta*]": "beta has no table inet rpicluster: everything is open"
                       for test in ("it_*", "answers_come_in", "ipv6_stays_out", "what_is_refused_is_logged_*")},
                    f"{PORTS}exactly_the_declared_tcp_ports_are_open[beta-psi]":
                        "beta: tcp ports open to psi: 22, 53, 648, 1080, 2220, 7911, not 22, 53, 1080, 2220",
                },
            ),
            Break(
                "rules that nobody can live with", "gamma",
                do=f"nft 'delete table inet rpicluster; {SPOILED}'", undo=AS_BEFORE,
                red={
                    f"{RULES}it_lets_in_what_is_declared[gamma-outside-tcp]": "in on tcp 22, 2020; declared is nothing",
                    **{f"{RULES}it_lets_in_what_is_declared[gamma-{name}-*]": "; declared is 0-65535"
                       for name in ("deployer", "lanservices", "compute")},
                    **{f"{RULES}it_lets_in_what_is_declared[gamma-{name}-udp]": "in on udp nothing; declared is 123"
                       for name in ("openwrt", "stranger")},
                    f"{RULES}it_refuses_at_once[gamma]": "with drop, not reject",
                    f"{RULES}answers_come_in[gamma]": "gamma does not let answers in (drop)",
                    f"{RULES}it_talks_with_itself[gamma]": "what it says to itself: drop",
                    f"{RULES}it_can_be_pinged[gamma]": "gamma cannot be pinged",
                    f"{RULES}ipv6_stays_out[gamma]": "IPv6 meets accept, not drop",
                    f"{RULES}what_is_refused_is_logged_within_limits[gamma]": "gamma logs without a limit",
                },
            ),
            Break(
                "rules that are not understood", "zeta",
                do="nft insert rule inet rpicluster input meta length 9999 drop", undo=AS_BEFORE,
                red={f"{RULES}{test}[zeta*]": "a rule about an unknown field: meta.length"
                     for test in ("it_*", "answers_come_in", "ipv6_stays_out", "what_is_refused_is_logged_*")},
            ),
        ),
        k="test_firewall or [psi-operator] or [alpha-operator] or [beta-psi]",
        slow=True,
    ),
)  # fmt: skip
