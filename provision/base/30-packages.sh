#!/bin/bash
# Every package of every room, in one go; nothing is downloaded but packages that apt verifies.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# Nothing upgrades itself behind the operator's back, and nothing else announces names or offers radio.
ensure_masked apt-daily.timer apt-daily-upgrade.timer avahi-daemon.socket avahi-daemon.service \
  bluetooth.service hciuart.service

lists=()
for room in "${ROOMS[@]}"; do lists+=("$BUNDLE/$room/packages.txt"); done
ensure_packages "${lists[@]}"
