#!/bin/bash
# K3s: from files that were brought here before (K3S_FILES: hash and place of each), without a way out to the internet.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

data=/var/lib/rancher/k3s
staged=$STATE/artifacts    # where files wait whose place this step decides
ready=/opt/cluster/compute/k3s-ready

[ -n "$K3S_ROLE" ] || exit 0
if [ ${#K3S_FILES[@]} = 0 ]; then
  echo "K3s is left out: its binary is missing where the nodes are configured from"
  exit 0
fi

counts_memory() {
  grep -sqw memory /sys/fs/cgroup/cgroup.controllers || awk '$1 == "memory" && $4 == 1 { n++ } END { exit !n }' /proc/cgroups
}

# The kernel counts no memory on a Pi unless it is told to at boot.
if ! in_container; then
  for line in /boot/firmware/cmdline.txt /boot/cmdline.txt; do
    [ ! -f "$line" ] || { ensure_words "$line" cgroup_memory=1 cgroup_enable=memory && break; }
  done
  if [ -z "$CHECK" ] && ! counts_memory; then
    fail "the kernel counts no memory until it is told to at boot: reboot $NODE, then provision it again"
  fi
fi

ensure_packages "$BUNDLE/compute/packages-k3s.txt"

# --- the files

# place HASH FILE MODE: what was brought here goes to its place, if it is what it should be.
place() {
  [ -f "$2" ] && [ "$(sha256sum <"$2")" = "$1  -" ] && [ "$(stat -c %04a -- "$2")" = "$3" ] && return
  changed "$2"
  [ -z "$CHECK" ] || return 0
  mkdir -p -- "${2%/*}"
  if [ -f "$2" ] && [ "$(sha256sum <"$2")" = "$1  -" ]; then
    chmod "$3" "$2"
  else
    [ -f "$staged/$1" ] || fail "$2 is missing; copy the file with SHA-256 $1 to $staged/$1, or provision from the harness"
    [ "$(sha256sum <"$staged/$1")" = "$1  -" ] || fail "$staged/$1 is not what was sent; provision again"
    chmod "$3" "$staged/$1"
    chown root:root "$staged/$1"
    mv -fT -- "$staged/$1" "$2"
  fi
}
for ((i = 0; i < ${#K3S_FILES[@]}; i += 2)); do
  mode=0600
  [ "${K3S_FILES[i + 1]}" != /usr/local/bin/k3s ] || mode=0755
  place "${K3S_FILES[i]}" "${K3S_FILES[i + 1]}" "$mode"
done
for name in kubectl crictl ctr; do ensure_link k3s "/usr/local/bin/$name"; done

# An image of our own, of this node's BusyBox alone: what holds a pod's network (pause), and what the canary is made of.
make_image() {
  local root=$BUNDLE/image layer arch name
  local -a tar=(tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar)
  mkdir -p "$root/layer/bin" "$root/layer/tmp"
  chmod 1777 "$root/layer/tmp"
  cp /bin/busybox "$root/layer/bin/busybox"
  for name in sh httpd wget nslookup sleep; do ln -s busybox "$root/layer/bin/$name"; done
  "${tar[@]}" -C "$root/layer" -cf "$root/layer.tar" .
  layer=$(sha256sum <"$root/layer.tar" | cut -d' ' -f1)
  arch=$(dpkg --print-architecture)
  cat >"$root/config.json" <<END
{"architecture": "${arch/armhf/arm}", "os": "linux", "created": "1970-01-01T00:00:00Z",
 "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 2147483647 & wait"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
END
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$K3S_IMAGE" >"$root/manifest.json"
  "${tar[@]}" -C "$root" -cf "$BUNDLE/rpicluster.tar" manifest.json config.json layer.tar
}
if [ -z "$CHECK" ] || [ -x /bin/busybox ]; then
  make_image
  stage "$BUNDLE/rpicluster.tar" "$data/agent/images/rpicluster.tar" 0600 root:root
fi

# --- the configuration

cp "$BUNDLE/compute/k3s-config.yaml" "$BUNDLE/k3s-config"
# An overlay cannot lie upon another one.
[ "$(stat -f -c %T /var/lib)" != overlayfs ] || echo "snapshotter: native" >>"$BUNDLE/k3s-config"
stage "$BUNDLE/k3s-config" /etc/rancher/k3s/config.yaml 0600 root:root
printf '# %s\n' "Managed by $CLUSTER from provision/compute/40-k3s.sh: what K3s was started with" "${K3S_FILES[@]}" >"$BUNDLE/k3s-files"
stage "$BUNDLE/k3s-files" /etc/rancher/k3s/files 0644 root:root
# CAP_SYS_RESOURCE, bit 24 of capabilities(7).
if ((!(0x$(awk '/^CapBnd:/ { print $2 }' /proc/self/status) >> 24 & 1))); then
  stage "$BUNDLE/compute/k3s-containerd.toml" "$data/agent/etc/containerd/config.toml.tmpl" 0600 root:root
fi
stage "$BUNDLE/compute/k3s.service" /etc/systemd/system/k3s.service 0644 root:root

install_file "$BUNDLE/compute/k3s-ready" "$ready" 0750 root:root

check_k3s() { systemd-analyze verify --man=no "$1/etc/systemd/system/k3s.service" && [ "$(/usr/local/bin/k3s --version | awk 'NR == 1 { print $3 }')" = "$K3S_VERSION" ]; }
server_answers() { curl -s -k -m 5 "https://$K3S_SERVER:$K3S_PORT/ping" | grep -x pong; }

# Who joins waits for the server, which may be on its way at this moment.
if [ -z "$CHECK" ] && [ "$K3S_ROLE" = agent ]; then
  await 240 server_answers || fail "K3s's server $K3S_SERVER does not answer on port $K3S_PORT; provision $K3S_SERVER first"
fi
# One that has joined trusts the server that it joined, until it starts again; that one may have been flashed anew since.
if [ "$K3S_ROLE" = agent ] && systemctl is-active --quiet k3s && ! await 20 "$ready"; then
  if [ -n "$CHECK" ]; then changed "k3s: start anew"; else rm -f "$STATE/applied/k3s"; fi
fi
# shellcheck disable=SC2034  # checked_install's
VERIFY_S=180    # a Pi imports images and makes its first pods' network in a minute or two
checked_install k3s check_k3s "$ready"
