#!/bin/bash
# What a group needs from each boot on: neighbours that are known for good, and on alpha and beta a folder in memory.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

unit_file=/etc/systemd/system/rpi-$GROUP.service
((${#ADMIN_PEERS[@]})) || exit 0    # only the nodes that administer others

check_boot() {
  bash -n "$1/root/bin/rpi-boot" && sed "s|/root/bin/|$1&|" "$1$unit_file" >"$1/rpi-$GROUP.service" &&
    systemd-analyze verify --man=no "$1/rpi-$GROUP.service"
}
known() {
  local address
  for address in "${ADMIN_PEERS[@]}"; do ip neigh show "$address" dev "$INTERFACE" | grep PERMANENT || return; done
}

stage "$BUNDLE/base/ethers" /etc/ethers 0644 root:root
stage "$BUNDLE/base/rpi-boot" /root/bin/rpi-boot 0750 root:root
stage "$BUNDLE/base/rpi-boot.service" "$unit_file" 0644 root:root
checked_install "rpi-$GROUP" check_boot known
