#!/bin/sh
# Turns a minimal Debian tree into what a freshly flashed Raspberry Pi OS Lite is: one user with a password and
# password-less sudo, SSH with passwords, DHCP on its interface, and nothing of the cluster.
# mmdebstrap calls it with the root of the tree.   Usage: image.sh ROOT USER PASSWORD INTERFACE
set -eu
root=$1 user=$2 password=$3 interface=$4

chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash --groups sudo,adm "$user"
printf '%s:%s\n' "$user" "$password" | chroot "$root" chpasswd --crypt-method SHA512
echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/010_pi-nopasswd"
chmod 0440 "$root/etc/sudoers.d/010_pi-nopasswd"

# Host keys are made at the first boot, by each node for itself.
rm -f "$root"/etc/ssh/ssh_host_*
cat >"$root/etc/systemd/system/regenerate_ssh_host_keys.service" <<'UNIT'
[Unit]
Description=Make the SSH host keys of this node
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
ExecStart=/usr/bin/ssh-keygen -q -t ecdsa -N "" -f /etc/ssh/ssh_host_ecdsa_key
[Install]
RequiredBy=ssh.service
UNIT

cat >"$root/etc/systemd/network/80-dhcp.network" <<NETWORK
[Match]
Name=$interface
[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no
[DHCPv4]
ClientIdentifier=mac
UseDNS=no
NETWORK

systemctl --root="$root" --quiet enable ssh.service systemd-networkd.service regenerate_ssh_host_keys.service
# What a container has no use for, and what would make every boot and every night different.
systemctl --root="$root" --quiet mask systemd-udevd.service systemd-udev-trigger.service \
  systemd-networkd-wait-online.service systemd-resolved.service systemd-pstore.service \
  console-getty.service getty.target apt-daily.timer apt-daily-upgrade.timer \
  dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer \
  systemd-logind.service systemd-tmpfiles-setup-dev.service systemd-remount-fs.service \
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-firstboot.service \
  sys-kernel-debug.mount sys-kernel-config.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
  dev-hugepages.mount kmod-static-nodes.service modprobe@configfs.service modprobe@fuse.service \
  modprobe@drm.service modprobe@efi_pstore.service modprobe@dm_mod.service modprobe@loop.service

# Nodes never need a route out: every package that provisioning asks for is in the lab's own mirror.
rm -rf "$root/etc/apt/sources.list.d" "$root/etc/apt/sources.list"
mkdir -p "$root/etc/apt/sources.list.d" "$root/srv/mirror"
echo 'deb [trusted=yes] file:/srv/mirror ./' >"$root/etc/apt/sources.list.d/lab.list"
echo 'Acquire::Languages "none";' >"$root/etc/apt/apt.conf.d/90lab"

echo raspberrypi >"$root/etc/hostname"
printf '127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
: >"$root/etc/machine-id"
echo 'LANG=C.UTF-8' >"$root/etc/default/locale"
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root"/var/cache/apt/*.bin
