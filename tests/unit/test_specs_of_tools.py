"""What the deployer's tools say, read from their own words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cluster.errors import ProbeFailed
from specs.deployer.nights import Harness
from specs.deployer.test_nights import OLDEST_S, missed
from specs.deployer.tools import parts, recap

SAID = """
TASK [It answers] ***
ok: [alpha]
fatal: [gamma]: FAILED! => {"msg": "no python : ok=1"}

PLAY RECAP ***
alpha      : ok=2    changed=0    unreachable=0    failed=0    skipped=0    rescued=0    ignored=0
gamma      : ok=0    changed=0    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0
zeta       : ok=0    changed=0    unreachable=1    failed=0    skipped=0    rescued=0    ignored=0
"""


def test_how_a_play_ended_is_told_by_node() -> None:
    found = recap(SAID.splitlines())
    assert set(found) == {"alpha", "gamma", "zeta"}
    assert found["alpha"]["ok"] == 2 and not found["alpha"]["failed"] and not found["alpha"]["unreachable"]
    assert found["gamma"]["failed"] == 1 and found["zeta"]["unreachable"] == 1
    assert recap(["ERROR! the vault password script returned non-zero"]) == {}


def test_an_answer_that_was_cut_off_is_no_answer() -> None:
    assert parts("said\n@redis\nbind x\n@end\n", "redis")["redis"] == ["bind x"]
    with pytest.raises(ProbeFailed, match="incomplete: no end"):
        parts("@redis\nbind x\n", "redis")


def nights(*found: Mapping[str, object], waited: float = 0.0, running: bool = False) -> Harness:
    """What a deployer says at the moment 1,000,000 whose timer was started so long ago."""
    now = 1e6
    return Harness("", (), "", (), (), now, now - waited, running, found, "", {}, None, ())


def test_a_night_that_never_was_and_one_of_long_ago_are_missed() -> None:
    old = {"began": 1e6 - OLDEST_S - 1, "ended": 1e6 - OLDEST_S}
    new = {"began": 1e6 - 60, "ended": None}
    assert missed(nights(waited=OLDEST_S + 1)) == "no night in 26 hours"
    assert not missed(nights(waited=OLDEST_S))
    assert missed(nights(old)) == "the last night began 26 hours ago"
    assert not missed(nights(old, new))
    assert missed(nights(old, new, running=True)), "one that goes on is not over yet"
