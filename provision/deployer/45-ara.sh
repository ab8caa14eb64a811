#!/bin/bash
# ARA keeps a record of every play and shows it on a page, by TLS and to this node only: `ssh -L 8443:localhost:8443 psi`.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

ensure_group ara
ensure_user ara --system --gid ara --home-dir /var/lib/ara --no-create-home --shell /usr/sbin/nologin
ensure_wheels /opt/cluster/ara "$BUNDLE/deployer/wheels.txt"
packages=$(echo /opt/cluster/ara/lib/python3.*/site-packages)
ensure_dir /opt/cluster/ara/plugins 0755 root:root
ensure_link "$packages/ara/plugins/callback" /opt/cluster/ara/plugins/callback
ensure_link "$packages/ara/plugins/action" /opt/cluster/ara/plugins/action

check_ara() { systemd-analyze verify "$1/etc/systemd/system/rpi-ara.service"; }
answers() { curl -fsS --max-time 5 -o /dev/null "https://localhost:$ARA_PORT/api/"; }
VERIFY_S=60    # a Pi 2 imports Django for seconds, and makes its tables first
export VERIFY_S
stage "$BUNDLE/deployer/ara.service" /etc/systemd/system/rpi-ara.service 0644 root:root
checked_install rpi-ara check_ara answers
# A certificate that comes back from a backup comes with another key than the one it was started with.
install_file "$BUNDLE/deployer/ara.after" /etc/rpicluster/backup.d/ara.after 0755 root:root
