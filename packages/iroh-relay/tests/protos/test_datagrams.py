"""Batches, limits of the sender, and the fast paths, which must agree with the slow ones."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_relay.protos.errors import FrameError, FrameTooLargeError
from iroh_relay.protos.forward import (
    BAD_CONTENTS,
    FORWARD,
    NOT_DATAGRAM,
    Readdresser,
    contents_len,
    inspect,
)
from iroh_relay.protos.frames import (
    MAX_BATCH_CONTENTS,
    MAX_PACKET_SIZE,
    MAX_SINGLE_CONTENTS,
    ClientToRelayDatagrams,
    Datagrams,
    EndpointGone,
    Ping,
    RelayToClientDatagrams,
    decode_client_to_relay,
    decode_relay_to_client,
    encode_datagrams,
    read_datagrams,
)
from iroh_relay.protos.versions import ProtocolVersion

from .keys import KEY, OTHER, ids

contents = st.binary(min_size=1, max_size=300)
ecns = st.integers(0, 3)
sizes = st.none() | st.integers(1, 0xFFFF)


def test_fifteen_datagrams_taken_ten_at_a_time() -> None:
    batch = Datagrams(bytes(15 * 100), segment_size=100)
    taken, rest = batch.take_segments(10)
    assert (len(taken.contents), taken.segment_size) == (1000, 100)
    assert (len(rest.contents), rest.segment_size) == (500, 100)
    taken, rest = rest.take_segments(10)
    assert (len(taken.contents), taken.segment_size) == (500, 100)
    assert rest.contents == b""


def test_what_holds_one_datagram_has_no_segment_size() -> None:
    taken, rest = Datagrams(bytes(150), 2, 100).take_segments(1)
    assert taken == Datagrams(bytes(100), 2)
    assert rest == Datagrams(bytes(50), 2)


def test_a_single_datagram_is_taken_whole() -> None:
    assert Datagrams(b"one", 1).take_segments(1) == (Datagrams(b"one", 1), Datagrams(b"", 1))
    with pytest.raises(ValueError, match="at least 1"):
        Datagrams(b"one").take_segments(0)


@given(contents, sizes, st.integers(1, 20))
def test_taking_segments_keeps_every_datagram(raw: bytes, size: int | None, count: int) -> None:
    batch = Datagrams(raw, 0, size)
    parts = []
    rest = batch
    while rest.contents:
        taken, rest = rest.take_segments(count)
        assert len(taken.segments()) <= count
        parts += [bytes(one) for one in taken.segments()]
    assert parts == [bytes(one) for one in batch.segments()]
    assert b"".join(parts) == raw


@pytest.mark.parametrize(("ecn", "size"), [(4, None), (-1, None), (0, 0), (0, 65536)])
def test_impossible_values(ecn: int, size: int | None) -> None:
    with pytest.raises(FrameError):
        Datagrams(b"x", ecn, size)


def test_senders_refuse_what_a_rust_peer_would_choke_on() -> None:
    for datagrams in (Datagrams(b""), Datagrams(b"", 0, 5)):
        with pytest.raises(FrameError, match="empty"):
            ClientToRelayDatagrams(KEY, datagrams).encode()
        with pytest.raises(FrameError, match="empty"):
            RelayToClientDatagrams(KEY, datagrams).encode()
    with pytest.raises(FrameTooLargeError):
        ClientToRelayDatagrams(KEY, Datagrams(bytes(MAX_SINGLE_CONTENTS + 1))).encode()
    with pytest.raises(FrameTooLargeError):
        encode_datagrams(KEY.to_bytes(), bytes(MAX_BATCH_CONTENTS + 1), 0, 1200)


def test_the_largest_frames() -> None:
    assert (MAX_SINGLE_CONTENTS, MAX_BATCH_CONTENTS) == (65502, 65500)
    for frame in (
        encode_datagrams(KEY.to_bytes(), bytes(MAX_SINGLE_CONTENTS)),
        encode_datagrams(KEY.to_bytes(), bytes(MAX_BATCH_CONTENTS), 1, 1200),
    ):
        assert len(frame) == MAX_PACKET_SIZE
        assert inspect(frame) == FORWARD


@given(ids, contents, ecns, sizes)
def test_the_fast_encoder_agrees_with_the_slow_one(
    dst: object, raw: bytes, ecn: int, size: int | None
) -> None:
    frame = ClientToRelayDatagrams(KEY, Datagrams(raw, ecn, size)).encode()
    assert encode_datagrams(KEY.to_bytes(), memoryview(raw), ecn, size) == frame


@given(contents, ecns, sizes)
def test_the_fast_reader_agrees_with_the_slow_one(raw: bytes, ecn: int, size: int | None) -> None:
    frame = RelayToClientDatagrams(KEY, Datagrams(raw, ecn, size)).encode()
    read = read_datagrams(frame)
    assert read is not None
    src, got_ecn, got_size, view = read
    assert (src, got_ecn, got_size, bytes(view)) == (KEY.to_bytes(), ecn, size, raw)


def test_the_fast_reader_leaves_other_frames_alone() -> None:
    longer = b"\x40\x06" + RelayToClientDatagrams(KEY, Datagrams(b"x")).encode()[1:]
    for frame in (b"", Ping(bytes(8)).encode(), EndpointGone(KEY).encode(), longer):
        assert read_datagrams(frame) is None


@given(st.binary(max_size=60).map(lambda raw: bytes((6,)) + raw) | st.binary(max_size=60))
def test_the_fast_reader_raises_only_its_own_error(raw: bytes) -> None:
    with contextlib.suppress(FrameError):
        read_datagrams(raw)


def test_a_segment_size_of_zero_is_no_batch() -> None:
    frame = b"\x07" + KEY.to_bytes() + b"\x00\x00\x00data"
    assert decode_relay_to_client(frame, ProtocolVersion.V2) == RelayToClientDatagrams(
        KEY, Datagrams(b"data")
    )
    read = read_datagrams(frame)
    assert read is not None
    assert (read[2], bytes(read[3])) == (None, b"data")


# -- the relay's fast path -----------------------------------------------------------------


@given(
    contents,
    st.integers(0, 255),
    st.none() | st.integers(0, 0xFFFF),
)
def test_forwarding_is_decoding_and_encoding(raw: bytes, ecn: int, size: int | None) -> None:
    tail = bytes((ecn,)) + (b"" if size is None else size.to_bytes(2)) + raw
    frame = bytes((4 if size is None else 5,)) + OTHER.to_bytes() + tail
    assert inspect(frame) == FORWARD
    assert contents_len(frame) == len(raw)
    decoded = decode_client_to_relay(frame)
    assert isinstance(decoded, ClientToRelayDatagrams)
    slow = RelayToClientDatagrams(KEY, decoded.datagrams).encode()
    assert Readdresser(KEY.to_bytes()).readdress(frame) == slow


def padded(frame_type: int, after_type: int) -> bytes:
    """A datagram frame with this many bytes after the type."""
    body = OTHER.to_bytes() + b"\x00\x00\x01"
    return bytes((frame_type,)) + (body + bytes(after_type))[:after_type]


@pytest.mark.parametrize(
    ("frame", "verdict"),
    [
        (padded(4, 33), BAD_CONTENTS),
        (padded(4, 34), FORWARD),
        (padded(5, 35), BAD_CONTENTS),
        (padded(5, 36), FORWARD),
        (padded(4, MAX_PACKET_SIZE - 1), FORWARD),
        (padded(4, MAX_PACKET_SIZE), BAD_CONTENTS),
        (padded(5, MAX_PACKET_SIZE), BAD_CONTENTS),
        (b"", NOT_DATAGRAM),
        (Ping(bytes(8)).encode(), NOT_DATAGRAM),
        (b"\x40\x04" + bytes(40), NOT_DATAGRAM),
    ],
)
def test_verdicts(frame: bytes, verdict: int) -> None:
    assert inspect(frame) == verdict


@pytest.mark.parametrize(
    "frame", [padded(4, 0), padded(4, 32), padded(5, 34), padded(4, MAX_PACKET_SIZE + 1)]
)
def test_frames_that_end_the_senders_connection(frame: bytes) -> None:
    with pytest.raises(FrameError):
        inspect(frame)


@given(st.binary(max_size=80), st.integers(4, 5))
def test_inspecting_anything_raises_only_its_own_error(raw: bytes, kind: int) -> None:
    frame = bytes((kind,)) + raw
    try:
        verdict = inspect(frame)
    except FrameError:
        return
    if verdict == FORWARD:
        forwarded = Readdresser(KEY.to_bytes()).readdress(frame)
        assert read_datagrams(forwarded) is not None
