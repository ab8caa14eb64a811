#!/bin/sh
# Configures a router that runs OpenWrt, through UCI: https://openwrt.org/docs/guide-user/base-system/uci
#
#   run.sh [--check] [--remove]
#
# Runs on the router as root, in BusyBox's shell, from a folder made by `python -m provision NODE --bundle FOLDER`:
# openwrt/network, dhcp, system and dropbear become /etc/config/*, each only when what UCI makes of it differs from what
# UCI says now.  Before the first change the whole of /etc/config goes to /etc/rpicluster/backup.
# --check: change nothing.  --remove: this folder is removed at the end.  What happens is written to the file `progress`
# as it happens, and to standard output at the end, as provision/run.sh does.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

BUNDLE=$(cd -- "$(dirname -- "$0")" && pwd)
KEPT=/etc/rpicluster # survives a reboot
KEYS=/etc/dropbear/authorized_keys
CHECK='' remove='' step='' backup=''
for word; do
  case $word in
    --check) CHECK=1 ;;
    --remove) remove=1 ;;
    *) echo "usage: run.sh [--check] [--remove]" >&2; exit 2 ;;
  esac
done
# The harness may be gone before we are: what is begun is finished, and cleaned up.
trap '' HUP PIPE
trap 'exit 143' TERM INT
trap 'ended $?' EXIT
# shellcheck disable=SC1091  # made by render.py
. "$BUNDLE/params.sh"

progress() { echo "$*" >>"$BUNDLE/progress"; }
changed() { progress "${CHECK:+would }change: $*"; }
begin() { step=$1; progress "step openwrt/$1"; }

ended() {
  if [ "$1" -ne 0 ]; then
    progress "failed: $NODE: openwrt/run.sh, $step: ended with exit code $1"
    sed 's/^/output: /' "$BUNDLE/log" >>"$BUNDLE/progress"
  fi
  progress "end $1"
  cat "$BUNDLE/progress" >&3
  [ -z "$remove" ] || rm -rf "$BUNDLE"
}

: >"$BUNDLE/progress"
exec 3>&1 >"$BUNDLE/log" 2>&1

# differs PACKAGE: what UCI makes of the new file is not what it says now.  The old one may be no UCI at all.
differs() {
  mkdir -p "$BUNDLE/new"
  : >"$BUNDLE/new/$1"
  uci -c "$BUNDLE/new" import "$1" <"$BUNDLE/openwrt/$1"
  uci -c "$BUNDLE/new" export "$1" >"$BUNDLE/wanted"
  uci export "$1" >"$BUNDLE/found" || : >"$BUNDLE/found"
  ! cmp -s "$BUNDLE/wanted" "$BUNDLE/found"
}

# keep_backup: the whole of /etc/config as it was before this run, once a run; the first one is never overwritten.
keep_backup() {
  [ -z "$backup" ] || return 0
  mkdir -p "$KEPT/backup"
  backup=$KEPT/backup/config-first.tar.gz
  [ ! -e "$backup" ] || backup=$KEPT/backup/config-last.tar.gz
  (umask 077; tar -czf "$backup.part" -C /etc config)
  mv "$backup.part" "$backup"
}

# install PACKAGE SERVICE: the service takes up what changed.
install() {
  differs "$1" || return 0
  changed "/etc/config/$1"
  [ -z "$CHECK" ] || return 0
  keep_backup
  uci import "$1" <"$BUNDLE/openwrt/$1"
  uci commit "$1"
  "/etc/init.d/$2" reload
}

# answers PORT WANTED: somebody listens on the UDP port, or nobody does.
listens() { netstat -lnu | grep -q "[:.]$1 "; }
await() {
  tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -lt 50 ] || return 1
    usleep 100000
  done
}
silent() { ! listens 53 && ! listens 67; }
serves() { listens 53 && listens 67; }

begin keys
[ -e $KEYS ] || [ -n "$CHECK" ] || (umask 077; : >$KEYS)
if [ ! -e $KEYS ] || grep -vxFf $KEYS "$BUNDLE/openwrt/authorized_keys" >"$BUNDLE/keys"; then
  changed "$KEYS"
  [ -n "$CHECK" ] || cat "$BUNDLE/keys" >>$KEYS
fi

begin system
install system system
begin network
install network network

begin dhcp
mkdir -p $KEPT
dnsmasq=/etc/init.d/dnsmasq
if differs dhcp; then
  changed "/etc/config/dhcp"
  if [ -z "$CHECK" ]; then
    keep_backup
    uci import dhcp <"$BUNDLE/openwrt/dhcp"
    uci commit dhcp
    [ -z "$SERVING" ] || $dnsmasq restart
  fi
fi
if [ -n "$SERVING" ]; then
  if ! $dnsmasq enabled || ! serves; then
    changed "serves $SERVED"
    [ -n "$CHECK" ] || { $dnsmasq enable && $dnsmasq restart; }
  fi
  [ -n "$CHECK" ] || await serves
elif $dnsmasq enabled || ! silent; then
  changed "falls silent: dnsmasq is stopped and disabled"
  [ -n "$CHECK" ] || { $dnsmasq disable && $dnsmasq stop && await silent; }
fi

# The last: from here on a key is asked for.
begin ssh
install dropbear dropbear
