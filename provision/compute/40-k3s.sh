#!/bin/bash
# K3s: from files that were brought here before (K3S_FILES: hash and place of each), without a way out to the internet.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

data=/var/lib/rancher/k3s
images=$data/agent/images
config=/etc/rancher/k3s/config.yaml
binary=/usr/local/bin/k3s
service=/etc/systemd/system/k3s.service
staged=$STATE/artifacts    # where files wait whose place this step decides
ready=/opt/cluster/compute/k3s-ready

# --- a node that is not, or no more, of K3s

# shellcheck disable=SC2046  # one word a process
tree() { for pid; do echo "$pid"; tree $(pgrep -P "$pid"); done; }

# What the kernel has of it: its containers, which outlive it, what they have mounted, its network and its rules.
end_containers() {
  local pids mount link family
  # shellcheck disable=SC2046
  pids=$(tree $(pgrep -f "^$data/data/[^/]*/bin/containerd-shim"))
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true    # some end with those before them
  awk -v where="^(/run/k3s|/run/netns/cni-|/var/lib/kubelet|$data/)" '$2 ~ where { print $2 }' /proc/self/mounts |
    sort -r | while read -r mount; do umount -l -- "$mount" || true; done
  for link in cni0 flannel.1; do ! ip link show "$link" >/dev/null 2>&1 || ip link delete "$link"; done
  for family in iptables ip6tables; do
    "$family-save" >"$BUNDLE/rules" 2>/dev/null || continue
    grep -q KUBE- "$BUNDLE/rules" || continue
    grep -vi -e KUBE- -e CNI- -e flannel "$BUNDLE/rules" | "$family-restore"
  done
}

take_away() {
  local link
  changed "K3s is taken away, with its containers, its data and its token"
  [ -z "$CHECK" ] || return 0
  systemctl --quiet disable --now k3s
  systemctl reset-failed k3s 2>/dev/null || true    # it ends badly when it is told to end
  end_containers
  for link in kubectl crictl ctr; do
    [ "$(readlink "/usr/local/bin/$link")" != k3s ] || rm -f "/usr/local/bin/$link"
  done
  # Nothing that is still mounted is emptied.
  rm -rf --one-file-system "$data" /var/lib/kubelet /var/lib/cni /run/k3s /run/flannel /run/netns/cni-* \
    /etc/rancher/k3s /etc/rancher/node "$binary" "$ready" "$STATE/applied/k3s" "$staged"
  rmdir --ignore-fail-on-non-empty /etc/rancher /var/lib/rancher
  rm -f "$service"    # the last: what is cut off is done again
  systemctl daemon-reload
}

if [ -z "$K3S_ROLE" ]; then
  if grep -qs "^# Managed by .* from provision/compute/k3s.service" "$service"; then take_away; fi
  exit 0
fi
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

# What is not at hand where we are configured from (`-`) stays as it is here.
files=()
for ((i = 0; i < ${#K3S_FILES[@]}; i += 2)); do
  sum=${K3S_FILES[i]} place=${K3S_FILES[i + 1]}
  if [ "$sum" = - ]; then
    [ -f "$place" ] || continue
    sum=$(sha256sum <"$place" | cut -d' ' -f1)
  fi
  files+=("$sum" "$place")
done

# K3s calls itself what its file is called: NAME version VERSION (COMMIT).
version_of() { { timeout 20 "$1" --version 2>/dev/null || true; } | awk 'NR == 1 && $2 == "version" { print $3 }'; }

# Another K3s proves what it is before the old one goes; that one is at hand until the new one works.
replace_binary() {
  local version
  version=$(version_of "$1")
  if [ "$version" != "$K3S_VERSION" ]; then
    rm -f -- "$1"
    [ -z "$version" ] || version="of version $version"
    give_up "$K3S_ARTIFACT is ${version:-no K3s that runs here}; $binary stays as it was: put K3s $K3S_VERSION there"
  fi
  [ ! -f "$binary" ] || ln -fT -- "$binary" "$binary.before"
  mv -fT -- "$1" "$binary"
}
put_back() { [ ! -f "$binary.before" ] || mv -fT -- "$binary.before" "$binary"; }

# place HASH FILE MODE: what was brought here goes to its place, if it is what it should be.
arrives=
place() {
  [ -f "$2" ] && [ "$(sha256sum <"$2")" = "$1  -" ] && [ "$(stat -c %04a -- "$2")" = "$3" ] && return
  if [ -n "$CHECK" ]; then
    changed "$2"
    [ "$2" != "$binary" ] || arrives=1
    return 0
  fi
  mkdir -p -- "${2%/*}"
  if [ -f "$2" ] && [ "$(sha256sum <"$2")" = "$1  -" ]; then
    chmod "$3" "$2"
  else
    [ -f "$staged/$1" ] || fail "$2 is missing; copy the file with SHA-256 $1 to $staged/$1, or provision from the harness"
    [ "$(sha256sum <"$staged/$1")" = "$1  -" ] || fail "$staged/$1 is not what was sent; provision again"
    chmod "$3" "$staged/$1"
    chown root:root "$staged/$1"
    if [ "$2" = "$binary" ]; then replace_binary "$staged/$1"; else mv -fT -- "$staged/$1" "$2"; fi
  fi
  changed "$2"
}
for ((i = 0; i < ${#files[@]}; i += 2)); do
  mode=0600
  [ "${files[i + 1]}" != "$binary" ] || mode=0755
  place "${files[i]}" "${files[i + 1]}" "$mode"
done
# Tarballs that nobody declares are of earlier releases.
for old in "$images"/*.tar "$images"/*.tar.* "$images"/*.tgz; do
  if [ ! -f "$old" ] || printf '%s\n' "$images/rpicluster.tar" "${files[@]}" | grep -qxF -- "$old"; then continue; fi
  changed "remove $old"
  [ -n "$CHECK" ] || rm -f -- "$old"
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
  stage "$BUNDLE/rpicluster.tar" "$images/rpicluster.tar" 0600 root:root
fi

# --- the configuration

cp "$BUNDLE/compute/k3s-config.yaml" "$BUNDLE/k3s-config"
# Where its image cannot be looked for, DNS that runs here goes on.
if [ "$K3S_DNS" = keep ] && grep -qs '^disable:' "$config" && ! grep -q '^disable:.*coredns' "$config"; then
  sed -i '/^disable:/s/, coredns//' "$BUNDLE/k3s-config"
fi
# An overlay cannot lie upon another one.
[ "$(stat -f -c %T /var/lib)" != overlayfs ] || echo "snapshotter: native" >>"$BUNDLE/k3s-config"
stage "$BUNDLE/k3s-config" "$config" 0600 root:root
printf '# %s\n' "Managed by $CLUSTER from provision/compute/40-k3s.sh: what K3s was started with" "${files[@]}" >"$BUNDLE/k3s-files"
stage "$BUNDLE/k3s-files" /etc/rancher/k3s/files 0644 root:root
# CAP_SYS_RESOURCE, bit 24 of capabilities(7).
if ((!(0x$(awk '/^CapBnd:/ { print $2 }' /proc/self/status) >> 24 & 1))); then
  stage "$BUNDLE/compute/k3s-containerd.toml" "$data/agent/etc/containerd/config.toml.tmpl" 0600 root:root
fi
stage "$BUNDLE/compute/k3s.service" "$service" 0644 root:root

install_file "$BUNDLE/compute/k3s-ready" "$ready" 0750 root:root

check_k3s() {
  systemd-analyze verify --man=no "$1$service" && { [ -n "$arrives" ] || [ "$(version_of "$binary")" = "$K3S_VERSION" ]; }
}
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
checked_install k3s check_k3s "$ready" restart put_back
[ -n "$CHECK" ] || rm -f -- "$binary.before"
