#!/bin/bash
# The authority's keys and the cluster's secrets: the deployer can sign, and set up the cluster, where the operator's
# own computer is lost.  Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

home=$(getent passwd "$LOGIN" | cut -d: -f6)
ensure_dir "$home/.ssh/my-ssh-ca" 0700 "$LOGIN:$LOGIN"
ensure_dir "$home/my-tls-ca" 0700 "$LOGIN:$LOGIN"
install_file "$BUNDLE/deployer/secrets/ssh_ca" "$home/.ssh/my-ssh-ca/ssh_ca" 0600 "$LOGIN:$LOGIN"
install_file "$BUNDLE/base/ca.pub" "$home/.ssh/my-ssh-ca/ssh_ca.pub" 0644 "$LOGIN:$LOGIN"
install_file "$BUNDLE/deployer/secrets/tls_ca" "$home/my-tls-ca/tls_ca" 0600 "$LOGIN:$LOGIN"

ensure_dir /root/rpicluster/secrets 0700 root:root
for file in "$BUNDLE"/deployer/secrets/*; do
  install_file "$file" "/root/rpicluster/secrets/${file##*/}" 0600 root:root
done
install_file "$BUNDLE/deployer/rpi-sign" /opt/cluster/bin/rpi-sign 0755 "$LOGIN:$LOGIN"
