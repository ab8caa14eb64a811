"""Name servers that know other things, or say too much: specs/lanservices/test_dns.py and test_dns_refusals.py."""

from __future__ import annotations

from tests.breaking import Break, Round

SPEC = "lanservices/test_dns.py::test_"
NO = "lanservices/test_dns_refusals.py::test_"
NEWS = "lanservices/test_dns_changes.py::test_"
ALONE = "lanservices/test_dns_alone.py::test_"
LOCAL, OPTIONS, KEY = (f"/etc/bind/{name}" for name in ("named.conf.local", "named.conf.options", "transfer.key"))
MASTER = "/etc/bind/zones/master/db.clust0r"
SECOND, REVERSE = (f"/etc/bind/zones/secondary/db.{zone}" for zone in ("clust0r", "10.168.192.in-addr.arpa"))
JOURNALS = tuple(f"/var/lib/bind/db.{zone}.jnl" for zone in ("clust0r", "10.168.192.in-addr.arpa"))
RESTART = "systemctl restart named"
CHECKER, RNDC = (f"/usr/local/sbin/{name}" for name in ("named-checkconf", "rndc"))

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
                do=f"sed -i 's/version none/version \"9.9.9\"/; /^acl copiers/a 192.168.10.6;' {OPTIONS}; "
                f"sed -i 's/allow-transfer {{.*/allow-transfer {{ any; }};/; "
                f"s/notify explicit/allow-update {{ any; }};&/' {LOCAL}; {RESTART}",
                red={
                    f"{NO}a_transfer_without_the_key_is_refused[alpha-*]": "records) to somebody without the key",
                    f"{NO}an_update_without_the_key_is_refused[alpha-*]": "answered NOERROR to an unsigned update of",
                    f"{NO}a_transfer_with_the_key_is_refused_to_a_wrong_host[alpha-*]":
                        "records) to a host that has the key, but no business",
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
    Round(
        "dns: news that is not told",
        ("specs/lanservices/test_dns_changes.py", "specs/lanservices/test_dns.py"),
        (
            Break(
                "a primary that keeps its news to itself", "alpha", files=(LOCAL,),
                do=f"sed -i 's/notify explicit/notify no/; s/from-differences yes/from-differences no/' {LOCAL}; "
                f"systemctl stop named; rm -f {' '.join(JOURNALS)}; systemctl start named",
                undo=f"systemctl stop named; rm -f {' '.join(JOURNALS)}; systemctl start named",
                red={
                    f"{NEWS}a_change_is_served_by_the_secondary_at_once":
                        "beta was not notified of clust0r.; it heard ()",
                    f"{NEWS}a_change_travels_as_differences": ", not IXFR",
                    f"{NEWS}differences_hold_the_new_record_only": "asked for differences, alpha gives: whole",
                },
            ),
            Break(
                "tools that know better", "alpha", files=(CHECKER, RNDC),
                do=f"printf '#!/bin/sh\nexit 0\n' > {CHECKER}; "
                f"printf '#!/bin/sh\n[ $1 = reload ] || exec /usr/sbin/rndc \"$@\"\nsystemctl restart named\n' "
                f"> {RNDC}; "
                f"chmod 0755 {CHECKER} {RNDC}",
                red={
                    f"{NEWS}a_zone_that_does_not_load_replaces_none_that_does": "SOA clust0r. @192.168.10.6: SERVFAIL",
                    f"{NEWS}the_checker_refuses_a_zone_that_does_not_load": "ends with 0 and does not name the line",
                },
            ),
            Break(
                "a secondary open to everybody", "beta", files=(OPTIONS,), undo=RESTART,
                do=f"sed -i -E 's/allow-(query|recursion) [{{] lan; [}}]/allow-\\1 {{ any; }}/' {OPTIONS}; {RESTART}",
                red={f"{NEWS}a_stranger_is_refused[beta]": "beta answers NOERROR to 198.51.100.77, which is not on "},
            ),
        ),
        k="test_dns_changes and not announced", again="same_serial or same_records", disruptive=True, profile="short",
        settled=("dns", "dns serial"),
    ),
    Round(
        "dns: a secondary that asks too seldom",
        tuple(f"specs/lanservices/test_dns{name}.py" for name in ("_changes", "_alone", "")),
        (
            Break(
                "every ten minutes, and nothing on its disk", "beta", files=(LOCAL,), undo=RESTART,
                do=f"sed -i 's/min-refresh-time .*/min-refresh-time 600;/; /file .*secondary/d' {LOCAL}; {RESTART}",
                red={
                    f"{NEWS}a_change_that_is_not_announced_is_there_within_refresh": "REFRESH is 10 s",
                    f"{ALONE}the_secondary_answers_with_authority_until_expire[*]": "did not answer until EXPIRE, 40 s",
                    f"{ALONE}it_does_so_after_a_restart_of_its_own[*]": "SERVFAIL without authority ",
                    f"{ALONE}after_expire_it_says_that_it_cannot[*]": " s, EXPIRE 40",
                    f"{ALONE}a_resolver_that_knows_both_waits_for_its_own_timeout_at_most": "no server answered",
                },
            ),
        ),
        k="not_announced or test_dns_alone", again="same_serial or same_records", disruptive=True, profile="short",
        settled=("dns", "dns serial"),
    ),
)  # fmt: skip
