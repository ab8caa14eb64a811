#!/bin/bash
# The firewall: what the inventory opens is let in, everything else is refused.  After SSH, whose ports it opens.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

rules=/etc/rpicluster/firewall.nft
service=/etc/systemd/system/rpi-firewall.service
new=$BUNDLE/firewall.is-new
asked=$BUNDLE/firewall.is-asked
confirmed=/run/rpicluster/firewall-confirmed
old=/run/rpicluster/firewall-old
back=/run/rpicluster/firewall-back.sh
rescue=rpi-firewall-undo

# Rules that lock the operator out must not stay.  When new ones are in place, whoever provisions gets in once more, by a
# connection made through them, and says so; if nobody does, the old ones come back.  A timer of systemd's brings them
# back even when this step is killed.
arm() {
  install -d -m 0700 /run/rpicluster
  rm -f "$confirmed" "$old"
  trap disarm EXIT
  if [ -e "$rules" ]; then
    cp -a "$rules" "$old"
    echo "[ ! -e $old ] || { mv -f $old $rules && nft -f $rules; }"
  else
    echo "systemctl disable --now rpi-firewall; rm -f $rules"
  fi >"$back"
  echo "rm -f $back; systemctl --no-block stop $rescue.timer" >>"$back"    # once is enough
  # From a file: a daemon-reload reads a transient unit again, and takes a ; in its command line for something else.
  systemd-run --quiet --collect --unit=$rescue --on-active=$((2 * VERIFY_S)) --timer-property=AccuracySec=1s \
    --service-type=oneshot sh "$back" && touch "$new"
}

disarm() {
  systemctl stop $rescue.timer 2>/dev/null || true
  rm -f "$confirmed" "$old" "$back"
}

check_firewall() {
  nft -c -f "$1$rules" && systemd-analyze verify --man=no "$1$service" || return
  [ -n "$CHECK" ] || cmp -s "$1$rules" "$rules" || arm
}

lets_in() {
  nft list chain inet rpicluster input | grep -F 'policy drop' || return
  # What was in place before was confirmed when it was new.
  [ -e "$new" ] && ! cmp -s "$old" "$rules" || return 0
  [ -e "$asked" ] || { touch "$asked" && reached firewall; }
  [ -e "$confirmed" ] || { echo "nobody got in through the new rules; by hand: log in anew, sudo touch $confirmed" && false; }
}

# An earlier run was killed before anybody confirmed its rules.
if [ -z "$CHECK" ] && systemctl is-active --quiet $rescue.timer; then
  [ ! -e "$back" ] || systemctl start $rescue.service
  disarm
fi

# It would flush everybody's rules, ours too, whenever it stops; so it goes first.
ensure_masked nftables.service

stage "$BUNDLE/base/firewall.nft" "$rules" 0644 root:root
stage "$BUNDLE/base/rpi-firewall.service" "$service" 0644 root:root
checked_install rpi-firewall check_firewall lets_in reload

# A second firewall closes what the inventory opens.  What ufw was told stays in /etc/ufw.
if command -v ufw >/dev/null && ufw status | grep -q '^Status: active'; then
  changed "ufw: switched off, the inventory's firewall is in place"
  [ -n "$CHECK" ] || ufw --force disable
fi
ensure_masked ufw.service
