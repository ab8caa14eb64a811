#!/bin/bash
# HTTP: BusyBox's httpd, which sees nothing of the node but its own folder.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

ensure_group "$HTTP_USER"
ensure_user "$HTTP_USER" --system --gid "$HTTP_USER" --no-create-home --home-dir /nonexistent --shell /bin/false

# The folder that is its whole world: one program under the names that pages call it by, and who is who.
for folder in "" /bin /etc /proc; do ensure_dir "$HTTP_CHROOT$folder" 0755 root:root; done
# Packages come before this step; with --check they may not be there yet.
if [ -z "$CHECK" ] || [ -x /bin/busybox ]; then
  install_file /bin/busybox "$HTTP_CHROOT/bin/busybox" 0755 root:root
fi
for name in sh hostname date uptime uname awk id cat; do ensure_link busybox "$HTTP_CHROOT/bin/$name"; done
for file in passwd group; do
  { grep -E "^(root|$LOGIN|$HTTP_USER):" "/etc/$file" || [ -n "$CHECK" ]; } >"$BUNDLE/$file"
  install_file "$BUNDLE/$file" "$HTTP_CHROOT/etc/$file" 0644 root:root
done
install_file /dev/null "$HTTP_CHROOT/proc/meminfo" 0444 root:root    # the unit puts the real one over it

www=$HTTP_CHROOT/www
for folder in "" /cgi-bin /reports /static /static/img; do ensure_dir "$www$folder" 0755 "$LOGIN:$LOGIN"; done
install_file "$BUNDLE/lanservices/bbhttpd-index.html" "$www/index.html" 0644 "$LOGIN:$LOGIN"
install_file "$BUNDLE/lanservices/bbhttpd-logo.svg" "$www/static/img/logo.svg" 0644 "$LOGIN:$LOGIN"
install_file "$BUNDLE/lanservices/bbhttpd-hello" "$www/cgi-bin/hello" 0755 "$LOGIN:$LOGIN"
install_file "$BUNDLE/lanservices/bbhttpd-nights" "$www/cgi-bin/nights" 0755 "$LOGIN:$LOGIN"

# A program that needs libraries does not run in there at all.
check_bbhttpd() {
  systemd-analyze verify --man=no "$1/etc/systemd/system/bbhttpd.service" && chroot "$HTTP_CHROOT" /bin/busybox true
}
serves() { systemctl is-active bbhttpd && busybox wget -q -O - "http://$ADDRESS:$HTTP_PORT/" | grep -F 'R-Pi BB httpd'; }

stage "$BUNDLE/lanservices/bbhttpd.service" /etc/systemd/system/bbhttpd.service 0644 root:root
checked_install bbhttpd check_bbhttpd serves
