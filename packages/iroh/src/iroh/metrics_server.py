"""A page with the counters of an endpoint, for Prometheus to fetch.

async with serve_metrics(endpoint, port=9090) as server:
    print(server.url)          # http://127.0.0.1:9090/metrics
"""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

from iroh_base.openmetrics import CONTENT_TYPE

if TYPE_CHECKING:
    from aiohttp import web

    from iroh.endpoint import Endpoint

__all__ = ["MetricsServer", "serve_metrics"]


class MetricsServer:
    """Serves GET /metrics while it is entered. Create it with `serve_metrics`."""

    def __init__(self, endpoint: "Endpoint", host: str, port: int) -> None:
        self._endpoint = endpoint
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/metrics"

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken; cancelling it leaves nothing open."""
        from aiohttp import web  # late: 0.1 s

        app = web.Application()
        app.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(app, access_log=None)
        try:
            await self._runner.setup()
            site = web.TCPSite(self._runner, self._host, self._port)
            # asyncio's create_server, cancelled in its last step, forgets a socket that listens
            listening = asyncio.ensure_future(site.start())
            try:
                await asyncio.shield(listening)
            finally:
                await asyncio.gather(listening, return_exceptions=True)
        except BaseException:
            await self.close()
            raise
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening. Idempotent; it takes no longer than a request that is under way.

        Cancelling the wait does not stop it.
        """
        runner, self._runner = self._runner, None
        if runner is not None:
            self._closing = asyncio.create_task(runner.cleanup(), name="iroh-metrics-close")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _page(self, _request: "web.Request") -> "web.Response":
        from aiohttp import web

        body = self._endpoint.openmetrics().encode()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


def serve_metrics(endpoint: "Endpoint", host: str = "127.0.0.1", port: int = 0) -> MetricsServer:
    """Make a server of the endpoint's counters; enter it, or call `start`. Port 0: a free one."""
    return MetricsServer(endpoint, host, port)
