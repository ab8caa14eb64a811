#!/bin/bash
# distcc: each compute node compiles for all of them.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

install_file "$BUNDLE/compute/distcc-hosts" /etc/distcc/hosts 0644 root:root
for name in herd-cc herd-make; do install_file "$BUNDLE/compute/$name" "/opt/hpc/bin/$name" 0750 "root:$MPI_USER"; done
install_file "$BUNDLE/compute/herd-project" /opt/hpc/src/herd-project 0750 "root:$MPI_USER"

check_distcc() { systemd-analyze verify --man=no "$1/etc/systemd/system/distcc.service"; }
serves() { systemctl is-active distcc && ss -Hltn "sport = :$DISTCC_PORT" | grep .; }

stage "$BUNDLE/compute/distcc.service" /etc/systemd/system/distcc.service 0644 root:root
checked_install distcc check_distcc serves
