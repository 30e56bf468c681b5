"""The relay protocol versions and how the two sides agree on one.

A version is a WebSocket subprotocol. The client offers all it knows, newest first; the server
takes the newest one that it knows too, whatever the order of the offer, and echoes exactly that.
What differs between the two is only how a server tells a client about its connection:
version 1 has the frame Health (11), version 2 has Status (13) instead.

Source: iroh-relay `http.rs` (`ProtocolVersion`).
"""

from enum import IntEnum

__all__ = ["SUPPORTED_VERSIONS", "ProtocolVersion", "negotiate", "offer"]


class ProtocolVersion(IntEnum):
    """A version of the relay protocol; a newer one is greater."""

    V1 = 1
    """All that there was before iroh 0.98: Health allowed, Status forbidden."""
    V2 = 2
    """Since iroh 0.98: Status allowed, Health forbidden."""

    @property
    def subprotocol(self) -> str:
        """The name on the wire, as in `Sec-WebSocket-Protocol`."""
        return f"iroh-relay-v{self.value}"

    @classmethod
    def from_subprotocol(cls, name: str) -> "ProtocolVersion | None":
        """The version that is called `name`, or None; case and spaces matter, as in Rust."""
        return _BY_NAME.get(name)


_BY_NAME = {version.subprotocol: version for version in ProtocolVersion}

SUPPORTED_VERSIONS: tuple[ProtocolVersion, ...] = (ProtocolVersion.V2, ProtocolVersion.V1)
"""All versions that we speak, best first."""


def offer() -> str:
    """The value of the client's `Sec-WebSocket-Protocol` header: all versions, best first."""
    return ", ".join(version.subprotocol for version in SUPPORTED_VERSIONS)


def negotiate(header: str) -> ProtocolVersion | None:
    """The best version in a client's `Sec-WebSocket-Protocol` header, or None if it has none.

    Unknown names are skipped and the client's order is ignored.
    """
    known = (ProtocolVersion.from_subprotocol(name.strip()) for name in header.split(","))
    return max((version for version in known if version is not None), default=None)
