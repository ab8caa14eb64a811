#!/bin/bash
# The harness itself: the project's files as they are where this bundle was made, and the Python packages they need.  What
# it recorded here stays.  Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

home=/opt/cluster/rpicluster
new=$BUNDLE/deployer/harness.manifest
mapfile -t rooms < <(cut -c67- "$new" | sed -n 's:/.*::p' | sort -u)

# Every file is as it was made, and no other module is among them.
is_whole() {
  cmp -s "$new" "$home/.manifest" && cd "$home" && sha256sum --status --check .manifest &&
    [ "$(find "${rooms[@]}" -type f ! -name '.*' ! -path '*/__pycache__/*' ! -path 'reports/runs/*' \
      ! -path 'reports/nights/*' | sort)" = "$(cut -c67- .manifest | grep /)" ]
}

ensure_dir "$home" 0755 "$LOGIN:$LOGIN"
if ! (is_whole); then
  changed "$home ($(wc -l <"$new") files)"
  if [ -z "$CHECK" ]; then
    exec 8<"$home"
    flock --wait 300 8 || fail "specs that run here do not end"    # rpi-specs holds it meanwhile
    for room in "${rooms[@]}"; do
      [ ! -d "$home/$room" ] || find "$home/$room" -mindepth 1 -maxdepth 1 ! -name runs ! -name nights -exec rm -rf {} +
    done
    # Files get the time at which they came: Python tells by it whether what it compiled is of today.
    tar -xmf "$BUNDLE/deployer/harness.tar" -C "$home" --no-same-owner
    (cd "$home" && cut -c67- "$new" | xargs -d '\n' chmod u=rwX,go=rX)
    chmod -R u+rwX,go+rX "${rooms[@]/#/$home/}"
    chmod 0755 "$home/run"
    chown -R "$LOGIN:$LOGIN" "${rooms[@]/#/$home/}"
    (cd "$home" && cut -c67- "$new" | grep -v / | xargs -d '\n' chown "$LOGIN:$LOGIN")
    put_file "$new" "$home/.manifest" 0644 "$LOGIN:$LOGIN"
    exec 8<&-
  fi
fi
ensure_wheels "$home/.venv" "$BUNDLE/deployer/wheels-harness.txt"
for folder in reports/runs reports/nights reports/nights/records; do ensure_dir "$home/$folder" 0755 "$LOGIN:$LOGIN"; done
ensure_dir "$home/.state" 0700 "$LOGIN:$LOGIN"
ensure_lines "$BUNDLE/deployer/harness.known_hosts" "$home/.state/known_hosts" 0644 "$LOGIN:$LOGIN"
install_file "$BUNDLE/deployer/rpi-specs" /opt/cluster/bin/rpi-specs 0755 "$LOGIN:$LOGIN"

# The library of a Sense HAT comes with Raspberry Pi OS, and is of no use without one; a container has the emulator's.
if grep -qs 'Sense HAT' /proc/device-tree/hat/product; then ensure_packages <(echo python3-sense-hat); fi
