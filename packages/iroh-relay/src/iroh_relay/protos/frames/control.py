"""The frames that say something about the connection itself.

    EndpointGone (8)   | 08 | endpoint id (32)                          | relay to client
    Ping (9)           | 09 | data (8)                                  | both ways
    Pong (10)          | 0a | the data of the ping (8)                  | both ways
    Health (11)        | 0b | UTF-8 text to the end                     | relay to client, v1 only
    Restarting (12)    | 0c | reconnect_in ms u32 | try_for ms u32      | relay to client
    Status (13)        | 0d | code u8 | ignored ...                     | relay to client, v2 only

Numbers are big-endian. Source: iroh-relay `protos/relay.rs` (`RelayToClientMsg`, `Status`).
"""

from dataclasses import dataclass
from typing import Final

from iroh_base.keys import PublicKey

from ..errors import FrameError
from .types import (
    ENDPOINT_GONE,
    HEALTH,
    ID_LEN,
    MAX_PACKET_SIZE,
    PING,
    PONG,
    RESTARTING,
    STATUS,
    Buffer,
    parse_id,
)

__all__ = [
    "PING_LEN",
    "EndpointGone",
    "Health",
    "Ping",
    "Pong",
    "Restarting",
    "Status",
]

PING_LEN: Final = 8
"""Bytes in a ping."""
_U32_MAX: Final = 0xFFFFFFFF


def _exactly(payload: Buffer, length: int, name: str) -> None:
    if len(payload) != length:
        raise FrameError(f"{name} must have {length} bytes, not {len(payload)}")


@dataclass(frozen=True, slots=True)
class EndpointGone:
    """An endpoint that has sent us datagrams is no longer connected to this relay."""

    endpoint_id: PublicKey

    def encode(self) -> bytes:
        """The frame."""
        return bytes((ENDPOINT_GONE,)) + self.endpoint_id.to_bytes()

    @classmethod
    def decode(cls, payload: Buffer) -> "EndpointGone":
        """Read what follows the type; raises `FrameError`."""
        _exactly(payload, ID_LEN, "EndpointGone")
        return cls(parse_id(payload))


@dataclass(frozen=True, slots=True)
class Ping:
    """Answer this at once with a `Pong` of the same 8 bytes."""

    data: bytes

    def __post_init__(self) -> None:
        _exactly(self.data, PING_LEN, "Ping")

    def encode(self) -> bytes:
        """The frame."""
        return bytes((PING,)) + self.data

    @classmethod
    def decode(cls, payload: Buffer) -> "Ping":
        """Read what follows the type; raises `FrameError`."""
        return cls(bytes(payload))


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a `Ping`."""

    data: bytes

    def __post_init__(self) -> None:
        _exactly(self.data, PING_LEN, "Pong")

    def encode(self) -> bytes:
        """The frame."""
        return bytes((PONG,)) + self.data

    @classmethod
    def decode(cls, payload: Buffer) -> "Pong":
        """Read what follows the type; raises `FrameError`."""
        return cls(bytes(payload))


@dataclass(frozen=True, slots=True)
class Health:
    """What is wrong with this connection, in words; only in protocol version 1."""

    problem: str

    def encode(self) -> bytes:
        """The frame; raises `FrameError` if the text is longer than `MAX_PACKET_SIZE`."""
        frame = bytes((HEALTH,)) + self.problem.encode()
        if len(frame) > MAX_PACKET_SIZE:
            raise FrameError("the text of a Health frame is too long")
        return frame

    @classmethod
    def decode(cls, payload: Buffer) -> "Health":
        """Read what follows the type; raises `FrameError`."""
        try:
            return cls(bytes(payload).decode())
        except UnicodeDecodeError as error:
            raise FrameError("a Health frame must be UTF-8") from error


@dataclass(frozen=True, slots=True)
class Restarting:
    """The relay is about to restart; both numbers are advice, in milliseconds.

    `reconnect_in_ms`: how long to wait before the next dial, so that not all dial at once.
    `try_for_ms`: how long to keep trying before this counts as a failure.
    """

    reconnect_in_ms: int
    try_for_ms: int

    def __post_init__(self) -> None:
        for value in (self.reconnect_in_ms, self.try_for_ms):
            if not 0 <= value <= _U32_MAX:
                raise FrameError(f"a duration must fit into 32 bits of milliseconds, not {value}")

    def encode(self) -> bytes:
        """The frame."""
        return b"".join(
            (
                bytes((RESTARTING,)),
                self.reconnect_in_ms.to_bytes(4),
                self.try_for_ms.to_bytes(4),
            )
        )

    @classmethod
    def decode(cls, payload: Buffer) -> "Restarting":
        """Read what follows the type; raises `FrameError`."""
        _exactly(payload, 8, "Restarting")
        return cls(int.from_bytes(payload[:4]), int.from_bytes(payload[4:]))


@dataclass(frozen=True, slots=True)
class Status:
    """The state of this connection as a code; only in protocol version 2.

    Codes that we do not know are legal and say nothing.
    """

    code: int

    HEALTHY = 0
    """All is well again."""
    SAME_ENDPOINT_ID_CONNECTED = 1
    """A newer connection of the same endpoint id gets the datagrams now."""
    RATE_LIMITED = 2
    """The relay reads more slowly from us than we send."""

    def __post_init__(self) -> None:
        if not 0 <= self.code <= 0xFF:
            raise FrameError(f"a status code must be 0 to 255, not {self.code}")

    def __str__(self) -> str:
        return _STATUS_TEXTS.get(self.code, f"Unsupported health message ({self.code})")

    def encode(self) -> bytes:
        """The frame."""
        return bytes((STATUS, self.code))

    @classmethod
    def decode(cls, payload: Buffer) -> "Status":
        """Read what follows the type; raises `FrameError`."""
        if not payload:
            raise FrameError("a Status frame must not be empty")
        return cls(payload[0])

    def as_health(self) -> Health | None:
        """The same news for a client of version 1, or None if such a client is not told."""
        if self.code not in (self.HEALTHY, self.SAME_ENDPOINT_ID_CONNECTED):
            return None
        return Health(str(self))


# The texts go over the wire to clients of version 1, so they are those of the Rust relay.
_STATUS_TEXTS: Final = {
    Status.HEALTHY: "The connection is healthy and has recovered from previous problems",
    Status.SAME_ENDPOINT_ID_CONNECTED: (
        "Another endpoint connected with the same endpoint id. No more messages will be received."
    ),
    Status.RATE_LIMITED: "The relay is rate-limiting the datagrams that this endpoint sends.",
}
