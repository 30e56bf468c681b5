"""A request and its answer, whatever version of HTTP carries them.

The handlers see nothing else; `app` brings HTTP/1.1 to them (aiohttp), `h2_connection` HTTP/2.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from multidict import MultiMapping

import iroh_dns_server

__all__ = ["CORS_HEADERS", "JSON", "Ask", "BodyError", "Reply", "error_reply", "health_json"]

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET,POST,PUT",
    "Access-Control-Allow-Headers": "content-type",
}
"""Any page may publish and fetch. The last one is ours: without it a browser sends no PUT whose
body has a content type."""
JSON = "application/json"


class BodyError(Exception):
    """A body that cannot be had: the status and the text of the answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Ask(NamedTuple):
    """A request. `path` is decoded, `query` is not; `headers` does not mind letter case.

    `read` gives the body; it raises `BodyError`: 413 too large, 408 too slow, 400 broken.
    """

    method: str
    path: str
    query: str
    headers: MultiMapping[str]
    remote: str | None
    read: Callable[[], Awaitable[bytes]]


class Reply(NamedTuple):
    """An answer. A body has a `content_type`."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: Mapping[str, str] = {}


def error_reply(
    status: int, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """An error as the Rust server words it (iroh-dns-server/src/http/error.rs):

    {"status":"404","detail":null}, where the status is text, the detail text or null.
    """
    body = json.dumps({"status": str(status), "detail": detail}, separators=(",", ":"))
    return Reply(status, body.encode(), JSON, headers or {})


def health_json() -> bytes:
    """What /healthz says while this process serves."""
    status = {"status": "ok", "version": iroh_dns_server.__version__, "git_hash": "unknown"}
    return json.dumps(status, separators=(",", ":")).encode()
