#!/bin/bash
# The nights' pages, on each node that serves them, once they are all there: this step runs after every other of every
# node.  Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# Who does not answer is told later, and a spec says so.
home=$(getent passwd "$LOGIN" | cut -d: -f6)
tell() { runuser -u "$LOGIN" -- env HOME="$home" /opt/cluster/bin/rpi-tell "$@"; }
if [ -n "$CHECK" ] && ! [ -x /opt/cluster/bin/rpi-tell ]; then
  changed "the nights' pages"
else
  told=$(tell ${CHECK:+--check})
  for name in $told; do changed "the nights' pages on $name"; done
fi
