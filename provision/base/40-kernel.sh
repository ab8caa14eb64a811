#!/bin/bash
# Kernel settings, and modules that stay out.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

install_file "$BUNDLE/base/modprobe.conf" /etc/modprobe.d/rpicluster.conf 0644 root:root
install_file "$BUNDLE/base/sysctl.conf" /etc/sysctl.d/60-rpicluster.conf 0644 root:root

# In a container everything but net.* is the host's, and not every kernel has every setting.
while read -r key _ wanted; do
  case $key in -*) key=${key#-} ;; *) continue ;; esac
  if in_container; then case $key in net.*) ;; *) continue ;; esac; fi
  file=/proc/sys/${key//.//}
  [ -w "$file" ] || continue
  if [ "$(tr -s '\t' ' ' <"$file")" != "$wanted" ]; then
    changed "$key = $wanted"
    [ -n "$CHECK" ] || echo "$wanted" >"$file"
  fi
done <"$BUNDLE/base/sysctl.conf"
