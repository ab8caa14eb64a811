#!/bin/bash
# DHCP: ISC dhcpd, one of a failover pair.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# Not as root: a user of its own, which owns the leases.
ensure_group dhcpd
ensure_user dhcpd --system --gid dhcpd --no-create-home --home-dir /var/lib/dhcp --shell /usr/sbin/nologin
ensure_dir /var/lib/dhcp 0755 dhcpd:dhcpd
leases=/var/lib/dhcp/dhcpd.leases
if [ -z "$CHECK" ] && [ ! -e "$leases" ]; then install -o dhcpd -g dhcpd -m 0644 /dev/null "$leases"; fi
if [ -z "$CHECK" ]; then chown dhcpd:dhcpd "$leases"; fi    # of a rebuilt node they were put there by root

check_dhcpd() { dhcpd -t -4 -cf "$1/etc/dhcp/dhcpd.conf"; }
serves() { systemctl is-active isc-dhcp-server && ss -Hlun 'sport = :67' | grep .; }

stage "$BUNDLE/lanservices/dhcpd.conf" /etc/dhcp/dhcpd.conf 0640 root:dhcpd    # a key is in it
stage "$BUNDLE/lanservices/isc-dhcp-server.default" /etc/default/isc-dhcp-server 0644 root:root
stage "$BUNDLE/lanservices/isc-dhcp-server.service" /etc/systemd/system/isc-dhcp-server.service 0644 root:root
checked_install isc-dhcp-server check_dhcpd serves
reached dhcp    # nodes that have no address yet can get one now
