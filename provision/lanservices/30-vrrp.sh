#!/bin/bash
# The floating address: keepalived.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# Where scripts are another user's, keepalived 2.2.7 ends its own check by SIGTERM, right or wrong: so checked as root's.
check_keepalived() {
  sed 's/^  script_user .*/  script_user root/' "$1/etc/keepalived/keepalived.conf" >"$1/keepalived.conf" &&
    keepalived -t -f "$1/keepalived.conf"
}
# 224.0.0.18 is where advertisements go: RFC 3768 section 5.2.2.
listens() { systemctl is-active keepalived && ip maddr show dev "$INTERFACE" | grep -F 224.0.0.18; }

stage "$BUNDLE/lanservices/keepalived.conf" /etc/keepalived/keepalived.conf 0600 root:root
stage "$BUNDLE/base/restart.conf" /etc/systemd/system/keepalived.service.d/rpicluster.conf 0644 root:root
checked_install keepalived check_keepalived listens reload
