#!/bin/bash
# SSH with the authority's certificates only, not for root, on the group's ports.  The harness is let in by certificate
# when it comes here.  Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

ca=/etc/ssh/ca.pub
certificate=/etc/ssh/ssh_host_ed25519_key-cert.pub
conf=/etc/ssh/sshd_config.d/10-rpicluster.conf
revoked=/etc/rpicluster/revoked
krl=/etc/ssh/revoked.krl
confirmed=/run/rpicluster/ssh-confirmed
asked=$BUNDLE/ssh.is-asked

# The whole of sshd's configuration with our part in place, and what sshd then makes of it: an earlier file or
# a Match block must not let passwords or other keys in again.
check_sshd() {
  local root=$1 file wanted
  for file in /etc/ssh/sshd_config.d/*; do
    [ ! -f "$file" ] || [ -e "$root$file" ] || cp -- "$file" "$root$file" || return
  done
  sed "s|/etc/ssh/sshd_config.d|$root&|" /etc/ssh/sshd_config >"$root/sshd_config" &&
    mkdir -p /run/sshd &&
    /usr/sbin/sshd -t -f "$root/sshd_config" &&
    /usr/sbin/sshd -T -f "$root/sshd_config" -C "user=$LOGIN,host=$NODE,addr=$ADDRESS" >"$root/effective" || return
  for wanted in 'permitrootlogin no' 'passwordauthentication no' 'kbdinteractiveauthentication no' \
    'authorizedkeysfile none' "trustedusercakeys $ca" "revokedkeys $krl"; do
    grep -qx "$wanted" "$root/effective" || { echo "sshd would not take '$wanted'"; return 1; }
  done
}

listens() {
  local port
  for port in "${SSH_PORTS[@]}"; do ss -Hltn "sport = :$port" | grep -q . || return; done
}

in_place() {
  cmp -s "$BUNDLE/base/ca.pub" "$ca" && cmp -s "$BUNDLE/base/sshd.conf" "$conf" && cmp -s "$BUNDLE/base/revoked" "$revoked"
}

# Who provisions must still get in, by a connection made under the new rules; if nobody does, the old ones come back.
lets_in() {
  listens || return
  in_place || return 0    # the old ones are back, under which it was let in before
  [ -e "$asked" ] || { touch "$asked" && reached ssh; }
  [ -e "$confirmed" ] || { echo "nobody got in under the new rules; by hand: log in anew, sudo touch $confirmed" && false; }
}

# Our new certificate is for a key that this node was seen to have; what it has stays while that is good for long.
new=$BUNDLE/base/host-certificate.pub
if ssh_serves "$new" "$certificate"; then cp -- "$certificate" "$new"; fi
# A list of what is revoked tells when it was made, so it is only made anew when it would say something else.
if same_file "$BUNDLE/base/revoked" "$revoked" 0644 root:root && [ -s "$krl" ] && cmp -s "$BUNDLE/base/ca.pub" "$ca"; then
  cp -- "$krl" "$BUNDLE/revoked.krl"
else
  ssh-keygen -q -k -f "$BUNDLE/revoked.krl" -s "$BUNDLE/base/ca.pub" "$BUNDLE/base/revoked"
fi

stage "$BUNDLE/base/ca.pub" "$ca" 0644 root:root
stage "$BUNDLE/base/revoked" "$revoked" 0644 root:root
stage "$BUNDLE/revoked.krl" "$krl" 0644 root:root
[ ! -e "$new" ] || stage "$new" "$certificate" 0644 root:root
stage "$BUNDLE/base/sshd.conf" "$conf" 0644 root:root
[ -n "$CHECK" ] || rm -f "$confirmed"
checked_install ssh check_sshd lets_in reload
[ -n "$CHECK" ] || rm -f "$confirmed"

# Whoever goes on from here to another node is not asked whether it is the right one.
install_file "$BUNDLE/base/ssh_known_hosts" /etc/ssh/ssh_known_hosts 0644 root:root
