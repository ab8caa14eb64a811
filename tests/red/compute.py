"""Compute nodes that do not play their part: specs/compute/test_mpi.py, test_distcc.py, test_losing_a_node.py."""

from __future__ import annotations

from tests.breaking import Break, Round

MPI, DISTCC, LOSING = (f"compute/test_{name}.py::test_" for name in ("mpi", "distcc", "losing_a_node"))
HOME = "/home/mpiuser"
# Every program that is asked for in /usr/local/bin first.
OTHER_GCC = r"""cat > /usr/local/bin/gcc <<'END'
#!/bin/sh
case "$*" in *-dump*) echo 11.0.0;; *) exec /usr/bin/gcc "$@";; esac
END
chmod 755 /usr/local/bin/gcc"""
LIBRARY = "/usr/lib/*/libmpich.so.12"

ROUNDS = (
    Round(
        "compute: nodes that do not fit",
        ("specs/compute/test_mpi.py", "specs/compute/test_distcc.py"),
        (
            Break(
                "the user of jobs may not log in", "gamma", files=("/etc/group", "/etc/gshadow"),
                do="gpasswd -d mpiuser sshusers >/dev/null",
                red={
                    f"{MPI}the_user_of_jobs_may_log_in[gamma]": "gamma: mpiuser is not in group sshusers",
                    f"{MPI}the_next_node_is_reached_without_a_question[zeta]": "zeta does not get to gamma by SSH",
                },
            ),
            Break(
                "a key that others read", "delta",
                do=f"chmod 644 {HOME}/.ssh/id_ed25519", undo=f"chmod 600 {HOME}/.ssh/id_ed25519",
                red={
                    f"{MPI}nobody_else_reads_the_key_of_jobs[delta]": f"{HOME}/.ssh/id_ed25519 644 mpiuser",
                    f"{MPI}the_next_node_is_reached_without_a_question[delta]": "delta does not get to epsilon by SSH",
                },
            ),
            Break(
                "a host file of other times", "delta", files=("/opt/hpc/mpi-hosts",),
                do="echo eta:8 >>/opt/hpc/mpi-hosts",
                red={f"{MPI}the_host_file_is_the_inventorys[delta]": "delta places processes on"},
            ),
            Break(
                "a node that the authority is not believed about", "epsilon", files=(f"{HOME}/.ssh/known_hosts",),
                do=f"sed -i s/,gamma,/,/ {HOME}/.ssh/known_hosts",
                red={f"{MPI}it_believes_the_authority_about_the_others[epsilon]":
                     "epsilon: mpiuser believes it about others than gamma"},
            ),
            Break(
                "a certificate that somebody else signed", "zeta", files=(f"{HOME}/.ssh/id_ed25519-cert.pub",),
                do="ssh-keygen -q -t ed25519 -N '' -f /run/foreign-ca; "
                f"ssh-keygen -y -f {HOME}/.ssh/id_ed25519 > /run/foreign.pub; "
                "ssh-keygen -q -s /run/foreign-ca -I red -n mpiuser -V +1h /run/foreign.pub; "
                f"cat /run/foreign-cert.pub > {HOME}/.ssh/id_ed25519-cert.pub",
                undo="rm /run/foreign*",
                red={
                    f"{MPI}the_certificate_of_jobs_holds[zeta]": "does not hold: it is signed by SHA256:",
                    f"{MPI}the_next_node_is_reached_without_a_question[zeta]": "zeta does not get to gamma by SSH",
                },
            ),
            Break(
                "another MPICH", "zeta", files=("/usr/local/bin/mpichversion",),
                do="printf '#!/bin/sh\\necho \"MPICH Version: 3.3\"\\n' >/usr/local/bin/mpichversion; "
                "chmod 755 /usr/local/bin/mpichversion",
                red={f"{MPI}the_version_is_that_of_the_others[zeta]": "zeta has MPICH 3.3, others have"},
            ),
            Break(
                "a job that ran elsewhere, came to nothing and told no pair", "gamma", files=("/opt/hpc/bin/mpi-run",),
                do="""mv /opt/hpc/bin/mpi-run /run/red-mpi-run
                cat >/opt/hpc/bin/mpi-run <<'END'
#!/bin/sh
sh /run/red-mpi-run "$@" | sed 's/"ring": [0-9]*/"ring": 1/; s/"hosts": ."gamma"/"hosts": ["delta"/
s/"latency_us": [0-9.]*/"latency_us": 0/; s/"from": "gamma", "to": "epsilon"/"from": "gamma", "to": "nobody"/'
END
                chmod 755 /opt/hpc/bin/mpi-run""",
                undo="rm /run/red-mpi-run",
                red={
                    f"{MPI}its_processes_run_where_they_were_placed[gamma]": "processes 0 to 7 belong on gamma",
                    f"{MPI}its_processes_run_where_they_were_placed[delta]": "1 processes too many on delta",
                    f"{MPI}its_results_are_right": "the number that went around 32 processes is 1",
                    f"{MPI}a_pair_is_about_as_fast_as_before[*]": "nothing was exchanged in the time measured",
                    f"{MPI}all_pairs_are_measured": "not measured: [['epsilon', 'gamma']]",
                },
            ),
            Break(
                "a volunteer that does not serve", "delta",
                do="systemctl stop distcc", undo="systemctl start distcc",
                red={
                    f"{DISTCC}alone_it_compiles_what_then_runs[delta-gamma]": "delta did not compile for gamma",
                    f"{DISTCC}a_stranger_is_refused[delta]": "delta: whether a stranger is refused was not tried",
                    f"{DISTCC}it_is_polite_and_has_no_rights[delta]": "delta: no distccd runs",
                },
            ),
            Break(
                "a volunteer for everybody, in nobody's interest", "epsilon",
                do="mkdir -p /run/systemd/system/distcc.service.d; printf '[Service]\\nUser=root\\nExecStart=\\n"
                "ExecStart=/usr/bin/distccd --no-detach --daemon --port=3632 --allow=0.0.0.0/0 --jobs=9 --nice=0\\n' "
                ">/run/systemd/system/distcc.service.d/red.conf; systemctl daemon-reload; systemctl restart distcc",
                undo="rm -r /run/systemd/system/distcc.service.d; systemctl daemon-reload; systemctl restart distcc",
                red={
                    f"{DISTCC}a_stranger_is_refused[epsilon]": "epsilon compiles for 127.0.0.1",
                    f"{DISTCC}it_is_polite_and_has_no_rights[epsilon]": "distccd runs as distccd at niceness 0",
                },
            ),
            Break(
                "a volunteer for everybody, where no stranger of its own gets to it", "zeta",
                do="mkdir -p /run/systemd/system/distcc.service.d; { printf '[Service]\\nExecStart=\\n'; "
                "systemctl cat distcc | "
                "sed -n '/^ExecStart=/s|--allow=[^ ]*|--listen=192.168.10.24 --allow=0.0.0.0/0|p'; } "
                ">/run/systemd/system/distcc.service.d/red.conf; systemctl daemon-reload; systemctl restart distcc",
                undo="rm -r /run/systemd/system/distcc.service.d; systemctl daemon-reload; systemctl restart distcc",
                red={f"{DISTCC}a_stranger_is_refused[zeta]": "connect to 127.0.0.1:3632 failed: Connection refused"},
            ),
            Break(
                "a compiler of the herd that asks nobody", "gamma", files=("/opt/hpc/bin/herd-cc",),
                do="printf '#!/bin/sh\\nexec gcc \"$@\"\\n' >/opt/hpc/bin/herd-cc",
                red={f"{DISTCC}the_herd_builds_what_one_node_builds":
                     "the herd compiled 0 of 49 files; nothing: gamma, delta, epsilon, zeta"},
            ),
            Break(
                "another compiler", "zeta", files=("/usr/local/bin/gcc",), do=OTHER_GCC,
                red={f"{DISTCC}its_compiler_is_that_of_the_others[zeta]": "zeta has the compiler 11.0.0"},
            ),
            Break(
                "half a herd", "gamma", files=("/etc/distcc/hosts",), do="sed -i /192.168.10.22/d /etc/distcc/hosts",
                red={f"{DISTCC}it_knows_the_whole_herd[gamma]": "gamma has the herd ["},
            ),
        ),
        slow=True,
    ),
    Round(
        "compute: a library is missing",
        ("specs/compute/test_mpi.py", "specs/compute/test_distcc.py"),
        (
            Break(
                "a compiler of the herd that fails", "gamma", files=("/opt/hpc/bin/herd-cc",),
                do="printf '#!/bin/sh\\nexit 1\\n' >/opt/hpc/bin/herd-cc",
                red={f"{DISTCC}the_herd_builds_what_one_node_builds": "the herd did not build"},
            ),
            Break(
                "a user of jobs without a shell", "delta", files=("/etc/passwd",),
                do="usermod -s /usr/sbin/nologin mpiuser",
                red={f"{MPI}the_user_of_jobs_may_log_in[delta]":
                     "delta: mpiuser has /home/mpiuser:/usr/sbin/nologin as home and shell"},
            ),
            Break(
                "a library is missing", "epsilon",
                do=f"for f in {LIBRARY}; do mv $f $f.red; done",
                undo="for f in /usr/lib/*/libmpich.so.12.red; do mv $f ${f%.red}; done",
                red={f"{MPI}no_library_is_missing[epsilon]": "lacks libmpich.so.12 => not found"},
            ),
        ),
        slow=True,
        k="library or herd_builds or may_log_in",  # without the library a job would wait for its whole time
        again="library or may_log_in",
    ),
    Round(
        "compute: a node is lost, and nobody does what must be done",
        ("specs/compute/test_losing_a_node.py", "specs/compute/test_distcc.py"),
        (
            Break(
                "a job that is told late, and not begun without the node", "gamma",
                files=("/opt/hpc/bin/mpi-run", "/opt/hpc/bin/mpi-ssh"),
                do="""sed -i 's/^if \\[ "$code" = 255 ..*/&\\n  sleep 16/' /opt/hpc/bin/mpi-ssh
                sed -i '2i case "$*" in *--without*) echo no >\\&2; exit 3;; esac' /opt/hpc/bin/mpi-run""",
                red={
                    f"{LOSING}the_job_is_aborted_in_time[*]": "not 15 s",
                    f"{LOSING}a_new_job_says_in_time_whom_it_misses": "s, not 15 s",
                    f"{LOSING}the_next_job_succeeds_on_those_that_are_left[lost]":
                        "without zeta: gamma: the job ended with",
                    f"{LOSING}the_next_job_succeeds_on_those_that_are_left[frozen]": "without zeta: gamma: the job",
                    f"{LOSING}the_next_job_succeeds_on_those_that_are_left[stopped]": "without zeta: gamma: the job",
                },
            ),
            Break(
                "a process that stays", "delta",
                do="cp /bin/sleep /run/mpi-check; systemd-run -q --unit=red-orphan --uid=mpiuser /run/mpi-check 600",
                undo="systemctl stop red-orphan; rm /run/mpi-check",
                red={f"{LOSING}no_process_is_left_anywhere[*]": "delta: "},
            ),
            Break(
                "a compiler that asks one node only, once", "gamma", files=("/opt/hpc/bin/herd-cc",),
                do="sed -i 's/^tries=.*/tries=1/; s/distcc gcc/env DISTCC_HOSTS=192.168.10.24:3632 &/' "
                "/opt/hpc/bin/herd-cc",
                red={f"{LOSING}the_build_succeeds_and_names_who_failed[*]": "the build failed when zeta was "},
            ),
        ),
        disruptive=True,
        k="losing_a_node and not first and not goes_on",
        again="whole_herd",
    ),
    Round(
        "compute: jobs that end, or do not",
        ("specs/compute/test_losing_a_node.py", "specs/compute/test_distcc.py"),
        (
            Break(
                "a job that has not the time to go on", "gamma", files=("/opt/hpc/bin/mpi-run",),
                do="sed -i 's/^export MPIEXEC_TIMEOUT=.*/export MPIEXEC_TIMEOUT=6/' /opt/hpc/bin/mpi-run",
                red={f"{LOSING}a_job_that_runs_goes_on": "zeta took no new connections, and the job ended: "},
            ),
            Break(
                "processes that outlive who began them, and a list of nodes that only names one", "delta",
                files=("/opt/hpc/bin/mpi-run", "/etc/ssh/sshd_config.d/10-rpicluster.conf"),
                do="sed -i '/^Match/,$d' /etc/ssh/sshd_config.d/10-rpicluster.conf; systemctl reload ssh; "
                "sed -i '2i exec false' /opt/hpc/bin/mpi-run",
                undo="systemctl reload ssh; pkill -KILL -u mpiuser || true",
                red={
                    f"{LOSING}no_process_is_left_anywhere[first]": "delta: ",
                    f"{LOSING}the_next_job_succeeds_on_those_that_are_left[first]": "without gamma: delta: the job",
                },
            ),
        ),
        disruptive=True,
        k="first or goes_on",
        again="whole_herd",
    ),
)  # fmt: skip
