"""The endpoint: an identity on the network that dials and is dialled by public key.

    async with Endpoint.bind(presets.N0) as endpoint:
        conn = await endpoint.connect(peer_id, b"my/protocol/1")

Names and the sync/async split are the bindings'. An endpoint belongs to the event loop it was
bound on and to its thread; a process may have any number of endpoints and loops.
"""

import asyncio
import logging
import warnings
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from iroh.address_lookup import AddressLookup, MemoryLookup
from iroh.connection import Connection
from iroh.core import EndpointCore
from iroh.endpoint_state import EndpointState
from iroh.errors import ConnectError, InvalidAlpnError
from iroh.incoming import AcceptConfig, Connecting, Incoming
from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.remote import Source
from iroh.options import (
    EndpointBuilder,
    EndpointConfig,
    EndpointOptions,
    EndpointSettings,
    PresetLike,
    check_alpns,
)
from iroh.quic.config import TransportConfig
from iroh.resolver import import_late
from iroh.router import Handler, IncomingFilter, ProtocolCreator, Router
from iroh_base import EndpointAddr, PublicKey, SocketAddr, UserData
from iroh_relay.relay_map import RelayConfig, RelayMap

logger: logging.Logger = logging.getLogger(__name__)


class Endpoint(EndpointState):
    """Bind it with `Endpoint.bind`. Close it with `close`, or use `async with`."""

    @classmethod
    def bind(
        cls,
        options: EndpointOptions | PresetLike | None = None,
        **settings: Unpack[EndpointSettings],
    ) -> "Binding":
        """Bind an endpoint: `await` the result, or use it in `async with`.

        Takes EndpointOptions, or a preset with the fields of EndpointOptions as keywords:
        `Endpoint.bind(presets.Minimal, alpns=[b"echo/1"])`. Nothing given means presets.N0.
        Raises BindError, InvalidInputError. Cancelling it releases what was bound.
        """
        if isinstance(options, EndpointOptions):
            if settings:
                raise TypeError("give either EndpointOptions or keywords, not both")
        else:
            options = EndpointOptions(preset=options, **settings)
        return Binding(options)

    def __init__(self, core: EndpointCore) -> None:
        """Use `Endpoint.bind` instead."""
        super().__init__(core)
        self._engine = core.engine
        self._memory: MemoryLookup | None = None

    # -- where we are reached -----------------------------------------------------------------

    async def add_external_addr(self, addr: str) -> None:
        """Announce "ip:port", where others reach us and we cannot know it.

        Never waits. Raises AddrParseError. Nothing happens once the endpoint is closed.
        """
        if self._sock.direct.add_external(SocketAddr.parse(addr)) and not self._core.closing:
            self._sock.direct_changed()

    async def remove_external_addr(self, addr: str) -> bool:
        """Take it back; say whether it was there. Never waits. Raises AddrParseError."""
        parsed = SocketAddr.parse(addr)
        if self._core.closing or parsed not in self._sock.direct.external:
            return False
        if self._sock.direct.remove_external(parsed):
            self._sock.direct_changed()
        return True

    async def insert_relay(self, config: RelayConfig) -> None:
        """Use one more relay from now on.

        Never waits: a net report is asked for, which may choose it. Does nothing where relays are
        disabled (RelayMode.disabled), and once the endpoint is closed. RelayConfig checks the URL.
        """
        if self._core.relay_map is None:
            logger.warning(
                "insert_relay does nothing where relays are disabled: bind with "
                "RelayMode.custom(RelayMap.empty()) to add some later"
            )
        elif not self._core.closing:
            self._core.relay_map.insert(config)

    async def remove_relay(self, url: str) -> bool:
        """Stop using a relay; say whether it was in use.

        Never waits: if it is home, another becomes home with the next net report. Raises
        RelayUrlError.
        """
        relays = self._core.relay_map or RelayMap.empty()  # which checks the URL, too
        return not self._core.closing and relays.remove(url)

    # -- address lookup -------------------------------------------------------------------------

    def add_address(self, addr: EndpointAddr) -> None:
        """Remember a peer's address: `connect` with its id alone finds it.

        Raises EndpointClosedError.
        """
        if self._memory is None:
            memory = MemoryLookup()
            self.add_address_lookup(memory)
            self._memory = memory
        self._memory.add_endpoint_info(addr)

    def add_address_lookup(self, service: AddressLookup) -> None:
        """Add a lookup service; it is told our address at once. Raises EndpointClosedError."""
        self._core.check_open()
        self._core.add_service(service)

    def remove_address_lookup(self, service: AddressLookup) -> bool:
        """Take a lookup service out and begin to close it; say whether it was in.

        Lookups under way go on with it until it is closed. What it published stays as it is.
        """
        return self._core.services.remove(service)

    def set_user_data(self, text: str | UserData | None) -> None:
        """Publish this text beside our addresses, at most 245 bytes; None takes it back.

        Raises EndpointInfoError for more.
        """
        self._core.user_data = UserData(text) if isinstance(text, str) else text
        self._core.publish()

    # -- dialling -------------------------------------------------------------------------------

    async def connect(
        self,
        addr: EndpointAddr | PublicKey,
        alpn: bytes,
        *,
        additional_alpns: Sequence[bytes] = (),
        transport_config: TransportConfig | None = None,
    ) -> Connection:
        """Dial an endpoint by its id, or by an address, and agree on the ALPN.

        additional_alpns: others that we can speak, too; the server chooses, see
        `Connection.alpn`. transport_config: QUIC settings for this connection alone.

        Every known address is tried at once, and those that a lookup finds meanwhile; the first
        answer wins. Raises ConnectError (LookupFailedError, ConnectTimeoutError after 30 s of
        silence, EndpointClosedError, LocallyRejectedError). Cancelling it abandons the dial.
        """
        alpns = [alpn, *additional_alpns]
        return await (await self._dial(addr, alpns, transport_config, early_data=False))

    async def connect_pending(
        self,
        addr: EndpointAddr | PublicKey,
        alpn: bytes,
        *,
        additional_alpns: Sequence[bytes] = (),
        transport_config: TransportConfig | None = None,
    ) -> Connecting:
        """Start dialling: find an address and send the first packet. See `connect`.

        `Connecting.into_0rtt` sends data before the server has answered. Cancelling this call
        abandons the dial.
        """
        alpns = [alpn, *additional_alpns]
        return await self._dial(addr, alpns, transport_config, early_data=True)

    async def _dial(
        self,
        addr: EndpointAddr | PublicKey,
        alpns: Sequence[bytes],
        transport: TransportConfig | None,
        early_data: bool,
    ) -> Connecting:
        core, remotes = self._core, self._sock.remotes
        core.check_open()
        addr = _dialled(addr, core.id)
        if not all(map(len, alpns)):
            raise InvalidAlpnError("an ALPN is 1 to 255 bytes long, not 0")
        alpns = check_alpns(alpns)
        if core.hooks:
            await core.hooks.before_connect(addr, alpns[0])
            core.check_open()
        remote_id = addr.id()
        remote = remotes.hold(remote_id)
        try:
            remote.add(addr.sorted_addrs(), Source.APP)
            await remote.resolve()
            core.check_open()
            mixed = self._sock.mapped.mixed.get(remote_id)
            transport = transport or core.transport
            key = remote_id.to_bytes()
            driver = self._engine.connect(mixed, key, alpns, transport, early_data)
        except BaseException:
            remotes.release(remote)
            raise
        driver.inbox.at_end(partial(remotes.release, remote))
        return Connecting(driver, self._establish, remote, alpns[0])

    async def _establish(self, driver: ConnectionDriver, handle: Connection | None) -> Connection:
        peer = driver.connection.peer
        assert peer is not None
        connection = Connection(driver) if handle is None else handle
        self._sock.attach(driver, PublicKey(peer))
        if self._core.hooks:
            await self._core.hooks.after_handshake(connection)
        return connection

    # -- accepting ------------------------------------------------------------------------------

    def set_alpns(self, alpns: Sequence[bytes]) -> None:
        """Accept these application protocols from now on, the preferred first; none refuses.

        Raises InvalidInputError for one that is empty or longer than 255 bytes.
        """
        if not self._core.closing:
            self._core.alpns = check_alpns(alpns)
            self._engine.engine.set_accepting(bool(self._core.alpns))

    async def accept_next(self) -> Incoming | None:
        """Take the next connection attempt; None once the endpoint is closed.

        Cancelling it loses no attempt.
        """
        incoming = await self._engine.next_incoming()
        if incoming is None:
            return None
        accept = AcceptConfig(self._core.server_config, self._establish)
        return Incoming(incoming, self._engine, accept)

    async def incoming(self) -> AsyncGenerator[Incoming, None]:
        """Iterate over connection attempts until the endpoint is closed."""
        while (incoming := await self.accept_next()) is not None:
            yield incoming

    # -- the end --------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Say whether close has finished."""
        return self._core.closed

    async def closed(self) -> None:
        """Wait until the endpoint begins to close: no more dials, no more attempts.

        What belongs to the endpoint can end with it. Cancelling it is harmless.
        """
        if not self._core.closing:
            await self._core.closing_begun.wait()

    async def close(self) -> None:
        """Close every connection with code 0, then the sockets. Idempotent.

        The handlers of `protocols` are shut down before, which takes as long as they take; the
        rest takes a few seconds at most, whatever relays do. Close connections yourself first if
        the peer should see another code. Cancelling the wait does not stop the closing.

        On a loop other than the endpoint's it raises RuntimeError, unless that loop is closed:
        then the sockets are released, and peers are not told.
        """
        core = self._core
        if core.closed:
            return
        if core.loop.is_closed():
            core.abort()
        elif asyncio.get_running_loop() is not core.loop:
            raise RuntimeError("close an endpoint on the event loop it was bound on")
        elif core.router is None or not core.router.is_telling_this_task():
            await core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        ours = [*self.bound_sockets(), *map(str, self.custom_addrs())]
        state = "closed" if self._core.closed else ", ".join(ours) or "open"
        return f"<Endpoint {self.id().fmt_short()} {state}>"


def _dialled(addr: EndpointAddr | PublicKey, ourselves: PublicKey) -> EndpointAddr:
    """Return whom to dial, if that can be."""
    if isinstance(addr, PublicKey):
        addr = EndpointAddr(addr)
    elif not isinstance(addr, EndpointAddr):
        raise TypeError(
            f"connect takes an EndpointAddr or an EndpointId, not {type(addr).__name__}: "
            "EndpointId.from_string and EndpointTicket.from_string read text, "
            "ticket.endpoint_addr() is what is in a ticket"
        )
    if addr.id() == ourselves:
        raise ConnectError("connecting to ourself is not supported")
    return addr


async def bind_endpoint(
    config: EndpointConfig,
    protocols: Mapping[bytes, ProtocolCreator | Handler] | None = None,
    incoming_filter: IncomingFilter | None = None,
    limit: int | None = None,
) -> Endpoint:
    """Bind with a finished configuration; `EndpointBuilder.bind` and `Endpoint.bind` end here."""
    await import_late("iroh.quic.engine")  # 0.1 s and more, which other connections must not feel
    core = EndpointCore(config)
    try:
        await core.sock.custom.start()
        core.start()
        endpoint = Endpoint(core)
        core.show(endpoint)
        if protocols is not None:
            handlers = {
                alpn: entry.create(endpoint) if isinstance(entry, ProtocolCreator) else entry
                for alpn, entry in protocols.items()
            }
            limits = {} if limit is None else {"max_connections": limit}
            core.router = Router(endpoint, handlers, incoming_filter=incoming_filter, **limits)
        await asyncio.sleep(0)  # let the first tasks run: publishing, the home relay
    except BaseException:  # a bad option, a failing creator, or cancelled: nothing stays bound
        await core.close()
        raise
    return endpoint


_NOT_YET = "an endpoint that is not bound yet: `await` it, or enter it by `async with`"


class Binding(Coroutine[Any, Any, Endpoint]):
    """An endpoint about to be bound: await it, enter it, or make a task of it."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._endpoint: Endpoint | None = None
        self._started: Coroutine[Any, Any, Endpoint] | None = None
        self._used = False

    def __repr__(self) -> str:
        return f"<{_NOT_YET}>"

    if not TYPE_CHECKING:  # for a checker it has no more attributes than it has

        def __getattr__(self, name: str) -> object:
            raise AttributeError(f"no attribute {name!r}: {_NOT_YET}")

    def __await__(self) -> Generator[Any, Any, Endpoint]:
        return self._bind().__await__()

    def __del__(self) -> None:
        if not self.__dict__.get("_used", True):
            warnings.warn("Endpoint.bind was never awaited", RuntimeWarning, stacklevel=1)

    # What a Task asks of a coroutine.

    def send(self, value: Any) -> Any:
        """Start or go on."""
        if self._started is None:
            self._started = self._bind()
        return self._started.send(value)

    def throw(self, *exc: Any) -> Any:
        """Raise an exception where it waits."""
        if self._started is None:
            self._started = self._bind()
        return self._started.throw(*exc)

    def close(self) -> None:
        """Give up."""
        self._used = True
        if self._started is not None:
            self._started.close()

    def _bind(self) -> Coroutine[Any, Any, Endpoint]:
        self._used = True
        return self._bound()

    async def _bound(self) -> Endpoint:
        builder = EndpointBuilder()
        builder.apply_options(self._options)
        options = self._options
        serving = options.protocols, options.incoming_filter, options.max_connections
        return await bind_endpoint(builder.take(), *serving)

    async def __aenter__(self) -> Endpoint:
        self._endpoint = await self._bind()
        return self._endpoint

    async def __aexit__(self, *_exc: object) -> None:
        assert self._endpoint is not None
        await self._endpoint.close()
