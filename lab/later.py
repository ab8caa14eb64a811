"""Switches a node on: what the timer of a virtual plug ends with (`VirtualNode.off_for`)."""

from __future__ import annotations

import sys
from pathlib import Path

from cluster.inventory import load
from lab.power import Driver

if __name__ == "__main__":
    Driver(load(Path(sys.argv[1]))).on(sys.argv[2])
