"""Names on the HTTP side of a relay: paths, headers and the captive-portal challenge.

Constants only, and rules that need nothing but their arguments, so that client and server
share them. Source: iroh-relay `http.rs`, `server.rs` and `server/http_server.rs`.
"""

import re
from typing import Final

__all__ = [
    "AUTH_TOKEN_QUERY_PARAM",
    "CAPTIVE_PORTAL_PATH",
    "CHALLENGE_HEADER",
    "CLIENT_AUTH_HEADER",
    "HEALTH_PATH",
    "RELAY_PATH",
    "RELAY_PROBE_PATH",
    "RESPONSE_HEADER",
    "WEBSOCKET_UPGRADE",
    "WEBSOCKET_VERSION",
    "captive_response",
]

RELAY_PATH: Final = "/relay"
"""Where the WebSocket upgrade happens (`RELAY_PATH`)."""
RELAY_PROBE_PATH: Final = "/ping"
"""What an endpoint asks for to measure the latency of a relay (`RELAY_PROBE_PATH`)."""
HEALTH_PATH: Final = "/healthz"
"""What an operator's supervisor asks for."""
CAPTIVE_PORTAL_PATH: Final = "/generate_204"
"""What an endpoint asks for over plain HTTP to find a captive portal."""

CLIENT_AUTH_HEADER: Final = "x-iroh-relay-client-auth-v1"
"""Carries the signed TLS keying material (`CLIENT_AUTH_HEADER`)."""
AUTH_TOKEN_QUERY_PARAM: Final = "token"
"""The access token of clients that cannot set headers (`AUTH_TOKEN_URL_QUERY_PARAM`)."""
CHALLENGE_HEADER: Final = "X-Iroh-Challenge"
"""The request header that a relay must answer, and a captive portal cannot."""
RESPONSE_HEADER: Final = "X-Iroh-Response"
"""The answer to `CHALLENGE_HEADER`."""

WEBSOCKET_UPGRADE: Final = "websocket"
"""The one accepted value of `Upgrade`, compared byte for byte."""
WEBSOCKET_VERSION: Final = "13"
"""The one accepted value of `Sec-WebSocket-Version` (RFC 6455)."""

_CHALLENGE = re.compile(r"[A-Za-z0-9._-]{1,63}", re.ASCII)


def captive_response(challenge: str | None) -> str | None:
    """The value of `RESPONSE_HEADER` for a challenge, or None if it deserves no answer.

    A challenge is 1 to 63 characters out of `A-Z a-z 0-9 . - _`; anything else is ignored, so
    that nobody can make a relay print what he likes.
    """
    if challenge is None or _CHALLENGE.fullmatch(challenge) is None:
        return None
    return f"response {challenge}"
