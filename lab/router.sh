#!/bin/sh
# Makes the stand-in for OpenWrt: what a freshly flashed router is, of BusyBox, dropbear and dnsmasq as Debian builds
# them, the libraries these are linked with, and this folder's own files.
# Usage: router.sh DEBIAN ROOT      (DEBIAN: a tree with the unpacked packages; ROOT: what is made)
set -eu
here=$(cd -- "$(dirname -- "$0")" && pwd)
debian=$1 root=$2

mkdir -p "$root/bin" "$root/sbin" "$root/usr/bin" "$root/usr/sbin" "$root/lib" "$root/etc/rc.d" "$root/etc/dropbear" \
  "$root/etc/uci-defaults" "$root/root/.ssh" "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/var"
cp "$debian/bin/busybox" "$root/bin/busybox"
cp "$debian/usr/sbin/dropbear" "$debian/usr/sbin/dnsmasq" "$root/usr/sbin/"
cp -L "$debian/usr/bin/dropbearkey" "$root/usr/bin/dropbearkey"
# Debian's loader tells which libraries they want; it is named in each program.
loader=$(cd "$debian" && find lib/ld-linux* lib64/ld-linux* 2>/dev/null | head -n 1)
for program in dropbear dnsmasq; do chroot "$debian" "/$loader" --list "/usr/sbin/$program"; done |
  sed -nE 's/.* => ([^ ]+) .*/\1/p' | sort -u | while read -r library; do
    mkdir -p "$root${library%/*}"
    cp -L "$debian$library" "$root$library"
  done
mkdir -p "$root/${loader%/*}"
cp -L "$debian/$loader" "$root/$loader"
chroot "$root" /bin/busybox --install -s

cp -a "$here/router/." "$root/"
chown -R 0:0 "$root"
chmod 0755 "$root"
ln -s /tmp/run "$root/var/run"
ln -s /tmp "$root/var/etc"
ln -s /tmp/lock "$root/var/lock"
# Of root, OpenWrt's dropbear asks this file only.
ln -s /etc/dropbear/authorized_keys "$root/root/.ssh/authorized_keys"
chmod 0700 "$root/root" "$root/root/.ssh" "$root/etc/dropbear"
echo 'root::0:0:root:/root:/bin/ash' >"$root/etc/passwd"
echo 'root::0:0:99999:7:::' >"$root/etc/shadow"
chmod 0600 "$root/etc/shadow"
echo 'root:x:0:' >"$root/etc/group"
echo /bin/ash >"$root/etc/shells"
echo '127.0.0.1 localhost' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
for service in boot:10 dnsmasq:19 dropbear:19 network:20; do
  ln -s "../init.d/${service%:*}" "$root/etc/rc.d/S${service#*:}${service%:*}"
done
