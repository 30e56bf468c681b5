"""An endpoint served by tasks of a nursery of one's own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from iroh.errors import ConnectionLostError, IrohError
from iroh.trio.bistream import BiStream
from iroh.trio.connection import Connection
from iroh.trio.endpoint import Endpoint
from iroh.trio.incoming import Incoming

__all__ = ["StreamListener", "serve_connections"]

logger: logging.Logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 30.0  # seconds, as iroh.router


async def serve_connections(
    endpoint: Endpoint,
    handler: Callable[[Connection], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve each peer in a task of its own until the endpoint is closed: `nursery.start` it.

    handler(connection): when it returns the connection is closed. A connection that ends, and
    whatever else of `iroh` goes wrong there, concerns that peer alone; other exceptions end all.
    """
    async with trio.open_nursery() as nursery:
        task_status.started()
        async for incoming in endpoint.incoming():
            nursery.start_soon(_serve, incoming, handler)


async def _serve(incoming: Incoming, handler: Callable[[Connection], Awaitable[None]]) -> None:
    try:
        with trio.fail_after(HANDSHAKE_TIMEOUT):
            connection = await incoming.establish()
    except (IrohError, trio.TooSlowError) as error:
        logger.debug("an incoming connection failed: %s", error)
        return
    async with connection:
        try:
            await handler(connection)
        except (IrohError, trio.BrokenResourceError) as error:
            logger.info("protocol %r: %s", connection.alpn(), error)


class StreamListener(trio.abc.Listener[BiStream]):
    """The bidirectional streams that a peer opens, for `trio.serve_listeners` and its like."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._scopes: set[trio.CancelScope] = set()
        self._closed = False

    async def accept(self) -> BiStream:
        """Take the next stream. Cancelling it loses none.

        Raises ClosedResourceError after `aclose`, and when the connection ended in order (closed
        with code 0 by either side); BrokenResourceError when it ended otherwise.
        """
        stream = None
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if not self._closed:
                    stream = await self._connection.accept_bi()
            except ConnectionLostError as error:
                if error.code == 0:
                    raise trio.ClosedResourceError(str(error)) from error
                raise trio.BrokenResourceError(str(error)) from error
            finally:
                self._scopes.discard(scope)
        if stream is None:
            raise trio.ClosedResourceError("the listener was closed")
        return stream

    async def aclose(self) -> None:
        """Accept no more; the connection stays as it is. Idempotent.

        It is done also in a cancelled scope.
        """
        self._closed = True
        for scope in self._scopes:
            scope.cancel()
        await trio.lowlevel.checkpoint()
