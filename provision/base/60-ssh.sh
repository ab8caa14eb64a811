#!/bin/bash
# SSH with keys only, not for root, on the group's ports.  The harness is logged in by key when it comes here.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

# Never close the door before the key is there.
home=$(getent passwd "$LOGIN" | cut -d: -f6)
if [ -z "$CHECK" ] && grep -vxFf "$home/.ssh/authorized_keys" "$BUNDLE/base/authorized_keys"; then
  fail "$home/.ssh/authorized_keys lacks the operator's key; run base/50-users.sh first"
fi

# The whole of sshd's configuration with our part in place, and what sshd then makes of it: an earlier file or
# a Match block must not let passwords in again.
check_sshd() {
  local root=$1 file wanted
  for file in /etc/ssh/sshd_config.d/*; do
    [ ! -f "$file" ] || [ -e "$root$file" ] || cp -- "$file" "$root$file" || return
  done
  sed "s|/etc/ssh/sshd_config.d|$root&|" /etc/ssh/sshd_config >"$root/sshd_config" &&
    mkdir -p /run/sshd &&
    /usr/sbin/sshd -t -f "$root/sshd_config" &&
    /usr/sbin/sshd -T -f "$root/sshd_config" -C "user=$LOGIN,host=$NODE,addr=$ADDRESS" >"$root/effective" || return
  for wanted in 'permitrootlogin no' 'passwordauthentication no' 'kbdinteractiveauthentication no'; do
    grep -qx "$wanted" "$root/effective" || { echo "sshd would not take '$wanted'"; return 1; }
  done
}

listens() {
  local port
  for port in "${SSH_PORTS[@]}"; do ss -Hltn "sport = :$port" | grep -q . || return; done
}

stage "$BUNDLE/base/sshd.conf" /etc/ssh/sshd_config.d/10-rpicluster.conf 0644 root:root
checked_install ssh check_sshd listens reload
