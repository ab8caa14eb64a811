#!/bin/bash
# The cluster's secrets in a store of pass(1), for the login user: one file a secret, each encrypted to a key of this node.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

home=$(getent passwd "$LOGIN" | cut -d: -f6)
as_login() { runuser -u "$LOGIN" -- env -i HOME="$home" PATH="$PATH" LC_ALL=C.UTF-8 GPG_TTY= "$@"; }
has_key() { as_login gpg --batch --list-secret-keys "$CLUSTER" >/dev/null 2>&1; }

ensure_dir "$home/.gnupg" 0700 "$LOGIN:$LOGIN"
if ! has_key; then
  changed "a key for the password store"
  # No passphrase: provisioning reads the store at night, and whoever reads this user's files has the keys as well.
  [ -n "$CHECK" ] || as_login gpg --batch --quiet --passphrase '' --quick-generate-key "$CLUSTER" ed25519 cert never
  [ -n "$CHECK" ] || as_login gpg --batch --quiet --passphrase '' --quick-add-key \
    "$(as_login gpg --batch --with-colons --list-keys "$CLUSTER" | awk -F: '/^fpr/ { print $10; exit }')" cv25519 encr never
fi
if [ ! -e "$home/.password-store/.gpg-id" ]; then
  changed "$home/.password-store/"
  [ -n "$CHECK" ] || as_login pass init "$CLUSTER" >/dev/null
fi

# keep ENTRY <VALUE: only when it is another one than the store has.
keep() {
  cat >"$BUNDLE/value"
  as_login pass show "$1" 2>/dev/null | cmp -s - "$BUNDLE/value" && return
  changed "pass $1"
  [ -n "$CHECK" ] || as_login pass insert --multiline --force "$1" <"$BUNDLE/value" >/dev/null
}

for file in "$BUNDLE"/deployer/secrets/*; do keep "cluster/${file##*/}" <"$file"; done
# What is a secret no more must not come back from here: on this node, provisioning reads the store.
for entry in "$home"/.password-store/cluster/*.gpg; do
  name=$(basename "$entry" .gpg)
  if [ ! -e "$entry" ] || [ -e "$BUNDLE/deployer/secrets/$name" ]; then continue; fi
  changed "pass cluster/$name: gone"
  [ -n "$CHECK" ] || as_login pass rm --force "cluster/$name" >/dev/null
done
echo test | keep test/test
echo "$CLUSTER" | keep test/id
if ! as_login pass show ansible/vault/current >/dev/null 2>&1; then
  changed "pass ansible/vault/current"
  [ -n "$CHECK" ] || as_login pass generate --no-symbols ansible/vault/current 32 >/dev/null
fi
# The password of Ansible's vault is nowhere else.
install_file "$BUNDLE/deployer/pass.list" /etc/rpicluster/backup.d/pass.list 0644 root:root
