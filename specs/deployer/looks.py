"""What the deployer says of the authority and of its backups, asked by one command.

The newest archive is read back with our own passphrase: that it once could be is not enough.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster import secrets
from cluster.errors import ClusterError, ProbeFailed
from cluster.here import DEPLOYER
from specs.looks import Place

if TYPE_CHECKING:
    from cluster.node import Node

GROUP = DEPLOYER
SECTION = "\x1e"
LOOK_S = 30.0
KEEPS_S = 60  # how long the certificate lives that the deployer is asked for

# $1: the login user; $2: the node's name; $3: the cluster's name; $4, $5...: services; the passphrase is on stdin.
SAYS = r"""
exec 2>&1
section() { printf '\036%s\n' "$1"; }
user=$1 name=$2 cluster=$3
shift 3
home=$(getent passwd "$user" | cut -d: -f6)
section modes; stat -c '%n %a %U' "$home/.ssh/my-ssh-ca" "$home/.ssh/my-ssh-ca/ssh_ca" "$home/my-tls-ca" \
  "$home/my-tls-ca/tls_ca" /root/rpicluster/secrets /root/rpicluster/secrets/* /opt/cluster/backup
section authority; ssh-keygen -y -f "$home/.ssh/my-ssh-ca/ssh_ca"
section tls_root; openssl x509 -in "$home/my-tls-ca/tls_ca"
for service; do
  section "chain $service"; cat "/etc/ssl/$cluster/$service.crt"
  section "key $service"; stat -c '%a %U' "/etc/ssl/$cluster/$service.key"
  section "pair $service"; openssl pkey -in "/etc/ssl/$cluster/$service.key" -pubout | sha256sum
  openssl x509 -in "/etc/ssl/$cluster/$service.crt" -noout -pubkey | sha256sum
done
section signed; runuser -u "$user" -- /opt/cluster/bin/rpi-sign 'a spec' SECONDS <"/etc/ssh/ssh_host_ed25519_key.pub"
section now; date +%s
section renewal; systemctl show -P ActiveState -P UnitFileState rpi-renew.timer
section renewed; systemctl show -P Result rpi-renew.service; stat -c %Y /var/lib/rpicluster/renewed
section timer; systemctl show -P ActiveState -P UnitFileState rpi-backup.timer
section last; cat "/opt/cluster/backup/$name/last-good"
file=$(sed -n 's/^file: //p' "/opt/cluster/backup/$name/last-good")
section sum; sha256sum "$file" | cut -d' ' -f1
section listed; work=$(mktemp -d /dev/shm/read.XXXXXX); trap 'rm -rf "$work"' EXIT
gpg --batch --quiet --no-options --homedir "$work" --pinentry-mode loopback --passphrase-fd 0 \
  --decrypt "$file" | tar -tf -
section copies; cd /opt/cluster/backup && grep -H '^node: ' */opt/cluster/data/info_host.txt
section end
""".replace("SECONDS", str(KEEPS_S))


@dataclass(frozen=True)
class Deployer:
    """Sections of lines."""

    sections: Mapping[str, str]

    def lines(self, section: str) -> list[str]:
        """The lines of a section that say something."""
        return [line.strip() for line in self.sections[section].splitlines() if line.strip()]

    def pairs(self, section: str) -> dict[str, str]:
        """Lines of `name: value`."""
        return dict(line.partition(": ")[::2] for line in self.lines(section))


def deployers(place: Place) -> dict[str, Deployer | ClusterError]:
    """What each deployer says."""
    inventory = place.inventory
    made = secrets.ensure(inventory)

    def ask(node: Node) -> Deployer:
        words = [inventory.users.login, node.name, inventory.cluster.name, *inventory.authority.serves]
        script = f"set -- {shlex.join(words)}\n{SAYS}"
        passphrase = made.backup_passphrase.read_bytes()
        text = node.run(["sh", "-c", script], sudo=True, input=passphrase, deadline=LOOK_S).text
        found = dict(part.partition("\n")[::2] for part in text.split(SECTION)[1:])
        if "end" not in found:
            raise ProbeFailed(f"{node.name}: did not tell all", reason="incomplete")
        return Deployer(found)

    return place.fleet.each(ask, [node.name for node in inventory.group(GROUP)])
