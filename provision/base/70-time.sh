#!/bin/bash
# Time: chrony, as a server on the LAN nodes and as their client everywhere else.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

check_chrony() { chronyd -p -f "$1/etc/chrony/chrony.conf" >/dev/null; }
answers() { chronyc -n tracking; }

# In a container the clock is the host's.
options=chrony.default
if in_container; then options=chrony-container.default; fi

stage "$BUNDLE/base/chrony.conf" /etc/chrony/chrony.conf 0644 root:root
stage "$BUNDLE/base/$options" /etc/default/chrony 0644 root:root
stage "$BUNDLE/base/restart.conf" /etc/systemd/system/chrony.service.d/rpicluster.conf 0644 root:root
checked_install chrony check_chrony answers
