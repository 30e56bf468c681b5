"""Whether a request for `/relay` may become a relay connection: the checks before the 101.

    Upgrade                  there, and exactly `websocket`
    Sec-WebSocket-Key        there
    Sec-WebSocket-Version    there, and `13`
    Sec-WebSocket-Protocol   there, visible ASCII, and with a version that we know

in this order; the first that fails gives the 400. Texts are those of the Rust relay.
Source: iroh-relay `server/http_server.rs` (`handle_relay_ws_upgrade`).
"""

from collections.abc import Mapping
from typing import Final

from ..protos.http import WEBSOCKET_UPGRADE, WEBSOCKET_VERSION
from ..protos.versions import ProtocolVersion, negotiate, offer
from .access import is_visible_ascii

__all__ = ["UpgradeRefusedError", "check_upgrade"]

_UPGRADE: Final = "upgrade"
_KEY: Final = "sec-websocket-key"
_VERSION: Final = "sec-websocket-version"
_PROTOCOL: Final = "sec-websocket-protocol"


class UpgradeRefusedError(ValueError):
    """The request cannot be upgraded: status 400, this text, and these headers beside it."""

    def __init__(self, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.headers: dict[str, str] = dict(headers or {})


def check_upgrade(headers: Mapping[str, str]) -> ProtocolVersion:
    """The version to speak with this client; `headers` ignores case and gives first values.

    Raises `UpgradeRefusedError`.
    """
    if _required(headers, _UPGRADE) != WEBSOCKET_UPGRADE:
        raise _invalid(_UPGRADE, f"value must be {WEBSOCKET_UPGRADE}")
    _required(headers, _KEY)
    if _required(headers, _VERSION) != WEBSOCKET_VERSION:
        text = f"unsupported websocket version, only supporting {WEBSOCKET_VERSION}"
        raise _invalid(_VERSION, text, {"Sec-WebSocket-Version": WEBSOCKET_VERSION})
    offered = _required(headers, _PROTOCOL)
    if not is_visible_ascii(offered):
        raise _invalid(_PROTOCOL, "header value is not ascii")
    version = negotiate(offered)
    if version is None:
        text = f"we support {offer()} but you only provide {offered}"
        raise _invalid(_PROTOCOL, f"unsupported relay version: {text}")
    return version


def _required(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if value is None:
        raise UpgradeRefusedError(f"missing header: {name}")
    return value


def _invalid(
    name: str, details: str, headers: Mapping[str, str] | None = None
) -> UpgradeRefusedError:
    return UpgradeRefusedError(f"invalid header value for {name}: {details}", headers)
