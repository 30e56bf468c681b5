"""The parts of a stream on their own, against simple models."""

import itertools
import random

import pytest
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicStreamFrame
from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.stream import FinalSizeError
from hypothesis import given, settings
from hypothesis import strategies as st

from aioquic_engine.ranges import Ranges
from aioquic_engine.reassembly import MAX_FRAGMENTS, Fragments, TooManyFragments
from aioquic_engine.receiving import CryptoReceiver, Intake, ReceiveHalf
from aioquic_engine.sending import SendBudget, SendHalf
from aioquic_engine.signals import Signals
from aioquic_engine.streams import Stream, StreamLimit
from iroh.quic.errors import StreamGone, StreamReset
from iroh.quic.events import StreamFinished, StreamReadable

ACKED, LOST = QuicDeliveryState.ACKED, QuicDeliveryState.LOST
spans = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1]))


@given(st.lists(st.tuples(st.booleans(), spans), max_size=30), spans)
@settings(max_examples=200)
def test_ranges_are_a_set(operations, probe):
    ranges, model = Ranges(), set()
    for adds, (start, stop) in operations:
        if adds:
            ranges.add(start, stop)
            model |= set(range(start, stop))
        else:
            ranges.subtract(start, stop)
            model -= set(range(start, stop))
        first = ranges.first()
        assert (first[0] if first else None) == min(model, default=None)
        pairs = list(zip(ranges._starts, ranges._stops, strict=True))
        assert [n for a, b in pairs for n in range(a, b)] == sorted(model)
        assert all(b < a for (_, b), (a, _) in itertools.pairwise(pairs))
        assert ranges.covers(*probe) == set(range(*probe)).issubset(model)
    while ranges.first():
        ranges.drop_first()
    assert len(ranges) == 0


@given(st.lists(spans, max_size=40))
@settings(max_examples=200)
def test_fragments_keep_every_byte_once(pieces):
    whole = bytes(range(100))
    fragments, model = Fragments(), set()
    for start, stop in pieces:
        fragments.add(start, whole[start:stop])
        model |= set(range(start, min(stop, 100)))
        assert sum(map(len, fragments._chunks)) == len(model)
    kept = [(s, c) for s, c in zip(fragments._starts, fragments._chunks, strict=True)]
    assert all(whole[s : s + len(c)] == c for s, c in kept)


def test_fragments_are_bounded():
    fragments = Fragments()
    for n in range(MAX_FRAGMENTS):
        fragments.add(2 * n, b"x")
    with pytest.raises(TooManyFragments):
        fragments.add(2 * MAX_FRAGMENTS, b"x")
    assert len(fragments) == MAX_FRAGMENTS
    fragments.add(0, bytes(2 * MAX_FRAGMENTS - 1))  # filling the holes needs no new piece
    assert len(list(fragments.take(0))) == MAX_FRAGMENTS


def receiver(signals=None):
    intake = Intake()
    return ReceiveHalf(4, intake, signals), intake


@given(st.data())
@settings(max_examples=150)
def test_any_order_gives_the_stream(data):
    whole = bytes(data.draw(st.binary(min_size=0, max_size=600)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    frames = [
        QuicStreamFrame(whole[a:b], fin=b == len(whole), offset=a)
        for a, b in itertools.pairwise(edges)
    ]
    frames += data.draw(st.lists(st.sampled_from(frames), max_size=4))
    half, intake = receiver()
    got, ended = bytearray(), False
    for frame in data.draw(st.permutations(frames)):
        half.handle_frame(QuicStreamFrame(frame.data, frame.fin, frame.offset))
        while not ended:
            piece = half.read(data.draw(st.integers(1, 700)))
            if piece is None:
                ended = True
            elif piece:
                got += piece
            else:
                break
    assert bytes(got) == whole
    assert ended
    assert half.is_finished
    assert intake.consumed == half.read_offset == len(whole)


def test_reader_sees_the_end_once():
    half, _ = receiver()
    half.handle_frame(QuicStreamFrame(b"ab", True, 0))
    assert not half.is_finished
    assert half.read(1) == b"a"
    assert half.read(0) == b""
    assert half.read(9) == b"b"
    assert half.read(9) is None
    assert half.is_finished
    with pytest.raises(StreamGone):
        half.read(9)


def test_reset_loses_what_was_not_read_and_frees_the_windows():
    signals = Signals(100)
    half, intake = receiver(signals)
    half.handle_frame(QuicStreamFrame(b"abc", False, 0))
    assert half.read(1) == b"a"
    half.handle_reset(final_size=10, error_code=7)
    assert intake.consumed == half.read_offset == 10
    assert signals.take() == [StreamReadable(4)]
    with pytest.raises(StreamReset) as caught:
        half.read(9)
    assert caught.value.code == 7
    with pytest.raises(StreamGone):
        half.read(9)
    half.handle_frame(QuicStreamFrame(b"defghij", False, 3))
    assert intake.consumed == 10


def test_reset_after_everything_arrived_changes_nothing():
    half, _ = receiver()
    half.handle_frame(QuicStreamFrame(b"abc", True, 0))
    half.handle_reset(final_size=3, error_code=7)
    assert half.read(9) == b"abc"
    assert half.read(9) is None


def test_stop_drops_what_comes_and_ends_with_the_size():
    half, intake = receiver()
    half.handle_frame(QuicStreamFrame(b"abc", False, 0))
    half.stop(5)
    assert half.stop_pending
    assert half.get_stop_frame().error_code == 5
    half.on_stop_sending_delivery(LOST)
    assert half.stop_pending
    half.handle_frame(QuicStreamFrame(b"xyz", False, 7))
    assert intake.consumed == 10
    assert not half.is_finished
    with pytest.raises(StreamGone):
        half.read(1)
    with pytest.raises(StreamGone):
        half.stop(5)
    half.handle_frame(QuicStreamFrame(b"", True, 10))
    assert half.is_finished
    half.stop_pending = False
    half.on_stop_sending_delivery(LOST)
    assert not half.stop_pending


def test_stop_after_the_size_is_known_sends_nothing():
    half, intake = receiver()
    half.handle_frame(QuicStreamFrame(b"c", True, 2))
    half.stop(5)
    assert half.is_finished
    assert not half.stop_pending
    assert intake.consumed == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((b"ab", True, 0), (b"c", False, 2)),
        ((b"ab", True, 0), (b"a", True, 0)),
        ((b"abc", False, 0), (b"a", True, 0)),
    ],
)
def test_final_size_cannot_change(first, second):
    half, _ = receiver()
    half.handle_frame(QuicStreamFrame(*first))
    with pytest.raises(FinalSizeError):
        half.handle_frame(QuicStreamFrame(*second))


@pytest.mark.parametrize(("fin", "size"), [(True, 4), (True, 2), (False, 2)])
def test_reset_cannot_change_the_final_size(fin, size):
    half, _ = receiver()
    half.handle_frame(QuicStreamFrame(b"abc", fin, 0))
    with pytest.raises(FinalSizeError):
        half.handle_reset(final_size=size)


def test_tiny_pieces_are_joined():
    half, _ = receiver()
    for n in range(10_000):
        half.handle_frame(QuicStreamFrame(b"x", False, n))
    assert len(half._ready) < 5
    assert half.read(20_000) == b"x" * 10_000


def test_one_byte_far_ahead_costs_one_byte():
    half, _ = receiver()
    half.handle_frame(QuicStreamFrame(b"x", False, 1_000_000))
    assert sum(map(len, half._fragments._chunks)) == 1


def test_every_second_byte_is_a_protocol_violation():
    half, _ = receiver()
    for n in range(MAX_FRAGMENTS):
        half.handle_frame(QuicStreamFrame(b"x", False, 2 * n + 1))
    with pytest.raises(QuicConnectionError) as caught:
        half.handle_frame(QuicStreamFrame(b"x", False, 2 * MAX_FRAGMENTS + 1))
    assert caught.value.error_code == 0xA


def test_crypto_is_handed_on_and_bounded():
    half = CryptoReceiver()
    assert half.handle_frame(QuicStreamFrame(b"cd", False, 2)) is None
    event = half.handle_frame(QuicStreamFrame(b"ab", False, 0))
    assert event is not None
    assert event.data == b"abcd"
    assert half.handle_frame(QuicStreamFrame(b"ab", False, 0)) is None
    assert half.starting_offset() == 4
    with pytest.raises(QuicConnectionError) as caught:
        half.handle_frame(QuicStreamFrame(b"x", False, 4 + 16384))
    assert caught.value.error_code == 0xD


@given(st.binary(max_size=400), st.integers(0, 2**32))
@settings(max_examples=150)
def test_sender_survives_any_loss(whole, seed):
    """Frames are lost and acknowledged in any order; in the end all bytes went, and are free."""
    rng = random.Random(seed)
    budget, signals = SendBudget(1000), Signals(0)
    half = SendHalf(8, budget, signals)
    got = bytearray(len(whole))
    ended = False
    at = 0
    flying = []
    while not half.is_finished:
        if at < len(whole):
            piece = whole[at : at + rng.randint(1, 100)]
            half.write(piece)
            at += len(piece)
        elif half.is_open:
            half.write(b"", end_stream=True)
        while (frame := half.get_frame(rng.randint(1, 60))) is not None:
            flying.append(frame)
        rng.shuffle(flying)
        keep = rng.randint(0, len(flying))
        for frame in flying[keep:]:
            stop = frame.offset + len(frame.data)
            lost = rng.random() < 0.3
            if not lost:
                got[frame.offset : stop] = frame.data
                ended = ended or frame.fin
            half.on_data_delivery(LOST if lost else ACKED, frame.offset, stop, frame.fin)
        del flying[keep:]
    assert bytes(got) == whole
    assert ended
    assert budget.held == half.held == 0
    assert signals.take() == [StreamFinished(8)]


def test_sender_respects_flow_control():
    half = SendHalf(0, None, None)
    half.write(b"abcdef")
    assert half.get_frame(100, 4).data == b"abcd"
    assert half.get_frame(100, 4) is None
    assert not half.buffer_is_empty
    assert half.get_frame(-1) is None
    assert half.get_frame(100, 6).data == b"ef"


def test_reset_frees_the_budget_and_is_repeated():
    budget = SendBudget(100)
    half = SendHalf(0, budget, None)
    half.write(b"abcdef")
    frame = half.get_frame(4)
    half.reset(3)
    assert budget.held == 0
    assert half.reset_pending
    assert half.buffer_is_empty
    reset = half.get_reset_frame()
    assert (reset.error_code, reset.final_size) == (3, 4)
    half.on_data_delivery(LOST, frame.offset, 4, False)
    assert half.buffer_is_empty
    half.on_reset_delivery(LOST)
    assert half.reset_pending
    half.on_reset_delivery(ACKED)
    assert half.is_finished
    half.reset(4)


def test_window_is_announced_in_steps():
    stream = Stream(0, ReceiveHalf(0, Intake(), None), SendHalf(0, None, None), window=800)
    stream.receiver.read_offset = 99
    stream.advance_window()
    assert not stream.window_is_due
    stream.receiver.read_offset = 100
    stream.advance_window()
    assert stream.window_is_due
    assert stream.max_stream_data_local == 900
    stream.receiver.final_size = 900
    assert not stream.window_is_due


def test_stream_limit_follows_count_and_closed():
    limit = StreamLimit(0x12, "bidi", 3)
    assert (limit.value, limit.sent, limit.is_due) == (3, 3, False)
    limit.used = 3
    limit.value += 1
    assert limit.value == 4
    assert limit.is_due
    limit.set_count(2)
    assert limit.value == 4
    limit.value += 1
    assert limit.value == 4
    limit.set_count(10)
    assert limit.value == 12


def test_signals_drop_the_oldest_datagrams():
    signals = Signals(10)
    for n in range(5):
        signals.datagram(bytes([n]) * 4)
    assert [event.data[0] for event in signals.take()] == [3, 4]
    assert signals.datagrams_dropped == 3
