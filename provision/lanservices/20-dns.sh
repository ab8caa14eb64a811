#!/bin/bash
# DNS: BIND, primary or secondary of the forward and the reverse zone.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

folder=/etc/bind/zones
ensure_dir $folder 0755 root:bind
ensure_dir $folder/master 0755 root:bind
ensure_dir $folder/secondary 0775 root:bind
ensure_dir /var/log/named 0750 bind:adm

# Where AppArmor guards named, it may not write below /etc/bind, which is where the secondary's copies live.
if [ -e /etc/apparmor.d/usr.sbin.named ]; then
  file=/etc/apparmor.d/local/usr.sbin.named
  if ! same_file "$BUNDLE/lanservices/named.apparmor" "$file" 0644 root:root; then
    install_file "$BUNDLE/lanservices/named.apparmor" "$file" 0644 root:root
    if [ -z "$CHECK" ] && aa-enabled --quiet 2>/dev/null; then apparmor_parser -r /etc/apparmor.d/usr.sbin.named; fi
  fi
fi

soa() { dig +short +time=1 +tries=1 "@$1" "$2" SOA 2>/dev/null | awk '$3 ~ /^[0-9]+$/ { print $3 }'; }

# stage_zone FILE ZONE: the zone with the serial it has, or, when anything in it differs, with a newer one: newer
# than the file's, and than the other server's, which may remember more than a primary that was flashed anew.
stage_zone() {
  local live=$folder/master/db.$2 new=$BUNDLE/db.$2 serial peer
  serial=$(zone_serial "$live")
  if [ -z "$serial" ] || ! sed "s/@SERIAL@/$serial/" "$1" | cmp -s - "$live"; then
    local -a known=()
    [ -z "$serial" ] || known=("$serial")
    for peer in "${PARTNERS[@]}"; do
      serial=$(soa "$peer" "$2") || true
      [ -z "$serial" ] || known+=("$serial")
    done
    serial=$(next_serial "$(date +%s)" "${known[@]}")
  fi
  sed "s/@SERIAL@/$serial/" "$1" >"$new"
  stage "$new" "$live" 0644 root:bind
}

# named's whole tree with our files in place, every zone loaded, inside a chroot.
check_named() {
  local tree=$1/chroot
  mkdir -p "$tree/etc" "$tree/var/cache/bind" "$tree/var/lib/bind" "$tree/var/log/named" "$tree/usr/share" &&
    cp -r -t "$tree/etc" /etc/bind &&
    cp -r -t "$tree/etc" "$1/etc/bind" &&
    cp -r -t "$tree/usr/share" /usr/share/dns &&
    named-checkconf -z -t "$tree" /etc/bind/named.conf
}

# The primary has its zones at once; a secondary may still be waiting for its primary.
answers() {
  local i
  [ "$(dig +short +time=1 +tries=1 @127.0.0.1 localhost A)" = 127.0.0.1 ] || return
  [ "$DNS_ROLE" = primary ] || return 0
  for i in "${!ZONES[@]}"; do
    [ "$(soa 127.0.0.1 "${ZONES[i]}")" = "$(zone_serial "$folder/master/db.${ZONES[i]}")" ] || return
  done
}

# A journal leads from the old zone to the new one: with the old file back in place it would be replayed.
forget_journals() { rm -f /var/lib/bind/db.*.jnl; }

if [ "$DNS_ROLE" = primary ]; then
  for i in "${!ZONES[@]}"; do stage_zone "$BUNDLE/lanservices/${ZONE_FILES[i]}" "${ZONES[i]}"; done
fi
stage "$BUNDLE/lanservices/named.conf.options" /etc/bind/named.conf.options 0644 root:bind
stage "$BUNDLE/lanservices/named.conf.local" /etc/bind/named.conf.local 0644 root:bind
stage "$BUNDLE/lanservices/transfer.key" /etc/bind/transfer.key 0640 root:bind
stage "$BUNDLE/lanservices/named.default" /etc/default/named 0644 root:root
stage "$BUNDLE/base/restart.conf" /etc/systemd/system/named.service.d/rpicluster.conf 0644 root:root
limits=same
same_file "$BUNDLE/lanservices/named.conf.local" /etc/bind/named.conf.local 0644 root:bind || limits=new
checked_install named check_named answers reload forget_journals
# A secondary judges a zone's timers by its own limits when it is given the zone, not when it is given limits: with a
# zone that came before them it would go on asking as seldom as ever.
if [ "$DNS_ROLE" != primary ] && [ $limits = new ] && [ -z "$CHECK" ]; then
  for zone in "${ZONES[@]}"; do rndc retransfer "$zone"; done
fi
