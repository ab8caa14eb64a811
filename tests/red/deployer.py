"""The authority on psi, what it shows by TLS, and its backup: specs/deployer/test_authority.py, test_backup.py."""

from __future__ import annotations

from tests.breaking import Break, Round

AUTHORITY, BACKUP = "deployer/test_authority.py::test_", "deployer/test_backup.py::test_"
CA, SECRETS, LAST = "/home/pi/.ssh/my-ssh-ca", "/root/rpicluster/secrets", "/opt/cluster/backup/psi/last-good"
TLS = "/etc/ssl/rpicluster"
RENEWED, DROP_IN = "/var/lib/rpicluster/renewed", "/run/systemd/system/rpi-renew.service.d"
# A leaf that somebody else signed, for a day.
FOREIGN_LEAF = (
    f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=red "
    f"-addext subjectAltName=DNS:psi.dc1.b3rry.clust0r -keyout /dev/null -out {TLS}/ara.crt 2>/dev/null"
)

ROUNDS = (
    Round(
        "deployer: keys of others",
        ("specs/deployer/test_authority.py", "specs/deployer/test_backup.py"),
        (
            Break(
                "a key that others read, and that is not the authority's", "psi",
                files=(f"{CA}/ssh_ca", f"{CA}/ssh_ca.pub", "/home/pi/my-tls-ca/tls_ca", f"{TLS}/ara.crt",
                       f"{TLS}/reports.key"),
                do=f"rm {CA}/ssh_ca {CA}/ssh_ca.pub && ssh-keygen -q -t ed25519 -N '' -f {CA}/ssh_ca && "
                f"chown pi: {CA}/*; cp {TLS}/ara.crt /home/pi/my-tls-ca/tls_ca; "
                f"{FOREIGN_LEAF}; chmod 0644 {TLS}/reports.key /home/pi/my-tls-ca/tls_ca",
                red={
                    f"{AUTHORITY}nobody_else_reads_its_keys[psi]": "/home/pi/my-tls-ca/tls_ca is pi's, 644",
                    f"{AUTHORITY}its_authority_is_the_one_that_nodes_believe[psi]": "psi holds another authority's key",
                    f"{AUTHORITY}its_tls_root_is_the_one_that_nodes_trust[psi]": "psi holds another TLS root",
                    f"{AUTHORITY}it_signs_what_nodes_accept[psi]": "psi signs what no node accepts: it is signed by",
                    f"{AUTHORITY}the_chain_holds[psi-ara]": "ara's certificate does not hold for psi.dc1.b3rry.clust0r",
                    f"{AUTHORITY}the_key_is_its_own[psi-ara]": "psi: ara's certificate is one for another key",
                    f"{AUTHORITY}the_key_is_its_own[psi-reports]": "psi: reports's key: ['644 root']",
                    f"{AUTHORITY}the_certificate_lasts[psi-ara]": "psi: ara's certificate ends in 1.0 days",
                },
            ),
            Break(
                "a renewal that fails, and is never tried again", "psi", files=(RENEWED,),
                do=f"mkdir -p {DROP_IN}; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >{DROP_IN}/no.conf; "
                "systemctl daemon-reload; systemctl stop rpi-renew.timer; ! systemctl start rpi-renew",
                undo=f"rm -r {DROP_IN}; systemctl daemon-reload; systemctl stop rpi-renew; "
                "systemctl reset-failed rpi-renew; systemctl start rpi-renew.timer",
                red={
                    f"{AUTHORITY}the_next_renewal_is_due[psi]": "psi: rpi-renew.timer is inactive and enabled",
                    f"{AUTHORITY}the_last_renewal_went_well[psi]": "psi: the last renewal ended as exit-code",
                },
            ),
            Break(
                "a backup of long ago, of others, and not as it was written", "psi", files=(LAST,),
                do=f"file=$(sed -n 's/^file: //p' {LAST}); cp -a $file /run/kept-backup; echo more >>$file; "
                f"sed -i 's/^made: .*/made: 1700000000/; s/^authority: .*/authority: SHA256:red/' {LAST}; "
                "systemctl stop rpi-backup.timer; mv /opt/cluster/backup/gamma /run/kept-gamma",
                undo=f"cp -a /run/kept-backup $(sed -n 's/^file: //p' {LAST}); rm /run/kept-backup; "
                "mv /run/kept-gamma /opt/cluster/backup/gamma; systemctl start rpi-backup.timer",
                red={
                    f"{BACKUP}the_last_good_one_is_not_old[psi]": "psi: the last good backup is ",
                    f"{BACKUP}it_is_as_it_was_written[psi]": "is not what was written",
                    f"{BACKUP}its_authority_is_the_one_that_nodes_believe[psi]": "of authority SHA256:red, nodes",
                    f"{BACKUP}the_next_one_is_due[psi]": "psi: rpi-backup.timer is inactive and enabled",
                    f"{BACKUP}it_has_a_copy_of_what_the_node_says_of_itself[psi-gamma]": "psi has no copy of gamma's",
                },
            ),
        ),
    ),
    Round(
        "deployer: a backup that cannot be read, and a renewal of long ago",
        ("specs/deployer/test_authority.py", "specs/deployer/test_backup.py"),
        (
            Break(
                "a renewal of long ago", "psi", files=(RENEWED,), do=f"touch -d '3 days ago' {RENEWED}",
                red={f"{AUTHORITY}the_last_renewal_went_well[psi]": "psi: the last renewal was 72 hours ago"},
            ),
            Break(
                "another passphrase", "psi", files=(LAST,),
                do="mkdir -m 700 /run/red-gpg; echo red >/run/red-gpg/p; echo red | "
                "gpg --batch -q --no-options --homedir /run/red-gpg --pinentry-mode loopback "
                "--passphrase-file /run/red-gpg/p --s2k-count 1048576 --symmetric -o /run/red.gpg; "
                f"sed -i 's|^file: .*|file: /run/red.gpg|' {LAST}",
                undo="rm -r /run/red.gpg /run/red-gpg",
                red={
                    f"{BACKUP}our_passphrase_opens_it_and_it_holds[*]": "psi: the backup holds no ",
                    f"{BACKUP}it_is_as_it_was_written[psi]": "/run/red.gpg is not what was written",
                },
            ),
        ),
    ),
)  # fmt: skip
