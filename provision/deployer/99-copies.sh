#!/bin/bash
# Copies of what the other nodes say of themselves, once they are all there: this step runs after every other of every
# node.  Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

missing() {
  local name
  for name in "${OTHERS[@]}"; do [ -s "/opt/cluster/backup/$name/opt/cluster/data/info_roles.txt" ] || echo "$name"; done
}

before=$(missing)
if [ -n "$CHECK" ]; then
  [ -z "$before" ] || changed "copies of what ${before//$'\n'/, } say"
elif [ -n "$before" ]; then
  # Who does not answer has none, and a spec says so.
  /root/bin/rpi-backup --copies || true
  now=$(missing)
  [ "$now" = "$before" ] || changed "copies of what the other nodes say"
fi
