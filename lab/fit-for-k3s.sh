#!/bin/sh
# Runs in a node of the lab before its K3s starts: gives it what a computer has and a container lacks.  Nothing of the
# host's is changed.
set -eu

# Version 1 of the kernel's control groups: the node's own part of each controller, which nspawn mounts read-only.
awk '$3 == "cgroup" && $4 ~ /^ro/ { print $2 }' /proc/mounts | while read -r mount; do mount -o remount,bind,rw "$mount"; done

# The kubelet wants these values, and would write them; here they are the host's.  It reads what it wants instead.
fit() {
  key=/proc/sys/$1 wanted=$2
  [ "$(cat "$key")" != "$wanted" ] || return 0
  mkdir -p /run/lab-fit-for-k3s
  file=/run/lab-fit-for-k3s/$(echo "$1" | tr / .)
  echo "$wanted" >"$file"
  mount --bind "$file" "$key"
}
fit vm/overcommit_memory 1
fit kernel/panic 10
fit kernel/panic_on_oops 1
