#!/bin/bash
# Whom to ask for names.  The last step of base: packages may come from mirrors that only the first-boot
# resolver knows.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# NetworkManager (Raspberry Pi OS) would write its own.
if [ -d /etc/NetworkManager/conf.d ]; then
  file=/etc/NetworkManager/conf.d/90-rpicluster.conf
  if ! same_file "$BUNDLE/base/networkmanager.conf" "$file" 0644 root:root; then
    install_file "$BUNDLE/base/networkmanager.conf" "$file" 0644 root:root
    [ -n "$CHECK" ] || systemctl reload-or-restart NetworkManager.service
  fi
fi
install_file "$BUNDLE/base/resolv.conf" /etc/resolv.conf 0644 root:root
