#!/bin/bash
# A static address, where the group has one: from here on the node depends on nobody for it.  Until now it may have had
# the same address by DHCP, from the router or from the pair, so whoever is logged in stays so.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

[ "$ADDRESSING" = static ] || exit 0

has_address() { ip -4 -o address show dev "$INTERFACE" | grep -qF " $ADDRESS/"; }

if systemctl is-active --quiet NetworkManager.service; then
  file=/etc/NetworkManager/system-connections/rpicluster.nmconnection
  same_file "$BUNDLE/base/address.nmconnection" "$file" 0600 root:root && exit 0
  install_file "$BUNDLE/base/address.nmconnection" "$file" 0600 root:root
  [ -z "$CHECK" ] || exit 0
  nmcli connection load "$file"
  nmcli --wait 15 connection up filename "$file"
elif systemctl is-active --quiet systemd-networkd.service; then
  file=/etc/systemd/network/10-rpicluster.network
  same_file "$BUNDLE/base/address.network" "$file" 0644 root:root && exit 0
  install_file "$BUNDLE/base/address.network" "$file" 0644 root:root
  [ -z "$CHECK" ] || exit 0
  networkctl reload
  networkctl reconfigure "$INTERFACE"
else
  fail "neither NetworkManager nor systemd-networkd runs here: give $INTERFACE the address $ADDRESS by hand"
fi
await 15 has_address || fail "$INTERFACE has not got $ADDRESS"
