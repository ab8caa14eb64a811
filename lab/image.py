"""The vanilla image and the local package mirror, each built once and cached by the hash of what makes it.

The package mirror comes from the host's own apt configuration (`apt-get indextargets`), so no mirror's name is
written here.  Both are built under a name of their own and renamed when whole: a killed build leaves nothing
that could be taken for an image.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError, InputError
from cluster.inventory import Inventory
from lab.site import Site, digest, prune

HERE = Path(__file__).parent
#: What a freshly flashed Raspberry Pi OS Lite has and the cluster's provisioning may count on.
PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "python3", "iproute2", "iputils-ping",
    "procps", "netbase", "ca-certificates", "less", "nano", "init", "cron", "logrotate", "nftables", "build-essential",
    "avahi-daemon",
)  # fmt: skip
KEEP = 2
Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """One repository of the host's apt configuration that the distribution itself publishes."""

    uri: str
    suite: str
    component: str
    signed_by: str

    @property
    def line(self) -> str:
        option = f"[signed-by={self.signed_by}] " if self.signed_by.startswith("/") else ""
        return f"deb {option}{self.uri} {self.suite} {self.component}"


def host_release() -> tuple[str, str]:
    """The host's distribution id and code name, as os-release(5) gives them."""
    release = platform.freedesktop_os_release()
    try:
        return release["ID"], release["VERSION_CODENAME"]
    except KeyError:
        raise InputError(
            "lab: /etc/os-release names no VERSION_CODENAME; the lab needs Debian, Ubuntu or Raspberry Pi OS"
        ) from None


def parse_targets(text: str, codename: str) -> list[Source]:
    """The sources of `apt-get indextargets --format` output that belong to the release `codename`.

    Other people's repositories on the host stay out: a vanilla node has none of them.
    """
    sources: dict[Source, None] = {}
    for line in text.splitlines():
        site, suite, component, origin, signed_by = line.split("|")
        if suite.split("-")[0].split("/")[0] == codename and origin in ("Debian", "Ubuntu", "Raspbian", "$(ORIGIN)"):
            sources[Source(site, suite, component, signed_by)] = None
    return list(sources)


def host_sources() -> list[Source]:
    """The distribution's own repositories, as the host's apt is configured to reach them."""
    _, codename = host_release()
    fields = "|".join(f"$({field})" for field in ("SITE", "RELEASE", "COMPONENT", "ORIGIN", "SIGNED_BY"))
    text = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    sources = parse_targets(text, codename)
    if not sources:
        raise InputError(
            f"lab: the host's apt configuration has no repository for {codename}; "
            f"add one under /etc/apt/sources.list.d and run `apt-get update`"
        )
    return sources


def host_apt_options() -> list[str]:
    """How the host's apt reaches its mirrors (proxy, certificates), for mmdebstrap's own apt."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True, timeout=60).stdout
    wanted = re.compile(r"^Acquire::(https?|ftp)::|^Acquire::Check-", re.IGNORECASE)
    return [f"--aptopt={line}" for line in dump.splitlines() if wanted.match(line) and '""' not in line]


def image(site: Site, inventory: Inventory, say: Say) -> Path:
    """The vanilla image's tree, built when it is not in the cache; about half a minute.

    Its user, password and interface are the inventory's, as who flashes a card writes them there.
    """
    users = inventory.users
    hook, card = shlex.quote(str(HERE / "image.sh")), [users.login, users.first_password, inventory.network.interface]
    sources = "".join(f"{source.line}\n" for source in host_sources())
    distribution, codename = host_release()
    key = digest([sources, distribution, " ".join(PACKAGES), HERE / "image.sh", *card])
    with built(site.images, key) as (done, part):
        if part is None:
            return done
        say(f"building the vanilla image ({distribution} {codename}); once, about half a minute")
        run_step(
            "the vanilla image",
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "mmdebstrap", "--mode=root",
             "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES)}", *host_apt_options(),
             f"--customize-hook={hook} \"$1\" {shlex.join(card)}", codename, str(part / "root"), "-"],
            site.home / "image.log", input=sources,
        )  # fmt: skip
    return done


def package_lists(provision: Path) -> dict[str, list[str]]:
    """What each group's provisioner may install: its `packages.txt`, `packages-*.txt`, comments left out."""
    lists: dict[str, list[str]] = {}
    for file in sorted(provision.glob("*/packages*.txt")):
        lines = (line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
        lists.setdefault(file.parent.name, []).extend(line for line in lines if line)
    return lists


def mirror(site: Site, vanilla: Path, provision: Path, say: Say) -> Path:
    """A local apt repository with every package that provisioning will ask for, dependencies included.

    Each group is resolved with base against the image's own package state, as a node will resolve it.
    """
    lists, locks = package_lists(provision), sorted(provision.glob("*/wheels*.txt"))
    key = digest([vanilla.name, *(" ".join([group, *names]) for group, names in lists.items()), *locks])
    with built(site.mirrors, key) as (done, part):
        if part is None:
            return done
        say("collecting the packages that provisioning asks for; once")
        with tempfile.TemporaryDirectory(dir=site.mirrors, prefix=".apt-") as scratch:
            apt = _private_apt(Path(scratch), vanilla / "root")
            log = site.home / "mirror.log"
            run_step("the package mirror", [*apt, "update"], log)
            for group, names in lists.items():
                wanted = sorted({*lists.get("base", []), *names})
                run_step(
                    f"the packages of provision/{group}",
                    [*apt, "install", "--download-only", "--yes", "--no-install-recommends", *wanted], log,
                )  # fmt: skip
            for package in (Path(scratch) / "cache/archives").glob("*.deb"):
                package.rename(part / package.name)
        index = subprocess.run(
            ["apt-ftparchive", "packages", "."], cwd=part, check=True, capture_output=True, timeout=300
        ).stdout
        (part / "Packages").write_bytes(index)
        for lock in locks:
            run_step(f"the Python packages of {lock}", wheels(vanilla / "root", lock, part / "wheels"), log)
    return done


def wheels(root: Path, lock: Path, folder: Path) -> list[str]:
    """What collects the Python packages that a lock names, each for the Python of the image and not for the host's."""
    version = next(iter(sorted((root / "usr/lib").glob("python3.*")))).name.removeprefix("python")
    machine = platform.machine()
    # Those of glibc up to Debian 12's 2.36: PEP 600.
    platforms = [f"manylinux2014_{machine}", *(f"manylinux_2_{minor}_{machine}" for minor in (17, 24, 27, 28, 31, 34))]
    return [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--require-hashes", "--implementation=cp", f"--python-version={version}",
        *(f"--platform={name}" for name in platforms), f"--dest={folder}", f"--requirement={lock}",
    ]  # fmt: skip


def _private_apt(scratch: Path, root: Path) -> list[str]:
    """The host's apt-get, looking at the image's package state and at folders of its own."""
    for folder in ("lists/partial", "cache/archives/partial", "parts"):
        (scratch / folder).mkdir(parents=True)
    sources = "".join(f"{source.line}\n" for source in host_sources())
    (scratch / "sources.list").write_text(sources, encoding="utf-8")
    options = {
        "Dir::Etc::SourceList": scratch / "sources.list",
        "Dir::Etc::SourceParts": scratch / "parts",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": scratch / "parts",
        "Dir::State::Lists": scratch / "lists",
        "Dir::State::Status": root / "var/lib/dpkg/status",
        "Dir::State::extended_states": root / "var/lib/apt/extended_states",
        "Dir::Cache": scratch / "cache",
        "Dir::Cache::Archives": "archives",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "root",
        "APT::Update::Post-Invoke-Success::": "",
    }
    return ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]


@contextmanager
def built(cache: Path, key: str) -> Iterator[tuple[Path, Path | None]]:
    """(final path, None) when the cache has it; else (final path, folder to fill), renamed on success."""
    cache.mkdir(parents=True, exist_ok=True)
    done = cache / key
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.is_dir():
            os.utime(done)
            yield done, None
            return
        part = cache / f".{key}.part"
        shutil.rmtree(part, ignore_errors=True)
        for stale in cache.glob(".apt-*"):
            shutil.rmtree(stale)
        part.mkdir()
        part.chmod(0o755)
        yield done, part
        part.rename(done)
        prune(cache, KEEP, cache.parent / "labs")


def run_step(what: str, argv: list[str], log: Path, input: str = "") -> None:
    """Run one long step with its output in `log`; a failure quotes the log's last lines."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    with log.open("w", encoding="utf-8") as out:
        try:
            done = subprocess.run(
                argv, input=input, text=True, stdout=out, stderr=subprocess.STDOUT, env=environment, timeout=900
            )
        except FileNotFoundError:
            raise InputError(f"lab: {argv[0]} is not installed; `./run` installs what the lab needs") from None
        except subprocess.TimeoutExpired:
            raise ClusterError(f"lab: {what}: not done after 15 minutes; see {log}") from None
    if done.returncode:
        tail = " | ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-4:])
        raise ClusterError(f"lab: {what} failed (exit {done.returncode}): {tail}; see {log}")
