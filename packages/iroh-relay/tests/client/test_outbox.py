"""Cutting datagrams into frames, and the queue."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh_relay.client.outbox import QUEUE_LIMIT, Outbox, encode
from iroh_relay.protos import (
    MAX_BATCH_CONTENTS,
    MAX_PACKET_SIZE,
    MAX_SINGLE_CONTENTS,
    ClientToRelayDatagrams,
    FrameError,
    FrameTooLargeError,
)

from .fakes import PEER

DEST = PEER.to_bytes()


def contents(frames: list[bytes]) -> list[bytes]:
    """The datagrams in these frames, one by one."""
    found: list[bytes] = []
    for frame in frames:
        assert len(frame) <= MAX_PACKET_SIZE
        decoded = ClientToRelayDatagrams.decode(frame)
        assert decoded.dst == PEER
        found += [bytes(segment) for segment in decoded.datagrams.segments()]
    return found


@given(
    size=st.integers(1, 300_000),
    segment_size=st.one_of(st.just(0), st.integers(1, 2000), st.integers(1, MAX_SINGLE_CONTENTS)),
    ecn=st.integers(0, 255),
)
@settings(max_examples=60, deadline=None)
def test_every_datagram_arrives_whole(size: int, segment_size: int, ecn: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    if segment_size == 0 and size > MAX_SINGLE_CONTENTS:
        with pytest.raises(FrameTooLargeError):
            encode(DEST, data, segment_size, ecn)
        return
    step = segment_size or size
    expected = [data[start : start + step] for start in range(0, size, step)]
    frames = encode(DEST, data, segment_size, ecn)
    assert contents(frames) == expected
    assert {ClientToRelayDatagrams.decode(frame).datagrams.ecn for frame in frames} == {ecn & 3}


def test_one_datagram_is_a_single_frame() -> None:
    for segment_size in (0, 5, 6, 65535, 1 << 20):
        assert encode(DEST, b"hello", segment_size, 0)[0][0] == 4
    assert encode(DEST, b"hello!", 5, 0)[0][0] == 5


def test_limits() -> None:
    assert len(encode(DEST, bytes(MAX_SINGLE_CONTENTS), 0, 0)) == 1
    with pytest.raises(FrameTooLargeError):
        encode(DEST, bytes(MAX_SINGLE_CONTENTS + 1), 0, 0)
    assert len(encode(DEST, bytes(MAX_BATCH_CONTENTS), 100, 0)) == 1
    assert [frame[0] for frame in encode(DEST, bytes(MAX_BATCH_CONTENTS + 1), 100, 0)] == [5, 4]
    with pytest.raises(FrameTooLargeError):
        encode(DEST, bytes(200_000), MAX_SINGLE_CONTENTS + 1, 0)
    with pytest.raises(FrameError):
        encode(DEST, b"", 0, 0)
    with pytest.raises(FrameError):
        encode(DEST, b"", 100, 0)


def test_queue_takes_all_or_nothing() -> None:
    outbox = Outbox()
    assert outbox.push([b"x"] * (QUEUE_LIMIT - 1))
    assert not outbox.push([b"a", b"b"])
    assert len(outbox) == QUEUE_LIMIT - 1
    assert outbox.push([b"last"])
    assert not outbox.push([b"more"])
    assert outbox.pop() == b"x"
    assert outbox.push([b"more"])
    assert outbox.clear() == QUEUE_LIMIT
    assert not outbox
    with pytest.raises(IndexError):
        outbox.pop()
