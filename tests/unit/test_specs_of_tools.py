"""What the deployer's tools say, read from their own words."""

from __future__ import annotations

import pytest

from cluster.errors import ProbeFailed
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
