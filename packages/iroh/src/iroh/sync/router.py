"""The router for blocking handlers, and the builder of an endpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from iroh import endpoint as aio_endpoint
from iroh import hooks as aio_hooks
from iroh import options as aio_options
from iroh import router as aio
from iroh.router import MAX_TASKS
from iroh.sync.endpoint import Endpoint
from iroh.sync.handlers import Adapter, EndpointHooks, Handler, IncomingFilter, ProtocolCreator
from iroh.sync.portal import Portal, PortalClosedError
from iroh.sync.threads import MAX_THREADS, leave_loop_to_its_end

__all__ = ["EndpointBuilder", "Router"]


class Router:
    """Serves protocols on an endpoint, each connection in a thread of its own.

        with Router(endpoint, {b"my/echo/1": serve_echo}) as router:      # serves from now on
            ...

    At the end of `with` the endpoint is closed, too. Parameters as `iroh.Router`. max_threads:
    connections that are served at once by blocking handlers; further ones wait for their turn.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        handlers: Mapping[bytes, Handler],
        *,
        incoming_filter: IncomingFilter | None = None,
        max_connections: int = MAX_TASKS,
        max_threads: int = MAX_THREADS,
    ) -> None:
        """Raises TypeError for what is no handler, InvalidInputError for what is no ALPN."""
        portal = endpoint.portal
        adapter = Adapter(portal, max_threads)
        self._endpoint = endpoint
        self._aio: aio.Router = portal.call(
            aio.Router,
            endpoint.aio,
            adapter.protocols(handlers) or {},
            incoming_filter=adapter.filter(incoming_filter),
            max_connections=max_connections,
        )

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that is served."""
        return self._endpoint

    @property
    def refused(self) -> int:
        """Attempts refused because max_connections were being handled."""
        return self._aio.refused

    def is_shutdown(self) -> bool:
        """Say whether `shutdown` was called."""
        return self._aio.is_shutdown()

    def shutdown(self) -> None:
        """Stop accepting, tell the handlers, end their connections, close the endpoint.

        A handler that goes on for 5 s after the end of its connection is left behind. Idempotent.
        """
        self.stop()
        self._endpoint.close()

    def stop(self) -> None:
        """Stop as `shutdown` does, but leave the endpoint open."""
        leave_loop_to_its_end()
        with contextlib.suppress(PortalClosedError):
            self._endpoint.portal.wait(None, self._aio.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return repr(self._aio)


class EndpointBuilder(aio_options.EndpointBuilder):
    """Collects settings, then binds once: as `iroh.EndpointBuilder`, with a `bind` that blocks."""

    def hooks(self, hooks: EndpointHooks | aio_hooks.EndpointHooks) -> None:
        """Ask these about every connection: blocking ones (`iroh.sync`) or async ones (`iroh`)."""
        if isinstance(hooks, EndpointHooks):
            self.config.hooks.append(hooks)  # type: ignore[arg-type]  # adapted by `bind`
        else:
            super().hooks(hooks)

    def bind(  # type: ignore[override]  # it blocks
        self,
        *,
        protocols: Mapping[bytes, ProtocolCreator | aio.ProtocolCreator | Handler] | None = None,
        incoming_filter: IncomingFilter | None = None,
        max_connections: int | None = None,
        max_threads: int = MAX_THREADS,
        portal: Portal | None = None,
        timeout: float | None = None,
    ) -> Endpoint:
        """Bind. Parameters as `Endpoint.bind`'s.

        A builder binds once; raises ConsumedError the second time, BindError, TimeoutError.
        """
        config = self.take()
        own = portal is None
        portal = portal or Portal()
        adapter = Adapter(portal, max_threads)
        config.hooks = [adapter.hooks(hooks) for hooks in config.hooks]
        serving = adapter.protocols(protocols), adapter.filter(incoming_filter), max_connections
        try:
            aio_bound = portal.wait(timeout, aio_endpoint.bind_endpoint, config, *serving)
            portal.before_end(aio_bound.close)
        except BaseException:
            if own:
                portal.close()
            raise
        endpoint = Endpoint(portal, aio_bound)
        endpoint.owns_portal = own
        return endpoint
