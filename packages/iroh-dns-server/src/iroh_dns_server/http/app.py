"""The routes, and what happens to every request: counting, CORS, errors as JSON.

GET /                  Hi!
GET /healthz           {"status":"ok","version":...,"git_hash":"unknown"}
GET /healthcheck       OK              (upstream calls it deprecated)
GET, PUT /pkarr/{key}  see `http.pkarr`
OPTIONS *              200, for the CORS preflight of a browser
"""

import logging
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from iroh_dns_server.http.body import expect_continue
from iroh_dns_server.http.pkarr import PkarrHandlers
from iroh_dns_server.http.replies import CORS_HEADERS, error_reply, health_json
from iroh_dns_server.metrics import Metrics

__all__ = ["make_app"]

logger = logging.getLogger(__name__)


def make_app(pkarr: PkarrHandlers, metrics: Metrics) -> web.Application:
    """The aiohttp application that serves `pkarr`."""
    app = web.Application(middlewares=[_observe(metrics)])
    app.on_response_prepare.append(_finish_headers)
    app.router.add_get("/", _hello)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/healthcheck", _healthcheck)
    app.router.add_get("/pkarr/{key}", pkarr.get)
    app.router.add_put("/pkarr/{key}", pkarr.put, expect_handler=expect_continue)
    return app


def _observe(metrics: Metrics) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(headers=CORS_HEADERS)
        started = time.monotonic()
        try:
            response = await handler(request)
        except web.HTTPException as refused:  # no such route, or not with this method
            allow = {name: value for name, value in refused.headers.items() if name == "Allow"}
            response = error_reply(refused.status, None, allow)
        except Exception:  # the root of a request's work: one failure must not end the connection
            logger.exception("a request failed: %s %s", request.method, request.path)
            response = error_reply(500)
        if response.status != 404 or request.match_info.http_exception is None:
            _count(metrics, response.status, time.monotonic() - started)
        return response

    return middleware


def _count(metrics: Metrics, status: int, seconds: float) -> None:
    """One request to a known route."""
    metrics.http_requests += 1
    metrics.http_requests_duration_ms += int(seconds * 1000)
    if 200 <= status < 300:
        metrics.http_requests_success += 1
    else:
        metrics.http_requests_error += 1


async def _finish_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Allow every page, and do not tell the versions of our libraries."""
    response.headers["Access-Control-Allow-Origin"] = CORS_HEADERS["Access-Control-Allow-Origin"]
    response.headers.popall("Server", None)


async def _hello(_: web.Request) -> web.StreamResponse:
    return web.Response(text="Hi!")


async def _healthcheck(_: web.Request) -> web.StreamResponse:
    return web.Response(text="OK")


async def _healthz(_: web.Request) -> web.StreamResponse:
    return web.Response(body=health_json(), content_type="application/json")
