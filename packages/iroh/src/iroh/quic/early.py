"""0-RTT: what a client says before the server has answered (RFC 9001 section 4.6).

    client                                              server
    has a ticket: keys, remembered limits
      Initial [ClientHello], 0-RTT [STREAM ...] ----->  ticket is good: keys, takes them
                                                 <----  Initial, Handshake, 1-RTT: it may answer
      accepted: goes on with 1-RTT keys                 Finished came: no 0-RTT any more
      rejected: sends all of it again

A ticket is redeemed once, so what a replay of the ClientHello carries is never read. 0-RTT packets
share the packet numbers of path 0. Those that come before the ClientHello is complete wait here,
within bounds.
"""

from typing import TYPE_CHECKING, NamedTuple

from iroh.quic.datagrams import Address
from iroh.quic.keys import LevelKeys, level_keys
from iroh.quic.params import TransportParameters

if TYPE_CHECKING:
    from iroh.quic.parts import Parts

MAX_HELD = 16
"""0-RTT packets that wait for their keys: more than a first window of 12000 bytes."""
MAX_HELD_BYTES = 24_000


class Held(NamedTuple):
    """A packet that waits."""

    data: bytes
    remote: Address
    local: Address | None
    ecn: int


class EarlyData:
    """0-RTT of one connection.

    accepted: None when none was offered or the server has not decided.
    keys: what a client sends with and a server receives with; None when that is over, or was
    never possible.
    """

    __slots__ = ("_held", "_parts", "accepted", "keys")

    def __init__(self, parts: "Parts") -> None:
        self._parts = parts
        self.accepted: bool | None = None
        self.keys: LevelKeys | None = None
        self._held: list[Held] = []

    def set_secret(self, suite: int, secret: bytes) -> None:
        """TLS gives the secret: the client offers 0-RTT, or the server takes it."""
        self.keys = level_keys(suite, secret)

    def end(self) -> None:
        """No more 0-RTT: there are 1-RTT keys, or the server has rejected it."""
        self.keys = None
        self._held.clear()

    def remembered(self) -> TransportParameters | None:
        """Client: the server's limits of the connection that the ticket comes from."""
        ticket = self._parts.tls.remembered
        if ticket is None or self.keys is None:
            return None
        return TransportParameters.decode(ticket.params, from_client=False)

    def decide(self) -> None:
        """Both hellos are known. Rejected: what was sent never arrived, and is sent again."""
        p = self._parts
        if not p.tls.early_data_offered:
            return
        self.accepted = p.tls.early_data_accepted
        if self.accepted:
            return
        self.end()
        if p.is_client:
            path = p.paths.get(0)
            if path is not None:
                path.recovery.requeue_all()
            p.streams.reset_for_retry()

    # -- packets that are too early --------------------------------------------------------------

    def hold(self, held: Held) -> bool:
        """Let a packet wait until the ClientHello was read; False when there is no hope or room."""
        p = self._parts
        size = sum(len(other.data) for other in self._held) + len(held.data)
        if (
            p.is_client
            or p.peer_params is not None
            or len(self._held) >= MAX_HELD
            or size > MAX_HELD_BYTES
        ):
            return False
        self._held.append(held)
        return True

    def take_held(self) -> list[Held]:
        """Give and forget those that can be opened now."""
        if self.keys is None or not self._held:
            return []
        held, self._held = self._held, []
        return held
