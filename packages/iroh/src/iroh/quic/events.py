"""What the engine tells its driver. Drained with `Connection.events()`, oldest first.

An event never carries stream data: it says that `Connection.read` has something, so that a reader
that does not read holds the peer back by flow control.
"""

from dataclasses import dataclass, field

from iroh.quic.errors import CloseReason


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""


@dataclass(frozen=True, slots=True)
class HandshakeDataReady(Event):
    """ALPN is settled (server: the ClientHello was read). Comes before Connected."""

    alpn: bytes


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """The handshake is complete and the peer's key is proven.

    peer: the peer's Ed25519 public key, 32 bytes.
    """

    alpn: bytes
    peer: bytes


@dataclass(frozen=True, slots=True)
class StreamOpened(Event):
    """The peer opened a stream (its first frame arrived)."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReadable(Event):
    """`read` will give bytes, the end, or raise StreamReset."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamWritable(Event):
    """`write` takes bytes again after it had taken fewer than it was given."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamFinished(Event):
    """The peer acknowledged everything we sent on the stream, its end included."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamStoppedByPeer(Event):
    """The peer sent STOP_SENDING; our sending half was reset with the same code."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class StreamsAvailable(Event):
    """`open_stream` may succeed again: the limit moved, after it had returned None once.

    count: how often, as things are now.
    """

    bidirectional: bool
    count: int = field(default=1 << 60, compare=False)


@dataclass(frozen=True, slots=True)
class DatagramReceived(Event):
    """An unreliable datagram (RFC 9221)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PathChanged(Event):
    """The path that carries the data is now to this remote address."""

    remote: object


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """The connection ended. Always the last event but Drained, and comes exactly once."""

    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Drained(Event):
    """Closing or draining is over: drop the object and its connection ids."""
