"""Which container images a tarball holds: an archive of Docker's, or of the Open Container Initiative's layout."""

from __future__ import annotations

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import IO, Any

from cluster.errors import InputError

#: Annotations of an image in `index.json`: OCI image specification, and containerd's own.
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@cache
def names(path: Path) -> frozenset[str]:
    """The names of the images in a tarball, which may be compressed with gzip, bzip2 or xz; raises InputError."""
    found: set[str] = set()
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.removeprefix("./") in ("manifest.json", "index.json") and (
                    file := tar.extractfile(member)
                ):
                    found |= _named(file)
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no tarball of images that can be read ({error}); use a .tar or .tar.gz") from error
    if not found:
        raise InputError(f"{path}: a tarball without images; use one that `docker save` or a release of K3s made")
    return frozenset(found)


def _named(file: IO[bytes]) -> set[str]:
    data: Any = json.load(file)
    if isinstance(data, list):
        return {str(tag) for image in data for tag in image["RepoTags"] or ()}
    notes = [image.get("annotations") or {} for image in data["manifests"]]
    return {str(note[key]) for note in notes for key in NAMES if key in note}
