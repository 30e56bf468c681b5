"""The HTTP face of a relay: which request gets which answer.

    GET /relay                   upgrade to the relay protocol, or 400 saying why not
    GET /, /index.html           a page that says what this is
    GET /ping                    200, empty, for latency probes of endpoints (and of browsers)
    GET /robots.txt              keep out
    GET /healthz                 {"status": "ok", ...}
    GET /generate_204            204, with the answer to a captive-portal challenge
    anything else                404

Every answer carries the two headers of `STANDARD_HEADERS`, also the 101 and the 404.
Source: iroh-relay `server.rs` (handlers), `server/http_server.rs` (dispatch).
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import BaseRequest

from .. import __version__
from ..exporter import exporter_of
from ..protos.frames import MAX_FRAME_SIZE
from ..protos.http import (
    CAPTIVE_PORTAL_PATH,
    CHALLENGE_HEADER,
    HEALTH_PATH,
    RELAY_PATH,
    RELAY_PROBE_PATH,
    RESPONSE_HEADER,
    captive_response,
)
from ..protos.versions import ProtocolVersion
from .access import auth_token
from .metrics import RelayMetrics
from .service import RelayService, UpgradeInfo
from .stream import WebSocketStream
from .upgrade import UpgradeRefusedError, check_upgrade

__all__ = ["STANDARD_HEADERS", "CaptiveHttp", "HttpServer", "RelayHttp", "health_page", "mount"]

logger: logging.Logger = logging.getLogger(__name__)

STANDARD_HEADERS: Final = {
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Content-Security-Policy": (
        "default-src 'none'; frame-ancestors 'none'; form-action 'none'; base-uri 'self'; "
        "block-all-mixed-content; plugin-types 'none'"
    ),
    "Server": "iroh-relay",
}
"""On every answer (`TLS_HEADERS`); `Server` keeps aiohttp from naming its version."""

_INDEX: Final = """<html><body>
<h1>Iroh Relay</h1>
<p>
  This is a relay server of the <a href="https://iroh.computer/">iroh</a> network.
</p>
</body></html>
"""
_ROBOTS: Final = "User-agent: *\nDisallow: /\n"
_CHALLENGE_PREFIX: Final = "/.well-known/acme-challenge/"
"""Where an ACME server looks (RFC 8555 section 8.3)."""
_CAPTIVE_TIMEOUT: Final = 30.0
"""Seconds that an idle connection to the captive-portal listener may stay."""
_READ_SIZE: Final = 64 * 1024
"""Bytes read from one client before the others get their turn. With asyncio's 256 KiB a ping beside
a flood took 2.5 ms instead of 0.7 (median), at the same CPU time a frame."""
_CLOSE_TIMEOUT: Final = 0.5
"""Seconds to wait for the peer's half of a WebSocket close; the connection is given up anyway."""


def _no_bad_request(record: logging.LogRecord) -> bool:
    """Filter out aiohttp's tracebacks for malformed requests: a stranger could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_aiohttp_logger = logging.getLogger(f"{__name__}.aiohttp")
_aiohttp_logger.addFilter(_no_bad_request)


class HttpServer(web.Server):
    """aiohttp's server, counting TCP connections."""

    def __init__(self, front: "RelayHttp", metrics: RelayMetrics, timeout: float) -> None:
        super().__init__(
            front.handle,
            keepalive_timeout=timeout,  # from the accept on: also bounds a half-sent request
            lingering_time=1.0,
            access_log=None,
            logger=_aiohttp_logger,
        )
        self._metrics = metrics

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """A TCP connection was accepted."""
        self._metrics.http_connections += 1
        if hasattr(transport, "max_size"):  # of asyncio's own transports, without TLS
            transport.max_size = _READ_SIZE
        super().connection_made(handler, transport)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """A TCP connection has ended, `exc` saying why if it was not in order."""
        self._metrics.http_connections_closed += 1
        if exc is not None:
            self._metrics.http_connections_errored += 1
        super().connection_lost(handler, exc)


class RelayHttp:
    """Answers the requests of one listener. `captive` is for listeners without TLS."""

    def __init__(self, service: RelayService, *, captive: bool) -> None:
        self._service = service
        self._pages: dict[str, Callable[[BaseRequest], web.Response]] = {
            "/": _index,
            "/index.html": _index,
            RELAY_PROBE_PATH: _probe,
            "/robots.txt": _robots,
            HEALTH_PATH: health_page,
        }
        if captive:
            self._pages[CAPTIVE_PORTAL_PATH] = _captive

    async def handle(self, request: BaseRequest) -> web.StreamResponse:
        """Answer one request; for a relay connection this lasts as long as the connection."""
        path = request.rel_url.raw_path if request.method == "GET" else None
        if path == RELAY_PATH:
            return await self._relay(request)
        page = self._pages.get(path) if path is not None else None
        response = web.Response(status=404, text="Not Found") if page is None else page(request)
        response.headers.update(STANDARD_HEADERS)
        return response

    async def _relay(self, request: BaseRequest) -> web.StreamResponse:
        try:
            version = check_upgrade(request.headers)
        except UpgradeRefusedError as refusal:
            headers = STANDARD_HEADERS | refusal.headers
            return web.Response(status=400, text=refusal.text, headers=headers)
        ws = web.WebSocketResponse(
            protocols=(version.subprotocol,),
            compress=False,
            max_msg_size=MAX_FRAME_SIZE,
            timeout=_CLOSE_TIMEOUT,
            writer_limit=0,
        )
        ws.headers.update(STANDARD_HEADERS)
        try:
            await ws.prepare(request)
        except web.HTTPBadRequest as refusal:  # what aiohttp checks beyond us
            return web.Response(status=400, text=refusal.text, headers=STANDARD_HEADERS)
        transport = request.transport
        if transport is not None:
            stream = WebSocketStream(ws, transport, self._service.config.write_timeout)
            await self._service.serve(stream, _upgrade_info(request, version))
        return ws


def mount(app: web.Application, service: RelayService, *, captive: bool = False) -> None:
    """Serve a relay in somebody else's aiohttp application, beside its own pages.

    Adds GET /relay and GET /ping, which endpoints need at the root of the host, and with
    `captive` GET /generate_204 (for a listener without TLS). When the application shuts down,
    the relay's clients are dropped.
    """
    front = RelayHttp(service, captive=captive)
    paths = [RELAY_PATH, RELAY_PROBE_PATH, *([CAPTIVE_PORTAL_PATH] if captive else [])]
    app.router.add_routes([web.get(path, front.handle, allow_head=False) for path in paths])

    async def stop(_: web.Application) -> None:
        service.shutdown()

    app.on_shutdown.append(stop)


class CaptiveHttp(web.Server):
    """The plain-HTTP listener beside a TLS one: /generate_204, and 404 for everything else.

    challenges: token -> answer, for an ACME server that asks whether the host is ours.
    """

    def __init__(self, challenges: Mapping[str, str]) -> None:
        self._challenges = challenges
        super().__init__(
            self._answer,
            keepalive_timeout=_CAPTIVE_TIMEOUT,
            lingering_time=0.0,
            access_log=None,
            logger=_aiohttp_logger,
        )

    async def _answer(self, request: BaseRequest) -> web.StreamResponse:
        path = request.rel_url.raw_path if request.method == "GET" else ""
        token = path.removeprefix(_CHALLENGE_PREFIX)
        if path == CAPTIVE_PORTAL_PATH:
            answer = _captive(request)
        elif token != path and token in self._challenges:
            answer = web.Response(text=self._challenges[token])
        else:
            answer = web.Response(status=404, text="Not Found")
        answer.headers["Server"] = STANDARD_HEADERS["Server"]
        return answer


def _upgrade_info(request: BaseRequest, version: ProtocolVersion) -> UpgradeInfo:
    transport = request.transport
    return UpgradeInfo(
        version=version,
        auth_token=auth_token(request.headers, request.rel_url.raw_query_string),
        remote=request.remote,
        headers=request.headers,
        exporter=None if transport is None else exporter_of(transport.get_extra_info("ssl_object")),
    )


def _index(_: BaseRequest) -> web.Response:
    return web.Response(text=_INDEX, content_type="text/html", charset="utf-8")


def _probe(_: BaseRequest) -> web.Response:
    return web.Response(headers={"Access-Control-Allow-Origin": "*"})


def _robots(_: BaseRequest) -> web.Response:
    return web.Response(text=_ROBOTS)


def health_page(_: BaseRequest) -> web.Response:
    """What says that this process serves, and which version it is."""
    status = {"status": "ok", "version": __version__, "git_hash": "unknown"}
    body = json.dumps(status, separators=(",", ":")).encode()
    return web.Response(body=body, content_type="application/json")


def _captive(request: BaseRequest) -> web.Response:
    answer = captive_response(request.headers.get(CHALLENGE_HEADER))
    return web.Response(status=204, headers={} if answer is None else {RESPONSE_HEADER: answer})
