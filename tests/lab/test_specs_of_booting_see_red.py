"""The specs about TFTP and about booting have been seen red: servers broken in many ways, then healed.

One round is about what both servers have, one about how they serve it: the second takes a server away, which
would hide what the first is about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cluster.errors import ClusterError
from cluster.node import Fleet
from cluster.wait import until
from tests.outcomes import Result

Specs = Callable[..., Result]
TFTP, BOOT = "specs/lanservices/test_tftp.py", "specs/lanservices/test_boot.py"
CLIMB = TFTP + "::test_a_path_cannot_climb_out"
# As root, with files of its own system, writing where it is told to, and without options.
DROP_IN = "/run/systemd/system/tftpd-hpa.service.d/red.conf"
OPTIONS = "--user root --address 0.0.0.0:69 --secure --create --refuse tsize --refuse blksize /srv/tftp"
CHANGED_DAEMON = f"""
cp -a /srv/tftp /root/tftp.kept
mkdir /srv/tftp/etc; cp /etc/passwd /srv/tftp/etc/
mkdir -p {DROP_IN.rpartition("/")[0]}
printf '%s\\n' '[Service]' ReadWritePaths=/srv/tftp CapabilityBoundingSet=~ ExecStart= \\
  'ExecStart=/usr/sbin/in.tftpd --foreground --ipv4 {OPTIONS}' > {DROP_IN}
systemctl daemon-reload; systemctl restart tftpd-hpa
"""
HEALED_DAEMON = f"""
rm -f {DROP_IN}; systemctl daemon-reload; systemctl restart tftpd-hpa
rm -rf /srv/tftp; mv -T /root/tftp.kept /srv/tftp
"""
CHANGED_DHCPD = """
sed -i.kept -e '/vendor/d' -e 's/tftp-server-name .*/tftp-server-name "10.0.0.1";/' \
  -e 's/^  next-server .*/  next-server 10.0.0.1;/' -e 's/^  filename .*/  filename "red";/' \
  -e 's/bootfile-name .*/bootfile-name "red";/' -e 's/fixed-address 192.168.10.250/fixed-address 192.168.10.251/' \
  /etc/dhcp/dhcpd.conf
systemctl restart isc-dhcp-server
"""


@dataclass(frozen=True)
class Round:
    """What is done to which node as root, how it is undone, and what which specs must say of it."""

    name: str
    paths: tuple[str, ...]
    do: dict[str, str]
    undo: dict[str, str]
    red: dict[str, str]


ROUNDS = [
    Round(
        "files",
        (TFTP,),
        {
            "alpha": "chmod 0777 /srv/tftp/pxelinux",
            "beta": "cp -a /srv/tftp/dl/sample.txt /root/ && echo red >> /srv/tftp/dl/sample.txt",
        },
        {"alpha": "chmod 0755 /srv/tftp/pxelinux", "beta": "mv -fT /root/sample.txt /srv/tftp/dl/sample.txt"},
        {
            TFTP + "::test_both_servers_have_the_same_tree": "differ in dl/sample.txt, pxelinux",
            TFTP + "::test_every_file_comes_as_it_lies_on_the_nodes[floating]": "dl/sample.txt is not the one on beta",
            TFTP + "::test_a_folder_is_there[alpha-pxelinux]": "not mode 0755",
            TFTP + "::test_nobody_but_root_can_change_what_is_served[alpha]": "written by others: pxelinux",
        },
    ),
    Round(
        "servers",
        (TFTP, BOOT),
        {"alpha": "systemctl stop tftpd-hpa isc-dhcp-server", "beta": CHANGED_DAEMON + CHANGED_DHCPD},
        {
            "alpha": "systemctl start tftpd-hpa isc-dhcp-server",
            "beta": HEALED_DAEMON
            + "mv -fT /etc/dhcp/dhcpd.conf.kept /etc/dhcp/dhcpd.conf; systemctl restart isc-dhcp-server",
        },
        {
            TFTP + "::test_a_file_that_must_be_there_can_be_read[floating-welcome.txt]": "no answer in time",
            TFTP + "::test_it_answers_from_the_address_that_was_asked[floating]": "answered from nowhere",
            TFTP + "::test_an_unknown_file_is_error_1[alpha]": "no answer in time",
            TFTP + "::test_the_size_is_told[beta]": "tells None bytes",
            TFTP + "::test_the_block_size_can_be_chosen[beta-1428]": "does not take the option blksize",
            CLIMB + "[beta-/etc/passwd]": "serves /etc/passwd",
            TFTP + "::test_writing_is_refused[beta-no-such-file]": "would let anybody write no-such-file",
            TFTP + "::test_who_serves_a_client_has_no_rights[beta]": "not by a user without rights",
            BOOT + "::test_bootp_gives_the_reserved_address[alpha]": "does not answer BOOTP",
            BOOT + "::test_bootp_gives_the_reserved_address[beta]": "gives 192.168.10.251 by BOOTP",
            BOOT + "::test_bootp_leads_to_the_floating_address[beta]": "sends BOOTP clients to 10.0.0.1",
            BOOT + "::test_bootp_names_the_boot_file[beta]": "tells BOOTP clients to fetch 'red'",
            BOOT + "::test_a_boot_rom_is_recognised[beta]": "tells a boot ROM None",
            BOOT + "::test_a_boot_rom_is_led_to_the_floating_address[beta]": "sends a boot ROM to '10.0.0.1'",
            BOOT + "::test_the_boot_server_is_on_the_clients_own_network[beta]": "outside 192.168.10.0/24",
            BOOT + "::test_a_boot_rom_without_a_folder_of_its_own_goes_on[beta]": "10.0.0.1",
            BOOT + "::test_a_boot_rom_gets_its_file[beta]": "10.0.0.1",
        },
    ),
]


@pytest.fixture(scope="module", params=ROUNDS, ids=lambda one: one.name)
def seen(request: pytest.FixtureRequest, fleet: Fleet, specs: Specs) -> tuple[Round, Result]:
    """What the specs said of broken servers; these are healed again when this is told."""
    one: Round = request.param
    failed: list[str] = []
    try:
        for node, script in one.do.items():
            fleet[node].run(script, sudo=True, deadline=60, check=True)
        result = specs(*one.paths)
    finally:
        for node, script in one.undo.items():
            try:
                fleet[node].run(script, sudo=True, deadline=60, check=True)
            except ClusterError as error:  # the other node is healed all the same
                failed.append(f"{one.name}: {error}")
    assert not failed, f"not undone: {failed}"
    return one, result


def test_it_is_seen(seen: tuple[Round, Result]) -> None:
    one, result = seen
    wrong = []
    for spec, says in one.red.items():
        assert spec in result.outcomes, f"no such spec: {spec}"
        said = result.outcomes[spec]
        if said.outcome not in ("failed", "error") or says not in said.message:
            wrong.append(f"{spec} {said.outcome}, does not tell {says!r}: {said.message.splitlines()[:1]}")
    assert not wrong, "\n".join(wrong)


def test_all_is_green_after_healing(seen: tuple[Round, Result], specs: Specs) -> None:
    one, broken = seen
    assert not broken.green
    healed = until(lambda: specs(*one.paths), lambda result: result.green, deadline=60, what="green again", every=1)
    assert healed.green


def test_every_spec_file_is_seen_red() -> None:
    assert {spec.partition("::")[0] for one in ROUNDS for spec in one.red} == {TFTP, BOOT}
