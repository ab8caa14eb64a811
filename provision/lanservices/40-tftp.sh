#!/bin/bash
# TFTP: files for clients that boot from the network, the same on both nodes.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# Nothing in it belongs to the user that the daemon becomes, so a client cannot change anything.
ensure_tree "$BUNDLE/lanservices/tftp" "$TFTP_ROOT" root:root

check_tftp() { systemd-analyze verify --man=no "$1/etc/systemd/system/tftpd-hpa.service"; }
serves() { systemctl is-active tftpd-hpa && ss -Hlun 'sport = :69' | grep .; }

stage "$BUNDLE/lanservices/tftpd-hpa.default" /etc/default/tftpd-hpa 0644 root:root
stage "$BUNDLE/lanservices/tftpd-hpa.service" /etc/systemd/system/tftpd-hpa.service 0644 root:root
checked_install tftpd-hpa check_tftp serves
