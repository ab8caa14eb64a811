#!/bin/bash
# Certificates are renewed before they end, every night and from here: `provision renew` of the harness on this node.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

units=/etc/systemd/system stamp=/var/lib/rpicluster/renewed
for unit in rpi-renew.service rpi-renew.timer; do
  if ! same_file "$BUNDLE/deployer/$unit" "$units/$unit" 0644 root:root; then
    install_file "$BUNDLE/deployer/$unit" "$units/$unit" 0644 root:root
    [ -n "$CHECK" ] || systemctl daemon-reload
  fi
done
# A node that is provisioned has been given what is near its end.
if [ ! -e "$stamp" ]; then
  changed "$stamp"
  [ -n "$CHECK" ] || { mkdir -p "${stamp%/*}" && touch "$stamp"; }
fi
ensure_running rpi-renew.timer
