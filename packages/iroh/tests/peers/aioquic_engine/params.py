"""Transport parameters (RFC 9000 section 18, RFC 9221 section 3), as iroh sends them on one path.

    parameter    | id varint | length varint | value |

Not sent: 0x3e (multipath) and n0's NAT traversal parameter, which this engine does not speak; a
Rust peer then uses plain RFC 9000. Integers that equal the RFC's default are left out, as noq does.
"""

from dataclasses import dataclass

from aioquic._buffer import Buffer, BufferReadError
from aioquic.buffer import UINT_VAR_MAX

from iroh.quic.config import TransportConfig

MAX_UDP_PAYLOAD_SIZE = 1472  # noq EndpointConfig default: Ethernet less IPv4 and UDP headers
ACTIVE_CONNECTION_ID_LIMIT = 5  # noq CidQueue::LEN
MAX_DATAGRAM_FRAME_SIZE = 65535  # noq: the largest u16
ACK_DELAY_EXPONENT = 3  # RFC 9000 section 18.2, the default
RESET_TOKEN_LENGTH = 16  # RFC 9000 section 10.3

_ACK_DELAY_EXPONENT = 0x0A
_RESET_TOKEN = 0x02


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionIds:
    """The ids that authenticate a handshake (RFC 9000 section 7.3). The last three: server only."""

    initial_source: bytes
    original_destination: bytes | None = None
    retry_source: bytes | None = None
    reset_token: bytes | None = None


def encode(transport: TransportConfig, ids: ConnectionIds) -> bytes:
    """Encode what we tell the peer."""
    buf = Buffer(capacity=512)
    integers = {
        0x01: int(transport.max_idle_timeout * 1000),
        0x03: MAX_UDP_PAYLOAD_SIZE,
        0x04: min(transport.receive_window, UINT_VAR_MAX),
        0x05: min(transport.stream_receive_window, UINT_VAR_MAX),
        0x06: min(transport.stream_receive_window, UINT_VAR_MAX),
        0x07: min(transport.stream_receive_window, UINT_VAR_MAX),
        0x08: transport.max_concurrent_bidi_streams,
        0x09: transport.max_concurrent_uni_streams,
        0x0E: ACTIVE_CONNECTION_ID_LIMIT,
        0x20: MAX_DATAGRAM_FRAME_SIZE if transport.datagram_receive_buffer_size else 0,
    }
    for kind, value in integers.items():
        if value:
            body = Buffer(capacity=8)
            body.push_uint_var(value)
            _push(buf, kind, body.data)
    _push(buf, 0x0F, ids.initial_source)
    if ids.original_destination is not None:
        _push(buf, 0x00, ids.original_destination)
    if ids.retry_source is not None:
        _push(buf, 0x10, ids.retry_source)
    if ids.reset_token is not None:
        _push(buf, _RESET_TOKEN, ids.reset_token)
    return buf.data


def check(data: bytes) -> int:
    """Check what aioquic does not, and give the peer's ack_delay_exponent.

    Raises ValueError for truncated or duplicate parameters and a token of a wrong length.
    """
    buf = Buffer(data=data)
    seen: set[int] = set()
    exponent = ACK_DELAY_EXPONENT
    try:
        while not buf.eof():
            kind = buf.pull_uint_var()
            value = buf.pull_bytes(buf.pull_uint_var())
            if kind in seen:
                raise ValueError(f"transport parameter {kind:#x} occurs twice")
            seen.add(kind)
            if kind == _ACK_DELAY_EXPONENT:
                exponent = Buffer(data=value).pull_uint_var()
            elif kind == _RESET_TOKEN and len(value) != RESET_TOKEN_LENGTH:
                raise ValueError("the stateless reset token does not have 16 bytes")
    except BufferReadError as error:
        raise ValueError("transport parameters are truncated") from error
    return exponent


def _push(buf: Buffer, kind: int, value: bytes) -> None:
    buf.push_uint_var(kind)
    buf.push_uint_var(len(value))
    buf.push_bytes(value)
