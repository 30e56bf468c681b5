"""The router for handlers written for trio, and the builder of an endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, Unpack

import trio
import trio_asyncio

from iroh import endpoint as aio_endpoint
from iroh import hooks as aio_hooks
from iroh import options as aio_options
from iroh import router as aio
from iroh.options import EndpointOptions, PresetLike
from iroh.router import MAX_TASKS
from iroh.trio.endpoint import Endpoint
from iroh.trio.handlers import (
    Adapter,
    EndpointHooks,
    EndpointSettings,
    Handler,
    IncomingFilter,
    ProtocolCreator,
)
from iroh.trio.portal import Portal

__all__ = ["EndpointBuilder", "Router", "open_endpoint"]


class Router:
    """Serves protocols on an endpoint, each connection in a task of its own, within `async with`.

        async with Router(endpoint, {b"my/echo/1": serve_echo}) as router:
            await trio.sleep_forever()

    At its end the endpoint is closed, too. Parameters as `iroh.Router`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        handlers: Mapping[bytes, Handler],
        *,
        incoming_filter: IncomingFilter | None = None,
        max_connections: int = MAX_TASKS,
    ) -> None:
        """Nothing is served before `async with`."""
        self._endpoint = endpoint
        adapter = Adapter(endpoint.portal)
        self._handlers = adapter.protocols(handlers) or {}
        self._filter = adapter.filter(incoming_filter)
        self._max_connections = max_connections
        self._aio: aio.Router | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that is served."""
        return self._endpoint

    @property
    def refused(self) -> int:
        """Attempts refused because max_connections were being handled."""
        return 0 if self._aio is None else self._aio.refused

    def is_shutdown(self) -> bool:
        """Say whether `shutdown` was called."""
        return self._aio is not None and self._aio.is_shutdown()

    async def shutdown(self) -> None:
        """Stop accepting, tell the handlers, cancel them, close the endpoint. Idempotent.

        It is done also in a cancelled scope, and takes as long as the handlers take.
        """
        await self.stop()
        await self._endpoint.close()

    async def stop(self) -> None:
        """Stop as `shutdown` does, but leave the endpoint open.

        It is done also in a cancelled scope.
        """
        if self._aio is not None:
            with trio.CancelScope(shield=True):
                await self._endpoint.portal.wait(self._aio.stop)

    async def __aenter__(self) -> Self:
        """Serve from now on.

        Raises TypeError for what is no handler, InvalidInputError for what is no ALPN.
        """

        async def start() -> aio.Router:
            return aio.Router(
                self._endpoint.aio,
                self._handlers,
                incoming_filter=self._filter,
                max_connections=self._max_connections,
            )

        self._aio = await self._endpoint.portal.wait(start)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()


class EndpointBuilder(aio_options.EndpointBuilder):
    """Collects settings, then opens an endpoint once: `async with builder.bind() as endpoint`."""

    def hooks(self, hooks: EndpointHooks | aio_hooks.EndpointHooks) -> None:
        """Ask these about every connection: `iroh.trio.EndpointHooks`, or iroh's for asyncio."""
        if isinstance(hooks, EndpointHooks):
            self.config.hooks.append(hooks)  # type: ignore[arg-type]  # adapted by `bind`
        else:
            super().hooks(hooks)

    def bind(  # type: ignore[override]  # it is a context manager
        self,
        *,
        protocols: Mapping[bytes, ProtocolCreator | aio.ProtocolCreator | Handler] | None = None,
        incoming_filter: IncomingFilter | None = None,
        max_connections: int | None = None,
    ) -> AbstractAsyncContextManager[Endpoint]:
        """Bind, and close at the end; see `open_endpoint`.

        A builder binds once; raises ConsumedError the second time, BindError.
        """
        return _opened(lambda: self, protocols, incoming_filter, max_connections)


def open_endpoint(
    options: EndpointOptions | PresetLike | None = None, **settings: Unpack[EndpointSettings]
) -> AbstractAsyncContextManager[Endpoint]:
    """Bind an endpoint, and close it at the end: EndpointOptions, or a preset with keywords.

    Opens trio-asyncio's loop unless this task has one. Protocols, hooks and filters are written for
    trio, but those that derive from `iroh.ProtocolHandler` and `iroh.EndpointHooks`: they run in
    asyncio, as does what else the endpoint is given (lookup services, transports).
    Raises BindError, InvalidInputError.
    """
    if not isinstance(options, EndpointOptions):
        written: Any = settings  # for trio, which `_opened` adapts
        options = EndpointOptions(preset=options, **written)
    elif settings:
        raise TypeError("give either EndpointOptions or keywords, not both")
    given = options

    def build() -> EndpointBuilder:
        builder = EndpointBuilder()
        builder.apply_options(given)
        return builder

    return _opened(build, given.protocols, given.incoming_filter, given.max_connections)


@asynccontextmanager
async def _opened(
    build: Any, protocols: Any, incoming_filter: Any, max_connections: int | None
) -> AsyncIterator[Endpoint]:
    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        if trio_asyncio.current_loop.get() is None:
            await stack.enter_async_context(trio_asyncio.open_loop())
        portal = Portal()
        adapter = Adapter(portal)

        async def bind() -> aio_endpoint.Endpoint:
            config = build().take()
            config.hooks = [adapter.hooks(hooks) for hooks in config.hooks]
            serving = adapter.protocols(protocols), adapter.filter(incoming_filter)
            return await aio_endpoint.bind_endpoint(config, *serving, max_connections)

        try:
            endpoint = Endpoint(portal, await portal.wait(bind))
            stack.push_async_callback(endpoint.close)
            yield endpoint
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - raised below
            failure = error  # the loop's nurseries, of which nobody knows, would make groups of it
    if failure is not None:
        raise failure
