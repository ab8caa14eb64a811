"""What the transport has a node's own shell do: POSIX sh, for Debian's dash and OpenWrt's busybox alike."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

TAG = "RPICLUSTER_RUN"  # environment variable that marks everything one command started

# Kills every process that carries the tag (on stdin) in its environment or, while it is still the shell, in
# its command line, and every process of their sessions (a tag does not survive sudo; the session does).
CUT = r"""
tagged=$(grep -lsF -f - /proc/[0-9]*/environ /proc/[0-9]*/cmdline | cut -d/ -f3 | sort -u)
sessions=' '
for p in $tagged; do
  read -r s < /proc/$p/stat || continue
  set -- ${s##*) }; [ "$4" -gt 1 ] && sessions="$sessions$4 "
done 2>/dev/null
hit=$tagged
for f in /proc/[0-9]*/stat; do
  read -r s < $f || continue
  p=${s%% *}; set -- ${s##*) }
  case $sessions in *" $4 "*) hit="$hit $p";; esac
done 2>/dev/null
[ -z "$hit" ] || { kill -TERM $hit; sleep 0.05; kill -KILL $hit; } 2>/dev/null
exit 0
"""

# Parameters: the file, the temporary file beside it, how long it must be, its mode.
PUT = r"""
[ ! -d "$1" ] || { echo "$1 is a directory" >&2; exit 1; }
umask 077
trap 'rm -f "$2"' EXIT HUP TERM
cat > "$2" && [ "$(wc -c < "$2")" -eq "$3" ] && chmod "$4" "$2" && mv -f "$2" "$1"
"""


def command_line(argv: Sequence[str] | str, sudo: bool, mark: str) -> str:
    """One line for the login shell; `exec` saves a process where the command is a list of words."""
    if isinstance(argv, str):
        body = f"exec sudo -n -- sh -c {shlex.quote(argv)}" if sudo else argv
    else:
        body = "exec " + shlex.join(["sudo", "-n", "--", *argv] if sudo else argv)
    return f"export {TAG}={mark}; {body}"


def not_option(path: str) -> str:
    """The same path, in a form that no command takes for an option."""
    return f"./{path}" if path.startswith("-") else path
