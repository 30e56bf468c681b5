"""n0's NAT traversal, both roles (spec/quic.md section 4; noq `n0_nat_traversal.rs`).

    server                                              client
      | --- ADD_ADDRESS(seq, addr) per own address ------> |  RemoteCandidateAdded
      |                                                    |  start_round()
      | <-- REACH_OUT(round, addr) per own address ------- |
      |     PATH_CHALLENGE from everywhere to everywhere, nine times in four seconds
      | <========== until one gets through both NATs =====> |
      |                                                    |  path_to_open()
      | <-- a new path over these addresses -------------- |

The probes are packets of an existing path, sent to another address; nobody migrates for them. An
answer is taken only from the address that was probed. Then the server stops probing it, and the
client opens a path to it, as soon as there are ids for one.
"""

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

from iroh.quic.datagrams import Address
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.events import Event
from iroh.quic.frames import AddAddress, Frame, ReachOut, RemoveAddress
from iroh.quic.nat_probes import Probes
from iroh.quic.outbox import Outbox
from iroh.quic.path_errors import NatTraversalError, ServerCannotOpen
from iroh.quic.path_events import RemoteCandidateAdded, RemoteCandidateRemoved
from iroh_base import SocketAddr

MAX_TO_OPEN = 32
"""Addresses that got through and wait for a path; as many as there may be candidates."""
_ADD, _REMOVE, _REACH_OUT = range(3)
_Key: TypeAlias = tuple[int, int, SocketAddr]


def canonical(remote: Address) -> SocketAddr | None:
    """The address as candidates are compared: no IPv4 in IPv6, no scope. None: no IP address."""
    if not (isinstance(remote, tuple) and len(remote) == 2 and isinstance(remote[1], int)):
        return None
    ip = _canonical_ip(str(remote[0]))
    return None if ip is None else SocketAddr(ip, remote[1])


@lru_cache(maxsize=1024)
def _canonical_ip(text: str) -> str | None:
    """Remembered: parsing costs, and every connection is told the same few addresses of ours."""
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def is_probeable(addr: SocketAddr) -> bool:
    """Say whether one host may be behind an address: a peer must not aim us at anything else."""
    ip = ipaddress.ip_address(addr.ip)
    broadcast = ip == ipaddress.IPv4Address("255.255.255.255")
    return bool(addr.port) and not (ip.is_unspecified or ip.is_multicast or broadcast)


class NatTraversal:
    """One connection's NAT traversal, made once both sides and multipath agreed to it.

    local_limit: addresses of ours the peer takes (its transport parameter).
    remote_limit: addresses of the peer we take (ours).
    usable: whether a candidate may be probed: by default any that may be one host. A socket
        without IPv6, or a layer with fake addresses, says more.
    ignored: the peer's candidates that were not taken or not usable.
    events: what happened, oldest first; whoever reads it clears it.
    """

    def __init__(
        self,
        is_client: bool,
        local_limit: int,
        remote_limit: int,
        rng: Callable[[int], bytes],
        initial_rtt: float = 0.333,
        usable: Callable[[SocketAddr], bool] = is_probeable,
    ) -> None:
        self.is_client = is_client
        self.round: int = 0
        self.ignored: int = 0
        self.events: list[Event] = []
        self._local_limit = local_limit
        self._remote_limit = remote_limit
        self.usable = usable
        self._local: dict[SocketAddr, int] = {}
        self._next_seq = 0
        self._remote: dict[int, SocketAddr] = {}
        self._probes = Probes(rng, initial_rtt)
        self._to_open: dict[SocketAddr, tuple[Address, Address | None]] = {}
        self.outbox: Outbox[_Key] = Outbox()

    # -- our addresses -------------------------------------------------------------------------

    def set_local(self, addrs: Iterable[SocketAddr]) -> list[SocketAddr]:
        """Replace our candidates, and say which did not fit under the peer's limit.

        The most useful come first: those that do not fit are the last, and they make room.
        """
        wanted = list(dict.fromkeys(a for a in map(canonical, addrs) if a is not None))
        wanted, left = wanted[: self._local_limit], wanted[self._local_limit :]
        for addr in [addr for addr in self._local if addr not in wanted]:
            self.remove_local(addr)
        for addr in wanted:
            self._add_local(addr)
        return left

    def add_local(self, addr: SocketAddr) -> None:
        """Add a candidate; the server tells it at once. Raises NatTraversalError at the limit."""
        known = canonical(addr)
        if known is None or not self._add_local(known):
            raise NatTraversalError(f"cannot add {addr}: the peer takes {self._local_limit}")

    def remove_local(self, addr: SocketAddr) -> None:
        """Take a candidate back; harmless when it is none."""
        known = canonical(addr)
        seq = self._local.pop(known, None) if known is not None else None
        if seq is not None and known is not None and not self.is_client:
            self.outbox.add((_REMOVE, seq, known))

    def local_candidates(self) -> list[SocketAddr]:
        """Our candidates."""
        return list(self._local)

    def remote_candidates(self) -> list[SocketAddr]:
        """The server's candidates, at the client."""
        return list(dict.fromkeys(self._remote.values()))

    def peer_candidates(self) -> list[SocketAddr]:
        """Where the peer says that it may be reached: at the server, in the present round."""
        return self.remote_candidates() if self.is_client else self._probes.addresses()

    # -- client --------------------------------------------------------------------------------

    def start_round(self, now: float) -> list[SocketAddr]:
        """Probe all of the server's candidates and ask it to probe ours; give those probed.

        Ends the round before. Raises ServerCannotOpen; NatTraversalError without own candidates.
        """
        if not self.is_client:
            raise ServerCannotOpen("only the client starts rounds")
        if not self._local:
            raise NatTraversalError("no own addresses to be reached at yet")
        self.round += 1
        self._probes.restart()
        probed = [addr for addr in self.remote_candidates() if self._is_usable(addr)]
        for addr in probed:
            self._probes.add(addr, now)
        for addr in self._local:
            self.outbox.add((_REACH_OUT, self.round, addr))
        return probed

    def on_add_address(self, frame: AddAddress) -> None:
        """The server tells a candidate. Raises PeerError at a server.

        One too many is only counted; another address under a known number replaces it (noq).
        """
        self._require(True, frame.TYPES[not frame.addr.is_ipv4])
        old = self._remote.get(frame.number)
        if old == frame.addr:
            return
        if old is None and len(self._remote) >= self._remote_limit:
            self.ignored += 1
            return
        if old is not None:
            self._forget(frame.number)
        is_new = frame.addr not in self._remote.values()
        self._remote[frame.number] = frame.addr
        if is_new:
            self.events.append(RemoteCandidateAdded(frame.addr))
            if self._is_usable(frame.addr):
                self._probes.join(frame.addr)
            else:
                self.ignored += 1

    def on_remove_address(self, frame: RemoveAddress) -> None:
        """The server takes a candidate back. Raises PeerError at a server."""
        self._require(True, frame.TYPES[0])
        if frame.seq in self._remote:
            self._forget(frame.seq)

    def path_to_open(self) -> tuple[Address, Address | None] | None:
        """Addresses (remote, local) that got through and have no path yet; None when none wait."""
        return next(iter(self._to_open.values()), None)

    def opened(self, remote: Address) -> None:
        """There is a path to this address now, or there never will be."""
        addr = canonical(remote)
        if addr is not None:
            self._to_open.pop(addr, None)

    def challenge_for(self, remote: Address) -> bytes | None:
        """Data for a challenge to add to our response to a probe; None at the server.

        So the client gets through to a server whose NAT gave it an address that nobody knew.
        """
        addr = canonical(remote)
        if not self.is_client or addr is None:
            return None
        return self._probes.challenge(addr)

    # -- server --------------------------------------------------------------------------------

    def on_reach_out(self, frame: ReachOut, now: float) -> None:
        """The client asks to be probed. Raises PeerError at a client, or beyond the limit."""
        kind = frame.TYPES[not frame.addr.is_ipv4]
        self._require(False, kind)
        if frame.number < self.round:
            return
        if frame.number > self.round:
            self.round = frame.number
            self._probes.restart()
        if frame.addr in self._probes:
            return
        if len(self._probes) >= self._remote_limit:
            raise PeerError(PROTOCOL_VIOLATION, "too many addresses to reach out to", kind)
        if self._is_usable(frame.addr):
            self._probes.add(frame.addr, now)
        else:
            self.ignored += 1

    # -- both ----------------------------------------------------------------------------------

    def has_probes(self) -> bool:
        """Say whether take_probes would give something."""
        return self._probes.has_due()

    def take_probes(self, now: float) -> list[tuple[SocketAddr, bytes]]:
        """Give the probes that are due: (remote, data of a PATH_CHALLENGE).

        Call it only with a proven path at hand to send them by: alone in a packet, not padded,
        not counted by congestion control, not tracked for loss.
        """
        return self._probes.take(now)

    def on_response(self, data: bytes, remote: Address, local: Address | None) -> bool:
        """Take a PATH_RESPONSE; False when it answers no probe of this address.

        At the client the address then waits in `path_to_open`.
        """
        addr = canonical(remote)
        if addr is None or not self._probes.answered(data, addr):
            return False
        if self.is_client and (addr in self._to_open or len(self._to_open) < MAX_TO_OPEN):
            self._to_open[addr] = (remote, local)
        return True

    def next_timeout(self) -> float:
        """When handle_timeout is due; NEVER for never."""
        return self._probes.deadline

    def handle_timeout(self, now: float) -> None:
        """Make probes due."""
        self._probes.handle_timeout(now)

    def take_frames(self, now: float, budget: int) -> list[tuple[Frame, Any]]:
        """Give frames of up to `budget` bytes with their tokens, for any validated path."""
        return list(self.outbox.take(budget, self._build)) if self.outbox.pending else []

    def on_acked(self, token: _Key) -> None:
        """A frame arrived."""
        self.outbox.on_acked(token)

    def on_lost(self, token: _Key) -> None:
        """A frame is lost: sent again, unless its round or address is over."""
        self.outbox.on_lost(token)

    # -- inside --------------------------------------------------------------------------------

    def _require(self, is_client: bool, kind: int) -> None:
        if self.is_client != is_client:
            raise PeerError(PROTOCOL_VIOLATION, "NAT traversal: a frame of the wrong side", kind)

    def _is_usable(self, addr: SocketAddr) -> bool:
        return is_probeable(addr) and self.usable(addr)

    def _add_local(self, addr: SocketAddr) -> bool:
        if addr in self._local:
            return True
        if len(self._local) >= self._local_limit:
            return False
        self._local[addr] = self._next_seq
        if not self.is_client:
            self.outbox.add((_ADD, self._next_seq, addr))
        self._next_seq += 1
        return True

    def _forget(self, seq: int) -> None:
        addr = self._remote.pop(seq)
        if addr not in self._remote.values():
            self._probes.remove(addr)
            self.events.append(RemoteCandidateRemoved(addr))

    def _build(self, key: _Key) -> Frame | None:
        what, number, addr = key
        if what == _ADD:
            return AddAddress(number, addr) if self._local.get(addr) == number else None
        if what == _REMOVE:
            return RemoveAddress(number)
        return ReachOut(number, addr) if number == self.round else None
