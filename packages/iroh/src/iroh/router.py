"""The router: hands each connection to the protocol that its ALPN names.

Every attempt is handled in a task of its own, so a peer that falls silent in its handshake holds
up nobody else. Upstream: iroh `protocol.rs`.
"""

import asyncio
import contextlib
import enum
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from iroh.connection import Connection
from iroh.errors import AlpnError, ConsumedError, InvalidInputError, IrohError
from iroh.incoming import Accepting, Incoming

if TYPE_CHECKING:
    from iroh.endpoint import Endpoint

logger: logging.Logger = logging.getLogger(__name__)

__all__ = [
    "IncomingFilter",
    "IncomingFilterOutcome",
    "ProtocolCreator",
    "ProtocolHandler",
    "Router",
]

HANDSHAKE_TIMEOUT = 30.0  # the idle timeout of iroh: a handshake that takes longer is dead
MAX_TASKS = 65_536  # noq max_incoming: attempts and handlers at once, further ones are refused


class ProtocolHandler:
    """One protocol. Subclass it, or give any object with an async `accept(conn)`."""

    async def accept(self, conn: Connection) -> None:
        """Serve a connection. When this returns, the router drops it: unless somebody else keeps
        it, it is closed with code 0. An exception is logged and closes it the same way. Cancelled
        at the end of the router, after `shutdown` was called.
        """
        raise NotImplementedError(f"{type(self).__name__} must override accept(conn)")

    async def on_accepting(self, accepting: Accepting) -> Connection:
        """Complete the handshake of a connection whose ALPN is known. The default awaits it.

        Override it to use 0-RTT (`Accepting.into_0rtt`) or to turn the dialler down before its
        handshake is complete, by raising. Cancelled after 30 s, and at the end of the router.
        Raises ConnectError.
        """
        return await accepting

    async def shutdown(self) -> None:
        """Prepare for the end of the router: close what should be closed with words.

        The router waits for it as long as it takes; nobody cancels it.
        """


class IncomingFilterOutcome(enum.Enum):
    """What an incoming filter says (iroh `IncomingFilterOutcome`)."""

    ACCEPT = "accept"
    RETRY = "retry"
    """The dialler has to prove its address first; who has is refused when it is asked again."""
    REJECT = "reject"
    """It is told so: CONNECTION_REFUSED."""
    IGNORE = "ignore"
    """It is told nothing."""


IncomingFilter = Callable[[Incoming], IncomingFilterOutcome | Awaitable[IncomingFilterOutcome]]
"""Looks at an attempt before anything is answered: a function, which may be async."""


class ProtocolCreator:
    """Makes a handler that needs the endpoint: `EndpointOptions.protocols` takes either."""

    def create(self, endpoint: "Endpoint") -> ProtocolHandler:
        """Make the handler. Called once while the endpoint is bound."""
        raise NotImplementedError(f"{type(self).__name__} must override create(endpoint)")


@runtime_checkable
class _Accepts(Protocol):
    def accept(self, conn: Connection, /) -> Awaitable[None]: ...


Handler = _Accepts | Callable[[Connection], Awaitable[None]]
"""An object with an async `accept(conn)`, or just an async function of a connection."""


class Router:
    """Serves protocols on an endpoint.

        router = Router(endpoint, {b"my/echo/1": Echo()})     # serves from now on
        ...
        await router.shutdown()                               # closes the endpoint, too

    handlers: by ALPN, the preferred first: of several that a dialler offers it gets the first here.
    incoming_filter: says which attempts are answered. max_connections: attempts and connections
    being handled at once; further attempts are refused. Also an async context manager.
    """

    def __init__(
        self,
        endpoint: "Endpoint",
        handlers: Mapping[bytes, Handler],
        *,
        incoming_filter: IncomingFilter | None = None,
        max_connections: int = MAX_TASKS,
    ) -> None:
        """Raises TypeError for what is no handler, InvalidInputError for what is no ALPN."""
        if max_connections < 1:
            raise InvalidInputError("max_connections is at least 1")
        self._endpoint = endpoint
        self._filter = incoming_filter
        self._max_tasks = max_connections
        self.refused: int = 0
        """Attempts refused because max_connections were being handled."""
        self._handlers = {alpn: _check_handler(alpn, entry) for alpn, entry in handlers.items()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._stop_task: asyncio.Task[None] | None = None
        self._shutdown_task: asyncio.Task[None] | None = None
        endpoint.set_alpns(list(self._handlers))
        self._loop_task = asyncio.create_task(self._accept_loop(), name="iroh-router")
        self._loop_task.add_done_callback(_log_failure)

    @property
    def endpoint(self) -> "Endpoint":
        """The endpoint that is served."""
        return self._endpoint

    def is_shutdown(self) -> bool:
        """Say whether shutdown was called."""
        return not (self._stop_task is None and self._shutdown_task is None)

    async def shutdown(self) -> None:
        """Stop accepting, tell the handlers, end their connections, close the endpoint.

        The order is upstream's: handlers are told while their connections still live. Idempotent.
        Cancelling the wait does not stop it. In a handler's own `shutdown` it returns at once.
        """
        if self.is_telling_this_task():
            return
        if self._shutdown_task is None:
            self._shutdown_task = asyncio.create_task(self._shutdown(), name="iroh-router-shutdown")
        await asyncio.shield(self._shutdown_task)

    async def _shutdown(self) -> None:
        await self.stop()
        await self._endpoint.close()

    async def stop(self) -> None:
        """Stop as `shutdown` does, but leave the endpoint open.

        Cancelling the wait does not stop it.
        """
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
            if len(self._tasks) >= self._max_tasks:
                self.refused += 1
                await incoming.refuse()
                continue
            task = asyncio.create_task(self._serve(incoming), name="iroh-router-connection")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, incoming: Incoming) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                accepting = await self._let_in(incoming)
                del incoming
                if accepting is None:
                    return
                conn, handler = await self._complete(accepting)
                del accepting
        except (IrohError, TimeoutError) as error:
            logger.debug("an incoming connection failed: %s", error)
        except Exception:  # a filter's, a hook's or a handler's bug: it must not end the router
            logger.exception("an incoming connection failed")
        else:
            await self._handle(conn, handler)

    async def _let_in(self, incoming: Incoming) -> Accepting | None:
        """Answer an attempt, unless the filter is against it."""
        try:
            passes = await self._passes(incoming)
        except BaseException:  # a bug, or cancelled: the dialler shall not wait for it
            with contextlib.suppress(ConsumedError):  # the filter decided itself
                await incoming.refuse()
            raise
        return await incoming.accept() if passes else None

    async def _complete(self, accepting: Accepting) -> tuple[Connection, Handler]:
        """Wait for the handshake, in the way of the handler that the ALPN names."""
        try:
            alpn = await accepting.alpn()
            handler = self._handlers.get(alpn)
            if handler is None:  # the endpoint was told to accept more than we serve
                (await accepting).close()
                logger.warning("no protocol for ALPN %r", alpn)
                raise AlpnError(f"no protocol for ALPN {alpn!r}")
            complete = getattr(handler, "on_accepting", None)
            conn = await (accepting if complete is None else complete(accepting))
        except Exception:  # the traceback may keep the attempt alive
            accepting.abandon()
            raise
        return conn, handler

    async def _handle(self, conn: Connection, handler: Handler) -> None:
        accept = handler.accept if isinstance(handler, _Accepts) else handler
        try:
            await accept(conn)
        except IrohError as error:
            conn.close()
            logger.info("protocol %r: %s", conn.alpn(), error)
        except asyncio.CancelledError:
            conn.close()
            raise
        except Exception as error:  # the root of a handler's task: its bug must not end the router
            conn.close()  # the traceback may keep the handle alive
            if isinstance(error, ExceptionGroup) and error.split(IrohError)[1] is None:
                logger.info("protocol %r: %s", conn.alpn(), error.exceptions[0])
            else:
                logger.exception("protocol %r failed", conn.alpn())

    async def _passes(self, incoming: Incoming) -> bool:
        """Ask the filter, and do what it says."""
        if self._filter is None:
            return True
        outcome = self._filter(incoming)
        if inspect.isawaitable(outcome):
            outcome = await outcome
        match outcome:
            case IncomingFilterOutcome.ACCEPT:
                return True
            case IncomingFilterOutcome.RETRY if not await incoming.remote_addr_validated():
                await incoming.retry()
            case IncomingFilterOutcome.IGNORE:
                await incoming.ignore()
            case IncomingFilterOutcome.RETRY | IncomingFilterOutcome.REJECT:
                await incoming.refuse()
            case _:
                raise TypeError(f"a filter gives an IncomingFilterOutcome, not {outcome!r}")
        return False

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
        remedy = f"; did you mean {handler.__name__}()?" if isinstance(handler, type) else ""
        raise TypeError(
            f"the handler of {alpn!r} is an object with an async accept(conn), or an async "
            f"function of a connection, not {handler!r}{remedy}"
        )
    return handler


def _log_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("a router serves nobody any more", exc_info=task.exception())
