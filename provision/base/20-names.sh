#!/bin/bash
# Every node's name, this node's own name first of all; time zone, place and chassis.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# Hosts before hostname: sudo looks up its own host's name.
install_file "$BUNDLE/base/hosts" /etc/hosts 0644 root:root
install_file "$BUNDLE/base/hostname" /etc/hostname 0644 root:root
if [ "$(uname -n)" != "$NODE" ]; then
  changed "hostname $NODE"
  [ -n "$CHECK" ] || hostname "$NODE"
fi
install_file "$BUNDLE/base/machine-info" /etc/machine-info 0644 root:root

# UTC needs no file; any other zone needs tzdata.
zone=/usr/share/zoneinfo/$TIMEZONE
[ "$TIMEZONE" = UTC ] || [ -n "$CHECK" ] || [ -e "$zone" ] || fail "$zone is not there; is tzdata installed?"
ensure_link "$zone" /etc/localtime
# tzdata puts the zone in here back over /etc/localtime when it is upgraded.  Its format has no comments, so
# this is the one file without a header.
if [ -e /etc/timezone ]; then
  echo "$TIMEZONE" >"$BUNDLE/timezone"
  install_file "$BUNDLE/timezone" /etc/timezone 0644 root:root
fi
