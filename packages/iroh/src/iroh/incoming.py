"""A connection on its way: dialled (Connecting) or accepted (Incoming, then Accepting).

    Incoming --accept--> Accepting --connect--> Connection     (the server's side)
        | refuse, retry, ignore                                 each single use
    Connecting --connect--> Connection                         (the client's side)

`await incoming`, `await accepting` and `await connecting` go all the way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from iroh.connection import Connection
from iroh.errors import (
    ConnectError,
    ConnectTimeoutError,
    ConsumedError,
    EndpointClosedError,
)
from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.host import EngineDriver
from iroh.magicsock.mapped import CustomPathAddr, RelayPathAddr
from iroh.magicsock.remote import RemoteState
from iroh.magicsock.udp import local_ip
from iroh.options import check_alpns
from iroh.quic import api
from iroh.quic import errors as quic
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address
from iroh.variants import Variant
from iroh.zero_rtt import IncomingZeroRttConnection, OutgoingZeroRttConnection
from iroh_base import PublicKey, SocketAddr

Establish = Callable[[ConnectionDriver, Connection | None], Awaitable[Connection]]
"""Registers a connection whose handshake is complete and asks the hooks; makes its handle unless
one is given."""


NO_COMMON_ALPN = 0x178
"""The TLS alert no_application_protocol (RFC 7301) as a QUIC error (RFC 9001 section 4.8)."""
REFUSED = 0x2
"""CONNECTION_REFUSED (RFC 9000 section 20.1)."""


class IncomingAddr(Variant):
    """Where a connection attempt comes from: IncomingAddr.IP, RELAY or CUSTOM."""

    IP: "type[_IncomingIp]"
    RELAY: "type[_IncomingRelay]"
    CUSTOM: "type[_IncomingCustom]"
    is_ip: Callable[[], bool]
    is_relay: Callable[[], bool]
    is_custom: Callable[[], bool]


@IncomingAddr.variant("IP")
@dataclass(frozen=True, slots=True)
class _IncomingIp(IncomingAddr):
    """Over UDP, from addr = "ip:port"."""

    addr: str


@IncomingAddr.variant("RELAY")
@dataclass(frozen=True, slots=True)
class _IncomingRelay(IncomingAddr):
    """Over a relay. endpoint_id is the relay's word: the handshake has not proven it yet."""

    url: str
    endpoint_id: PublicKey


@IncomingAddr.variant("CUSTOM")
@dataclass(frozen=True, slots=True)
class _IncomingCustom(IncomingAddr):
    """Over a custom transport, from the CustomAddr of this text."""

    description: str


class IncomingLocalAddr(Variant):
    """Where it arrived: IncomingLocalAddr.IP, RELAY or CUSTOM."""

    IP: "type[_LocalIp]"
    RELAY: "type[_LocalRelay]"
    CUSTOM: "type[_LocalCustom]"
    is_ip: Callable[[], bool]
    is_relay: Callable[[], bool]
    is_custom: Callable[[], bool]


@IncomingLocalAddr.variant("IP")
@dataclass(frozen=True, slots=True)
class _LocalIp(IncomingLocalAddr):
    """At this IP address of ours, None when the system does not tell."""

    addr: str | None


@IncomingLocalAddr.variant("RELAY")
@dataclass(frozen=True, slots=True)
class _LocalRelay(IncomingLocalAddr):
    """Over our connection to this relay."""

    url: str


@IncomingLocalAddr.variant("CUSTOM")
@dataclass(frozen=True, slots=True)
class _LocalCustom(IncomingLocalAddr):
    """Over a custom transport, at the CustomAddr of this text; None if it does not tell."""

    description: str | None


class Incoming:
    """A connection attempt. Exactly one of accept, refuse, retry and ignore ends it.

    An attempt that is dropped undecided is refused.
    """

    def __init__(self, incoming: api.Incoming, host: EngineDriver, accept: "AcceptConfig") -> None:
        self._incoming: api.Incoming | None = incoming
        self._remote, self._local = incoming.remote, incoming.local
        self._validated = incoming.remote_validated
        self._host = host
        self._accept = accept

    async def accept(self) -> "Accepting":
        """Answer the handshake, for the ALPNs the endpoint has now.

        Raises ConsumedError when it was decided on before, EndpointClosedError. Never waits.
        """
        return await self.accept_with()

    async def accept_with(
        self,
        *,
        alpns: Sequence[bytes] | None = None,
        transport_config: TransportConfig | None = None,
    ) -> "Accepting":
        """Answer the handshake with other settings than the endpoint's, for this one connection.

        alpns: in order of preference. Never waits. Raises as `accept`, and InvalidInputError.
        """
        config = self._accept.server_config()
        if alpns is not None:
            config = replace(config, alpns=check_alpns(alpns))
        if transport_config is not None:
            config = replace(config, transport=transport_config)
        driver = self._host.accept(self._take(), config)
        return Accepting(driver, self._accept.establish, self._remote)

    async def refuse(self) -> None:
        """Turn it down: the dialler's connect fails with CONNECTION_REFUSED.

        Never waits. Raises ConsumedError when it was decided on before. Nothing happens once the
        endpoint is closed, which refuses what is undecided.
        """
        self._host.refuse(self._take())

    async def retry(self) -> None:
        """Make the dialler prove its address first: it comes again, as another Incoming.

        Never waits. Raises ConsumedError if it has proven it already (then this is still to be
        decided on), or when it was decided on before. Nothing happens once the endpoint is closed.
        """
        incoming = self._take()
        if self._host.closed:
            return
        try:
            incoming.retry(self._host.now())
        except ValueError as error:
            self._incoming = incoming  # still to be decided on
            raise ConsumedError(str(error)) from None
        self._host.flush()

    async def ignore(self) -> None:
        """Forget it without an answer: the dialler times out.

        Never waits. Raises ConsumedError when it was decided on before.
        """
        incoming = self._take()
        if not self._host.closed:
            incoming.ignore()

    async def remote_addr(self) -> IncomingAddr:
        """Return where it comes from. Never waits."""
        return _incoming_addr(self._remote)

    async def local_addr(self) -> IncomingLocalAddr:
        """Return where it arrived. Never waits."""
        if isinstance(self._remote, RelayPathAddr):
            return _LocalRelay(str(self._remote.url))
        if isinstance(self._remote, CustomPathAddr):
            return _LocalCustom(None if self._local is None else str(self._local))
        return _LocalIp(local_ip(self._local))

    async def remote_addr_validated(self) -> bool:
        """Say whether the dialler has proven its address by answering a Retry. Never waits."""
        return self._validated

    def offered_alpns(self) -> list[bytes] | None:
        """Return the ALPNs that the dialler offers, in its order, before anything is answered.

        None as long as its hello is not whole, which takes several packets for a long one, and
        when there is none that can be read. Raises ConsumedError when it was decided on before.
        (iroh `Incoming::decrypt`.)
        """
        if self._incoming is None:
            raise ConsumedError("Incoming has already been consumed")
        return self._incoming.offered_alpns()

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self._complete().__await__()

    def __repr__(self) -> str:
        state = "decided" if self._incoming is None else "waiting"
        return f"<Incoming from {_remote_text(self._remote)}: {state}>"

    def __del__(self) -> None:
        incoming = getattr(self, "_incoming", None)
        if incoming is not None:  # nobody decided: refuse it, as upstream does
            self._host.call_from_anywhere(self._host.refuse, incoming)

    async def _complete(self) -> Connection:
        return await (await self.accept()).connect()

    def _take(self) -> api.Incoming:
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            raise ConsumedError("Incoming has already been consumed")
        return incoming


@dataclass(frozen=True, slots=True)
class AcceptConfig:
    """What an Incoming needs of its endpoint."""

    server_config: Callable[[], api.ServerConfig]
    establish: Establish


class _Handshake:
    """A handshake under way, single use."""

    _name = ""

    def __init__(self, driver: ConnectionDriver, establish: Establish) -> None:
        self._driver = driver
        self._establish = establish
        self._taken = False

    async def alpn(self) -> bytes:
        """Wait for the application protocol to be settled. Raises ConnectError.

        Cancelling it is harmless.
        """
        try:
            return await self._driver.inbox.wait_alpn()
        except quic.ConnectionGone as error:
            raise self._failed(error.reason) from None

    async def connect(self) -> Connection:
        """Wait for the handshake. Raises ConnectError; cancelling it closes the attempt.

        LocallyRejectedError: one of our hooks did not let it pass.
        """
        self._take()
        try:
            return await self._complete(None)
        except asyncio.CancelledError:  # nobody will ever hold this connection
            self._driver.close(0, b"")
            raise

    def _take(self) -> None:
        if self._taken:
            raise ConsumedError(f"{self._name} has already been consumed")
        self._taken = True

    async def _complete(self, handle: Connection | None) -> Connection:
        try:
            await self._driver.inbox.wait_connected()
        except quic.ConnectionGone as error:
            raise self._failed(error.reason) from None
        return await self._establish(self._driver, handle)

    def abandon(self) -> None:
        """Give up at once, as dropping it does: the peer's handshake fails. Idempotent."""
        if not self._taken:
            self._taken = True
            self._driver.close(0, b"")

    def _failed(self, reason: quic.CloseReason) -> ConnectError:
        if isinstance(reason, quic.LocallyClosed) and self._driver.host.closed:
            error: ConnectError = EndpointClosedError("the endpoint was closed meanwhile")
        elif isinstance(reason, quic.TimedOut):
            error = ConnectTimeoutError(self._timeout_text())
        else:
            error = ConnectError(str(reason), hint=self._hint(getattr(reason, "code", None)))
        error.reason = reason
        return error

    def _hint(self, code: int | None) -> str:
        return "the dialler offers none of our ALPNs" if code == NO_COMMON_ALPN else ""

    def _timeout_text(self) -> str:
        return "timed out: the dialler fell silent in the handshake"

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self.connect().__await__()

    def __repr__(self) -> str:
        inbox = self._driver.inbox
        state = "done" if inbox.connected else inbox.close_reason or "under way"
        return f"<{self._name}: {state}>"

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None and not self._taken:
            driver.release(None, driver.close_dropped)


class Accepting(_Handshake):
    """The server's side of a handshake under way."""

    _name = "Accepting"

    def __init__(self, driver: ConnectionDriver, establish: Establish, remote: Address) -> None:
        super().__init__(driver, establish)
        self._remote = remote

    async def remote_addr(self) -> IncomingAddr:
        """Return where the attempt came from, as `Incoming.remote_addr`. Never waits."""
        return _incoming_addr(self._remote)

    async def into_0rtt(self) -> IncomingZeroRttConnection:
        """Use the connection before the dialler has proven who it is: see `iroh.zero_rtt`.

        Also when it sent no 0-RTT data: then we may write before its handshake is complete. Waits
        for the dialler's hello. Raises ConnectError, ConsumedError. Cancelling it is harmless.
        """
        alpn = await self.alpn()
        self._take()
        return IncomingZeroRttConnection(self._driver, alpn, None, self._complete)


class Connecting(_Handshake):
    """The client's side of a handshake under way, from `Endpoint.connect_pending`."""

    _name = "Connecting"

    def __init__(
        self, driver: ConnectionDriver, establish: Establish, remote: RemoteState, alpn: bytes
    ) -> None:
        super().__init__(driver, establish)
        self._remote = remote
        self._wanted = alpn

    async def remote_id(self) -> PublicKey:
        """Return the EndpointId that is being dialled. Never waits."""
        return self._remote.endpoint_id

    def into_0rtt(self) -> OutgoingZeroRttConnection | None:
        """Send data at once, before the server has answered: see `iroh.zero_rtt`.

        None when no earlier connection to it left a ticket, or its answer is there: then this can
        still be awaited. Raises ConsumedError.
        """
        if not self._taken and not self._driver.connection.is_early:
            return None
        self._take()
        peer = self._remote.endpoint_id
        return OutgoingZeroRttConnection(self._driver, self._wanted, peer, self._complete)

    def _hint(self, code: int | None) -> str:
        if code == NO_COMMON_ALPN:
            return f"the peer does not speak {self._wanted!r}"
        return "it accepts no ALPN now, filters, or is full" if code == REFUSED else ""

    def _timeout_text(self) -> str:
        tried = ", ".join(map(str, self._remote.addrs))
        return f"timed out: no answer from any known address of the endpoint (tried {tried})"


def _incoming_addr(remote: Address) -> IncomingAddr:
    if isinstance(remote, SocketAddr):
        return _IncomingIp(str(remote))
    if isinstance(remote, RelayPathAddr):
        return _IncomingRelay(str(remote.url), remote.endpoint_id)
    return _IncomingCustom(_remote_text(remote))


def _remote_text(remote: Address) -> str:
    if isinstance(remote, RelayPathAddr):
        return str(remote.url)
    return str(remote.key) if isinstance(remote, CustomPathAddr) else str(remote)


__all__ = [
    "Accepting",
    "Connecting",
    "Incoming",
    "IncomingAddr",
    "IncomingLocalAddr",
]
