#!/bin/bash
# The specs every night, by a timer; where their reports are told: alpha's and beta's pages, and the Sense HAT.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

home=/opt/cluster/rpicluster
for name in rpi-nightly rpi-tell rpi-sense; do
  install_file "$BUNDLE/deployer/$name" "/opt/cluster/bin/$name" 0755 "$LOGIN:$LOGIN"
done
# From when on a night that was not is one that was missed.
if [ ! -s "$home/reports/nights/since" ]; then
  changed "$home/reports/nights/since"
  date +%s >"$BUNDLE/since"
  [ -n "$CHECK" ] || put_file "$BUNDLE/since" "$home/reports/nights/since" 0644 "$LOGIN:$LOGIN"
fi
install_file "$BUNDLE/deployer/nights.list" /etc/rpicluster/backup.d/nights.list 0644 root:root

units=/etc/systemd/system
for unit in rpi-nightly.service rpi-nightly.timer rpi-tell.service rpi-tell.timer rpi-sense.service; do
  if ! same_file "$BUNDLE/deployer/$unit" "$units/$unit" 0644 root:root; then
    install_file "$BUNDLE/deployer/$unit" "$units/$unit" 0644 root:root
    [ -n "$CHECK" ] || systemctl daemon-reload
  fi
done
ensure_running rpi-nightly.timer rpi-tell.timer rpi-sense.service
