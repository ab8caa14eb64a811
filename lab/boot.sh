#!/bin/sh
# Becomes one node: puts itself into cgroups of its own, mounts the node's root in a mount namespace that ends
# with it, and turns into systemd-nspawn.  Nothing it makes outlives the process but empty cgroups.
# Usage: boot.sh MACHINE FOLDER LAYERS NETNS MIRROR [OPTION...]
#   LAYERS: overlay lower directories, topmost first; MIRROR: may be empty; OPTION: of systemd-nspawn
set -eu
machine=$1 folder=$2 layers=$3 netns=$4 mirror=$5
shift 5
echo $$ >"$folder/pid"

if [ -d /run/systemd/system ]; then
  keep=      # systemd runs this host: nspawn asks it for a scope
  # A command killed between asking for the scope and becoming the node leaves a failed one of that name.
  systemctl stop "$machine.scope" 2>/dev/null || true
  systemctl reset-failed "$machine.scope" 2>/dev/null || true
else
  keep=--keep-unit
  # One cgroup a node in every hierarchy, beside whatever we are in; read our own places once, before moving.
  own=$(cat /proc/self/cgroup)
  mounts=$(awk '$3 == "cgroup" || $3 == "cgroup2" { print $2, $3, $4 }' /proc/mounts)
  echo "$own" | while IFS=: read -r _ controllers path; do
    if [ -z "$controllers" ]; then
      at=$(echo "$mounts" | awk '$2 == "cgroup2" { print $1; exit }')
    else
      at=$(echo "$mounts" | awk -v want=",${controllers#name=}," '$2 == "cgroup" && index("," $3 ",", want) { print $1; exit }
        $2 == "cgroup" && index("," $3 ",", ",name=" substr(want, 2)) { print $1; exit }')
    fi
    [ -n "$at" ] || continue
    cgroup=$at${path%/}/$machine
    mkdir -p "$cgroup"
    if [ -e "$cgroup/cpuset.cpus" ] && [ -z "$(cat "$cgroup/cpuset.cpus")" ]; then
      cat "$cgroup/../cpuset.cpus" >"$cgroup/cpuset.cpus"
      cat "$cgroup/../cpuset.mems" >"$cgroup/cpuset.mems"
    fi
    echo $$ >"$cgroup/cgroup.procs"
  done
fi

# The overlay is volatile: fsync costs nothing.  A power-off of a node kills processes, not the host's cache.
rm -rf "$folder/work"
mkdir -p "$folder/upper" "$folder/work" "$folder/root"
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_LOCK=0
# shellcheck disable=SC2016,SC2086  # the inner shell expands; $keep is empty or one word
exec unshare --mount --propagation private sh -euc '
  mount -t overlay "$1" -o "volatile,lowerdir=$3,upperdir=$2/upper,workdir=$2/work" "$2/root"
  machine=$1 folder=$2 netns=$4 mirror=$5
  shift 5
  exec systemd-nspawn --quiet --register=no "$@" --boot --machine="$machine" --directory="$folder/root" \
    --network-namespace-path="$netns" --console=pipe --capability=all --resolv-conf=off --timezone=off \
    --link-journal=no ${mirror:+"--bind-ro=$mirror:/srv/mirror"}
' sh "$machine" "$folder" "$layers" "$netns" "$mirror" $keep "$@"
