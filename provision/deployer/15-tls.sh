#!/bin/bash
# A key and a certificate for each service that the deployer offers by TLS.  They come new with every bundle; those
# that are there stay for as long as more than a third of their life is left.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

folder=/etc/ssl/$CLUSTER
ensure_dir "$folder" 0755 root:root
for service in "${TLS_SERVICES[@]}"; do
  new=$BUNDLE/deployer/tls/$service
  if tls_serves "$new.crt" "$folder/$service.crt" &&
    [ "$(openssl x509 -in "$folder/$service.crt" -noout -pubkey)" = "$(openssl pkey -in "$folder/$service.key" -pubout 2>&1)" ] &&
    [ "$(stat -c '%04a %U:%G' "$folder/$service.key" "$folder/$service.crt")" = $'0600 root:root\n0644 root:root' ]; then
    continue
  fi
  changed "$folder/$service.crt"
  if [ -z "$CHECK" ]; then
    put_file "$new.key" "$folder/$service.key" 0600 root:root
    put_file "$new.crt" "$folder/$service.crt" 0644 root:root
    # It was given its key when it started, and would show the new certificate with the old one.
    if systemctl is-active --quiet "rpi-$service"; then systemctl restart "rpi-$service"; fi
  fi
done
