#!/bin/sh
# Tries the project as a stranger would: a fresh Debian, booted with systemd in a container, to which only git
# and ca-certificates were added; the last commit is cloned into it and `./run specs`, `./run tests` must pass.
#
#   tests/fresh/fresh.sh [--user] [--suite NAME] [--no-systemd] [--keep] [COMMAND...]
#
#   --user        as an ordinary user who has sudo (default: as root)
#   --suite NAME  another release from the same mirror, such as trixie (default: the host's own)
#   --no-systemd  with something else as its first process
#   --keep        leave the container's tree behind for a look
#   COMMAND...    instead of './run specs' './run tests'; each is one shell command line
#
# For maintainers, as root.  The container shares the host's network and gets its apt sources, CA certificates
# and pip configuration from the host.  Nothing is left: no process, cgroup or (without --keep) file.
set -eu

say() { printf 'fresh: %s\n' "$*"; }
die() {
    say "$*" >&2
    exit 2
}

user=root keep='' systemd=yes suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME-}")
host_suite=$suite
while [ $# -gt 0 ]; do
    case $1 in
    --user) user=someone ;;
    --suite) suite=${2:?--suite needs the name of a release} && shift ;;
    --no-systemd) systemd='' ;;
    --keep) keep=yes ;;
    -*) die "unknown option $1; the first lines of $0 tell which there are" ;;
    *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- './run specs' './run tests'
[ "$(id -u)" -eq 0 ] || die "only root can boot a container"
for tool in mmdebstrap systemd-nspawn git unshare; do
    command -v "$tool" >/dev/null || die "$tool is missing; ./run installs it"
done

checkout=$(cd -- "$(dirname -- "$0")/../.." && pwd -P)
work=$(mktemp -d /var/tmp/rpicluster-fresh.XXXXXX)
chmod 0755 "$work" # apt downloads as a user of its own
root=$work/root machine=$(basename "$work" | tr . -)

# cgroup_places PID: the cgroup of a process in each hierarchy, as a folder.
cgroup_places() {
    awk '$3 == "cgroup" || $3 == "cgroup2" { print $2, $3, $4 }' /proc/mounts >"$work/mounts"
    own=$(cat "/proc/$1/cgroup") # read once: what it says changes as we move
    printf '%s\n' "$own" | while IFS=: read -r _ controllers path; do
        awk -v want="${controllers:-unified}" '
            want == "unified" && $2 == "cgroup2" { print $1; exit }
            $2 == "cgroup" && index("," $3 ",", "," want ",") { print $1; exit }' "$work/mounts" |
            sed "s:\$:${path%/}:"
    done
}

cleanup() {
    code=$?
    trap - EXIT
    if [ -n "${nspawn-}" ]; then
        leader=$(leader_of "$nspawn")
        kill -KILL ${leader:+"$leader"} "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    if [ -e "$work/cgroups" ]; then
        while IFS= read -r cgroup; do
            n=0
            while [ -d "$cgroup" ] && [ "$n" -lt 50 ]; do # the kernel takes a moment to reap the last process
                find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
                n=$((n + 1))
            done
        done <"$work/cgroups"
    fi
    if [ -n "$keep" ]; then
        say "kept: $work"
    else
        rm -rf --one-file-system "$work"
    fi
    exit "$code"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

leader_of() { # the container's PID 1, as the host numbers it
    read -r first _ 2>/dev/null <"/proc/$1/task/$1/children" || true
    printf '%s' "${first-}"
}

# The distribution's own repositories as the host reaches them, for the wanted release.
sources() {
    # shellcheck disable=SC2016  # the fields are apt's
    apt-get indextargets --format '$(ORIGIN)|$(SIGNED_BY)|$(SITE)|$(RELEASE)|$(COMPONENT)' 'Created-By: Packages' |
        sed -nE "s/^(Debian|Ubuntu|Raspbian|[$][(]ORIGIN[)])[|]([^|]*)[|]([^|]*)[|]$host_suite([^|]*)[|]([^|]*)\$/deb [signed-by=\2] \3 $suite\4 \5/p" |
        sed 's: \[signed-by=[^/]*\]::' | sort -u
}

build() {
    say "making a minimal $suite in $root"
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Check-)[^ ]* "[^"]' >"$work/apt.conf" || true
    packages="systemd-sysv,git,ca-certificates"
    [ "$user" = root ] || packages=$packages,sudo
    sources | mmdebstrap --mode=root --variant=minbase --include="$packages" --aptopt="$work/apt.conf" \
        "$suite" "$root" - >"$work/mmdebstrap.log" 2>&1 || {
        tail -n 20 "$work/mmdebstrap.log" >&2
        die "mmdebstrap failed"
    }
    echo fresh >"$root/etc/hostname"
    printf '127.0.0.1\tlocalhost fresh\n' >"$root/etc/hosts"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    if [ -d /usr/local/share/ca-certificates ]; then
        cp -r /usr/local/share/ca-certificates "$root/usr/local/share/"
        chroot "$root" update-ca-certificates >/dev/null 2>&1
    fi
    for file in /etc/pip.conf /etc/xdg/pip; do
        if [ -e "$file" ]; then
            mkdir -p "$root$(dirname "$file")"
            cp -r "$file" "$root$file"
        fi
    done
    home=/root
    if [ "$user" != root ]; then
        home=/home/$user
        chroot "$root" useradd --create-home --shell /bin/bash "$user"
        echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
    fi
    git clone --quiet --no-hardlinks "$checkout" "$root$home/rpicluster"
    chroot "$root" chown -R "$user:" "$home/rpicluster"
}

boot() {
    say "booting it"
    if [ ! -d /run/systemd/system ]; then
        cgroup_places self | sed "s:\$:/$machine:" >"$work/cgroups"
    fi
    (
        set -- --property=Delegate=yes --property=DevicePolicy=auto
        if [ -e "$work/cgroups" ]; then
            set -- --keep-unit
            while IFS= read -r cgroup; do
                mkdir -p "$cgroup"
                if [ -e "$cgroup/cpuset.cpus" ] && [ -z "$(cat "$cgroup/cpuset.cpus")" ]; then
                    cat "$cgroup/../cpuset.cpus" >"$cgroup/cpuset.cpus"
                    cat "$cgroup/../cpuset.mems" >"$cgroup/cpuset.mems"
                fi
                join "$cgroup"
            done <"$work/cgroups"
        fi
        # The whole of /proc/sys and /sys, as a machine of its own has; cgroup v2, as every new system has.
        export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_LOCK=0
        set -- --quiet --register=no "$@" --machine="$machine" --directory="$root" --console=pipe \
            --capability=all --resolv-conf=off --timezone=off --link-journal=no --system-call-filter='@keyring'
        if [ -n "$systemd" ]; then set -- "$@" --boot; else set -- "$@" --as-pid2 sleep infinity; fi
        exec systemd-nspawn "$@" </dev/null >"$work/console.log" 2>&1
    ) &
    nspawn=$!
    n=0
    until if [ -n "$systemd" ]; then
        inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'
    else
        inside true 2>/dev/null
    fi; do
        n=$((n + 1))
        if [ $n -gt 300 ] || ! kill -0 "$nspawn" 2>/dev/null; then
            tail -n 20 "$work/console.log" >&2
            die "the container does not boot"
        fi
        sleep 0.1
    done
}

# join FOLDER: moves the calling (sub)shell into a cgroup.
join() { sh -c 'echo $PPID' >"$1/cgroup.procs"; }

inside() {
    leader=$(leader_of "$nspawn")
    [ -n "$leader" ] || return 1
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup --root --wd=/ -- env -i \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM-dumb}" "$@"
}

build
boot
result=0
for command; do
    say "$user@$suite \$ $command"
    before=$(date +%s)
    code=0
    (
        # Where a login of the container's would be: below its root in every hierarchy, beside its PID 1.
        for place in $(cgroup_places "$(leader_of "$nspawn")"); do
            case $place in
            */init.scope)
                place=${place%/init.scope}/trial
                mkdir -p "$place"
                ;;
            esac
            join "$place"
        done
        inside su --login "$user" --command "cd rpicluster && $command" </dev/null
    ) || code=$?
    say "$user@$suite \$ $command: exit $code after $(($(date +%s) - before)) s"
    [ $code -eq 0 ] || result=1
done
exit $result
