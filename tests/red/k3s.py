"""A real K3s that is not as it should be: specs/compute/test_k3s.py.  Played where its binary is at hand."""

from __future__ import annotations

from tests.breaking import Break, Round

K3S = "compute/test_k3s.py::test_"
KUBECTL = "/usr/local/bin/k3s kubectl"
STRANGER = '{"apiVersion":"v1","kind":"Node","metadata":{"name":"stranger"}}'
CONFIG = "/etc/rancher/k3s/config.yaml"

ROUNDS = (
    Round(
        "k3s: nodes that take no work, and work that does not run",
        ("specs/compute/test_k3s.py",),
        (
            Break(
                "a node is cordoned, a pod has no image, and traefik was brought in again", "epsilon",
                do=f"{KUBECTL} cordon delta; {KUBECTL} create deployment red --image=nowhere.local/red; "
                f"{KUBECTL} create deployment -n kube-system traefik --image=nowhere.local/red",
                undo=f"{KUBECTL} uncordon delta; {KUBECTL} delete deployment red; "
                f"{KUBECTL} delete deployment -n kube-system traefik",
                red={
                    f"{K3S}it_takes_pods[delta]": "delta takes no pods: it is cordoned",
                    f"{K3S}a_canary_sits_on_every_node[delta]": "delta has 0 of 4 canaries",
                    f"{K3S}a_canary_sits_on_every_node[gamma]": "gamma has 2 of 4 canaries",
                    f"{K3S}a_canary_sits_on_every_node[epsilon]": "epsilon has 2 of 4 canaries",
                    f"{K3S}it_reaches_the_canary_of_the_next[gamma]": "gamma asked the canary on delta and heard",
                    f"{K3S}no_pod_is_in_trouble": "default/red-",
                    f"{K3S}of_its_own_runs_what_is_declared": "in kube-system run ['traefik']",
                },
            ),
            Break(
                "a node that nobody declared", "epsilon",
                do=f"echo '{STRANGER}' | {KUBECTL} apply -f -", undo=f"{KUBECTL} delete node stranger",
                red={f"{K3S}nobody_else_has_joined": "joined K3s, and are not of the inventory: stranger; where"},
            ),
            Break(
                "a token that everybody reads", "gamma", do=f"chmod 644 {CONFIG}", undo=f"chmod 600 {CONFIG}",
                red={f"{K3S}nobody_else_reads_its_token[gamma]": f"gamma: others read 644 root {CONFIG}"},
            ),
            Break(
                "an agent that has stopped", "zeta",
                do="systemctl stop k3s; sleep 55",
                undo="systemctl start k3s; until /opt/cluster/compute/k3s-ready; do sleep 1; done",
                red={
                    f"{K3S}the_node_is_ready[zeta]": "zeta is not ready (Unknown)",
                    f"{K3S}it_takes_pods[zeta]": "zeta takes no pods: taint node.kubernetes.io/unreachable",
                    f"{K3S}its_sign_of_life_is_fresh[zeta]": "zeta gave its last sign of life",
                    f"{K3S}a_canary_sits_on_every_node[zeta]": "zeta has 0 of 4 canaries",
                    f"{K3S}it_reaches_the_canary_of_the_next[delta]": "delta asked the canary on zeta and heard",
                    f"{K3S}the_service_answers_it_every_time[zeta]": "zeta asked 8 times and heard",
                },
            ),
        ),
        needs=("k3s",),
    ),
)  # fmt: skip
