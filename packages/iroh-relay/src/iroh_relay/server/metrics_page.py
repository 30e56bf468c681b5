"""The metrics for Prometheus, on an address of their own: the public one does not show them.

    any path, any method     200, OpenMetrics text
    /healthz                 200 {"status": "ok", ...}, for probes that cannot reach the relay

Source: iroh-relay `main.rs` (`metrics_bind_addr`), iroh-metrics `service.rs`; /healthz is ours.
"""

from typing import Final

from aiohttp import web
from aiohttp.web_request import BaseRequest

from iroh_base.openmetrics import CONTENT_TYPE, Metric, document, openmetrics

from ..protos.http import HEALTH_PATH
from .http import STANDARD_HEADERS, health_page
from .metrics import METRICS_GROUP, RelayMetrics

__all__ = ["MetricsPage", "metrics_text"]

_TIMEOUT: Final = 30.0


def metrics_text(metrics: RelayMetrics) -> str:
    """All counters as OpenMetrics text."""
    texts = metrics.HELP
    found = [Metric(name, value, texts[name]) for name, value in metrics.as_dict().items()]
    return document(openmetrics(METRICS_GROUP, found))


class MetricsPage(web.Server):
    """aiohttp's server with this one page."""

    def __init__(self, metrics: RelayMetrics) -> None:
        super().__init__(
            self._answer, access_log=None, keepalive_timeout=_TIMEOUT, lingering_time=0.0
        )
        self._counters = metrics

    async def _answer(self, request: BaseRequest) -> web.StreamResponse:
        if request.rel_url.raw_path == HEALTH_PATH:
            return health_page(request)
        headers = {"Content-Type": CONTENT_TYPE, "Server": STANDARD_HEADERS["Server"]}
        return web.Response(body=metrics_text(self._counters).encode(), headers=headers)
