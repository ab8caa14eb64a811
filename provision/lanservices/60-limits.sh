#!/bin/bash
# How many processes a login may have.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

install_file "$BUNDLE/lanservices/limits.conf" /etc/security/limits.d/rpicluster.conf 0644 root:root
