"""Transport parameters (RFC 9000 section 18; spec/quic.md section 2 for iroh's).

    ( id varint | length varint | value )*

Values are varints, but for: ids and tokens (raw), disable_active_migration and grease_quic_bit
(empty), and n0's NAT traversal limit (one raw byte).
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Final

from iroh.quic import varint
from iroh.quic.errors import TRANSPORT_PARAMETER_ERROR, PeerError

_VARINT, _RAW, _EMPTY, _BYTE = "varint", "raw", "empty", "byte"

# id -> (attribute, kind). RFC 9000 18.2, RFC 9221, and as named.
_KNOWN: Final = {
    0x00: ("original_destination_connection_id", _RAW),
    0x01: ("max_idle_timeout", _VARINT),
    0x02: ("stateless_reset_token", _RAW),
    0x03: ("max_udp_payload_size", _VARINT),
    0x04: ("initial_max_data", _VARINT),
    0x05: ("initial_max_stream_data_bidi_local", _VARINT),
    0x06: ("initial_max_stream_data_bidi_remote", _VARINT),
    0x07: ("initial_max_stream_data_uni", _VARINT),
    0x08: ("initial_max_streams_bidi", _VARINT),
    0x09: ("initial_max_streams_uni", _VARINT),
    0x0A: ("ack_delay_exponent", _VARINT),
    0x0B: ("max_ack_delay", _VARINT),
    0x0C: ("disable_active_migration", _EMPTY),
    0x0D: ("preferred_address", _RAW),
    0x0E: ("active_connection_id_limit", _VARINT),
    0x0F: ("initial_source_connection_id", _RAW),
    0x10: ("retry_source_connection_id", _RAW),
    0x20: ("max_datagram_frame_size", _VARINT),
    0x3E: ("initial_max_path_id", _VARINT),  # draft-ietf-quic-multipath
    0x2AB2: ("grease_quic_bit", _EMPTY),  # RFC 9287
    0xFF04DE1B: ("min_ack_delay", _VARINT),  # draft-ietf-quic-ack-frequency, microseconds
    0x9F81A176: ("observed_address_role", _VARINT),  # draft-ietf-quic-address-discovery
    0x3D7F91120401: ("max_nat_traversal_addresses", _BYTE),  # n0
}
# RFC 9000 section 18.2: what an absent parameter means.
_DEFAULTS: Final[dict[str, Any]] = {
    **{name: None for name, kind in _KNOWN.values() if kind == _RAW},
    **{name: False for name, kind in _KNOWN.values() if kind == _EMPTY},
    **dict.fromkeys(
        (
            *("max_idle_timeout", "initial_max_data", "initial_max_streams_bidi"),
            *("initial_max_stream_data_bidi_local", "initial_max_stream_data_bidi_remote"),
            *("initial_max_stream_data_uni", "initial_max_streams_uni"),
            "max_datagram_frame_size",
        ),
        0,
    ),
    "max_udp_payload_size": 65_527,
    "ack_delay_exponent": 3,
    "max_ack_delay": 25,
    "active_connection_id_limit": 2,
    "initial_max_path_id": None,
    "min_ack_delay": None,
    "observed_address_role": None,
    "max_nat_traversal_addresses": None,
}
_SERVER_ONLY = (
    *("original_destination_connection_id", "stateless_reset_token"),
    *("preferred_address", "retry_source_connection_id"),
)
_STARTS: Final = {name: (varint.encode(key), kind) for key, (name, kind) in _KNOWN.items()}
SEND_ONLY, RECEIVE_ONLY, SEND_AND_RECEIVE = 0, 1, 2  # observed_address_role
_PREFERRED_CID = 4 + 2 + 16 + 2
"""Where the connection id starts in a preferred_address (RFC 9000 section 18.2)."""
_GREASE_STEP, _GREASE_BASE = 31, 27  # RFC 9000 section 18.1: 31 * N + 27
_GREASE_RANDOM = 4 + 15 + 1 + 2  # its place, value, length, number


class TransportParameters:
    """What one side allows. Integers as on the wire: milliseconds, bytes, counts.

    None: an optional extension that was not offered, or an id that was not sent. What an instance
    does not have is read from the class: what its absence means.
    """

    NAMES: ClassVar[tuple[str, ...]] = tuple(name for name, _ in _KNOWN.values())

    original_destination_connection_id: bytes | None
    max_idle_timeout: int
    stateless_reset_token: bytes | None
    max_udp_payload_size: int
    initial_max_data: int
    initial_max_stream_data_bidi_local: int
    initial_max_stream_data_bidi_remote: int
    initial_max_stream_data_uni: int
    initial_max_streams_bidi: int
    initial_max_streams_uni: int
    ack_delay_exponent: int
    max_ack_delay: int
    disable_active_migration: bool
    preferred_address: bytes | None
    active_connection_id_limit: int
    initial_source_connection_id: bytes | None
    retry_source_connection_id: bytes | None
    max_datagram_frame_size: int
    initial_max_path_id: int | None
    grease_quic_bit: bool
    min_ack_delay: int | None
    observed_address_role: int | None
    max_nat_traversal_addresses: int | None

    def __init__(self, **values: Any) -> None:
        """Set the given parameters, the others to what their absence means."""
        if not _DEFAULTS.keys() >= values.keys():
            raise TypeError(f"no such transport parameter: {values.keys() - _DEFAULTS.keys()}")
        self.__dict__.update(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TransportParameters) and all(
            getattr(self, name) == getattr(other, name) for name in self.NAMES
        )

    def encode(self, rng: Callable[[int], bytes], grease: bool = True) -> bytes:
        """Encode what differs from the defaults, in random order, with one grease parameter."""
        entries = []
        for name, value in self.__dict__.items():
            if value != _DEFAULTS[name]:
                entries.append(_encode(name, value))
        random = rng(4 * len(entries) + _GREASE_RANDOM)
        if grease:
            number = int.from_bytes(random[-2:], "big") * _GREASE_STEP + _GREASE_BASE
            value = random[-18 : -18 + (random[-3] & 15)]
            entries.append(varint.encode(number) + bytes((len(value),)) + value)
        keyed = [(random[4 * at : 4 * at + 4], entry) for at, entry in enumerate(entries)]
        return b"".join([entry for _, entry in sorted(keyed)])

    @classmethod
    def decode(cls, data: bytes, *, from_client: bool) -> "TransportParameters":
        """Decode and check. Raises PeerError TRANSPORT_PARAMETER_ERROR."""
        found: dict[int, bytes] = {}
        at, end = 0, len(data)
        try:
            while at < end:
                key = data[at]
                if key < 0x40:
                    at += 1
                else:
                    key, at = varint.decode(data, at)
                length, at = varint.decode(data, at)
                if key in found:
                    raise _error(f"parameter {key:#x} twice")
                found[key], at = data[at : at + length], at + length
                if at > end:
                    raise _error("a parameter is cut short")
            values: dict[str, Any] = {}
            for key, value in found.items():
                known = _KNOWN.get(key)
                if known is not None:
                    values[known[0]] = value if known[1] == _RAW else _decode(key, value)
        except PeerError as error:
            raise _error(error.reason) from None
        _check(values, from_client)
        parameters = cls()
        parameters.__dict__ = values
        return parameters


for _name, _default in _DEFAULTS.items():
    setattr(TransportParameters, _name, _default)


def _error(reason: str) -> PeerError:
    return PeerError(TRANSPORT_PARAMETER_ERROR, reason)


@lru_cache(maxsize=256)
def _encode(name: str, value: Any) -> bytes:
    """Encode a parameter. Remembered, as nearly all are the same for all connections."""
    start, kind = _STARTS[name]
    if kind == _VARINT:
        encoded = varint.encode(value)
    elif kind == _BYTE:
        encoded = bytes((value,))
    else:
        encoded = b"" if kind == _EMPTY else bytes(value)
    return start + varint.encode(len(encoded)) + encoded


@lru_cache(maxsize=256)
def _decode(key: int, value: bytes) -> Any:
    """Decode a value that is not raw, and check its range. Remembered for the same reason."""
    name, kind = _KNOWN[key]
    number = _decode_value(name, kind, value)
    limits = _RANGES.get(name)
    if limits is not None and not limits[0] <= number <= limits[1]:
        raise _error(f"{name} of {number}")
    return number


def _decode_value(name: str, kind: str, value: bytes) -> Any:
    if kind == _EMPTY:
        if value:
            raise _error(f"{name} has a value")
        return True
    if kind == _BYTE:
        if len(value) != 1:
            raise _error(f"{name} has {len(value)} bytes")
        return value[0]
    number, at = varint.decode(value, 0)
    if at != len(value):
        raise _error(f"{name} has bytes left over")
    return number


# name -> (smallest, largest), RFC 9000 section 18.2 and noq `transport_parameters.rs`
_RANGES: Final = {
    "max_udp_payload_size": (1200, varint.MAX),
    "ack_delay_exponent": (0, 20),
    "max_ack_delay": (0, (1 << 14) - 1),
    "active_connection_id_limit": (2, varint.MAX),
    "initial_max_streams_bidi": (0, 1 << 60),
    "initial_max_streams_uni": (0, 1 << 60),
    "initial_max_path_id": (0, (1 << 32) - 1),
    "observed_address_role": (0, 2),
    "max_nat_traversal_addresses": (1, 255),
}
_CID_NAMES = (
    *("original_destination_connection_id", "initial_source_connection_id"),
    "retry_source_connection_id",
)


def _check(values: dict[str, Any], from_client: bool) -> None:
    for name in _CID_NAMES:
        if len(values.get(name, b"")) > 20:
            raise _error(f"{name} has {len(values[name])} bytes")
    token = values.get("stateless_reset_token")
    if token is not None and len(token) != 16:
        raise _error(f"stateless_reset_token has {len(token)} bytes")
    _check_preferred(values.get("preferred_address"))
    delay = values.get("min_ack_delay", 0)
    if delay > values.get("max_ack_delay", _DEFAULTS["max_ack_delay"]) * 1000:
        raise _error("min_ack_delay exceeds max_ack_delay")
    if from_client and not values.keys().isdisjoint(_SERVER_ONLY):
        raise _error("a client sent a parameter that only servers send")


def _check_preferred(value: bytes | None) -> None:
    """Check the form: | ip 4 | port 2 | ip 16 | port 2 | len 1 | id 1..20 | token 16 |."""
    if value is None:
        return
    length = value[_PREFERRED_CID] if len(value) > _PREFERRED_CID else 0
    if not 1 <= length <= 20 or len(value) != _PREFERRED_CID + 1 + length + 16:
        raise _error("preferred_address is malformed")
