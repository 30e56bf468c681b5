"""The router: hands each connection to the protocol that its ALPN names.

Every attempt is handled in a task of its own, so a peer that falls silent in its handshake holds
up nobody else. Upstream: iroh `protocol.rs`.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from iroh.connection import Connection
from iroh.errors import IrohError
from iroh.incoming import Incoming

if TYPE_CHECKING:
    from iroh.endpoint import Endpoint

logger = logging.getLogger(__name__)

__all__ = ["ProtocolCreator", "ProtocolHandler", "Router"]

HANDSHAKE_TIMEOUT = 30.0  # the idle timeout of iroh: a handshake that takes longer is dead
MAX_TASKS = 65_536  # noq max_incoming: attempts and handlers at once, further ones are refused


class ProtocolHandler:
    """One protocol. Subclass it, or give any object with an async `accept(conn)`."""

    async def accept(self, conn: Connection) -> None:
        """Serve a connection. When this returns, the router drops it: unless somebody else keeps
        it, it is closed with code 0. An exception is logged and closes it the same way.
        """
        raise NotImplementedError(f"{type(self).__name__} must override accept(conn)")

    async def shutdown(self) -> None:
        """Prepare for the end of the router: close what should be closed with words."""


class ProtocolCreator:
    """Makes a handler that needs the endpoint: `EndpointOptions.protocols` takes either."""

    def create(self, endpoint: "Endpoint") -> ProtocolHandler:
        """Make the handler. Called once while the endpoint is bound."""
        raise NotImplementedError(f"{type(self).__name__} must override create(endpoint)")


@runtime_checkable
class _Accepts(Protocol):
    def accept(self, conn: Connection) -> Awaitable[None]: ...


Handler = _Accepts | Callable[[Connection], Awaitable[None]]
"""An object with an async `accept(conn)`, or just an async function of a connection."""


class Router:
    """Serves protocols on an endpoint.

        router = Router(endpoint, {b"my/echo/1": Echo()})     # serves from now on
        ...
        await router.shutdown()                               # closes the endpoint, too

    Also an async context manager.
    """

    def __init__(self, endpoint: "Endpoint", handlers: Mapping[bytes, Handler]) -> None:
        """Raises TypeError for what is no handler, InvalidInputError for what is no ALPN."""
        self._endpoint = endpoint
        self._handlers = {alpn: _check_handler(alpn, entry) for alpn, entry in handlers.items()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._stop_task: asyncio.Task[None] | None = None
        endpoint.set_alpns(sorted(self._handlers))  # upstream serves them in this order
        self._loop_task = asyncio.create_task(self._accept_loop(), name="iroh-router")
        self._loop_task.add_done_callback(_log_failure)

    @property
    def endpoint(self) -> "Endpoint":
        """The endpoint that is served."""
        return self._endpoint

    def is_shutdown(self) -> bool:
        """Say whether shutdown was called."""
        return self._stop_task is not None

    async def shutdown(self) -> None:
        """Stop accepting, tell the handlers, end their connections, close the endpoint.

        The order is upstream's: handlers are told while their connections still live. Idempotent.
        Cancelling the wait does not stop it. In a handler's own `shutdown` it returns at once.
        """
        await self.stop()
        await self._endpoint.close()

    async def stop(self) -> None:
        """Stop as `shutdown` does, but leave the endpoint open."""
        if self.is_telling_this_task():
            return
        if self._stop_task is None:
            self._stop_task = asyncio.create_task(self._stop(), name="iroh-router-stop")
        await asyncio.shield(self._stop_task)

    async def _stop(self) -> None:
        self._loop_task.cancel()
        await asyncio.wait((self._loop_task,))
        self._telling = {
            asyncio.create_task(self._tell(handler)) for handler in self._handlers.values()
        }
        if self._telling:
            await asyncio.wait(self._telling)
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def is_telling_this_task(self) -> bool:
        """Say whether this task is a handler's `shutdown`: it must not wait for its own end."""
        return asyncio.current_task() in self._telling

    async def __aenter__(self) -> "Router":
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.shutdown()

    def __repr__(self) -> str:
        alpns = ", ".join(map(repr, sorted(self._handlers)))
        return f"<Router of {alpns} on {self._endpoint!r}>"

    async def _accept_loop(self) -> None:
        while (incoming := await self._endpoint.accept_next()) is not None:
            if len(self._tasks) >= MAX_TASKS:
                await incoming.refuse()
                continue
            task = asyncio.create_task(self._serve(incoming), name="iroh-router-connection")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, incoming: Incoming) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                conn = await incoming
        except (IrohError, TimeoutError) as error:
            logger.debug("an incoming connection failed: %s", error)
            return
        del incoming
        handler = self._handlers.get(conn.alpn())
        if handler is None:  # the endpoint was told to accept more than we serve
            logger.warning("no protocol for ALPN %r", conn.alpn())
            conn.close()
            return
        accept = handler.accept if isinstance(handler, _Accepts) else handler
        try:
            await accept(conn)
        except IrohError as error:
            conn.close()
            logger.info("protocol %r: %s", conn.alpn(), error)
        except asyncio.CancelledError:
            conn.close()
            raise
        except Exception:  # the root of a handler's task: its bug must not end the router
            conn.close()  # the traceback may keep the handle alive
            logger.exception("protocol %r failed", conn.alpn())

    async def _tell(self, handler: Handler) -> None:
        shutdown = getattr(handler, "shutdown", None)
        if shutdown is None:
            return
        try:
            result = shutdown()
            if inspect.isawaitable(result):
                await result
        except Exception:  # one handler's bug must not keep the others from being told
            logger.exception("shutdown of a protocol handler failed")


def _check_handler(alpn: bytes, handler: Handler) -> Handler:
    if isinstance(handler, type) or not (isinstance(handler, _Accepts) or callable(handler)):
        raise TypeError(
            f"the handler of {alpn!r} is an object with an async accept(conn), or an async "
            f"function of a connection, not {handler!r}"
        )
    return handler


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a router serves nobody any more", exc_info=task.exception())
