"""The shape of every HTTP error, and the headers that browsers need.

    {"status":"404","detail":null}        the status is text, the detail text or null

as the Rust server sends it (iroh-dns-server/src/http/error.rs).
"""

import json
from collections.abc import Mapping

from aiohttp import web

import iroh_dns_server

__all__ = ["CORS_HEADERS", "error_reply", "health_json"]

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET,POST,PUT",
    "Access-Control-Allow-Headers": "content-type",
}
"""Any page may publish and fetch. The last one is ours: without it a browser sends no PUT whose
body has a content type."""


def error_reply(
    status: int, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A JSON error response."""
    body = json.dumps({"status": str(status), "detail": detail}, separators=(",", ":"))
    return web.Response(
        status=status, body=body.encode(), content_type="application/json", headers=headers
    )


def health_json() -> bytes:
    """What /healthz says while this process serves."""
    status = {"status": "ok", "version": iroh_dns_server.__version__, "git_hash": "unknown"}
    return json.dumps(status, separators=(",", ":")).encode()
