"""Root where the lab needs it, and the caller's own files afterwards.

Namespaces, mounts and nspawn need root.  Called as an ordinary user, a command starts itself again under sudo;
what it then leaves in the checkout is given back to that user when it ends.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from pathlib import Path

from cluster.errors import InputError

#: What the harness may have been told in the environment and still needs under sudo.
KEPT = "RPICLUSTER_HOME,CI,TERM,COLUMNS,NO_COLOR,FORCE_COLOR,PYTEST_ADDOPTS,PYTHONPATH,HYPOTHESIS_PROFILE"
#: Left alone when files are given back: nothing of ours is written there.
_SKIPPED = {".git", ".venv"}


def elevate(root: Path, why: str) -> None:
    """Be root: return if we are, else start this very command again under sudo, saying why.

    `root` is the checkout whose files are given back to the calling user at exit.
    """
    if os.geteuid() == 0:
        if os.environ.get("SUDO_UID", "0") != "0":
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # for what this starts
            atexit.register(give_back, root, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
        return
    if os.environ.get("RPICLUSTER_QUIET_SUDO") is None and sys.stderr.isatty():
        print(f"rpicluster: asking sudo for root, {why}", file=sys.stderr, flush=True)
    with suppress(FileNotFoundError):
        os.execvp("sudo", ["sudo", f"--preserve-env={KEPT}", "--", *_again()])
    raise InputError(f"rpicluster needs root {why}: install sudo, or run this as root")


def _again() -> list[str]:
    """The command line of this process, its interpreter named by the path that has our libraries.

    -B: no bytecode of root's in the checkout or in .venv.
    """
    return [sys.executable, "-B", *sys.orig_argv[1:]]


def give_back(root: Path, uid: int, gid: int) -> None:
    """Give every file of root's in the checkout to the user who called."""
    for top, folders, files in os.walk(root):
        folders[:] = [folder for folder in folders if folder not in _SKIPPED]
        for name in (*folders, *files):
            path = Path(top, name)
            with suppress(FileNotFoundError):
                if path.lstat().st_uid == 0:
                    os.chown(path, uid, gid, follow_symlinks=False)
