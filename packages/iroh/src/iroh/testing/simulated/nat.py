"""NATs, and the lines that join them to the internet.

kind (RFC 4787, RFC 3489)  mapping                        lets in
-------------------------  -----------------------------  ----------------------------------
none                       no NAT: a public address       anything
full-cone                  one port for all               anything
address-restricted         one port for all               from hosts that were sent to
port-restricted            one port for all               from addresses and ports sent to
symmetric                  a port for each destination    the same
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from iroh_base import InvalidInputError, SocketAddr

__all__ = ["Line", "Nat", "NatKind"]

NatKind = Literal["none", "full-cone", "address-restricted", "port-restricted", "symmetric"]

DELAY = 0.005
"""Seconds from a host to the internet, or back: 20 ms there and back between two hosts."""
FIRST_PORT = 40_000


@dataclass(slots=True)
class Line:
    """What joins a network, or a relay, to the internet. All of it may change at any moment.

    delay: seconds one way. loss: the probability that a datagram is lost, 0 to 1; what relays carry
    comes later by a round trip instead, and holds up what is behind it, as with TCP. is_up: False
    lets nothing through. passes_udp: False lets nothing through but connections to relays.
    """

    delay: float = DELAY
    loss: float = 0.0
    is_up: bool = True
    passes_udp: bool = True


@dataclass(slots=True, eq=False)
class Nat:
    """A network behind one public address, made by `SimulatedNetwork.nat`.

    hairpins: whether its hosts reach each other by the public address, too (RFC 4787 REQ-9); they
    do so by their own addresses anyhow.
    """

    kind: NatKind
    public_ip: str
    prefix: str
    """What its hosts' own addresses begin with; they are public ones where the kind is "none"."""
    line: Line = field(default_factory=Line)
    hairpins: bool = False
    _hosts: int = 0
    _first_port: int = FIRST_PORT
    _ports: dict[tuple[SocketAddr, SocketAddr | None], int] = field(default_factory=dict)
    _inside: dict[int, SocketAddr] = field(default_factory=dict)
    _sent_to: dict[int, set[SocketAddr]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(NatKind):
            kinds = ", ".join(get_args(NatKind))
            raise InvalidInputError(f"{self.kind!r} is no kind of NAT: {kinds}")

    def new_ip(self) -> str:
        """Give the address of one more host. Raises InvalidInputError where there is no room."""
        if self.kind == "none":
            if self._hosts:
                raise InvalidInputError("where there is no NAT there is one host; make another")
            self._hosts = 1
            return self.public_ip
        if self._hosts >= 250:
            raise InvalidInputError("a simulated network has 250 hosts at most")
        self._hosts += 1
        return f"{self.prefix}{self._hosts + 1}"

    def is_inside(self, ip: str) -> bool:
        """Whether an address is one of this network's own."""
        return self.kind != "none" and ip.startswith(self.prefix)

    def outward(self, host: SocketAddr, destination: SocketAddr) -> SocketAddr:
        """Give the source address that a destination sees, and note that it was sent to."""
        if self.kind == "none":
            return host
        key = host, destination if self.kind == "symmetric" else None
        if key not in self._ports:
            self._ports[key] = port = self._first_port + len(self._ports)
            self._inside[port] = host
        port = self._ports[key]
        self._sent_to.setdefault(port, set()).add(destination)
        return SocketAddr(self.public_ip, port)

    def inward(self, port: int, source: SocketAddr) -> SocketAddr | None:
        """Give the host that gets what comes from `source` to a port; None where it ends here."""
        if self.kind == "none":
            return SocketAddr(self.public_ip, port)
        known = self._sent_to.get(port, set())
        match self.kind:
            case "full-cone":
                passes = True
            case "address-restricted":
                passes = any(source.ip == other.ip for other in known)
            case _:
                passes = source in known
        return self._inside.get(port) if passes else None

    def forget(self) -> None:
        """Lose all mappings, as a router that was switched off; new ones get other ports."""
        self._first_port += 1000
        self._ports.clear()
        self._inside.clear()
        self._sent_to.clear()
