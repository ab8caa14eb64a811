#!/bin/bash
# The nightly backup of this node, and how it is put back.  The first one is made at once.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

ensure_dir /opt/cluster/backup 0700 root:root
ensure_dir "/opt/cluster/backup/$NODE" 0700 root:root
ensure_dir /etc/rpicluster/backup.d 0755 root:root
install_file "$BUNDLE/deployer/authority.list" /etc/rpicluster/backup.d/authority.list 0644 root:root
install_file "$BUNDLE/deployer/rpi-backup" /root/bin/rpi-backup 0750 root:root
install_file "$BUNDLE/deployer/rpi-restore" /root/bin/rpi-restore 0750 root:root
units=/etc/systemd/system
for unit in rpi-backup.service rpi-backup.timer; do
  if ! same_file "$BUNDLE/deployer/$unit" "$units/$unit" 0644 root:root; then
    install_file "$BUNDLE/deployer/$unit" "$units/$unit" 0644 root:root
    [ -n "$CHECK" ] || systemctl daemon-reload
  fi
done
ensure_running rpi-backup.timer

# Without a good one, or with one of another authority's, the node could not be restored tonight.
if ! grep -sqxF "authority: $(ssh-keygen -lf "$BUNDLE/base/ca.pub" | cut -d' ' -f2)" "/opt/cluster/backup/$NODE/last-good"; then
  changed "a first backup"
  [ -n "$CHECK" ] || /root/bin/rpi-backup
fi
