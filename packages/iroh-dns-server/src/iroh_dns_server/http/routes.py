"""The routes, and what happens to every request: counting, CORS, errors as JSON.

GET /                  Hi!
GET /healthz           {"status":"ok","version":...,"git_hash":"unknown"}
GET /healthcheck       OK              (upstream calls it deprecated)
GET, PUT /pkarr/{key}  see `http.pkarr`
GET, POST /dns-query   see `http.doh`
GET /.well-known/acme-challenge/{token}   what proves to an ACME server that the host is ours
OPTIONS *              200, for the CORS preflight of a browser
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from iroh_dns_server.http.doh import DohHandlers
from iroh_dns_server.http.exchange import (
    CORS_HEADERS,
    JSON,
    Ask,
    Reply,
    error_reply,
    health_json,
)
from iroh_dns_server.http.pkarr import PkarrHandlers
from iroh_dns_server.metrics import Metrics

__all__ = ["Routes"]

logger: logging.Logger = logging.getLogger(__name__)

PKARR = "/pkarr/"
CHALLENGE = "/.well-known/acme-challenge/"
"""Where an ACME server looks (RFC 8555 section 8.3)."""
_EVERY_PAGE = {"Access-Control-Allow-Origin": CORS_HEADERS["Access-Control-Allow-Origin"]}
Handler = Callable[[Ask], Awaitable[Reply]]


class Routes:
    """Answers requests of any version of HTTP. `challenges`: token -> answer, of ACME."""

    def __init__(
        self,
        pkarr: PkarrHandlers,
        doh: DohHandlers,
        metrics: Metrics,
        challenges: Mapping[str, str] | None = None,
    ) -> None:
        self._metrics = metrics
        self._challenges = {} if challenges is None else challenges
        self._pkarr: Mapping[str, Handler] = {"GET": pkarr.get, "PUT": pkarr.put}
        self._pages: Mapping[str, Mapping[str, Handler]] = {
            "/": {"GET": _hello},
            "/healthz": {"GET": _healthz},
            "/healthcheck": {"GET": _healthcheck},
            "/dns-query": {"GET": doh.get, "POST": doh.post},
        }

    async def answer(self, ask: Ask) -> Reply:
        """The answer to one request; with HEAD its body is not to be sent. Never raises."""
        if ask.method == "OPTIONS":
            return Reply(200, headers=CORS_HEADERS)
        started = time.monotonic()
        methods = self._find(ask.path)
        if methods is None:
            return _for_every_page(error_reply(404))
        handler = methods.get("GET" if ask.method == "HEAD" else ask.method)
        if handler is None:
            allow = {*methods, "HEAD"} if "GET" in methods else methods
            reply = error_reply(405, headers={"Allow": ",".join(sorted(allow))})
        else:
            try:
                reply = await handler(ask)
            except Exception:  # the root of a request's work: one failure must not end the rest
                logger.exception("a request failed: %s %s", ask.method, ask.path)
                reply = error_reply(500)
        self._count(reply.status, time.monotonic() - started)
        return _for_every_page(reply)

    def _find(self, path: str) -> Mapping[str, Handler] | None:
        """The methods of a page, or None if there is no such page."""
        key = path.removeprefix(PKARR)
        if key and key != path and "/" not in key:
            return self._pkarr
        if path.removeprefix(CHALLENGE) in self._challenges:
            return {"GET": self._challenge}
        return self._pages.get(path)

    async def _challenge(self, ask: Ask) -> Reply:
        answer = self._challenges[ask.path.removeprefix(CHALLENGE)]
        return Reply(200, answer.encode(), "application/octet-stream")

    def _count(self, status: int, seconds: float) -> None:
        """One request to a known route."""
        metrics = self._metrics
        metrics.http_requests += 1
        metrics.http_requests_duration_ms += int(seconds * 1000)
        if 200 <= status < 300:
            metrics.http_requests_success += 1
        else:
            metrics.http_requests_error += 1


def _for_every_page(reply: Reply) -> Reply:
    return reply._replace(headers={**reply.headers, **_EVERY_PAGE})


async def _hello(_: Ask) -> Reply:
    return Reply(200, b"Hi!", "text/plain; charset=utf-8")


async def _healthcheck(_: Ask) -> Reply:
    return Reply(200, b"OK", "text/plain; charset=utf-8")


async def _healthz(_: Ask) -> Reply:
    return Reply(200, health_json(), JSON)
