"""Every frame: round trips, truncation, wrong places, arbitrary bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic import frames as f
from iroh.quic.errors import FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION, PeerError
from iroh.quic.varint import MAX, encode
from iroh_base import SocketAddr

number = st.integers(0, MAX)
small = st.integers(0, 2**32 - 1)
path_id = st.none() | small
eight = st.binary(min_size=8, max_size=8)
addr = st.builds(SocketAddr, st.sampled_from(("192.0.2.7", "2001:db8::1")), st.integers(0, 65535))


@st.composite
def acks(draw) -> f.Ack:
    edges = sorted(draw(st.sets(st.integers(0, 500), min_size=2, max_size=40)))
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    ranges, below = [], None
    for start, end in reversed(pairs):
        if below is None or end < below - 1:
            ranges.append((start, end))
            below = start
    ecn = draw(st.none() | st.tuples(number, number, number))
    return f.Ack(ranges, draw(number), draw(path_id), ecn)


ANY = {
    "Padding": st.builds(f.Padding, st.integers(1, 50)),
    "Ping": st.just(f.Ping()),
    "HandshakeDone": st.just(f.HandshakeDone()),
    "ImmediateAck": st.just(f.ImmediateAck()),
    "NewToken": st.builds(f.NewToken, st.binary(min_size=1, max_size=80)),
    "Ack": acks(),
    "Stream": st.builds(
        f.Stream, number, st.integers(0, 2**61), st.binary(max_size=60), st.booleans()
    ),
    "ResetStream": st.builds(f.ResetStream, number, number, number),
    "StopSending": st.builds(f.StopSending, number, number),
    "Crypto": st.builds(f.Crypto, st.integers(0, 2**61), st.binary(max_size=60)),
    "MaxData": st.builds(f.MaxData, number),
    "DataBlocked": st.builds(f.DataBlocked, number),
    "MaxStreamData": st.builds(f.MaxStreamData, number, number),
    "StreamDataBlocked": st.builds(f.StreamDataBlocked, number, number),
    "MaxStreams": st.builds(f.MaxStreams, st.booleans(), st.integers(0, 2**60)),
    "StreamsBlocked": st.builds(f.StreamsBlocked, st.booleans(), st.integers(0, 2**60)),
    "NewConnectionId": st.builds(
        f.NewConnectionId,
        st.integers(100, MAX),
        st.integers(0, 100),
        st.binary(min_size=1, max_size=20),
        st.binary(min_size=16, max_size=16),
        path_id,
    ),
    "RetireConnectionId": st.builds(f.RetireConnectionId, number, path_id),
    "PathChallenge": st.builds(f.PathChallenge, eight),
    "PathResponse": st.builds(f.PathResponse, eight),
    "ConnectionClose": st.builds(
        f.ConnectionClose, number, st.binary(max_size=30), st.none() | number
    ),
    "AckFrequency": st.builds(f.AckFrequency, number, number, number, number),
    "Datagram": st.builds(f.Datagram, st.binary(max_size=60)),
    "PathAbandon": st.builds(f.PathAbandon, small, number),
    "PathStatus": st.builds(f.PathStatus, small, number, st.booleans()),
    "MaxPathId": st.builds(f.MaxPathId, small),
    "PathsBlocked": st.builds(f.PathsBlocked, small),
    "PathCidsBlocked": st.builds(f.PathCidsBlocked, small, number),
    "AddAddress": st.builds(f.AddAddress, number, addr),
    "ReachOut": st.builds(f.ReachOut, number, addr),
    "RemoveAddress": st.builds(f.RemoveAddress, number),
    "ObservedAddress": st.builds(f.ObservedAddress, number, addr),
}
any_frame = st.one_of(*ANY.values())


def test_the_table_has_every_frame() -> None:
    assert {frame.__name__ for frame in f.FRAMES} == ANY.keys()
    assert sum(len(frame.TYPES) for frame in f.FRAMES) == len(f.DECODERS)


@pytest.mark.parametrize("name", ANY)
@given(data=st.data())
def test_round_trip_and_every_truncation(name: str, data) -> None:
    frame = data.draw(ANY[name])
    wire = frame.encode()
    assert f.decode_payload(wire, f.ONE_RTT) == [frame]
    if name in ("Padding", "Ping", "HandshakeDone", "ImmediateAck"):
        return
    cut = data.draw(st.integers(1, len(wire) - 1))
    with pytest.raises(PeerError) as caught:
        f.decode_payload(wire[:cut], f.ONE_RTT)
    assert caught.value.code == FRAME_ENCODING_ERROR


@given(frames=st.lists(any_frame.filter(lambda x: type(x) is not f.Padding), max_size=8))
def test_a_payload_of_many_frames(frames) -> None:
    wire = b"".join(frame.encode() for frame in frames)
    if frames:
        assert f.decode_payload(wire, f.ONE_RTT) == frames
    else:
        with pytest.raises(PeerError) as caught:
            f.decode_payload(wire, f.ONE_RTT)
        assert caught.value.code == PROTOCOL_VIOLATION


def outcome(payload: bytes, space: int) -> int | None:
    """The error code of a payload, None when it is well-formed."""
    try:
        f.decode_payload(payload, space)
    except PeerError as error:
        return error.code
    return None


@given(data=st.binary(min_size=1, max_size=200), space=st.integers(0, 3))
def test_arbitrary_bytes_raise_nothing_else(data: bytes, space: int) -> None:
    assert outcome(data, space) in (None, FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION)


@given(frames=st.lists(any_frame, min_size=1, max_size=4), data=st.data())
def test_mutated_payloads_raise_nothing_else(frames, data) -> None:
    wire = bytearray(b"".join(frame.encode() for frame in frames))
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    assert outcome(bytes(wire), f.ONE_RTT) in (None, FRAME_ENCODING_ERROR, PROTOCOL_VIOLATION)


# RFC 9000 section 12.4, table 3, and only in 1-RTT whatever the extensions brought.
_ANYWHERE = {f.INITIAL, f.HANDSHAKE, f.ZERO_RTT, f.ONE_RTT}
_NOT_0RTT = {f.INITIAL, f.HANDSHAKE, f.ONE_RTT}
_PLACES = {
    "Padding": _ANYWHERE,
    "Ping": _ANYWHERE,
    "Ack": _NOT_0RTT,
    "Crypto": _NOT_0RTT,
}
_ONLY_1RTT = (
    *("NewToken", "HandshakeDone", "PathResponse"),
    *("PathAbandon", "PathStatus", "MaxPathId", "PathsBlocked", "PathCidsBlocked"),
    *("AddAddress", "ReachOut", "RemoveAddress", "ObservedAddress"),
)


def allowed_spaces(frame: f.Frame) -> set[int]:
    name = type(frame).__name__
    if name in _ONLY_1RTT or (isinstance(frame, f.Ack) and frame.path_id is not None):
        return {f.ONE_RTT}
    return _PLACES.get(name, {f.ZERO_RTT, f.ONE_RTT})


@pytest.mark.parametrize("name", [name for name in ANY if name != "ConnectionClose"])
@given(data=st.data())
def test_frames_in_the_wrong_place(name: str, data) -> None:
    frame = data.draw(ANY[name])
    allowed = allowed_spaces(frame)
    for space in (f.INITIAL, f.HANDSHAKE, f.ZERO_RTT, f.ONE_RTT):
        if space in allowed:
            assert f.decode_payload(frame.encode(), space) == [frame]
        else:
            with pytest.raises(PeerError) as caught:
                f.decode_payload(frame.encode(), space)
            assert caught.value.code == PROTOCOL_VIOLATION


def test_an_applications_close_does_not_travel_in_the_handshake() -> None:
    transport, application = f.ConnectionClose(1, b"", 0), f.ConnectionClose(1, b"", None)
    assert f.decode_payload(transport.encode(), f.INITIAL) == [transport]
    with pytest.raises(PeerError) as caught:
        f.decode_payload(application.encode(), f.HANDSHAKE)
    assert caught.value.code == PROTOCOL_VIOLATION


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (encode(0x21), FRAME_ENCODING_ERROR),  # unknown
        (b"\x40\x01", PROTOCOL_VIOLATION),  # PING in two bytes
        (b"\x07\x00", FRAME_ENCODING_ERROR),  # an empty token
        (b"\x02\x05\x00\x00\x06", FRAME_ENCODING_ERROR),  # ACK of packet -1
        (b"\x02\x05\x00\xbf\xff\xff\xff\x00", FRAME_ENCODING_ERROR),  # a billion ranges
        (b"\x18\x01\x02\x08" + bytes(24), FRAME_ENCODING_ERROR),  # retires itself
        (b"\x18\x01\x00\x15" + bytes(37), FRAME_ENCODING_ERROR),  # an id of 21 bytes
        (b"\x12" + encode(2**60 + 1), FRAME_ENCODING_ERROR),
        (encode(0x3E75) + encode(2**32) + b"\x00", FRAME_ENCODING_ERROR),  # a path id of 33 bits
        (b"\x0e\x00" + encode(MAX) + b"\x01x", FRAME_ENCODING_ERROR),  # beyond 2**62 - 1
    ],
)
def test_named_malformations(wire: bytes, code: int) -> None:
    with pytest.raises(PeerError) as caught:
        f.decode_payload(wire, f.ONE_RTT)
    assert caught.value.code == code


def test_addresses_come_out_canonical() -> None:
    mapped = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 7)) + b"\x00\x50"
    (frame,) = f.decode_payload(encode(0x3D7F91) + b"\x00" + mapped, f.ONE_RTT)
    assert frame == f.AddAddress(0, SocketAddr("192.0.2.7", 80))
