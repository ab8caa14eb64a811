#!/bin/bash
# Where the cluster keeps its own things.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

ensure_dir /opt/cluster 0755 root:root
ensure_dir /opt/cluster/data 0755 root:root
ensure_dir /opt/cluster/bin 0755 "$LOGIN:$LOGIN"
ensure_dir /opt/cluster/mysrc 0700 "$LOGIN:$LOGIN"
for name in bin tmp crontab rpicluster; do ensure_dir "/root/$name" 0750 root:root; done
ensure_dir /etc/rpicluster 0700 root:root

home=$(getent passwd "$LOGIN" | cut -d: -f6)
ensure_dir "$home" 0700 "$LOGIN:$LOGIN"
for name in tmp crontab; do ensure_dir "$home/$name" 0750 "$LOGIN:$LOGIN"; done
