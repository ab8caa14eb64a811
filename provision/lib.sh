# shellcheck shell=bash
# What every step is made of.  A step sources this file first; it then has
#
#   BUNDLE   the folder this file is in: rendered files, one folder a room (base/, lanservices/, ...)
#   CHECK    not empty: say what would change, change nothing
#   NODE, ADDRESS, INTERFACE, ...   the values in params.sh
#
# By hand, as root on the node, with a folder made by `python -m provision NODE --bundle FOLDER`:
#
#   CHECK=1 bash FOLDER/base/10-hosts.sh      what would this step change?
#   bash FOLDER/base/10-hosts.sh              do it
#   bash FOLDER/run.sh                        every step, in order
#
# A step says what it changes on file descriptor 3 (its standard output, when run by hand).  The first command
# that fails ends it, with the step's name, the line and the command.

set -Eeuo pipefail
shopt -s inherit_errexit
umask 022
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

BUNDLE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
CHECK=${CHECK:-}
STATE=/var/lib/rpicluster     # what has been taken up by which daemon
. "$BUNDLE/params.sh"
{ : >&3; } 2>/dev/null || exec 3>&1

STEP=${0##*/}
[ "$0" = "${0%/*}" ] || STEP=$(basename "$(dirname "$0")")/$STEP

# --- saying what happens

changed() { echo "${CHECK:+would }change: $*" >&3; }

# reached WHAT: others may be waiting for it.
reached() { [ -n "$CHECK" ] || echo "reached: $*" >&3; }

# fail WORDS: end the step, naming the place in it.
fail() { end_step 1 "$@"; }

# give_up WORDS: the same, where no other step needs this one: those after it run.
give_up() { end_step 75 "$@"; }

end_step() {
  local code=$1 i
  shift
  for ((i = 1; i < ${#BASH_SOURCE[@]}; i++)); do [ "${BASH_SOURCE[i]}" != "$0" ] || break; done
  echo "failed: $NODE: $STEP line ${BASH_LINENO[i - 1]}: $*" >&3
  trap - ERR
  exit "$code"
}

on_error() {
  local code=$1 command=$2 i
  [ "$BASH_SUBSHELL" -eq 0 ] || exit "$code"    # the shell above reports it, once
  for ((i = 1; i < ${#BASH_SOURCE[@]}; i++)); do [ "${BASH_SOURCE[i]}" != "$0" ] || break; done
  echo "failed: $NODE: $STEP line ${BASH_LINENO[i - 1]}: \`$command\` ended with exit code $code" >&3
  exit "$code"
}
trap 'on_error $? "$BASH_COMMAND"' ERR

# --- looking

in_container() { systemd-detect-virt --quiet --container; }

# await SECONDS COMMAND...: until it succeeds; its last words are shown when it does not.
await() {
  local end=$((SECONDS + $1)) said
  shift
  until said=$("$@" 2>&1); do
    if ((SECONDS > end)); then
      echo "$said"
      return 1
    fi
    sleep 0.1
  done
}

# same_file SRC DST MODE OWNER: DST is a plain file with this content, mode and owner (user:group).
same_file() {
  [ -f "$2" ] && [ ! -L "$2" ] && cmp -s -- "$1" "$2" && [ "$(stat -c '%04a %U:%G' -- "$2")" = "$3 $4" ]
}

# --- files, folders, users

# put_file SRC DST MODE OWNER: whole or not at all.
put_file() {
  local part
  mkdir -p -- "$(dirname -- "$2")"
  part=$(mktemp -- "$(dirname -- "$2")/.rpicluster.XXXXXX")
  cat -- "$1" >"$part"
  chown "$4" "$part"
  chmod "$3" "$part"
  mv -fT -- "$part" "$2"
}

# install_file SRC DST MODE OWNER
install_file() {
  same_file "$@" && return
  changed "$2"
  [ -n "$CHECK" ] || put_file "$@"
}

# ensure_dir DIR MODE OWNER
ensure_dir() {
  [ -d "$1" ] && [ "$(stat -c '%04a %U:%G' -- "$1")" = "$2 $3" ] && return
  changed "$1/"
  [ -z "$CHECK" ] || return 0
  mkdir -p -- "$1"
  chown "$3" "$1"
  chmod "0$2" "$1"    # the second zero also clears a set-group-id bit that the folder inherited
}

# ensure_tree SRC DST OWNER: every folder (0755) and file (0644) of SRC is in DST; others there are left alone.
ensure_tree() {
  local path
  while IFS= read -r -d '' path; do ensure_dir "$2${path#"$1"}" 0755 "$3"; done < <(find "$1" -type d -print0 | sort -z)
  while IFS= read -r -d '' path; do
    install_file "$path" "$2${path#"$1"}" 0644 "$3"
  done < <(find "$1" -type f -print0 | sort -z)
}

# ensure_link TARGET LINK
ensure_link() {
  [ -L "$2" ] && [ "$(readlink -- "$2")" = "$1" ] && return
  changed "$2 -> $1"
  [ -n "$CHECK" ] || ln -sfT -- "$1" "$2"
}

# ensure_lines SRC DST MODE OWNER: every line of SRC is in DST; other lines are kept.
ensure_lines() {
  local part
  part=$(mktemp "$BUNDLE/lines.XXXXXX")
  if [ -s "$2" ]; then
    cat -- "$2" >"$part"
    [ -z "$(tail -c 1 -- "$2")" ] || echo >>"$part"   # its last line was not ended
  fi
  grep -vxFf "$part" "$1" >"$part.new" || [ $? = 1 ]
  cat "$part.new" >>"$part"
  install_file "$part" "$2" "$3" "$4"
}

# ensure_words FILE WORD...: the one line of FILE, what the kernel is told at boot, has these words; others are kept.
# Its place may be a FAT file system, which knows no owners and no modes.
ensure_words() {
  local file=$1 line word
  shift
  line=$(head -n 1 -- "$file")
  for word; do [[ " $line " == *" $word "* ]] || line+=" $word"; done
  [ "$line" != "$(head -n 1 -- "$file")" ] || return 0
  changed "$file"
  [ -n "$CHECK" ] || { echo "$line" >"$file.rpicluster" && mv -fT -- "$file.rpicluster" "$file"; }
}

# ensure_group NAME
ensure_group() {
  getent group "$1" >/dev/null && return
  changed "group $1"
  [ -n "$CHECK" ] || groupadd --system "$1"
}

# ensure_user NAME OPTION...: the options are those of useradd(8), for a user that is not there yet; of one that is,
# --home-dir and --shell are made what they say.  A home that is left stays where it is.
ensure_user() {
  local name=$1 entry
  shift
  if ! entry=$(getent passwd "$name"); then
    changed "user $name"
    [ -n "$CHECK" ] || useradd "$@" "$name"
    return 0
  fi
  while (($#)); do
    case $1 in
      --home-dir) ensure_field "$name" home "$(cut -d: -f6 <<<"$entry")" "$2" -d ;;
      --shell) ensure_field "$name" shell "$(cut -d: -f7 <<<"$entry")" "$2" -s ;;
    esac
    shift
  done
}

# ensure_field USER WHAT IS WANTED OPTION: what is not as wanted is changed with this option of usermod(8).
ensure_field() {
  [ "$3" != "$4" ] || return 0
  changed "user $1: $2 $4, not ${3:-none}"
  [ -n "$CHECK" ] || usermod "$5" "$4" "$1"
}

# ensure_member USER GROUP
ensure_member() {
  [[ " $(id -nG "$1" 2>/dev/null || true) " == *" $2 "* ]] && return
  changed "user $1 in group $2"
  [ -n "$CHECK" ] || usermod -aG "$2" "$1"
}

# --- packages

APT=(apt-get -qy -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120
  -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold)

# ensure_packages FILE...: every Debian package named in these lists, one a line, # begins a comment.
# Daemons are not started by their packages, only by the step that has configured them.
ensure_packages() {
  local policy=/usr/sbin/policy-rc.d
  local -a wanted missing
  mapfile -t wanted < <(sed 's/#.*//' "$@" | awk 'NF { print $1 }' | sort -u)
  # It complains about packages it never heard of; those are missing too.
  dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null |
    sed -n 's/^installed //p' >"$BUNDLE/installed" || true
  mapfile -t missing < <(printf '%s\n' "${wanted[@]}" | grep -vxFf "$BUNDLE/installed")
  ((${#missing[@]})) || return 0
  changed "packages ${missing[*]}"
  [ -z "$CHECK" ] || return 0
  if [ ! -e "$policy" ] || grep -q 'Managed by' "$policy"; then
    printf '#!/bin/sh\n# Managed by %s from provision/lib.sh; gone when the packages are installed\nexit 101\n' \
      "$CLUSTER" >"$policy"
    chmod 0755 "$policy"
  fi
  if in_container; then APT+=(-o Dpkg::Options::=--force-unsafe-io); fi   # no disk of its own to protect
  # Package lists are fetched only where what we have does not do.
  local code=0
  "${APT[@]}" install --no-install-recommends "${missing[@]}" ||
    { "${APT[@]}" update && "${APT[@]}" install --no-install-recommends "${missing[@]}"; } || code=$?
  if grep -q 'Managed by' "$policy"; then rm -f "$policy"; fi
  return "$code"
}

# ensure_wheels FOLDER LOCK: a virtual environment with exactly what LOCK names, each file compared with its hash.  What
# the lab has collected is taken from there, on other nodes pip asks its own index.
ensure_wheels() {
  local -a from=()
  cmp -s -- "$2" "$1/made-from" && return
  changed "$1 ($(grep -c == "$2") Python packages)"
  [ -z "$CHECK" ] || return 0
  [ ! -d /srv/mirror/wheels ] || from=(--no-index --find-links /srv/mirror/wheels)
  python3 -m venv --clear "$1"
  "$1/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --no-cache-dir --require-hashes \
    "${from[@]}" -r "$2"
  install -m 0644 -- "$2" "$1/made-from"
}

# in_packages NAME: whether some package list of this node names it.
in_packages() { sed 's/#.*//' "$BUNDLE"/*/packages.txt | awk '{ print $1 }' | grep -qxF "$1"; }

# --- daemons

# ensure_running UNIT...: started now and at every boot; for daemons that run as their package left them.
ensure_running() {
  local unit
  for unit; do
    systemctl is-active --quiet "$unit" && systemctl is-enabled --quiet "$unit" && continue
    changed "start $unit"
    [ -n "$CHECK" ] || systemctl --quiet enable --now "$unit"
  done
}

# ensure_masked UNIT...: stopped, and never started by anything; a unit that is not there is fine.
ensure_masked() {
  local unit state
  for unit; do
    state=$(systemctl is-enabled "$unit" 2>/dev/null) || true
    case $state in '' | masked | not-found) continue ;; esac
    changed "mask $unit"
    [ -n "$CHECK" ] || systemctl --quiet mask --now "$unit"
  done
}

STAGED=()

# stage SRC DST MODE OWNER: one file of the set that the next checked_install puts in place.
stage() { STAGED+=("$1" "$2" "$3" "$4"); }

# checked_install UNIT CHECKER VERIFIER [restart|reload [UNDO]]
#
# Puts the staged set in place only when it passes, and leaves the daemon as it was when it does not work:
#   CHECKER ROOT   judges the new files, which lie below ROOT as they will below /: the daemon's own checker
#                  (one chain of `&&`: the shell does not stop a checker at its first failure)
#   VERIFIER       succeeds once the daemon serves with them; asked again for up to VERIFY_S seconds
#   UNDO           called before the old files come back, to remove what the daemon made from the new ones
# A set that is in place and has been taken up by a running daemon is left alone.
VERIFY_S=15
checked_install() {
  local unit=$1 checker=$2 verifier=$3 how=${4:-restart} undo=${5:-true}
  local -a files=("${STAGED[@]}") differ=()
  local i root applied=$STATE/applied/$unit digest enabled active why
  STAGED=()
  root=$(mktemp -d "$BUNDLE/staged.XXXXXX")
  for ((i = 0; i < ${#files[@]}; i += 4)); do
    install -D -m "${files[i + 2]}" -- "${files[i]}" "$root${files[i + 1]}"
    same_file "${files[@]:i:4}" || differ+=("${files[i + 1]}")
  done
  digest=$(set_digest "${files[@]}")
  enabled=$(systemctl is-enabled "$unit" 2>/dev/null) || true
  active=$(systemctl is-active "$unit" 2>/dev/null) || true
  why=${differ[*]}
  [ -n "$why" ] || [ "$enabled" = enabled ] || why="enable"
  [ -n "$why" ] || [ "$active" = active ] || why="start"
  [ -n "$why" ] || grep -sqxF "$digest" "$applied" || why="take up its configuration"
  [ -n "$why" ] || return 0

  # A package that is not installed yet has no checker either.
  if [ -z "$CHECK" ] || systemctl cat "$unit" >/dev/null 2>&1; then
    "$checker" "$root" || fail "$unit: its own checker refuses the new configuration; the old one stays in place"
  fi
  changed "$unit: $why"
  [ -z "$CHECK" ] || return 0

  local backup=$root.old
  for ((i = 0; i < ${#files[@]}; i += 4)); do
    [ -e "${files[i + 1]}" ] || continue
    mkdir -p -- "$backup${files[i + 1]%/*}"
    cp -a -- "${files[i + 1]}" "$backup${files[i + 1]}"
  done
  for ((i = 0; i < ${#files[@]}; i += 4)); do put_file "${files[@]:i:4}"; done
  # What systemd itself reads, or reads for the daemon, is not taken up by a reload.
  if [ "$active" != active ] || [[ " ${differ[*]}" =~ \ /etc/(systemd|default)/ ]]; then how=restart; fi
  if take_up "$unit" "$how" && await "$VERIFY_S" "$verifier"; then
    mkdir -p "$STATE/applied"
    printf '# Managed by %s from provision/lib.sh: what %s has taken up\n%s\n' "$CLUSTER" "$unit" "$digest" >"$applied"
    return 0
  fi

  journalctl --no-pager -q -o cat -n 20 -u "$unit" || true
  systemctl stop "$unit" || true
  "$undo"
  for ((i = 0; i < ${#files[@]}; i += 4)); do
    if [ -e "$backup${files[i + 1]}" ]; then
      cp -a --remove-destination -- "$backup${files[i + 1]}" "${files[i + 1]}"
    else
      rm -f -- "${files[i + 1]}"
    fi
  done
  systemctl daemon-reload
  systemctl reset-failed "$unit" 2>/dev/null || true
  [ "$enabled" = enabled ] || systemctl --quiet disable "$unit" || true
  if [ "$active" != active ]; then
    fail "$unit does not come up with the new configuration; the old files are back, and it is stopped as before"
  elif systemctl start "$unit" && await "$VERIFY_S" "$verifier"; then
    fail "$unit does not come up with the new configuration; it runs again with the old one"
  else
    fail "$unit does not come up with the new configuration, nor again with the old one: look at it now"
  fi
}

take_up() {
  systemctl daemon-reload &&
    systemctl --quiet enable "$1" &&
    { systemctl reset-failed "$1" 2>/dev/null || true; } &&
    systemctl "$2" "$1"
}

# set_digest SRC DST MODE OWNER...: names a set of files by where they go and what is in them.  The serial of a zone
# is nothing that it holds: whoever changes a zone and changes it back leaves another serial.
set_digest() {
  while (($#)); do
    echo "$2 $3 $4"
    sed -E 's/^(@ IN SOA .*\( )[0-9]+ /\1/' -- "$1"
    shift 4
  done | sha256sum | cut -d' ' -f1
}

# --- certificates

# ssh_serves NEW OLD: the SSH certificate OLD says the same as NEW, and a third of the life that NEW was given is left.
ssh_serves() {
  local lasts
  [ -s "$1" ] && [ -s "$2" ] && [ "$(ssh_means "$1")" = "$(ssh_means "$2")" ] || return
  lasts=$(($(ssh_end "$1") - $(date +%s)))
  (($(ssh_end "$2") - $(date +%s) > lasts / 3))
}

ssh_end() { date -d "$(ssh-keygen -L -f "$1" | sed -n 's/^ *Valid: .*\(before\|to\) //p')" +%s; }
ssh_means() { ssh-keygen -L -f "$1" | sed '1d; /^ *Serial: /d; /^ *Valid: /d'; }

# tls_serves SRC DST: the certificate in file DST lives for another third of what SRC was given, and is SRC's otherwise.
tls_serves() {
  local lasts
  [ -s "$2" ] || return
  lasts=$(($(tls_end "$1") - $(date +%s)))
  openssl x509 -in "$2" -noout -checkend $((lasts / 3)) >/dev/null &&
    [ "$(tls_means "$1")" = "$(tls_means "$2")" ] &&
    [ "$(sed '1,/END CERT/d' "$1")" = "$(sed '1,/END CERT/d' "$2")" ]    # the root
}

tls_end() { date -d "$(openssl x509 -in "$1" -noout -enddate | cut -d= -f2)" +%s; }
tls_means() { openssl x509 -in "$1" -noout -subject -issuer -ext subjectAltName,extendedKeyUsage,basicConstraints; }

# --- zones

# zone_serial FILE: the serial in a zone file of ours; nothing where there is none.
zone_serial() { sed -nE 's/^@ IN SOA .*\( ([0-9]+) .*/\1/p' "$1" 2>/dev/null || true; }

# newer A B: serial A comes after B in the circle of RFC 1982.
newer() { local ahead=$((($1 - $2) & 0xffffffff)); ((ahead > 0 && ahead < 0x80000000)); }

# next_serial NOW KNOWN...: NOW (epoch seconds), or the successor of a known serial that is not older.
next_serial() {
  local serial=$(($1 & 0xffffffff)) known
  shift
  for known; do
    newer "$serial" "$known" || serial=$(((known + 1) & 0xffffffff))
  done
  echo $((serial ? serial : 1))
}
