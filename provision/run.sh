#!/bin/bash
# Runs the steps of this bundle in order and stops at the first that fails, but for one that others do not need (give_up
# in lib.sh).
#
#   run.sh [--check] [--remove]
#
# --check: change nothing.  --remove: this folder is removed at the end, whatever happens (the harness asks for
# it; it lies in memory and holds secrets).  What happens is written to the file `progress` as it happens, and
# to standard output at the end: `step NAME`, `change: WHAT`, `reached: WHAT`,
# `failed: WHERE AND WHY`, `output: LINE`, `end CODE`.
set -uo pipefail

BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
remove=
CHECK=
for word; do
  case $word in
    --check) CHECK=1 ;;
    --remove) remove=1 ;;
    *) echo "usage: run.sh [--check] [--remove]" >&2; exit 2 ;;
  esac
done
export CHECK
cd / || exit
# The harness may be gone before we are: what is begun is finished, and cleaned up.
trap '' HUP PIPE
trap 'code=$?; cat "$BUNDLE/progress"; [ -z "$remove" ] || rm -rf "$BUNDLE"; exit $code' EXIT
trap 'exit 143' TERM INT

progress() { echo "$*" >>"$BUNDLE/progress"; }

: >"$BUNDLE/progress"
install -d -m 0700 /run/rpicluster
exec 9>/run/rpicluster/lock
if ! flock --nonblock 9; then
  progress "waits for another run on this node to end"
  if ! flock --wait 300 9; then
    progress "failed: $(uname -n): another provisioning run does not end on this node"
    progress "end 1"
    exit 1
  fi
fi
if [ -n "$remove" ]; then
  for old in /run/rpicluster/provision.*; do [ "$old" = "$BUNDLE" ] || rm -rf "$old"; done
fi

worst=0
while read -r step; do
  case $step in '' | '#'*) continue ;; esac
  code=0
  progress "step $step"
  bash "$BUNDLE/$step" >"$BUNDLE/log" 2>&1 3>>"$BUNDLE/progress" 9>&- </dev/null || code=$?
  if [ "$code" -ne 0 ]; then
    # A shell that could not even parse the step has said so in the log only.
    grep -q '^failed: ' "$BUNDLE/progress" || progress "failed: $(uname -n): $step ended with exit code $code"
    tail -n 25 "$BUNDLE/log" | sed 's/^/output: /' >>"$BUNDLE/progress"
    worst=$code
    [ "$code" = 75 ] || break
  fi
done <"$BUNDLE/steps"
progress "end $worst"
exit "$worst"
