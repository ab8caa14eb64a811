#!/bin/bash
# Serverspec: a small suite of our own over every node, from here.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

install_file "$BUNDLE/deployer/baseline_spec.rb" /opt/cluster/serverspec/baseline_spec.rb 0644 root:root
ensure_dir /opt/cluster/serverspec/reports 0755 "$LOGIN:$LOGIN"
install_file "$BUNDLE/deployer/rpi-serverspec" /opt/cluster/bin/rpi-serverspec 0755 "$LOGIN:$LOGIN"
