"""The deployer's tools out of order: specs/deployer/test_tools.py."""

from __future__ import annotations

from tests.breaking import Break, Round

TOOLS = "deployer/test_tools.py::test_"
STORE = "/home/pi/.password-store"

ROUNDS = (
    Round(
        "deployer: tools that serve others, or not at all",
        ("specs/deployer/test_tools.py",),
        (
            Break(
                "a cache for everybody", "psi",
                do="redis-cli config set maxclients 10; redis-cli config set bind 0.0.0.0",
                undo="redis-cli config set maxclients 500; redis-cli config set bind 127.0.0.1",
                red={
                    f"{TOOLS}redis_is_for_the_node_alone[psi]": "psi: Redis listens on [Listener(protocol='tcp', addre",
                    f"{TOOLS}redis_has_its_limit[psi]": "psi: Redis takes 10 clients, not 500",
                },
            ),
            Break(
                "somebody in ARA's place", "psi",
                do="systemctl stop rpi-ara; systemd-run -q --unit=red-ara python3 -m http.server 8443; "
                "for n in $(seq 100); do ss -Hltn 'sport = :8443' | grep -q . && exit 0; sleep 0.1; done; exit 1",
                undo="systemctl stop red-ara; systemctl start rpi-ara; "
                "for n in $(seq 300); do curl -fso /dev/null https://localhost:8443 && exit 0; sleep 0.1; done; exit 1",
                red={
                    f"{TOOLS}ara_is_served_by_tls[psi]": "psi: ARA's page: ",
                    f"{TOOLS}ara_is_for_the_node_alone[psi]": "psi: ARA listens on [Listener(protocol='tcp', address=",
                },
            ),
            Break(
                "another store", "psi",
                do=f"tar -cf /run/red-store.tar {STORE}; rm -r {STORE}/ansible {STORE}/test; "
                "echo red | runuser -u pi -- env HOME=/home/pi pass insert -m -f cluster/vrrp_password",
                undo=f"rm -r {STORE}; tar -xf /run/red-store.tar -C /; rm /run/red-store.tar",
                red={
                    f"{TOOLS}the_password_store_holds_the_clusters_secrets[psi]": "than we have: vrrp_password",
                    f"{TOOLS}the_password_store_can_be_read[psi]": "the entry test/test is not what was put there",
                },
            ),
        ),
    ),
    Round(
        "deployer: nodes that its tools do not reach",
        ("specs/deployer/test_tools.py",),
        (
            Break("forgotten facts", "psi", do="redis-cli del ansible_facts:gamma", red={}),
            Break(
                # Without its password nothing of Ansible's runs at all.
                "a vault that gives nothing back", "psi", files=("/usr/bin/ansible-vault",),
                do="ln -sf /bin/false /usr/bin/ansible-vault",
                red={f"{TOOLS}ansibles_vault_opens_with_the_password_of_the_store[psi]": "psi: Ansible's vault gives"},
            ),
            Break(
                "no Python", "gamma",
                do="mv /usr/bin/python3 /usr/bin/python3.red", undo="mv /usr/bin/python3.red /usr/bin/python3",
                red={
                    f"{TOOLS}ansible_reaches[psi-gamma]": "psi: Ansible's play over gamma: {",
                    f"{TOOLS}redis_keeps_the_facts_of[psi-gamma]": "Redis knows gamma as nobody",
                    f"{TOOLS}ara_has_the_play[psi]": "ARA has the play as failed",
                },
            ),
            Break(
                "a folder for everybody", "beta",
                do="chmod 0755 /etc/rpicluster", undo="chmod 0700 /etc/rpicluster",
                red={f"{TOOLS}serverspec_is_green_on[psi-beta]": "1 failure: beta: who may come in File"},
            ),
        ),
        slow=True,
        again="not serverspec",  # 15 s of two processors, for a folder's mode
    ),
)  # fmt: skip
