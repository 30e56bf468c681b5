"""CRYPTO data in any order, bounded; and sent until it has arrived."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic.errors import PeerError
from iroh.quic.frames import Crypto
from iroh.quic.tls import CryptoStream
from iroh.quic.tls.crypto_stream import MAX_BUFFERED, Spans

# -- in --------------------------------------------------------------------------------------------


def test_in_order():
    stream = CryptoStream()
    assert stream.receive(0, b"abc") == b"abc"
    assert stream.receive(3, b"de") == b"de"
    assert stream.receive(0, b"abcde") == b""
    assert stream.receive(4, b"efg") == b"fg"
    assert stream.receive(7, b"") == b""
    assert stream.is_gapless


def test_out_of_order():
    stream = CryptoStream()
    assert stream.receive(4, b"ef") == b""
    assert not stream.is_gapless
    assert stream.receive(1, b"bcd") == b""
    assert stream.receive(0, b"a") == b"abcdef"
    assert stream.is_gapless
    assert stream.receive(6, memoryview(b"g")) == b"g"


def test_what_is_too_far_ahead():
    stream = CryptoStream()
    assert stream.receive(1, bytes(MAX_BUFFERED - 1)) == b""
    with pytest.raises(PeerError) as caught:
        stream.receive(1, bytes(MAX_BUFFERED))
    assert (caught.value.code, caught.value.frame_type) == (0xD, 6)
    with pytest.raises(PeerError):
        stream.receive(2**62 - 2, b"x")
    assert stream.receive(0, b"x") == b"x" + bytes(MAX_BUFFERED - 1)


def test_any_length_in_order():
    stream = CryptoStream()
    big = bytes(5 * MAX_BUFFERED)
    assert stream.receive(0, big) == big


@given(st.binary(max_size=300), st.data())
@settings(max_examples=200)
def test_any_order_any_overlap(content, data):
    stream = CryptoStream()
    got = b""
    size = len(content)
    pieces = data.draw(st.lists(st.tuples(st.integers(0, size), st.integers(0, 40)), max_size=60))
    arrived = [False] * size
    for start, length in pieces:
        got += stream.receive(start, content[start : start + length])
        for at in range(start, min(start + length, size)):
            arrived[at] = True
        front = arrived.index(False) if False in arrived else size
        assert got == content[:front]
        assert stream.is_gapless == (True not in arrived[front:])
    got += stream.receive(0, content)
    assert got == content
    assert not stream._held


# -- out -------------------------------------------------------------------------------------------


def test_frames_fit():
    stream = CryptoStream()
    assert stream.take_frame(1000) is None
    assert stream.is_acked
    stream.write(bytes(range(100)))
    assert stream.wants_to_send
    assert stream.take_frame(4) is None
    assert stream.take_frame(14) == (0, bytes(range(10)))
    assert stream.take_frame(1000) == (10, bytes(range(10, 100)))
    assert stream.take_frame(1000) is None
    assert not stream.wants_to_send
    assert not stream.is_acked


@given(st.integers(0, 70_000), st.integers(5, 70_000))
def test_encoded_frames_fit(start, limit):
    stream = CryptoStream()
    stream.write(bytes(start))
    while not stream.is_acked:
        offset, data = stream.take_frame(1 << 20)
        stream.on_acked((offset, len(data)))
    stream.write(bytes(70_000))
    frame = stream.take_frame(limit)
    if frame is not None:
        encoded = Crypto(*frame).encode()
        assert len(encoded) <= limit
        assert frame[0] == start
        assert len(frame[1]) >= min(limit - 8, (1 << 14) - 1)
    else:
        assert limit < 9


def test_lost_ranges_go_first():
    stream = CryptoStream()
    stream.write(b"abcdefghij")
    for _ in range(5):
        stream.take_frame(6)
    stream.write(b"klm")
    stream.on_acked((2, 2))
    stream.on_lost((0, 6))
    assert stream.take_frame(1000) == (0, b"ab")
    assert stream.take_frame(1000) == (4, b"ef")
    assert stream.take_frame(1000) == (10, b"klm")
    stream.on_acked((0, 2))
    stream.on_lost((0, 2))
    assert stream.take_frame(1000) is None
    stream.on_acked((4, 9))
    assert stream.is_acked


def test_resend():
    stream = CryptoStream()
    stream.write(b"abcdef")
    stream.take_frame(7)
    stream.resend()
    assert stream.take_frame(1000) == (0, b"abc")
    assert stream.take_frame(1000) == (3, b"def")
    stream.on_acked((0, 3))
    stream.resend()
    assert stream.take_frame(1000) == (3, b"def")


@given(st.binary(max_size=200), st.data())
@settings(max_examples=200)
def test_everything_arrives_over_a_bad_network(content, data):
    sender, receiver = CryptoStream(), CryptoStream()
    got = b""
    written = 0
    flying: list[tuple[int, bytes]] = []
    for _ in range(60):
        match data.draw(st.sampled_from(["write", "send", "arrive", "lose", "late", "probe"])):
            case "write":
                end = min(len(content), written + data.draw(st.integers(0, 80)))
                sender.write(content[written:end])
                written = end
            case "send":
                frame = sender.take_frame(data.draw(st.integers(0, 60)))
                if frame:
                    flying.append(frame)
            case "arrive" | "lose" | "late" as fate if flying:
                offset, piece = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
                if fate != "arrive":
                    sender.on_lost((offset, len(piece)))
                if fate != "lose":  # late: declared lost, then acknowledged all the same
                    got += receiver.receive(offset, piece)
                    sender.on_acked((offset, len(piece)))
            case "probe":
                sender.resend()
    sender.write(content[written:])
    sender.resend()
    while frame := sender.take_frame(50):
        got += receiver.receive(*frame)
        sender.on_acked((frame[0], len(frame[1])))
    assert got == content
    assert sender.is_acked


# -- spans -----------------------------------------------------------------------------------------

RANGES = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(st.lists(st.tuples(st.booleans(), RANGES), max_size=30), RANGES)
@settings(max_examples=300)
def test_spans_are_sets(steps, asked):
    spans, model = Spans(), set()
    for is_add, (start, end) in steps:
        (spans.add if is_add else spans.remove)(start, end)
        (model.update if is_add else model.difference_update)(range(start, end))
    found = list(zip(spans._starts, spans._ends, strict=True))
    assert set().union(*(range(*span) for span in found)) == model
    assert all(start < end for start, end in found)
    assert all(one[1] < two[0] for one, two in pairwise(found))
    assert len(spans) == len(found)
    assert bool(spans) == bool(model)
    if found:
        assert spans.first() == found[0]
    gaps = spans.missing(*asked)
    assert set().union(*(range(*gap) for gap in gaps)) == set(range(*asked)) - model
