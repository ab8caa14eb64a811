#!/bin/bash
# What this node is and what was applied to it, for people and for scripts.  Steps numbered 90 and above run
# after the group's own, so this one tells of all that went before.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

install_file "$BUNDLE/base/info_host.txt" /opt/cluster/data/info_host.txt 0444 root:root
install_file "$BUNDLE/base/info_roles.txt" /opt/cluster/data/info_roles.txt 0444 root:root
