"""What a correct check of the LAN services looks at, one line each: the keys of `@pytest.mark.semantics`.

A spec that stands for a line carries its key; docs/semantics.md, made from the specs and from what makes them red
(tests/semantics.py), shows which those are.  A key that is not here ends the collection of the specs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One thing that must hold, and where it is said."""

    says: str
    source: str


SERVICES = {
    "vrrp": "Floating address (keepalived)",
    "dhcp": "DHCP failover (ISC dhcpd)",
    "dns": "DNS (BIND)",
    "ntp": "Time (chrony)",
    "tftp": "TFTP, BOOTP, booting from the network",
    "http": "Web server (BusyBox httpd)",
    "mpi": "MPI (MPICH)",
    "distcc": "Compilers (distcc)",
    "k3s": "Kubernetes (K3s)",
}
"""What a key begins with, and the heading it stands under."""

LINES = {
    # ------------------------------------------------------------ steady, on the wire and on the nodes
    "vrrp-one-advertiser": Line("Exactly one node advertises the virtual router.", "RFC 9568 section 6.1"),
    "vrrp-one-arp-owner": Line("ARP for the address is answered by exactly one hardware address.", "RFC 826"),
    "vrrp-one-holder": Line("Exactly one node has the address configured.", "RFC 9568 section 6.4"),
    "vrrp-standby-listens": Line("The standby runs and listens to advertisements.", "RFC 9568 section 6.4.2"),
    "vrrp-same-settings": Line(
        "Both nodes have the same virtual router, interval, address list and password.", "RFC 9568 section 5.2"
    ),
    "vrrp-password-no-proof": Line(
        "A password is no security: who advertises is judged by the address it comes from.", "RFC 3768 section 10"
    ),
    # ------------------------------------------------------------ while it moves
    "vrrp-crash": Line(
        "After a crash the standby comes 3 intervals and its skew after the last advertisement.", "RFC 3768 section 6.1"
    ),
    "vrrp-crash-clients": Line(
        "A crash costs clients between 2 and 3 intervals, and the skew.", "derived from RFC 3768 section 6.1"
    ),
    "vrrp-clean-stop": Line(
        "A clean stop is told with priority 0, and costs the skew only.", "RFC 3768 sections 5.3.4, 6.4.2"
    ),
    "vrrp-gratuitous-arp": Line(
        "After every move a third host hears gratuitous ARP from the new owner.", "RFC 3768 section 6.4.2"
    ),
    "vrrp-neighbour": Line("A third host's own neighbour entry changes with every move.", "RFC 5227 section 3"),
    "vrrp-healed-split": Line(
        "The winner of a healed split brain sends gratuitous ARP again.", "RFC 9568 section 6.4.3, keepalived.conf(5)"
    ),
    "vrrp-gap-and-overlap": Line("Time without an owner, and time with two, are counted apart.", "ours"),
    "vrrp-one-way": Line("Advertisements lost one way are seen as two masters.", "RFC 9568 section 6.4.2"),
    "vrrp-healing": Line("How long two masters last once they hear each other is measured.", "RFC 9568 section 6.4.3"),
    "vrrp-preemption": Line(
        "An owner that returns takes the address back as configured, not earlier.", "keepalived.conf(5), preempt_delay"
    ),
    "vrrp-nopreempt": Line("`nopreempt` works only where both begin as BACKUP.", "keepalived.conf(5), nopreempt"),
    "vrrp-services": Line("DNS, TFTP, HTTP and NTP answer on the address after it moved.", "RFC 9568 section 1.2"),
    "vrrp-tracked": Line(
        "The address goes to the node that has lost fewer of the services that it stands for, once that has lasted.",
        "keepalived.conf(5), track_script",
    ),
    "vrrp-bound": Line(
        "Daemons listen on the address before their node owns it, or from that moment on.",
        "ip(7), INADDR_ANY; named.conf(5), automatic-interface-scan",
    ),
    # ------------------------------------------------------------ DHCP, steady
    "dhcp-normal": Line("Both peers report themselves and their partner as normal.", "dhcpd.leases(5), failover state"),
    "dhcp-roles": Line("One peer is the primary, the other the secondary.", "dhcpd.conf(5), failover"),
    "dhcp-clocks": Line("Their clocks differ by well under 60 s.", "dhcpd(8), failover"),
    "dhcp-clocks-refused": Line("Peers whose clocks differ by more refuse each other.", "dhcpd(8), failover"),
    "dhcp-same": Line(
        "Both have the same pools, options and reservations, by what each answers.", "dhcpd.conf(5), failover"
    ),
    # ------------------------------------------------------------ DHCP, on the wire
    "dhcp-exchange": Line("A client with a MAC of its own gets a lease from each server.", "RFC 2131 section 3.1"),
    "dhcp-options": Line(
        "It is told the right router, name servers, domain, lease time and server.", "RFC 2132 sections 3, 9"
    ),
    "dhcp-reservations": Line("Either server gives a reserved address to whom it is reserved.", "dhcpd.conf(5), host"),
    "dhcp-bootp": Line("A BOOTP client with a reservation is answered.", "RFC 951, RFC 1534"),
    "dhcp-init-reboot": Line("A client that was rebooted is given its address again.", "RFC 2131 section 4.3.2"),
    "dhcp-renew": Line("A lease is renewed by its server, asked directly.", "RFC 2131 section 4.4.5"),
    "dhcp-rebind": Line("A lease is renewed by either server, asked by broadcast.", "RFC 2131 section 4.4.5"),
    "dhcp-release": Line("A lease that is given back is free again.", "RFC 2131 section 4.3.4"),
    "dhcp-decline": Line("An address that a client found in use is given to nobody.", "RFC 2131 section 4.3.3"),
    "dhcp-given-back": Line("A synthetic client gives back whatever it took.", "ours"),
    # ------------------------------------------------------------ DHCP, two servers
    "dhcp-balance-of-load": Line(
        "Clients are divided between the peers by their hash.", "RFC 3074, dhcpd.conf(5), split"
    ),
    "dhcp-secs": Line(
        "A client that waits says so, which lets the other peer answer.", "dhcpd.conf(5), load balance max"
    ),
    "dhcp-secs-zero": Line(
        "One that never says so waits for a dead peer until its silence is noticed.",
        "derived from dhcpd.conf(5), max-response-delay",
    ),
    "dhcp-one-client-in-files": Line(
        "No address is active for two clients in both lease files together.", "dhcpd.leases(5)"
    ),
    "dhcp-one-client-on-wire": Line("No address is given to two clients on the wire.", "RFC 2131 section 1.6"),
    "dhcp-ping": Line("An address is pinged for 1 s before it is offered.", "dhcpd.conf(5), ping-check"),
    "dhcp-interrupted": Line("Without its partner, a peer is communications-interrupted.", "dhcpd(8), failover"),
    "dhcp-survivor-renews": Line("The survivor accepts all renewals.", "dhcpd(8), communications-interrupted"),
    "dhcp-own-half": Line("It gives new leases from its own half only.", "dhcpd(8), communications-interrupted"),
    "dhcp-mclt": Line("Each of these leases lasts for MCLT at most.", "dhcpd.conf(5), mclt"),
    "dhcp-margin": Line("An empty half is no fault then; what is left is reported.", "ours"),
    "dhcp-full": Line(
        "Where no address is free, reservations are served and known clients keep theirs; then all is as before.",
        "ours",
    ),
    "dhcp-partner-down": Line(
        "Partner-down is by order only, and never while the partner lives.", "dhcpd(8), partner-down"
    ),
    "dhcp-recover": Line(
        "A partner that returns goes through recover, recover-wait, recover-done to normal.", "dhcpd(8), recover"
    ),
    "dhcp-lost-file": Line("A peer that lost its lease file is silent for up to MCLT.", "dhcpd(8), recover-wait"),
    "dhcp-balance-of-pool": Line(
        "How even the halves are is judged after a scheduled balancing only.", "dhcpd.conf(5), max-balance"
    ),
    "dhcp-no-rogue": Line("Exactly the expected servers answer.", "ours"),
    "dhcp-bootstrap-silent": Line("The bootstrap router's own DHCP is silent once the pair is up.", "ours"),
    # ------------------------------------------------------------ DNS, steady
    "dns-serials": Line("Both servers have the same serials, by the arithmetic of serials.", "RFC 1982 section 3.2"),
    "dns-same-zones": Line("Both have the same records, forward and reverse, by transfer.", "RFC 5936"),
    "dns-every-node": Line("Every node has A and PTR, and they agree.", "RFC 1912 section 2.1"),
    "dns-both-named": Line("NS names both servers, and both answer with authority.", "RFC 1034 section 4.2.1"),
    "dns-udp-and-tcp": Line("The same is answered over UDP and over TCP.", "RFC 7766 section 5"),
    "dns-floating": Line("The same is answered on the floating address.", "ours"),
    "dns-transfer-key": Line("Zones are transferred to who has the key of the pair, by both.", "RFC 8945 section 5"),
    "dns-transfer-peer": Line(
        "With the key, too, they go to the other server and to where the cluster is verified from only.",
        "named.conf(5), allow-transfer",
    ),
    "dns-recursion": Line("Recursion is for the LAN only.", "RFC 5358 section 4"),
    "dns-version": Line("The version is told to nobody.", "named.conf(5), version"),
    "dns-updates": Line("Updates without a key are refused.", "RFC 2136 section 3.3"),
    # ------------------------------------------------------------ DNS, news
    "dns-notify": Line(
        "A change on the primary is served by the secondary after notify-delay and one transfer.",
        "RFC 1996 section 3, named.conf(5), notify-delay",
    ),
    "dns-ixfr": Line("A small change travels as an incremental transfer.", "RFC 1995"),
    "dns-notify-blocked": Line("Without notifications it is there within REFRESH.", "RFC 1035 section 3.3.13"),
    # ------------------------------------------------------------ DNS, without the primary
    "dns-alone": Line(
        "Without the primary, the secondary answers with authority until EXPIRE.", "RFC 1035 section 3.3.13"
    ),
    "dns-alone-restarted": Line("It does so after a restart of its own, too.", "named.conf(5), file"),
    "dns-expired": Line("After EXPIRE it says SERVFAIL.", "RFC 1035 section 3.3.13"),
    "dns-stub": Line("A resolver that knows both waits for its own timeout at most.", "resolv.conf(5)"),
    "dns-bad-zone": Line("A zone that does not load never replaces one that does.", "ours"),
    # ------------------------------------------------------------ time
    "ntp-answer": Line("Both servers answer as servers, synchronised, at a usable stratum.", "RFC 5905 section 7.3"),
    "ntp-bounds": Line("Their offset, dispersion and root distance are bounded.", "RFC 5905 sections 10, 11.1"),
    "ntp-sources": Line("Each client has both servers as sources, and has heard them.", "chronyc(1), sources"),
    "ntp-selected": Line("Each node follows one of them.", "chronyc(1), sources"),
    "ntp-nodes": Line("The clocks of any two nodes agree.", "ours"),
    "ntp-falseticker": Line("A server that lies by seconds is rejected.", "RFC 5905 section 11.2.1"),
    "ntp-majority": Line(
        "There is an honest third to outvote it: a source, or a local reference.", "RFC 5905 section 11.2.1"
    ),
    "ntp-orphan": Line(
        "Without the uplink there is one orphan reference, which all clients agree on.", "chrony.conf(5), local orphan"
    ),
    "ntp-orphan-stratum": Line("Its stratum is above any real one.", "chrony.conf(5), local stratum"),
    # ------------------------------------------------------------ TFTP and booting
    "tftp-files": Line("Each file comes from each server and from the floating address, by its hash.", "RFC 1350"),
    "tftp-same-trees": Line("Both servers have the same files.", "ours"),
    "tftp-unknown": Line("A file that is not there is error 1.", "RFC 1350 section 5"),
    "tftp-no-writing": Line("Writing is refused.", "tftpd(8)"),
    "tftp-no-climbing": Line("No path leads out of the folder.", "tftpd(8), --secure"),
    "tftp-options": Line("The options blksize and tsize work.", "RFC 2348, RFC 2349"),
    "tftp-boot-server": Line(
        "A boot ROM takes its server from option 66, and ignores next-server.", "Raspberry Pi: Network booting"
    ),
    "tftp-boot-subnet": Line("A boot ROM wants its server on its own subnet.", "Raspberry Pi: Network booting"),
    "tftp-boot-tries": Line("A boot ROM asks for an address five times.", "Raspberry Pi: Network booting"),
    # ------------------------------------------------------------ httpd
    "http-served": Line("Both nodes and the floating address serve on the port of the inventory.", "ours"),
    "http-chroot": Line("The root of the process is the chroot.", "proc(5), /proc/PID/root"),
    "http-user": Line("Its user has no rights.", "proc(5), /proc/PID/status"),
    "http-no-climbing": Line("No path leads out of the pages.", "RFC 9110 section 17.3"),
    "http-scripts": Line("Scripts run inside the chroot.", "RFC 3875"),
    "http-no-other": Line("Nothing else listens on ports 80 and 443.", "ours"),
    # ------------------------------------------------------------ MPI
    "mpi-user": Line("Jobs get from each node to the others by a key that nobody else reads.", "ours"),
    "mpi-placement": Line("A job over all nodes places its processes as the host file says.", "mpiexec(1), -f"),
    "mpi-result": Line("It computes results that are known beforehand, collective and from one to one.", "ours"),
    "mpi-pairs": Line(
        "Latency and bandwidth of pairs of nodes are measured, and compared with the last run that was well.", "ours"
    ),
    "mpi-versions": Line("All nodes have the same MPICH, and all of its libraries.", "ours"),
    "mpi-abort": Line(
        "A node that is lost or stands still under a job aborts it in time, and leaves no process anywhere.",
        "mpiexec(1)",
    ),
    "mpi-goes-on": Line(
        "A node that takes no new connections ends no job that runs, and is named by the next.", "mpiexec(1)"
    ),
    "mpi-next": Line("The next job, on the nodes that are left, succeeds at once.", "mpiexec(1)"),
    # ------------------------------------------------------------ distcc
    "distcc-each": Line(
        "Each volunteer alone compiles, without a fallback, what then runs.", "distcc(1), DISTCC_FALLBACK"
    ),
    "distcc-compilers": Line("All volunteers have the same compiler.", "distcc(1)"),
    "distcc-stranger": Line("An address that is not of the LAN is refused.", "distccd(1), --allow"),
    "distcc-polite": Line(
        "Volunteers compile politely, as many files as declared, without rights.", "distccd(1), --nice"
    ),
    "distcc-herd": Line(
        "A real build over the whole herd comes to the same program, each of it compiling a part.", "distcc(1), pump(1)"
    ),
    "distcc-killed": Line(
        "A volunteer that dies, stops or stands still meanwhile is named, and the build succeeds.", "distcc(1)"
    ),
    # ------------------------------------------------------------ K3s
    "k3s-api": Line("The server's API is ready, with each of its checks.", "Kubernetes: API health endpoints"),
    "k3s-nodes": Line("Exactly the declared nodes have joined, are ready and take pods.", "Kubernetes: Nodes"),
    "k3s-leases": Line("Each has given a sign of life within the time in which it must.", "Kubernetes: Leases"),
    "k3s-versions": Line("All are of the version that the inventory says.", "Kubernetes: Version skew policy"),
    "k3s-system": Line(
        "Of its own parts runs what is declared, and no pod is in trouble.", "docs.k3s.io: Packaged components"
    ),
    "k3s-secret": Line("The token that lets nodes join is read by nobody else.", "docs.k3s.io: Token"),
    "k3s-canary": Line(
        "Work of as many pods as nodes is spread over all of them.", "Kubernetes: Topology spread constraints"
    ),
    "k3s-service": Line("It answers every node, by its service and from pod to pod's node.", "Kubernetes: Service"),
    "k3s-dns": Line("Its name is resolved within K3s.", "Kubernetes: DNS for services and pods"),
    "k3s-lost": Line(
        "A node that is lost is not ready once it was silent for the grace period that the cluster itself tells.",
        "Kubernetes: Nodes, node controller",
    ),
    "k3s-replaced": Line(
        "Its pods are replaced once they have been tolerated for the time that they themselves tell.",
        "Kubernetes: Taint based evictions",
    ),
    "k3s-left-out": Line("Then no service leads to it, and all that is asked is answered.", "Kubernetes: Service"),
    "k3s-back": Line("When it is back, it is ready again.", "ours"),
    "k3s-server": Line("Without the server, pods that run go on answering.", "docs.k3s.io: Architecture"),
}


def unknown(key: str) -> str | None:
    """Why a key cannot be used and what to do about it; None for one that can."""
    if key in LINES:
        return None
    service = key.partition("-")[0]
    known = ", ".join(sorted(one for one in LINES if one.startswith(f"{service}-"))) or ", ".join(SERVICES)
    return f"no line {key!r} in specs/semantics.py: add it there, or take one of: {known}"
