#!/bin/bash
# The cluster's own TLS root is trusted like those of the world, for the cluster's names only.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

root=/usr/local/share/ca-certificates/$CLUSTER.crt
sed 1d "$BUNDLE/base/tls-root" >"$BUNDLE/tls-root"    # a certificate file has no place for our header
if ! same_file "$BUNDLE/tls-root" "$root" 0644 root:root || [ ! -e "/etc/ssl/certs/$CLUSTER.pem" ] ||
  [ "$root" -nt /etc/ssl/certs/ca-certificates.crt ]; then
  changed "$root"
  if [ -z "$CHECK" ]; then
    put_file "$BUNDLE/tls-root" "$root" 0644 root:root
    update-ca-certificates >/dev/null
  fi
fi
