"""Protocols, hooks and filters of blocking code: the event loop asks, threads answer."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from iroh import connection as aio_connection
from iroh import endpoint as aio_endpoint
from iroh import hooks as aio_hooks
from iroh import incoming as aio_incoming
from iroh import router as aio
from iroh.hooks import Reject
from iroh.options import CommonSettings
from iroh.router import IncomingFilterOutcome
from iroh.sync.connection import Connection
from iroh.sync.incoming import Accepting, Incoming
from iroh.sync.portal import Portal, PortalClosedError
from iroh.sync.threads import MAX_THREADS, Threads
from iroh_base import EndpointAddr

if TYPE_CHECKING:
    from iroh.sync.endpoint import Endpoint

__all__ = [
    "Adapter",
    "EndpointHooks",
    "EndpointSettings",
    "Handler",
    "IncomingFilter",
    "ProtocolCreator",
    "ProtocolHandler",
]


class ProtocolHandler:
    """One protocol. Subclass it, or give any object with `accept(conn)`, or just a function.

    Each connection has a thread of its own, in which everything may block. One that derives from
    `iroh.ProtocolHandler`, as `iroh.protocols.Echo`, or is async, runs in the event loop instead.
    """

    def accept(self, conn: Connection) -> None:
        """Serve a connection, which is dropped when this returns: closed with code 0, unless
        somebody else keeps it. An exception is logged and closes it the same way. When the
        endpoint is closed, whatever waits here for the connection raises ConnectionLostError.
        """
        raise NotImplementedError(f"{type(self).__name__} must override accept(conn)")

    def on_accepting(self, accepting: Accepting) -> Connection:
        """Complete the handshake of a connection whose ALPN is known; raising turns it down."""
        return accepting.establish()

    def shutdown(self) -> None:
        """Prepare for the end of the router: close what should be closed with words."""


class ProtocolCreator:
    """Makes a handler that needs the endpoint: `protocols` takes either."""

    def create(self, endpoint: Endpoint) -> ProtocolHandler | aio.ProtocolHandler:
        """Make the handler. Called once while the endpoint is bound, in its event loop's thread.

        Nothing may wait here, which raises RuntimeError.
        """
        raise NotImplementedError(f"{type(self).__name__} must override create(endpoint)")


@runtime_checkable
class _Accepts(Protocol):
    def accept(self, conn: Connection, /) -> object: ...


Handler = _Accepts | Callable[[Connection], object] | aio.Handler
"""An object with `accept(conn)`, or a function of a connection; those of `iroh`, too."""
IncomingFilter = Callable[[Incoming], IncomingFilterOutcome] | aio.IncomingFilter
"""Looks at an attempt before anything is answered, in a thread; an async one, in the loop."""


class EndpointHooks:
    """As `iroh.EndpointHooks`, in blocking code: subclass it and override one method or both.

    Each call is made in a thread, and may wait for what it likes.
    """

    def before_connect(self, remote: EndpointAddr, alpn: bytes) -> Reject | None:
        """Say whether we may dial `remote`; None lets it pass. Nothing was sent yet."""
        return None

    def after_handshake(self, conn: Connection) -> Reject | None:
        """Say whether a connection whose handshake is complete may be used; None lets it pass."""
        return None


class EndpointSettings(CommonSettings, total=False):
    """The keywords of `Endpoint.bind`: as iroh's, but for what may block."""

    protocols: Mapping[bytes, ProtocolCreator | aio.ProtocolCreator | Handler] | None
    hooks: Sequence[EndpointHooks | aio_hooks.EndpointHooks]
    incoming_filter: IncomingFilter | None


class Adapter:
    """Makes of blocking code what an endpoint of `iroh` takes; what is async stays as it is.

    It keeps no portal alive: an endpoint that everybody has forgotten is closed all the same.
    """

    def __init__(self, portal: Portal, max_threads: int = MAX_THREADS) -> None:
        self._portal = weakref.ref(portal)
        self.handling: Threads = Threads("iroh-handler", max_threads)
        self.asking: Threads = Threads("iroh-hook")

    def portal(self) -> Portal:
        """Give the portal. Raises PortalClosedError when nobody has it any more."""
        portal = self._portal()
        if portal is None:
            raise PortalClosedError("the endpoint was forgotten")
        return portal

    def protocols(self, given: Mapping[bytes, Any] | None) -> dict[bytes, Any] | None:
        """Adapt the protocols of an endpoint or a router. Raises TypeError for what is no handler.

        What derives from those of `iroh`, or is async, stays as it is.
        """
        if given is None:
            return None
        return {alpn: self._protocol(alpn, each) for alpn, each in given.items()}

    def _protocol(self, alpn: bytes, given: Any) -> Any:
        if isinstance(given, ProtocolCreator):
            return _Creator(self, alpn, given)
        if isinstance(given, aio.ProtocolHandler | aio.ProtocolCreator):
            return given
        accept = getattr(given, "accept", given)
        if isinstance(given, type) or not callable(accept):
            raise TypeError(
                f"the handler of {alpn!r} is a function of a connection, or an object with "
                f"accept(conn), not {given!r}"
            )
        return given if _is_async(accept) else _Handler(self, given)

    def filter(self, given: Any) -> Any:
        """Adapt a filter."""
        if given is None or _is_async(given):
            return given

        async def ask(incoming: aio_incoming.Incoming) -> Any:
            shown = Incoming(self.portal(), incoming)
            return await self.asking.run(_nothing, given, shown)

        return ask

    def hooks(self, given: Any) -> Any:
        """Adapt hooks."""
        return _Hooks(self, given) if isinstance(given, EndpointHooks) else given


class _Handler(aio.ProtocolHandler):
    def __init__(self, adapter: Adapter, handler: Any) -> None:
        self._adapter = adapter
        self._handler = handler
        self._accept = getattr(handler, "accept", handler)

    async def accept(self, conn: aio_connection.Connection) -> None:
        shown = Connection(self._adapter.portal(), conn)
        await self._adapter.handling.run(conn.close, self._accept, shown)

    async def on_accepting(self, accepting: aio_incoming.Accepting) -> aio_connection.Connection:
        own = getattr(type(self._handler), "on_accepting", ProtocolHandler.on_accepting)
        if own is ProtocolHandler.on_accepting:
            return await accepting
        shown = Accepting(self._adapter.portal(), accepting)
        handling = self._adapter.handling
        done = await handling.run(accepting.abandon, self._handler.on_accepting, shown)
        connection: aio_connection.Connection = done.aio
        return connection

    async def shutdown(self) -> None:
        own = getattr(self._handler, "shutdown", None)
        if own is not None and getattr(own, "__func__", None) is not ProtocolHandler.shutdown:
            await self._adapter.asking.run(_nothing, own)

    def __repr__(self) -> str:
        return repr(self._handler)


class _Creator(aio.ProtocolCreator):
    def __init__(self, adapter: Adapter, alpn: bytes, creator: ProtocolCreator) -> None:
        self._adapter, self._alpn, self._creator = adapter, alpn, creator

    def create(self, endpoint: aio_endpoint.Endpoint) -> Any:
        from iroh.sync.endpoint import Endpoint

        shown = Endpoint(self._adapter.portal(), endpoint)
        made = self._adapter.protocols({self._alpn: self._creator.create(shown)})
        assert made is not None
        return made[self._alpn]


class _Hooks(aio_hooks.EndpointHooks):
    def __init__(self, adapter: Adapter, hooks: EndpointHooks) -> None:
        self._adapter, self._hooks = adapter, hooks

    async def before_connect(self, remote: EndpointAddr, alpn: bytes) -> Reject | None:
        return await self._adapter.asking.run(_nothing, self._hooks.before_connect, remote, alpn)

    async def after_handshake(self, conn: aio_connection.Connection) -> Reject | None:
        shown = Connection(self._adapter.portal(), conn)
        return await self._adapter.asking.run(conn.close, self._hooks.after_handshake, shown)

    def __repr__(self) -> str:
        return repr(self._hooks)


def _is_async(function: Any) -> bool:
    """Whether a callable is an async function, or an object whose call is one."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - is it async?
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _nothing() -> None:
    """There is nothing that could make it end earlier."""
