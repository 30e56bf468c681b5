"""Why a connection is not direct, in words.

`gather` collects what is known, `why_not_direct` makes a sentence of it. What can be known for sure
comes first; that the peer's NAT gives every destination another port is a guess from the ports the
peer lists for one public address.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iroh_base import SocketAddr

if TYPE_CHECKING:
    from iroh.magicsock.remote import RemoteState
    from iroh.magicsock.remote_paths import RemoteConnection
    from iroh.net_report.report import Report

MANY_PORTS = 2
"""Ports of one public address in the peer's list that hint at a NAT which gives each another."""
ENOUGH_FAILURES = 2
"""Rounds that ended without success after which punching counts as failed for now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about a connection and its ends.

    relayed: only relays carry it. has_udp: we have a UDP socket. multipath, nat_traversal: both
    ends speak it. own, peers: where either may be reached. reported: relays were asked over UDP.
    udp_works: a relay answered over UDP. public: some address of ours seen by a relay or mapped.
    varies: our NAT gives every destination another port; None while unknown.
    punches: we start the rounds. failures: rounds that ended for nothing. seconds: since the
    handshake.
    """

    relayed: bool
    has_udp: bool = True
    multipath: bool = True
    nat_traversal: bool = True
    own: tuple[SocketAddr, ...] = ()
    peers: tuple[SocketAddr, ...] = ()
    reported: bool = False
    udp_works: bool = False
    public: bool = False
    varies: bool | None = None
    punches: bool = True
    failures: int = 0
    seconds: float = 0.0


def gather(
    remote: "RemoteState", connection: "RemoteConnection", has_udp: bool, report: "Report | None"
) -> Facts:
    """Collect the facts. report: the last net report, or None."""
    commands = connection.commands
    traverses = commands is not None and commands.is_nat_traversing
    direct = remote.around.direct
    varies = direct.mapping_varies_v4
    if varies is None and report is not None:
        varies = report.mapping_varies_by_dest_ipv4
    public = [direct.global_v4, direct.global_v6]
    return Facts(
        relayed=connection.is_relayed,
        has_udp=has_udp,
        multipath=commands is not None,
        nat_traversal=traverses,
        own=tuple(direct.get()),
        peers=tuple(commands.peer_candidates()) if commands is not None and traverses else (),
        reported=report is not None and report.udp_probed,
        udp_works=report is not None and (report.udp_v4 or report.udp_v6),
        public=any(public) or any(map(_is_public, direct.get())),
        varies=varies,
        punches=connection.is_client,
        failures=remote.punch.failures(),
        seconds=remote.around.clock.time() - connection.since,
    )


def why_not_direct(facts: Facts) -> str | None:
    """Say why; None for a direct connection."""
    if not facts.relayed:
        return None
    final = _impossible(facts)
    if final is not None:
        return final
    return "; ".join([*_hindrances(facts), _progress(facts)])


def _impossible(facts: Facts) -> str | None:
    if not facts.has_udp:
        return "we have no UDP socket: only relays can carry the connection"
    if not facts.multipath:
        return "the peer does not speak multipath QUIC: the connection stays on its first path"
    if not facts.nat_traversal:
        return "the peer does not speak n0's NAT traversal: no direct path can be found"
    return None


def _hindrances(facts: Facts) -> list[str]:
    found = []
    if facts.reported and not facts.udp_works:
        found.append("UDP seems to be blocked here: no relay answers over UDP")
    if not facts.own:
        found.append("we know no address of our own")
    if not facts.peers:
        found.append("the peer has told no address of its own")
    theirs = _varies(facts.peers)
    if facts.varies and theirs:
        found.append("both NATs are symmetric: each gives every destination another port")
    elif facts.varies:
        found.append("our NAT is symmetric: it gives every destination another port")
    elif theirs:
        found.append("the peer's NAT seems to be symmetric: relays see it at several ports")
    if facts.own and not facts.public and not (facts.reported and not facts.udp_works):
        found.append("no relay has told us our public address (no QAD answer)")
    return found


def _progress(facts: Facts) -> str:
    since = f"for {facts.seconds:.0f} s"
    if not facts.punches:
        return f"the peer, which dialled, has been punching holes {since} without success"
    if facts.failures >= ENOUGH_FAILURES:
        return f"hole punching failed {facts.failures} times, and goes on"
    return f"still trying, {since}"


def _varies(addrs: Iterable[SocketAddr]) -> bool:
    ports: dict[str, set[int]] = defaultdict(set)
    for addr in addrs:
        if addr.is_ipv4 and _is_public(addr):
            ports[addr.ip].add(addr.port)
    return any(len(found) >= MANY_PORTS for found in ports.values())


def _is_public(addr: SocketAddr) -> bool:
    ip = ipaddress.ip_address(addr.ip.partition("%")[0])
    return not (ip.is_private or ip.is_loopback or ip.is_link_local)
