"""Files that no package mirror has: found in the cache by name and hash, downloaded there where that is possible.

What is missing stops nobody: `find` says which file belongs into which folder, and whoever asked leaves out what
depends on it, or says that it could not be verified.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from cluster.errors import ClusterError
from cluster.inventory import Artifact, Inventory
from cluster.wait import Deadline

HOME_VARIABLE = "RPICLUSTER_HOME"
DEFAULT_HOME = Path("/var/lib/rpicluster")
CONNECT_S = 10.0
DOWNLOAD_S = 600.0
CHUNK = 1 << 20

Say = Callable[[str], None]


class ArtifactMissing(ClusterError):
    """An artifact is not at hand; the message says which file to put into which folder."""


@dataclass(frozen=True)
class Found:
    """An artifact at hand: its file, and the hash of what is in it."""

    artifact: Artifact
    path: Path
    sha256: str


def home() -> Path:
    """Where this machine keeps what is made or fetched once, for all checkouts."""
    return Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)


def folder() -> Path:
    """The folder that artifacts lie in."""
    return home() / "artifacts"


def find(inventory: Inventory, name: str) -> Found:
    """The artifact of that name; raises ArtifactMissing when it is not at hand, or is not the right one."""
    artifact = inventory.artifacts[name]
    path = folder() / artifact.file
    try:
        status = path.stat()
        found = _hash(path, status.st_mtime_ns, status.st_size)
    except FileNotFoundError:
        raise ArtifactMissing(
            f"artifact missing: put {artifact.file} ({name} {artifact.version}) into {folder()}"
        ) from None
    except OSError as error:
        raise ArtifactMissing(f"artifact missing: {path} cannot be read: {error.strerror}") from error
    if artifact.sha256 not in (None, found):
        raise ArtifactMissing(
            f"artifact missing: {path} is another file (SHA-256 {found}) than {inventory.path.name} wants "
            f"({artifact.sha256}); put {name} {artifact.version} there"
        )
    return Found(artifact, path, found)


def obtain(inventory: Inventory, name: str, say: Say) -> Found:
    """The artifact of that name, downloaded when it is missing and the inventory says from where.

    Raises ArtifactMissing, as `find` does, when that is not possible either.
    """
    try:
        return find(inventory, name)
    except ArtifactMissing as missing:
        artifact = inventory.artifacts[name]
        if artifact.url is None or artifact.sha256 is None:
            raise
        say(f"downloading {artifact.file}")
        try:
            _download(artifact.url, artifact.sha256, folder() / artifact.file)
        except (OSError, HTTPException, ValueError) as error:
            raise ArtifactMissing(f"{missing}; downloading it failed: {error}") from error
    return find(inventory, name)


@cache
def _hash(path: Path, changed_ns: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, sha256: str, path: Path) -> None:
    """Whole and right, or not at all; raises OSError, HTTPException, or ValueError for another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    end, digest = Deadline.after(DOWNLOAD_S), hashlib.sha256()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with urlopen(url, timeout=CONNECT_S) as answer, os.fdopen(handle, "wb") as part:
            while chunk := answer.read(CHUNK):
                digest.update(chunk)
                part.write(chunk)
                if end.passed:
                    raise TimeoutError(f"not done after {DOWNLOAD_S:g} s")
            os.fchmod(part.fileno(), 0o644)
        if digest.hexdigest() != sha256:
            raise ValueError(f"what came has SHA-256 {digest.hexdigest()}, not {sha256}")
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
