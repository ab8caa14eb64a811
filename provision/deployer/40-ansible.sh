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
install_file "$BUNDLE/deployer/rpi-vault-password" /opt/cluster/bin/rpi-vault-password 0755 "$LOGIN:$LOGIN"
# This node's own key: rpi-sign makes it good for an hour, each time that it is used.  A router knows the bare key, and is
# known by its own, as the operator pinned it; every other node has a host certificate.
install_file "$BUNDLE/deployer/secrets/deployer_key" "$home/.ssh/id_ed25519" 0600 "$LOGIN:$LOGIN"
install_file "$BUNDLE/deployer/known_hosts" /etc/ssh/ssh_known_hosts2 0644 root:root
