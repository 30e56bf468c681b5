"""A connection attempt that waits for a decision.

         accept --> a connection
waiting  refuse --> CONNECTION_REFUSED
         retry  --> Retry; the client comes again, validated
         ignore --> nothing
"""

from typing import NamedTuple, Protocol

from iroh.quic.api import Connection, Incoming, ServerConfig
from iroh.quic.datagrams import Address
from iroh.quic.offered import offered_alpns
from iroh.quic.strangers import FirstPacket
from iroh.quic.tokens import RetryToken

MAX_HELD = 16
"""Datagrams one attempt holds until it is decided on: a ClientHello with many ALPNs has few."""


class Held(NamedTuple):
    """A datagram that waits with its attempt."""

    data: bytes
    ecn: int


class Decider(Protocol):
    """The endpoint, as an attempt sees it."""

    def accept_incoming(
        self, incoming: "EngineIncoming", config: ServerConfig, now: float
    ) -> Connection:
        """Make the connection of an attempt and give it what was held."""

    def refuse_incoming(self, incoming: "EngineIncoming") -> None:
        """Answer CONNECTION_REFUSED."""

    def retry_incoming(self, incoming: "EngineIncoming", now: float) -> None:
        """Answer Retry."""

    def drop_incoming(self, incoming: "EngineIncoming") -> None:
        """Forget an attempt."""


class EngineIncoming(Incoming):
    """An attempt, and the datagrams that came for it so far (all from one address)."""

    def __init__(
        self,
        endpoint: Decider,
        first: FirstPacket,
        remote: Address,
        local: Address | None,
        token: RetryToken | None,
    ) -> None:
        self.remote = remote
        self.local = local
        self.remote_validated: bool = token is not None
        self.first = first
        self.token = token
        self.held: list[Held] = []
        self._endpoint = endpoint
        self._is_decided = False

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(len(held.data) for held in self.held)

    def accept(self, config: ServerConfig, now: float) -> Connection:
        """Start the server side of the handshake. Raises ValueError for ALPNs that cannot be."""
        self._decide()
        return self._endpoint.accept_incoming(self, config, now)

    def refuse(self, now: float) -> None:
        """Answer CONNECTION_REFUSED."""
        self._decide()
        self._endpoint.refuse_incoming(self)

    def retry(self, now: float) -> None:
        """Ask the peer to prove its address. ValueError when it already has."""
        if self.remote_validated:
            raise ValueError("the address is validated already")
        self._decide()
        self._endpoint.retry_incoming(self, now)

    def ignore(self) -> None:
        """Forget it without an answer."""
        self._decide()
        self._endpoint.drop_incoming(self)

    def offered_alpns(self) -> list[bytes] | None:
        """Read which ALPNs the client offers, in its order. See offered.py."""
        return offered_alpns(self.first, (held.data for held in self.held))

    def _decide(self) -> None:
        if self._is_decided:
            raise ValueError("this attempt was decided on already")
        self._is_decided = True
