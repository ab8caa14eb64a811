#!/bin/bash
# The login user's folder, the cluster user, and the group that may use SSH.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

ensure_group "$SSH_GROUP"
ensure_user "$CLUSTER_USER" --create-home --home-dir "/home/$CLUSTER_USER" --shell /bin/bash --user-group

home=$(getent passwd "$LOGIN" | cut -d: -f6)
ensure_dir "$home/.ssh" 0700 "$LOGIN:$LOGIN"
