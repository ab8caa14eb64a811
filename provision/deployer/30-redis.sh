#!/bin/bash
# Redis, on loopback only: where Ansible keeps the facts of all nodes.
# Takes its values and files from the bundle it lies in; see lib.sh for how to run it by hand.
. "${BASH_SOURCE[0]%/*}/../lib.sh"

check_redis() { grep -qx 'bind 127.0.0.1' "$1/etc/redis/redis.conf"; }    # it has no checker of its own
answers() { [ "$(redis-cli ping)" = PONG ]; }

stage "$BUNDLE/deployer/redis.conf" /etc/redis/redis.conf 0640 redis:redis
checked_install redis-server check_redis answers
