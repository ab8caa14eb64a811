#!/bin/bash
# What looks after the node: hourly and daily checks, and the records of its load and of its uptime.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

install_file "$BUNDLE/base/rpi-check" /root/bin/rpi-check 0750 root:root
install_file "$BUNDLE/base/cron" /etc/cron.d/rpicluster 0644 root:root
ensure_running cron.service

# In a container the kernel, and what it makes keys from, is the host's.
if in_container; then ensure_masked haveged.service; else ensure_running haveged.service; fi

if in_packages uptimed; then
  install_file "$BUNDLE/base/after-ssh.conf" /etc/systemd/system/uptimed.service.d/rpicluster.conf 0644 root:root
  ensure_running uptimed.service
fi
if in_packages sysstat; then
  install_file "$BUNDLE/base/after-ssh.conf" /etc/systemd/system/sysstat.service.d/rpicluster.conf 0644 root:root
  install_file "$BUNDLE/base/sysstat" /etc/sysstat/sysstat 0644 root:root
  install_file "$BUNDLE/base/sysstat.default" /etc/default/sysstat 0644 root:root
  ensure_running sysstat.service sysstat-collect.timer sysstat-summary.timer
fi
