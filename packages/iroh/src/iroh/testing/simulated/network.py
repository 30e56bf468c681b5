"""An internet in memory: hosts behind NATs of every kind, and one relay.

    host --(its NAT: mapping out)--> the internet --(the other's NAT: mapping and filter in)--> host

kind (RFC 4787, RFC 3489)  mapping                        lets in
-------------------------  -----------------------------  ----------------------------------
none                       no NAT: a public address       anything
full-cone                  one port for all               anything
address-restricted         one port for all               from hosts that were sent to
port-restricted            one port for all               from addresses and ports sent to
symmetric                  a port for each destination    the same
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from iroh.quic.datagrams import Datagrams
from iroh_base import InvalidInputError, SocketAddr

__all__ = ["Nat", "NatKind", "SimulatedNetwork"]

NatKind = Literal["none", "full-cone", "address-restricted", "port-restricted", "symmetric"]

DELAY = 0.010
"""Seconds from host to host."""
RELAY_DELAY = 0.020
"""Seconds from host to host over the relay."""
PORT = 4000
QAD = SocketAddr("198.51.100.1", 7842)
"""Where a relay would tell us how our address looks."""


@dataclass(slots=True)
class Nat:
    """One host's NAT."""

    kind: NatKind
    public_ip: str
    host: SocketAddr
    ports: dict[SocketAddr | None, int] = field(default_factory=dict)
    sent_to: dict[int, set[SocketAddr]] = field(default_factory=dict)
    first_port: int = 40_000

    def __post_init__(self) -> None:
        if self.kind not in get_args(NatKind):
            kinds = ", ".join(get_args(NatKind))
            raise InvalidInputError(f"{self.kind!r} is no kind of NAT: {kinds}")

    @property
    def is_symmetric(self) -> bool:
        """Whether each destination sees another port."""
        return self.kind == "symmetric"

    def outward(self, destination: SocketAddr) -> SocketAddr:
        """Give the source address that a destination sees, and note that it was sent to."""
        if self.kind == "none":
            return self.host
        key = destination if self.is_symmetric else None
        if key not in self.ports:
            self.ports[key] = self.first_port + len(self.ports)
        port = self.ports[key]
        self.sent_to.setdefault(port, set()).add(destination)
        return SocketAddr(self.public_ip, port)

    def lets_in(self, port: int, source: SocketAddr) -> bool:
        """Say whether something from `source` passes to a port of the public address."""
        if self.kind == "none":
            return port == self.host.port
        known = self.sent_to.get(port)
        if known is None:
            return False
        if self.kind == "full-cone":
            return True
        if self.kind == "address-restricted":
            return any(source.ip == other.ip for other in known)
        return source in known

    def forget(self) -> None:
        """Lose all mappings; new ones get other ports."""
        self.first_port += 1000
        self.ports.clear()
        self.sent_to.clear()


class SimulatedNetwork:
    """Carries datagrams on the running loop, best one with virtual time.

    What you may change at any moment: `down`, `no_udp`, `relay_is_down`, and each NAT's `forget`.
    `fates` counts what became of the datagrams.
    """

    def __init__(self) -> None:
        self.fates: Counter[str] = Counter()
        self.down: set[str] = set()
        """Public addresses whose link is down."""
        self.no_udp: set[str] = set()
        """Public addresses that UDP does not reach any more."""
        self.relay_is_down = False
        self.heard: Counter[SocketAddr] = Counter()
        """Datagrams that arrived at addresses of nobody, by address."""
        self.rewrite: Callable[[bytes, bytes], bytes] = lambda source, _dest: source
        """What the relay says who sent it: an honest one tells the truth."""
        self._nats: dict[str, Nat] = {}
        self._hosts: dict[str, Callable[[Datagrams], None]] = {}
        self._relayed: dict[bytes, tuple[str, Callable[[bytes, Datagrams], None]]] = {}
        self._loop = asyncio.get_running_loop()

    def attach(self, nat: Nat, deliver: Callable[[Datagrams], None]) -> None:
        """Put a host behind a NAT."""
        self._nats[nat.public_ip] = nat
        self._hosts[nat.public_ip] = deliver

    def attach_relayed(
        self, endpoint: bytes, public_ip: str, deliver: Callable[[bytes, Datagrams], None]
    ) -> None:
        """Connect an endpoint's host to the relay."""
        self._relayed[endpoint] = (public_ip, deliver)

    def send(self, nat: Nat, batch: Datagrams) -> None:
        """Send from the host behind a NAT."""
        destination = batch.remote
        assert isinstance(destination, SocketAddr)
        source = nat.outward(destination)
        target = self._nats.get(destination.ip)
        if not {nat.public_ip, destination.ip}.isdisjoint(self.down | self.no_udp):
            self.fates["down"] += len(batch)
        elif target is None:
            self.heard[destination] += len(batch)
        elif not target.lets_in(destination.port, source):
            self.fates["filtered"] += len(batch)
        else:
            self.fates["arrived"] += len(batch)
            copy = Datagrams(source, batch.data, batch.segment_size, batch.ecn)
            self._loop.call_later(DELAY, self._hosts[destination.ip], copy)

    def relay(self, source: bytes, public_ip: str, dest: bytes, batch: Datagrams) -> None:
        """Send from one endpoint to another over the relay."""
        dest_ip, deliver = self._relayed.get(dest, ("", None))
        is_down = self.relay_is_down or not {public_ip, dest_ip}.isdisjoint(self.down)
        if is_down or deliver is None:
            self.fates["not relayed"] += len(batch)
            return
        self.fates["relayed"] += len(batch)
        self._loop.call_later(RELAY_DELAY, deliver, self.rewrite(source, dest), batch)
