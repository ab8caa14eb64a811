#!/bin/bash
# Which host keys the compute nodes have.  A step of its own: it runs once more when all of them have been met.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

home=$(getent passwd "$MPI_USER" | cut -d: -f6) || home=/home/$MPI_USER
install_file "$BUNDLE/compute/mpi-known-hosts" "$home/.ssh/known_hosts" 0600 "$MPI_USER:$MPI_USER"
