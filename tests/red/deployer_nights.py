"""The harness on psi, its nights and its lights out of order: specs/deployer/test_{harness,nights,sense_hat}.py."""

from __future__ import annotations

import json

from cluster import sensehat, tree
from tests.breaking import Break, Round

LIGHTS = "deployer/test_sense_hat.py::test_"
HARNESS, NIGHTS = "deployer/test_harness.py::test_", "deployer/test_nights.py::test_"
RECORD = f"{tree.HOME}/reports/nights/records/20991231-235959.json"
REPORTS = "/opt/chroot_bb/www/reports"
BUFFER = str(sensehat.EMULATED)
CUT_OFF = json.dumps({"began": 1767238200.0, "ended": None, "exit": None, "run": "", "tone": "unsure", "text": ""})

ROUNDS = (
    Round(
        "deployer: a harness that is another, and nights that are not told",
        ("specs/deployer/test_harness.py", "specs/deployer/test_nights.py", "specs/deployer/test_sense_hat.py"),
        (
            Break(
                "an older harness", "psi", files=(f"{tree.HOME}/.manifest",),
                do=f"sed -i 1d {tree.HOME}/.manifest",
                red={f"{HARNESS}it_is_the_one_that_is_here[psi]": "the harness there is another: 1 files differ, "},
            ),
            Break(
                "a task that somebody added", "psi", files=(f"{tree.HOME}/tasks.py",),
                do=f"printf '\\n\\n@task\\ndef red(_):\\n    pass\\n' >>{tree.HOME}/tasks.py",
                red={
                    f"{HARNESS}it_is_as_it_was_put_there[psi]": "psi: changed since it was put there: tasks.py",
                    f"{HARNESS}invoke_lists_the_tasks_of_run[psi]": "psi: invoke lists ",
                },
            ),
            Break(
                "Python packages of another lock", "psi", files=(f"{tree.HOME}/.venv/made-from",),
                do=f"echo '# red' >>{tree.HOME}/.venv/made-from",
                red={f"{HARNESS}its_python_packages_are_those_of_the_lock[psi]": "the Python packages of another lock"},
            ),
            Break(
                "a night of long ago that was cut off, and no other to come", "psi", files=(RECORD,),
                do=f"systemctl stop rpi-nightly.timer; echo '{CUT_OFF}' >{RECORD}",
                undo="systemctl start rpi-nightly.timer",
                red={
                    f"{NIGHTS}the_next_night_is_due[psi]": "psi: rpi-nightly.timer is inactive and enabled",
                    f"{NIGHTS}last_night_was_written_down[psi]": "psi: the last night began ",
                    f"{NIGHTS}last_night_came_to_its_end[psi]": "psi: the last night was cut off",
                },
            ),
            Break(
                "a light that nobody lit", "psi", files=(BUFFER,),
                do=f"printf '\\377\\377' | dd of={BUFFER} conv=notrunc status=none",
                red={f"{LIGHTS}it_shows_what_came_of_last_night[psi]": "psi: the Sense HAT shows "},
            ),
            Break(
                "another index", "beta", files=(f"{REPORTS}/index.html",),
                do=f"echo red >>{REPORTS}/index.html",
                red={f"{NIGHTS}the_index_is_the_deployers[beta]": "/reports/index.html is not what psi tells"},
            ),
            Break(
                "a night that is long overdue", "alpha", files=(f"{REPORTS}/due",),
                do=f"sed -i 's/^due .*/due 1767238200/' {REPORTS}/due",
                red={
                    f"{NIGHTS}it_says_whether_a_night_is_overdue[alpha]": "alpha: /cgi-bin/nights says overdue, and",
                    f"{NIGHTS}it_says_whether_a_night_is_overdue[floating]": "/cgi-bin/nights says overdue, and",
                },
            ),
        ),
    ),
    Round(
        "deployer: a harness that does not run",
        ("specs/deployer/test_harness.py",),
        (
            Break(
                "no library", "psi",
                do=f"mv {tree.HOME}/cluster/inventory.py {tree.HOME}/cluster/inventory.red",
                undo=f"mv {tree.HOME}/cluster/inventory.red {tree.HOME}/cluster/inventory.py",
                red={f"{HARNESS}specs_run_there[psi]": "psi: specs run there end with "},
            ),
        ),
        slow=True,
        k="specs_run_there",
    ),
)  # fmt: skip
