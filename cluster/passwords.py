"""The deployer's password store: where it runs the harness itself, pass(1) is what the cluster's secrets are read from.

Provisioning fills the store (provision/deployer/35-pass.sh): one entry for each file of `.state/secrets`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster import here
from cluster.errors import InputError
from cluster.inventory import Inventory

ENTRIES = "cluster"  # the store's folder for them
SHOW_S = 20.0  # gpg's agent is started for the first one; a loaded Pi 2 takes seconds


def entries(inventory: Inventory) -> Mapping[str, Path]:
    """The encrypted files of the cluster's secrets, by the secret's name; none anywhere but on the deployer itself."""
    if here.node(inventory) not in here.deployers(inventory):
        return {}
    store = Path(os.environ.get("PASSWORD_STORE_DIR") or "~/.password-store").expanduser()
    try:
        ours = (store / ".gpg-id").read_text(encoding="utf-8").split() == [inventory.cluster.name]
    except (OSError, UnicodeDecodeError):
        return {}
    return {path.stem: path for path in sorted((store / ENTRIES).glob("*.gpg"))} if ours else {}


def show(name: str) -> bytes:
    """What an entry holds, to the byte; raises InputError where the store does not give it."""
    words = ["pass", "show", f"{ENTRIES}/{name}"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=SHOW_S, check=False)
    except FileNotFoundError:
        raise InputError("the password store is here, but pass(1) is not; apt-get install pass") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"`pass show {ENTRIES}/{name}` did not end within {SHOW_S:g} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise InputError(
            f"`pass show {ENTRIES}/{name}` failed: {said[0]}; provision this node from the operator's computer"
        )
    return done.stdout
