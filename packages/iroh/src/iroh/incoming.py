"""A connection on its way: dialled (Connecting) or accepted (Incoming, then Accepting).

    Incoming --accept--> Accepting --connect--> Connection     (the server's side)
        | refuse, retry, ignore                                 each single use
    Connecting --connect--> Connection                         (the client's side)

`await incoming`, `await accepting` and `await connecting` go all the way.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from iroh.connection import Connection
from iroh.errors import ConnectError, ConsumedError, connect_error
from iroh.magicsock.driver import ConnectionDriver, EngineDriver
from iroh.magicsock.mapped import RelayPathAddr
from iroh.magicsock.udp import local_ip
from iroh.quic import api
from iroh.quic import errors as quic
from iroh_base import PublicKey, SocketAddr

Establish = Callable[[ConnectionDriver], Connection]
"""Registers a connection whose handshake is complete, and makes its handle."""


class _Variant:
    """The is_ip(), is_relay(), is_custom() of the bindings' address enums."""

    def is_ip(self) -> bool:
        return type(self).__name__ == "IP"

    def is_relay(self) -> bool:
        return type(self).__name__ == "RELAY"

    def is_custom(self) -> bool:
        return type(self).__name__ == "CUSTOM"

    is_IP, is_RELAY, is_CUSTOM = is_ip, is_relay, is_custom


class IncomingAddr(_Variant):
    """Where a connection attempt comes from: IncomingAddr.IP, RELAY or CUSTOM."""

    IP: "type[_IncomingIp]"
    RELAY: "type[_IncomingRelay]"
    CUSTOM: "type[_IncomingCustom]"


@dataclass(frozen=True, slots=True)
class _IncomingIp(IncomingAddr):
    """Over UDP, from addr = "ip:port"."""

    addr: str


@dataclass(frozen=True, slots=True)
class _IncomingRelay(IncomingAddr):
    """Over a relay. endpoint_id is the relay's word: the handshake has not proven it yet."""

    url: str
    endpoint_id: PublicKey


@dataclass(frozen=True, slots=True)
class _IncomingCustom(IncomingAddr):
    """Over a custom transport."""

    description: str


class IncomingLocalAddr(_Variant):
    """Where it arrived: IncomingLocalAddr.IP, RELAY or CUSTOM."""

    IP: "type[_LocalIp]"
    RELAY: "type[_LocalRelay]"
    CUSTOM: "type[_LocalCustom]"


@dataclass(frozen=True, slots=True)
class _LocalIp(IncomingLocalAddr):
    """At this IP address of ours, None when the system does not tell."""

    addr: str | None


@dataclass(frozen=True, slots=True)
class _LocalRelay(IncomingLocalAddr):
    """Over our connection to this relay."""

    url: str


@dataclass(frozen=True, slots=True)
class _LocalCustom(IncomingLocalAddr):
    """Over a custom transport."""

    description: str | None


for _base, _variants in (
    (IncomingAddr, {"IP": _IncomingIp, "RELAY": _IncomingRelay, "CUSTOM": _IncomingCustom}),
    (IncomingLocalAddr, {"IP": _LocalIp, "RELAY": _LocalRelay, "CUSTOM": _LocalCustom}),
):
    for _name, _variant in _variants.items():
        _variant.__name__ = _name
        _variant.__qualname__ = f"{_base.__name__}.{_name}"
        setattr(_base, _name, _variant)


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
        """Answer the handshake. Raises ConsumedError when it was decided on before."""
        accept = self._accept
        driver = self._host.accept(self._take(), accept.server_config())
        return Accepting(driver, accept.establish)

    async def refuse(self) -> None:
        """Turn it down: the dialler's connect fails with CONNECTION_REFUSED."""
        self._take().refuse(self._host.now())
        self._host.flush()

    async def retry(self) -> None:
        """Make the dialler prove its address first. Raises ConsumedError if it already has."""
        incoming = self._take()
        try:
            incoming.retry(self._host.now())
        except ValueError as error:
            self._incoming = incoming  # still to be decided on
            raise ConsumedError(str(error)) from None
        self._host.flush()

    async def ignore(self) -> None:
        """Forget it without an answer: the dialler times out."""
        self._take().ignore()

    async def remote_addr(self) -> IncomingAddr:
        """Return where it comes from."""
        if isinstance(self._remote, SocketAddr):
            return _IncomingIp(str(self._remote))
        if isinstance(self._remote, RelayPathAddr):
            return _IncomingRelay(str(self._remote.url), self._remote.endpoint_id)
        return _IncomingCustom(str(self._remote))

    async def local_addr(self) -> IncomingLocalAddr:
        """Return where it arrived."""
        if isinstance(self._remote, RelayPathAddr):
            return _LocalRelay(str(self._remote.url))
        return _LocalIp(local_ip(self._local))

    async def remote_addr_validated(self) -> bool:
        """Say whether the dialler has proven its address by answering a Retry."""
        return self._validated

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self._complete().__await__()

    def __del__(self) -> None:
        if getattr(self, "_incoming", None) is not None and not self._host.loop.is_closed():
            self._host.loop.call_soon_threadsafe(self._drop)

    def _drop(self) -> None:
        """Refuse an attempt that nobody decided on (as upstream does)."""
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.refuse(self._host.now())
            self._host.flush()

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
        """Wait for the application protocol to be settled. Raises ConnectError."""
        try:
            return await self._driver.wait_alpn()
        except quic.ConnectionGone as error:
            raise connect_error(error.reason) from None

    async def connect(self) -> Connection:
        """Wait for the handshake. Raises ConnectError; cancelling it closes the attempt."""
        if self._taken:
            raise ConsumedError(f"{self._name} has already been consumed")
        self._taken = True
        try:
            await self._driver.wait_connected()
        except quic.ConnectionGone as error:
            raise connect_error(error.reason) from None
        except BaseException:  # cancelled: nobody will ever hold this connection
            self._driver.close(0, b"")
            raise
        return self._establish(self._driver)

    def __await__(self) -> Generator[Any, Any, Connection]:
        return self.connect().__await__()

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None and not self._taken:
            driver.release(None, driver.close_dropped)


class Accepting(_Handshake):
    """The server's side of a handshake under way."""

    _name = "Accepting"


class Connecting(_Handshake):
    """The client's side of a handshake under way, from `Endpoint.connect_pending`."""

    _name = "Connecting"

    def __init__(
        self, driver: ConnectionDriver, establish: Establish, remote_id: PublicKey
    ) -> None:
        super().__init__(driver, establish)
        self._remote_id = remote_id

    async def remote_id(self) -> PublicKey:
        """Return the EndpointId that is being dialled."""
        return self._remote_id


__all__ = [
    "Accepting",
    "ConnectError",
    "Connecting",
    "Incoming",
    "IncomingAddr",
    "IncomingLocalAddr",
]
