#!/bin/bash
# The floating address: keepalived.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

check_keepalived() { keepalived -t -f "$1/etc/keepalived/keepalived.conf"; }
# 224.0.0.18 is where advertisements go: RFC 3768 section 5.2.2.
listens() { systemctl is-active keepalived && ip maddr show dev "$INTERFACE" | grep -F 224.0.0.18; }

stage "$BUNDLE/lanservices/keepalived.conf" /etc/keepalived/keepalived.conf 0600 root:root
stage "$BUNDLE/base/restart.conf" /etc/systemd/system/keepalived.service.d/rpicluster.conf 0644 root:root
checked_install keepalived check_keepalived listens reload
