#!/bin/bash
# Ansible over all nodes: its inventory is ours, its facts are kept in Redis, its records go to ARA.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

home=$(getent passwd "$LOGIN" | cut -d: -f6)
ensure_dir /var/log/ansible 0750 "$LOGIN:adm"
install_file "$BUNDLE/deployer/ansible.cfg" /etc/ansible/ansible.cfg 0644 root:root
install_file "$BUNDLE/deployer/ansible-hosts.yaml" /etc/ansible/hosts.yaml 0644 root:root
install_file "$BUNDLE/deployer/ansible-nodes.yaml" /etc/ansible/nodes.yaml 0644 root:root
install_file "$BUNDLE/deployer/rpicluster_redis.py" /etc/ansible/cache/rpicluster_redis.py 0644 root:root
install_file "$BUNDLE/deployer/rpi-ansible" /opt/cluster/bin/rpi-ansible 0755 "$LOGIN:$LOGIN"
# A key of this node's own; rpi-sign makes it good for an hour, each time that it is used.
if [ ! -s "$home/.ssh/id_ed25519" ]; then
  changed "$home/.ssh/id_ed25519"
  [ -n "$CHECK" ] || runuser -u "$LOGIN" -- ssh-keygen -q -t ed25519 -N '' -f "$home/.ssh/id_ed25519"
fi
