"""VRRP arithmetic on recorded advertisements: when the survivor came, against when it should have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.judge import BROKEN, GRACE_S, HELD, INCONCLUSIVE, Verdict
from chaos.outages import Window
from cluster.record import Event


@dataclass(frozen=True)
class Takeover:
    """The VRRP arithmetic of one crash: seconds after the last advertisement of the lost owner."""

    predicted_s: float
    measured_s: float | None

    @property
    def verdict(self) -> Verdict:
        """Held when the survivor came when its configuration says, give or take `GRACE_S`."""
        if self.measured_s is None:
            return INCONCLUSIVE
        return HELD if abs(self.measured_s - self.predicted_s) <= GRACE_S else BROKEN


def takeover(
    events: Sequence[Event], lost: str, survivor: str, vrid: int, predicted_s: float, window: Window
) -> Takeover:
    """Compare the survivor's first advertisement with the prediction; `lost`, `survivor` are addresses."""
    ads = [e for e in events if e["kind"] == "frame" and e["proto"] == "vrrp" and e["vrid"] == vrid]
    last = max((e["t"] for e in ads if e["src"] == lost and e["t"] <= window.began), default=None)
    late = [e["t"] for e in ads if e["src"] == lost and window.began < e["t"]]
    first = min((e["t"] for e in ads if e["src"] == survivor and e["t"] > window.began), default=None)
    # The fault takes a moment: an advertisement may still slip out while it does.
    if first is not None and (slipped := [t for t in late if t < first]):
        last = max(slipped)
    measured = None if first is None or last is None else first - last
    return Takeover(predicted_s, measured)
