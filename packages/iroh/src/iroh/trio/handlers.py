"""Protocols, hooks and filters written for trio: the asyncio loop asks, trio's tasks answer.

Each call is a task in the nursery of trio-asyncio's loop. Cancelling in asyncio (a router that
stops) cancels it in trio.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import trio
import trio_asyncio

from iroh import connection as aio_connection
from iroh import endpoint as aio_endpoint
from iroh import hooks as aio_hooks
from iroh import incoming as aio_incoming
from iroh import router as aio
from iroh.hooks import Reject
from iroh.options import CommonSettings
from iroh.router import IncomingFilterOutcome
from iroh.trio.connection import Connection
from iroh.trio.endpoint import Endpoint
from iroh.trio.incoming import Accepting, Incoming
from iroh.trio.portal import Portal
from iroh_base import EndpointAddr, IrohError

__all__ = [
    "Adapter",
    "EndpointHooks",
    "EndpointSettings",
    "Handler",
    "IncomingFilter",
    "ProtocolCreator",
    "ProtocolHandler",
]

T = TypeVar("T")


class ProtocolHandler:
    """One protocol. Subclass it, or give any object with `accept(conn)`, or just a function.

    Each connection has a task of its own. What derives from `iroh.ProtocolHandler`, as
    `iroh.protocols.Echo`, is for asyncio, and runs there.
    """

    async def accept(self, conn: Connection) -> None:
        """Serve a connection, which is dropped when this returns: closed with code 0, unless
        somebody else keeps it. An exception is logged and closes it the same way: it ends neither
        the router nor the program. Cancelled when the router is shut down.
        """
        raise NotImplementedError(f"{type(self).__name__} must override accept(conn)")

    async def on_accepting(self, accepting: Accepting) -> Connection:
        """Complete the handshake of a connection whose ALPN is known; raising turns it down.

        Cancelled after 30 s, and when the router is shut down. Raises ConnectError.
        """
        return await accepting.establish()

    async def shutdown(self) -> None:
        """Prepare for the end of the router: close what should be closed with words.

        The router waits for it as long as it takes; nobody cancels it.
        """


class ProtocolCreator:
    """Makes a handler that needs the endpoint: `protocols` takes either."""

    def create(self, endpoint: Endpoint) -> ProtocolHandler | aio.ProtocolHandler:
        """Make the handler. Called once while the endpoint is bound."""
        raise NotImplementedError(f"{type(self).__name__} must override create(endpoint)")


@runtime_checkable
class _Accepts(Protocol):
    def accept(self, conn: Connection, /) -> Awaitable[None]: ...


Handler = _Accepts | Callable[[Connection], Awaitable[None]] | aio.ProtocolHandler
"""An object with an async `accept(conn)`, or an async function of a connection."""
IncomingFilter = Callable[[Incoming], IncomingFilterOutcome | Awaitable[IncomingFilterOutcome]]
"""Looks at an attempt before anything is answered: a function, which may be async."""


class EndpointHooks:
    """As `iroh.EndpointHooks`, for trio: subclass it and override one method or both."""

    async def before_connect(self, remote: EndpointAddr, alpn: bytes) -> Reject | None:
        """Say whether we may dial `remote`; None lets it pass. Nothing was sent yet.

        Cancelled when the dial is.
        """
        return None

    async def after_handshake(self, conn: Connection) -> Reject | None:
        """Say whether a connection whose handshake is complete may be used; None lets it pass.

        Cancelled when the connecting or accepting call is; the connection is closed then.
        """
        return None


class EndpointSettings(CommonSettings, total=False):
    """The keywords of `open_endpoint`: as iroh's, but for what is written for trio."""

    protocols: Mapping[bytes, ProtocolCreator | aio.ProtocolCreator | Handler] | None
    hooks: Sequence[EndpointHooks | aio_hooks.EndpointHooks]
    incoming_filter: IncomingFilter | None


class Adapter:
    """Makes of what is written for trio what an endpoint of `iroh` takes."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal

    def protocols(self, given: Mapping[bytes, Any] | None) -> dict[bytes, Any] | None:
        """Adapt the protocols of an endpoint or a router."""
        return (
            None if given is None else {alpn: self._protocol(each) for alpn, each in given.items()}
        )

    def _protocol(self, given: Any) -> Any:
        if isinstance(given, ProtocolCreator):
            return _Creator(self, given)
        is_for_asyncio = isinstance(given, aio.ProtocolHandler | aio.ProtocolCreator | type)
        if is_for_asyncio or not callable(getattr(given, "accept", given)):
            return given
        return _Handler(self.portal, given)

    def filter(self, given: Any) -> Any:
        """Adapt a filter."""
        if given is None:
            return None

        async def ask(incoming: aio_incoming.Incoming) -> Any:
            return await in_trio(_called, given, Incoming(self.portal, incoming))

        return ask

    def hooks(self, given: Any) -> Any:
        """Adapt hooks; those of `iroh` are for asyncio."""
        return _Hooks(self.portal, given) if isinstance(given, EndpointHooks) else given


async def in_trio(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Await a function of trio in asyncio. Raises what it raises.

    How a connection ended is raised as what it is for `iroh`, also where it broke a trio stream, or
    came out of a nursery.
    """
    try:
        value: T = await trio_asyncio.trio_as_aio(function)(*args)
    except (trio.BrokenResourceError, ExceptionGroup) as error:
        plain = _plain(error)
        if plain is None:
            raise
        raise plain from error
    return value


def _plain(error: BaseException) -> IrohError | None:
    """Give what an error is for `iroh`; None where there is more to it."""
    if isinstance(error, BaseExceptionGroup):
        inner = [_plain(each) for each in error.exceptions]
        return inner[0] if all(inner) else None
    if isinstance(error, trio.BrokenResourceError) and error.__cause__ is not None:
        error = error.__cause__
    return error if isinstance(error, IrohError) else None


async def _called(function: Callable[..., Any], *args: Any) -> Any:
    value = function(*args)
    return await value if inspect.isawaitable(value) else value


class _Handler(aio.ProtocolHandler):
    def __init__(self, portal: Portal, handler: Any) -> None:
        self._portal = portal
        self._handler = handler

    async def accept(self, conn: aio_connection.Connection) -> None:
        accept = getattr(self._handler, "accept", self._handler)
        await in_trio(accept, Connection(self._portal, conn))

    async def on_accepting(self, accepting: aio_incoming.Accepting) -> aio_connection.Connection:
        own = getattr(type(self._handler), "on_accepting", ProtocolHandler.on_accepting)
        if own is ProtocolHandler.on_accepting:
            return await accepting
        shown = Accepting(self._portal, accepting)
        connection: aio_connection.Connection = (
            await in_trio(self._handler.on_accepting, shown)
        ).aio
        return connection

    async def shutdown(self) -> None:
        own = getattr(self._handler, "shutdown", None)
        if own is not None:
            await in_trio(_called, own)

    def __repr__(self) -> str:
        return repr(self._handler)


class _Creator(aio.ProtocolCreator):
    def __init__(self, adapter: Adapter, creator: ProtocolCreator) -> None:
        self._adapter, self._creator = adapter, creator

    def create(self, endpoint: aio_endpoint.Endpoint) -> Any:
        handler = self._creator.create(Endpoint(self._adapter.portal, endpoint))
        made = self._adapter.protocols({b"x": handler})
        assert made is not None
        return made[b"x"]


class _Hooks(aio_hooks.EndpointHooks):
    def __init__(self, portal: Portal, hooks: EndpointHooks) -> None:
        self._portal, self._hooks = portal, hooks

    async def before_connect(self, remote: EndpointAddr, alpn: bytes) -> Reject | None:
        return await in_trio(self._hooks.before_connect, remote, alpn)

    async def after_handshake(self, conn: aio_connection.Connection) -> Reject | None:
        return await in_trio(self._hooks.after_handshake, Connection(self._portal, conn))

    def __repr__(self) -> str:
        return repr(self._hooks)
