"""Name servers that know other things, or say too much: specs/lanservices/test_dns.py and test_dns_refusals.py."""

from __future__ import annotations

from tests.breaking import Break, Round

SPEC = "lanservices/test_dns.py::test_"
NO = "lanservices/test_dns_refusals.py::test_"
LOCAL, OPTIONS, KEY = (f"/etc/bind/{name}" for name in ("named.conf.local", "named.conf.options", "transfer.key"))
MASTER = "/etc/bind/zones/master/db.clust0r"
SECOND, REVERSE = (f"/etc/bind/zones/secondary/db.{zone}" for zone in ("clust0r", "10.168.192.in-addr.arpa"))
JOURNALS = tuple(f"/var/lib/bind/db.{zone}.jnl" for zone in ("clust0r", "10.168.192.in-addr.arpa"))
RESTART = "systemctl restart named"

ROUNDS = (
    Round(
        "dns: other records",
        ("specs/lanservices/test_dns.py",),
        (
            Break(
                # Its serial is far ahead, so that it keeps what it has.
                "a secondary with records of its own", "beta", files=(SECOND, REVERSE, *JOURNALS), undo=RESTART,
                do=f"systemctl stop named; rm -f {' '.join(JOURNALS)}; sed -i '/; serial/s/[0-9][0-9]*/1999999999/; "
                "/; refresh/s/300/301/; /^.TTL/s/604800/604801/; /NS.*dns2/d; s/192.168.10.5$/192.168.10.55/; "
                f"s/\"LAN services primary\"/\"the boss\"/' {SECOND}; echo '*.dc1.b3rry.clust0r. A 192.168.10.66' >> "
                f"{SECOND}; sed -i /PTR.*delta/d {REVERSE}; systemctl start named",
                red={
                    f"{SPEC}a_host_has_its_address_and_its_name[beta-psi-A]":
                        "the server says ('192.168.10.55',), the inventory ('192.168.10.5',)",
                    f"{SPEC}a_host_has_its_address_and_its_name[beta-delta-PTR]":
                        "the answer is NXDOMAIN, not delta.dc1.b3rry.clust0r.",
                    f"{SPEC}the_same_is_answered_over_tcp[beta-psi-A]": "the server says ('192.168.10.55',)",
                    f"{SPEC}the_same_is_answered_over_tcp[beta-delta-PTR]": "NXDOMAIN",
                    f"{SPEC}a_declared_record_is_served[beta-alpha-TXT]": "the boss",
                    f"{SPEC}both_servers_are_named[beta-clust0r.]":
                        "('dns1.dc1.b3rry.clust0r.',), not ('dns1.dc1.b3rry.clust0r.', 'dns2.dc1.b3rry.clust0r.')",
                    f"{SPEC}a_zone_has_the_timers_of_the_inventory[beta-clust0r.-refresh]":
                        "301 s, the inventory says 300 s",
                    f"{SPEC}records_have_the_ttl_of_the_inventory[beta-clust0r.]": "604801",
                    f"{SPEC}an_unknown_name_is_denied_with_authority[beta]":
                        "NOERROR ('192.168.10.66',), not NXDOMAIN",
                    f"{SPEC}the_zone_holds_what_the_inventory_says_and_nothing_else[beta-clust0r.]":
                        "missing [('alpha.dc1.b3rry.clust0r.', 'TXT', ",
                    f"{SPEC}the_zone_holds_what_the_inventory_says_and_nothing_else[beta-10*]":
                        "missing [('22.10.168.192.in-addr.arpa.', 'PTR', 'delta.dc1.b3rry.clust0r.')], not in",
                    f"{SPEC}both_servers_have_the_same_serial[clust0r.]": "beta has serial 1999999999, behind it",
                    f"{SPEC}both_servers_hold_the_same_records[10*]":
                        "only alpha has [('22.10.168.192.in-addr.arpa.', 'PTR', ",
                    f"{SPEC}both_servers_hold_the_same_records[clust0r.]": "only alpha has [('alpha.dc1.b3rry.",
                },
            ),
            Break(
                "a primary with a typing error, and for nobody else's questions", "alpha",
                files=(MASTER, LOCAL, OPTIONS), undo=f"rm -f {JOURNALS[0]}; {RESTART}",
                do=f"sed -i 's/recursion yes/recursion no/' {OPTIONS}; sed -i 's/notify explicit/notify no/' {LOCAL}; "
                f"serial=$(sed -n 's/.*( *\\([0-9]*\\) .*/\\1/p' {MASTER}); sed -i \"s/$serial/$((serial + 1))/; "
                "/^omega.* A /s/[0-9.]*$/192.168.10.99/; /^float.* A /s/[0-9.]*$/192.168.10.112/; "
                f"s/\\\"testing\\\"/\\\"testung\\\"/\" {MASTER}; {RESTART}",
                red={
                    f"{SPEC}recursion_is_offered_to_the_lan[alpha]": "alpha offers no recursion to 192.168.10.0/24",
                    f"{SPEC}the_floating_address_offers_recursion": "no recursion at 192.168.10.111 for ",
                    f"{SPEC}a_host_has_its_address_and_its_name[alpha-omega-A]": "the server says ('192.168.10.99',)",
                    f"{SPEC}a_host_has_its_address_and_its_name[alpha-float-A]": "the server says ('192.168.10.112',)",
                    f"{SPEC}the_same_is_answered_over_tcp[alpha-omega-A]": "the server says ('192.168.10.99',)",
                    f"{SPEC}the_same_is_answered_over_tcp[alpha-float-A]": "the server says ('192.168.10.112',)",
                    f"{SPEC}a_declared_record_is_served[alpha-testing-TXT]": "testung",
                    f"{SPEC}the_zone_holds_what_the_inventory_says_and_nothing_else[alpha-clust0r.]": "192.168.10.99'",
                    f"{SPEC}a_resolver_that_knows_both_finds_a_name": "('192.168.10.99',) from 192.168.10.6, not ",
                    f"{SPEC}the_floating_address_answers_for_a_host[omega-A]": "at 192.168.10.111: the server says",
                    f"{SPEC}the_floating_address_answers_for_a_host[float-A]": "at 192.168.10.111: the server says",
                    f"{SPEC}the_floating_address_answers_over_tcp[omega-A]": "at 192.168.10.111: the server says",
                    f"{SPEC}the_floating_address_answers_for_a_declared_record[testing-TXT]": "testung",
                    f"{SPEC}the_service_name_leads_to_the_floating_address": "leads to ('192.168.10.112',), not",
                },
            ),
        ),
        settled=("dns", "dns serial", "floating address"),
    ),
    Round(
        "dns: too much said",
        ("specs/lanservices/test_dns_refusals.py",),
        (
            Break(
                "a primary open to everybody", "alpha", files=(LOCAL, OPTIONS), undo=RESTART,
                do=f"sed -i 's/version none/version \"9.9.9\"/' {OPTIONS}; "
                f"sed -i 's/allow-transfer {{.*/allow-transfer {{ any; }};/; "
                f"s/notify explicit/allow-update {{ any; }};&/' {LOCAL}; {RESTART}",
                red={
                    f"{NO}a_transfer_without_the_key_is_refused[alpha-*]": "records) to somebody without the key",
                    f"{NO}an_update_without_the_key_is_refused[alpha-*]": "answered NOERROR to an unsigned update of",
                    f"{NO}the_version_is_not_told[alpha]": "alpha tells its version to anybody: 9.9.9",
                },
            ),
            Break(
                "a secondary with a key that everybody can guess", "beta", files=(KEY,), undo=RESTART,
                do=f"sed -i 's/secret .*/secret \"{'A' * 43}=\";/' {KEY}; {RESTART}",
                red={
                    f"{NO}the_zone_is_transferred_with_the_key[beta-*]": "@192.168.10.8",
                    f"{NO}a_transfer_with_another_key_is_refused[beta-*]": "for a key that is not the cluster's",
                },
            ),
        ),
        settled=("dns", "dns serial"),
    ),
    Round(
        "dns: a dead server",
        ("specs/lanservices/test_dns.py",),
        (
            Break(
                "no daemon", "alpha", do="systemctl stop named", undo="systemctl start named",
                red={
                    f"{SPEC}the_server_is_authoritative[alpha-*]": "SOA @192.168.10.6: ",
                    f"{SPEC}a_resolver_that_knows_both_finds_a_name": "the first server does not answer",
                },
            ),
        ),
        k="the_server_is_authoritative or a_resolver_that_knows_both",
        settled=("dns", "floating address"),
    ),
)  # fmt: skip
