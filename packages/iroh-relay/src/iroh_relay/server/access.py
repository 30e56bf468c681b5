"""The seam for access control: who may use this relay, and who has left.

A hook is asked once per connection, after the client has proved its id and before it is
registered. `Everyone` is the default. A hook that must look something up (a database, a web
service) does so asynchronously; the handshake timeout bounds it.

Source: iroh-relay `server.rs` (`ClientRequest`, `Access`, `AccessControl`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy

from iroh_base.keys import PublicKey

from ..protos.http import AUTH_TOKEN_QUERY_PARAM
from ..protos.versions import ProtocolVersion

__all__ = [
    "ALLOW",
    "DENY",
    "Access",
    "AccessControl",
    "ClientRequest",
    "Everyone",
    "auth_token",
    "is_visible_ascii",
]

Headers = CIMultiDict[str] | CIMultiDictProxy[str]


@dataclass(frozen=True, slots=True)
class Access:
    """A decision; `reason` is what a denied client is told (None: "not authorized")."""

    allowed: bool
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.allowed


ALLOW: Final = Access(True)
"""Let the client in."""
DENY: Final = Access(False)
"""Turn the client away, and give no reason."""


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A client that wants in. Its id is proved; all else is what it says of itself."""

    connection_id: int
    """Unique in this process; the same in `on_disconnect`."""
    endpoint_id: PublicKey
    protocol_version: ProtocolVersion
    auth_token: str | None
    """The bearer token of the upgrade request, or its `token` query parameter."""
    remote: str | None
    """The IP address of the TCP peer, which may be a proxy."""
    headers: Mapping[str, str]
    """The headers of the upgrade request."""


class AccessControl(Protocol):
    """Decides who may use the relay and is told who has gone."""

    async def on_connect(self, request: ClientRequest) -> Access | bool:
        """Whether to admit this connection.

        Asked once per connection. May be cancelled when the handshake takes too long. An
        exception denies the client.
        """
        ...

    def on_disconnect(self, endpoint_id: PublicKey, connection_id: int) -> None:
        """An admitted connection has ended; called exactly once for each. Must not raise."""
        ...


class Everyone:
    """Admits every client."""

    async def on_connect(self, request: ClientRequest) -> Access:
        """Say yes. Never waits."""
        return ALLOW

    def on_disconnect(self, endpoint_id: PublicKey, connection_id: int) -> None:
        """Nothing to remember."""


def auth_token(headers: Headers, raw_query: str) -> str | None:
    """The access token of an upgrade request, or None.

    The first `Authorization` header whose scheme is `Bearer` (in any case) wins, its value is all
    after the first space. A header that is not visible ASCII ends the search with None. Without
    a bearer header it is the first `token` of the query, which is still percent-encoded here.
    """
    for value in headers.getall("Authorization", ()):
        if not is_visible_ascii(value):
            return None
        scheme, space, token = value.partition(" ")
        if space and scheme.lower() == "bearer":
            return token
    for name, value in parse_qsl(raw_query, keep_blank_values=True):
        if name == AUTH_TOKEN_QUERY_PARAM:
            return value
    return None


def is_visible_ascii(value: str) -> bool:
    """What Rust's `HeaderValue::to_str` accepts: printable ASCII and the tab."""
    return all(" " <= char <= "~" or char == "\t" for char in value)
