#!/bin/bash
# Logs: the journal is kept, and what the cluster's own scripts say goes to a file that is rotated.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

log=/var/log/$CLUSTER.log

journal=/etc/systemd/journald.conf.d/rpicluster.conf
if ! same_file "$BUNDLE/base/journald.conf" "$journal" 0644 root:root; then
  install_file "$BUNDLE/base/journald.conf" "$journal" 0644 root:root
  # A journal that is kept begins where one that was not kept ends: systemd-journald.service(8).
  [ -n "$CHECK" ] || { systemctl restart systemd-journald.service && journalctl --flush; }
fi

check_rsyslog() {
  sed "s|/etc/rsyslog.d|$1&|" /etc/rsyslog.conf >"$1/rsyslog.conf" && rsyslogd -N1 -f "$1/rsyslog.conf"
}
# A line that is unlike all others.
mark=$RANDOM$RANDOM
arrives() { logger -t "$CLUSTER" "$STEP: logs arrive, $mark" && sleep 0.1 && grep -F ", $mark" "$log"; }

stage "$BUNDLE/base/rsyslog.conf" /etc/rsyslog.d/10-rpicluster.conf 0644 root:root
stage "$BUNDLE/base/after-ssh.conf" /etc/systemd/system/rsyslog.service.d/rpicluster.conf 0644 root:root
checked_install rsyslog check_rsyslog arrives

rotation=/etc/logrotate.d/rpicluster
[ -n "$CHECK" ] || same_file "$BUNDLE/base/logrotate.conf" $rotation 0644 root:root ||
  logrotate --debug "$BUNDLE/base/logrotate.conf" || fail "logrotate refuses $rotation; the old one stays in place"
install_file "$BUNDLE/base/logrotate.conf" $rotation 0644 root:root
