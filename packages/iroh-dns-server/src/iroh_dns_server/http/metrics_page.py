"""The metrics for Prometheus, on an address of their own: the public one does not show them.

    any path, any method     200, OpenMetrics text
    /healthz                 200 {"status":"ok", ...}, for probes that cannot reach the rest

Source: iroh-dns-server `metrics.rs`, iroh-metrics `service.rs`; /healthz is ours.
"""

import socket
from typing import Final

from aiohttp import web
from aiohttp.web_request import BaseRequest

from iroh_base.openmetrics import CONTENT_TYPE, Metric, document, openmetrics
from iroh_dns_server.http.exchange import health_json
from iroh_dns_server.listener import Listener
from iroh_dns_server.metrics import GAUGES, METRICS_GROUP, Metrics

__all__ = ["MetricsPage", "metrics_text"]

_TIMEOUT: Final = 30.0
"""Seconds that an idle connection may stay."""


def metrics_text(metrics: Metrics) -> str:
    """All values as OpenMetrics text."""
    found = (
        Metric(name, value, Metrics.HELP[name], name in GAUGES)
        for name, value in metrics.as_dict().items()
    )
    return document(openmetrics(METRICS_GROUP, found))


class MetricsPage:
    """Serves the page on `sock`, a listening TCP socket that it then owns."""

    def __init__(self, sock: socket.socket, metrics: Metrics) -> None:
        self._metrics = metrics
        self._server = web.Server(
            self._answer, access_log=None, keepalive_timeout=_TIMEOUT, lingering_time=0.0
        )
        self._listener = Listener(sock, self._server)

    def start(self) -> None:
        """Begin to accept connections."""
        self._listener.start()

    async def close(self) -> None:
        """Stop, and close every connection. Idempotent."""
        await self._listener.close()
        await self._server.shutdown()

    async def _answer(self, request: BaseRequest) -> web.StreamResponse:
        if request.rel_url.raw_path == "/healthz":
            body, kind = health_json(), "application/json"
        else:
            body, kind = metrics_text(self._metrics).encode(), CONTENT_TYPE
        return web.Response(body=body, headers={"Content-Type": kind, "Server": "iroh-dns-server"})
