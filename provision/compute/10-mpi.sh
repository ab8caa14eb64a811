#!/bin/bash
# MPI: a user that gets from each compute node to all of them, the list of nodes, and a job that proves itself.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

ensure_user "$MPI_USER" --create-home --home-dir "/home/$MPI_USER" --shell /bin/bash --user-group
ensure_member "$MPI_USER" "$SSH_GROUP"
home=$(getent passwd "$MPI_USER" | cut -d: -f6) || home=/home/$MPI_USER    # with --check it may not be there yet
ensure_dir "$home" 0700 "$MPI_USER:$MPI_USER"
ensure_dir "$home/.ssh" 0700 "$MPI_USER:$MPI_USER"
sed 1d "$BUNDLE/compute/mpi-key" >"$BUNDLE/mpi-key"    # a private key has no place for our header
install_file "$BUNDLE/mpi-key" "$home/.ssh/id_ed25519" 0600 "$MPI_USER:$MPI_USER"
# What the authority signed stays while it is good for long.
certificate=$home/.ssh/id_ed25519-cert.pub
new=$BUNDLE/compute/mpi-certificate.pub
if ssh_serves "$new" "$certificate"; then cp -- "$certificate" "$new"; fi
install_file "$new" "$certificate" 0600 "$MPI_USER:$MPI_USER"
install_file "$BUNDLE/compute/mpi-known-hosts" "$home/.ssh/known_hosts" 0600 "$MPI_USER:$MPI_USER"
install_file "$BUNDLE/compute/mpi-ssh-config" "$home/.ssh/config" 0600 "$MPI_USER:$MPI_USER"

ensure_dir /opt/cluster/compute 0750 "root:$MPI_USER"
for folder in "" /bin /src; do ensure_dir "/opt/hpc$folder" 0750 "root:$MPI_USER"; done
install_file "$BUNDLE/compute/mpi-hosts" /opt/hpc/mpi-hosts 0640 "root:$MPI_USER"
for name in mpi-run mpi-ssh; do install_file "$BUNDLE/compute/$name" "/opt/hpc/bin/$name" 0750 "root:$MPI_USER"; done

# Compiled where it runs: the node's own compiler and library.
source=/opt/hpc/src/mpi-check.c
program=/opt/hpc/bin/mpi-check
install_file "$BUNDLE/compute/mpi-check.c" "$source" 0640 "root:$MPI_USER"
if [ ! -x "$program" ] || [ "$source" -nt "$program" ]; then
  changed "$program"
  if [ -z "$CHECK" ]; then
    mpicc -O2 -Wall -Wextra -Werror -o "$BUNDLE/mpi-check" "$source"
    put_file "$BUNDLE/mpi-check" "$program" 0750 "root:$MPI_USER"
  fi
fi
