#!/bin/sh
# What is put on the router's card before it boots for the first time, as /etc/uci-defaults/99-rpicluster (or given to
# OpenWrt's firmware selector as the script of the first boot): its address on the cluster's LAN, and no DHCP there
# until `python -m provision` has told it whom it serves.  Edit the two values, if yours are others.
set -eu
ADDRESS=${ADDRESS:-192.168.10.2}
NETMASK=${NETMASK:-255.255.255.0}

uci set network.lan.ipaddr="$ADDRESS"
uci set network.lan.netmask="$NETMASK"
uci set dhcp.lan.ignore=1
uci commit
