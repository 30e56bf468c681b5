"""Session tickets: what lets two endpoints that met before skip the certificates (RFC 8446 2.2).

A client stores the tickets that servers gave it; a server stores those that it gave away, and takes
each back once: a ticket that comes a second time, which is what a replay of 0-RTT looks like, is
not known any more (RFC 8446 section 8.1).

    TicketStore of a client    peer = the server    take(peer)
    TicketStore of a server    peer = the client    redeem(identity)

A store belongs to one endpoint, because a ticket proves that endpoint's key, and to one role: what
we gave to a peer must not be offered to it as if it came from there.
"""

from collections import OrderedDict
from dataclasses import dataclass

CAPACITY = 256
"""Tickets of one store (rustls: 256 both as client and as server)."""
MAX_PER_PEER = 8
"""rustls MAX_TLS13_TICKETS_PER_SERVER: one peer cannot push out those of all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One chance to resume.

    peer: the other end's proven key. identity: the opaque ticket. alpn, params: ALPN and the
    server's transport parameters (encoded) of the connection that it came from. early_data: whether
    0-RTT is allowed. received_at, expires_at: seconds, in the clock of the engine.
    """

    peer: bytes
    identity: bytes
    secret: bytes
    cipher_suite: int
    age_add: int
    alpn: bytes
    params: bytes
    early_data: bool
    received_at: float
    expires_at: float

    def obfuscated_age(self, now: float) -> int:
        """Give obfuscated_ticket_age (RFC 8446 section 4.2.11.1)."""
        return (int((now - self.received_at) * 1000) + self.age_add) % (1 << 32)

    def age_error(self, obfuscated: int, now: float) -> float:
        """Give by how many seconds the age that a client says differs from ours."""
        said = (obfuscated - self.age_add) % (1 << 32)
        return abs(said / 1000 - (now - self.received_at))


class TicketStore:
    """At most `capacity` tickets, 8 of a peer; the peer that was quiet longest gives way."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._peers: OrderedDict[bytes, list[Ticket]] = OrderedDict()
        self._identities: dict[bytes, Ticket] = {}

    def __len__(self) -> int:
        return len(self._identities)

    def add(self, ticket: Ticket) -> None:
        """Store a ticket."""
        if ticket.identity in self._identities:
            return
        tickets = self._peers.setdefault(ticket.peer, [])
        self._peers.move_to_end(ticket.peer)
        tickets.append(ticket)
        self._identities[ticket.identity] = ticket
        if len(tickets) > MAX_PER_PEER:
            self._remove(tickets[0])
        elif len(self) > self._capacity:
            self._remove(next(iter(self._peers.values()))[0])

    def take(self, peer: bytes, now: float) -> Ticket | None:
        """Take out the newest ticket of a peer."""
        tickets = self._peers.get(peer)
        while tickets:
            ticket = tickets[-1]
            self._remove(ticket)
            if now < ticket.expires_at:
                return ticket
        return None

    def redeem(self, identity: bytes, now: float) -> Ticket | None:
        """Take out the ticket of this identity."""
        ticket = self._identities.get(identity)
        if ticket is None:
            return None
        self._remove(ticket)
        return ticket if now < ticket.expires_at else None

    def _remove(self, ticket: Ticket) -> None:
        del self._identities[ticket.identity]
        tickets = self._peers[ticket.peer]
        tickets.remove(ticket)
        if not tickets:
            del self._peers[ticket.peer]
