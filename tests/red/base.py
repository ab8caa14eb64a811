"""Nodes that nobody looks after: specs/base/test_logs.py, test_checks.py and test_admin_nodes.py."""

from __future__ import annotations

from tests.breaking import Break, Round

LOGS, CHECKS, ADMIN = (f"base/test_{name}.py::test_" for name in ("logs", "checks", "admin_nodes"))
LOG = "/var/log/rpicluster.log"
SEEN = "/mnt/ramstore/data/hour_check.txt"
PLUGINS = "/usr/lib/nagios/plugins"
BOOT = "systemctl restart rpi-lanservices"
VOLATILE = (
    "mkdir -p /run/systemd/journald.conf.d; printf '[Journal]\\nStorage=volatile\\n' > "
    "/run/systemd/journald.conf.d/zz-red.conf; systemctl restart systemd-journald"
)
LIMITS = "/etc/security/limits.d/rpicluster.conf"


def plugin(name: str, code: int, text: str) -> str:
    """Shell: a monitoring plugin that says something else."""
    return f"printf '#!/bin/sh\\necho {text}; exit {code}\\n' > {PLUGINS}/{name}"


ROUNDS = (
    Round(
        "base: nobody looks after it",
        ("specs/base/test_logs.py", "specs/base/test_checks.py", "specs/base/test_admin_nodes.py"),
        (
            Break(
                "a log for everybody that nothing arrives in", "psi", files=(LOG,),
                do=f"systemctl stop rsyslog syslog.socket; logger -t rpicluster red; chmod 0644 {LOG}",
                undo="systemctl start rsyslog; logger -t rpicluster healed; "
                f"timeout 5 sh -c 'until tail -n 1 {LOG} | grep -q healed; do sleep 0.05; done'",
                red={
                    f"{LOGS}the_log_is_for_administrators[psi]": "is root:adm 0644, not root:adm 0640",
                    f"{LOGS}what_is_said_arrives_in_the_log[psi]": "psi: the journal ends with 'red', the log with",
                },
            ),
            Break(
                "a log that is never rotated, and a journal of another machine", "delta", files=(LOG,),
                do=f"yes red | head -c 4M > {LOG}; {VOLATILE}; "
                "mv /var/log/journal/$(cat /etc/machine-id) /var/log/journal/red",
                undo="rm -r /run/systemd/journald.conf.d; "
                "mv /var/log/journal/red /var/log/journal/$(cat /etc/machine-id); "
                "systemctl restart systemd-journald; journalctl --flush; systemctl restart rsyslog; "
                "logger -t rpicluster back",
                red={
                    f"{LOGS}the_log_is_rotated[delta]": "delta: the log has 4194304 bytes",
                    f"{LOGS}the_journal_is_kept[delta]": "delta has no journal of its own",
                    f"{LOGS}what_is_said_arrives_in_the_log[delta]": "delta: ",
                },
            ),
            Break(
                "plugins that complain", "gamma",
                files=tuple(f"{PLUGINS}/check_{name}" for name in ("procs", "users", "disk", "apt")),
                do="; ".join((plugin("check_procs", 2, "crowded"), plugin("check_users", 3, "what?"),
                              plugin("check_disk", 2, "full"), plugin("check_apt", 2, "3 critical updates"))),
                red={
                    f"{CHECKS}the_check_is_not_critical[gamma-processes]": "gamma: processes: CRITICAL: crowded",
                    f"{CHECKS}the_check_is_not_critical[gamma-users]": "gamma: users: UNKNOWN: what?",
                    f"{CHECKS}the_check_is_not_critical[gamma-disk]": "gamma: disk: CRITICAL: full",
                    f"{CHECKS}the_check_is_not_critical[gamma-updates]": "updates: CRITICAL: 3 critical updates",
                },
            ),
            Break(
                "a journal that was tampered with", "zeta",
                do="cd /var/log/journal/$(cat /etc/machine-id); cp system.journal system@red.journal; "
                "printf red | dd of=system@red.journal bs=1 seek=100000 conv=notrunc status=none; "
                "printf red | dd of=system@red.journal bs=1 seek=5000 conv=notrunc status=none",
                undo="rm /var/log/journal/$(cat /etc/machine-id)/system@red.journal",
                red={f"{CHECKS}the_check_is_not_critical[zeta-journal]": "zeta: journal: CRITICAL"},
            ),
            Break(
                "neighbours that are believed", "psi",
                do="ip neigh replace 192.168.10.6 lladdr 02:00:00:00:00:01 dev eth0 nud permanent; "
                "ip neigh del 192.168.10.8 dev eth0; systemctl stop uptimed sysstat-collect.timer; "
                "ip neigh replace 192.168.10.111 lladdr b8:27:eb:00:00:08 dev eth0 nud permanent",
                undo="ip neigh del 192.168.10.111 dev eth0; systemctl restart rpi-deployer; "
                "systemctl start uptimed sysstat-collect.timer",
                red={
                    f"{ADMIN}it_knows_its_neighbour_for_good[psi-alpha]": "is known for good as 02:00:00:00:00:01",
                    f"{ADMIN}it_knows_its_neighbour_for_good[psi-beta]": "is known for good as nobody",
                    f"{ADMIN}the_floating_address_is_not_known_for_good[psi]": "to be at b8:27:eb:00:00:08 for good",
                    f"{ADMIN}its_uptime_is_recorded[psi]": "psi: uptimed is inactive and enabled",
                    f"{ADMIN}its_load_is_recorded[psi]": "psi: sysstat-collect.timer is inactive and enabled",
                },
            ),
            Break(
                "nobody looked, and what they saw was bad", "alpha",
                do=f"sed -i 's/^OK units/CRITICAL units/' {SEEN}; touch -d '-3 hours' {SEEN}", undo=BOOT,
                red={f"{ADMIN}it_was_looked_at_within_the_hour[alpha]": "was last done 180 minutes ago",
                     f"{ADMIN}the_hourly_check_found_it_well[alpha]": "CRITICAL units: none"},
            ),
            Break(
                "no folder in memory, and no limit", "beta", files=(LIMITS,), undo=BOOT,
                do=f"umount /mnt/ramstore/data; rm {LIMITS}",
                red={
                    f"{ADMIN}its_folder_in_memory[beta]": "beta: /mnt/ramstore/data is nothing, not a tmpfs",
                    f"{ADMIN}it_was_looked_at_within_the_hour[beta]": "hour_check.txt is not there",
                    f"{ADMIN}the_hourly_check_found_it_well[beta]": "hour_check.txt is not there",
                    f"{ADMIN}a_login_cannot_run_wild[beta]": "beta: a login may have ",
                },
            ),
        ),
    ),
)  # fmt: skip
