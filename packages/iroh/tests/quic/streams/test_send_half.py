"""SendHalf against random acknowledgement and loss, and its table of states against every input."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic.events import StreamWritable
from iroh.quic.streams import send
from iroh.quic.streams.outlet import Outlet
from iroh.quic.streams.send import HIGH_WATER, LOW_WATER, SendHalf

UNLIMITED = 2**62 - 1


class Harness:
    def __init__(self, window=10_000_000, limit=UNLIMITED, max_data=UNLIMITED):
        self.events = []
        self.blocked = []
        self.ended = []
        self.outlet = Outlet(window, self.events, self.blocked.append, self.ended.append)
        self.outlet.raise_limit(limit)
        self.half = SendHalf(8, self.outlet, max_data)

    def take(self, limit=100_000):
        taken = self.half.take(limit)
        return taken and (taken[0], bytes(taken[1]), taken[2])


class Wire(Harness):
    """Loses and acknowledges frames in any order, late and twice; checks what is sent."""

    def __init__(self, whole, seed):
        super().__init__()
        self.whole = whole
        self.rng = random.Random(seed)
        self.got = bytearray(len(whole))
        self.acked = set()
        self.end_acked = False
        self.at = self.new_until = 0
        self.flying, self.lost = [], []

    def write(self):
        """Write a random piece, or the end after the last one."""
        if self.at < len(self.whole):
            piece = self.whole[self.at : self.at + self.rng.randint(1, 800)]
            assert self.half.write(piece) == len(piece)
            self.at += len(piece)
        elif self.half.state == send.OPEN:
            self.half.finish()

    def send(self, in_runs):
        """Let up to six runs fly."""
        for _ in range(self.rng.randint(0, 6)):
            size = self.rng.randint(1, 90)
            offset, pieces, fin = self.half.take_run(self.rng.randint(1, 5) if in_runs else 1, size)
            if not pieces:
                break
            assert all(len(piece) == size for piece in pieces[:-1])
            data = b"".join(pieces)
            stop = offset + len(data)
            assert data == self.whole[offset:stop]
            assert offset <= self.new_until  # new bytes in order, without holes
            assert self.acked.isdisjoint(range(offset, stop))  # nothing twice that has arrived
            assert not fin or stop == len(self.whole)
            self.new_until = max(self.new_until, stop)
            self.flying.append((offset, stop - offset, fin))

    def land(self):
        """Lose or acknowledge some of what flies."""
        self.rng.shuffle(self.flying)
        keep = self.rng.randint(0, len(self.flying))
        for slice_ in self.flying[keep:]:
            if self.rng.random() < 0.4:
                self.half.on_lost(*slice_)
                self.lost.append(slice_)
            else:
                self.arrive(*slice_)
        del self.flying[keep:]
        if self.lost and self.rng.random() < 0.3:  # it was only late
            self.arrive(*self.lost.pop())

    def arrive(self, offset, length, fin):
        self.got[offset : offset + length] = self.whole[offset : offset + length]
        self.acked |= set(range(offset, offset + length))
        self.end_acked = self.end_acked or fin
        self.half.on_acked(offset, length, fin)


@given(st.integers(0, 5000), st.integers(0, 2**32), st.booleans())
@settings(max_examples=150)
def test_sender_survives_any_fate(size, seed, in_runs):
    """Frames are lost and acknowledged in any order, late and twice; all bytes get there."""
    w = Wire(bytes(n % 251 for n in range(size)), seed)
    half = w.half
    while not w.ended:
        w.write()
        w.send(in_runs)
        w.land()
        assert w.outlet.held == half.held() >= 0
        assert w.outlet.used == half.next
    assert bytes(w.got) == w.whole
    assert w.end_acked
    assert w.outlet.held == 0
    assert w.ended == [half]
    assert half.state == send.DATA_RECVD
    assert not half.has_lost()
    assert not half.has_fresh()
    for fate in (half.on_acked, half.on_lost):  # the rest of what was in flight
        for slice_ in w.flying:
            fate(*slice_)
    assert w.ended == [half]
    assert half.take_run(9, 9)[1] == []


class Driver(Harness):
    """Uses one input, and says which states may follow it."""

    def __init__(self):
        super().__init__()
        self.flying = []

    def send(self):
        while (taken := self.half.take(2)) is not None:
            self.flying.append((taken[0], len(taken[1]), taken[2]))

    def write(self, before):
        if before == send.OPEN:  # Streams refuses otherwise
            self.half.write(b"abc")
        return {before}

    def finish(self, before):
        if before != send.OPEN:
            return {before}
        self.half.finish()
        return {send.FINISHING}

    def transmit(self, before):
        count = len(self.flying)
        self.send()
        assert before <= send.DATA_SENT or len(self.flying) == count
        return {send.DATA_SENT if before == send.FINISHING else before}

    def ack(self, before):
        for slice_ in self.flying:
            self.half.on_acked(*slice_)
        self.flying.clear()
        return {before, send.DATA_RECVD} if before == send.DATA_SENT else {before}

    def lose(self, before):
        for slice_ in self.flying:
            self.half.on_lost(*slice_)
        self.flying.clear()
        return {before}

    def reset(self, before):
        done = self.half.reset(7)
        assert done == (before <= send.DATA_SENT)
        return {send.RESET_SENT if done else before}

    def reset_acked(self, before):
        self.half.on_reset_acked()
        return {send.RESET_RECVD if before == send.RESET_SENT else before}

    def rewind(self, before):
        if self.half.is_over() or self.half._start:
            return {before}  # nothing of a rejected 0-RTT was ever acknowledged
        self.half.rewind()
        self.outlet.rewind()
        self.outlet.raise_limit(UNLIMITED)
        self.flying.clear()
        return {send.FINISHING if before == send.DATA_SENT else before}


INPUTS = ("write", "finish", "transmit", "ack", "lose", "reset", "reset_acked", "rewind")


@given(st.lists(st.sampled_from(INPUTS), max_size=12))
@settings(max_examples=500)
def test_every_input_in_every_state(program):
    d = Driver()
    half = d.half
    for what in program:
        allowed = getattr(d, what)(half.state)
        assert half.state in allowed, (what, half)
        assert half.is_over() == bool(d.ended)
        assert d.outlet.held == half.held()
        if half.state > send.DATA_SENT:
            assert half.held() == half.pending() == 0
            assert not half.has_lost()
            assert not half.has_fresh()
    assert send.STATES[half.state] in repr(half)
    if half.state in (send.FINISHING, send.DATA_SENT):  # whatever happened: it comes to an end
        d.send()
        while d.flying:
            half.on_acked(*d.flying.pop())
            d.send()
        assert half.state == send.DATA_RECVD


def test_an_end_alone_is_an_empty_piece():
    h = Harness()
    assert h.take() is None
    h.half.finish()
    assert h.half.has_fresh()
    assert h.half.take_run(5, 1000) == (0, [b""], True)
    assert h.take() is None
    h.half.on_lost(0, 0, True)
    assert h.take(0) == (0, b"", True)
    h.half.on_acked(0, 0, True)
    assert h.ended == [h.half]


def test_a_run_is_equal_but_for_its_last_piece():
    h = Harness()
    data = bytes(n % 251 for n in range(100_000))
    for at in range(0, 100_000, 10_000):
        assert h.half.write(data[at : at + 10_000]) == 10_000
    offset, pieces, fin = h.half.take_run(44, 1400)
    assert (offset, fin) == (0, False)
    assert [len(piece) for piece in pieces] == [1400] * 44
    h.half.finish()
    offset, rest, fin = h.half.take_run(44, 1400)
    assert (offset, fin) == (44 * 1400, True)
    assert [len(piece) for piece in rest] == [1400] * 27 + [600]
    assert b"".join(pieces + rest) == data


def test_big_writes_are_not_copied():
    h = Harness()
    data = bytes(100_000)
    h.half.write(data)
    pieces = h.half.take_run(44, 1400)[1]
    assert all(type(piece) is memoryview and piece.obj is data for piece in pieces)


def test_lost_bytes_go_first_and_in_runs():
    h = Harness()
    h.half.write(bytes(100_000))
    h.half.take_run(44, 1000)
    h.half.on_lost(3000, 4000, False)
    h.half.on_acked(4000, 1000, False)  # it was only late
    assert h.half.has_lost()
    assert h.half.take_run(44, 1000)[0] == 3000
    offset, pieces, _ = h.half.take_run(44, 1000)
    assert (offset, len(pieces)) == (5000, 2)
    assert not h.half.has_lost()
    assert h.half.take_run(1, 1000)[0] == 44_000
    assert h.half.take(0) is None


def test_nothing_is_lost_that_was_never_sent():
    h = Harness()
    h.half.write(bytes(10))
    h.half.take(5)
    h.half.on_lost(0, 10, False)
    assert h.take() == (0, bytes(5), False)


def test_both_limits_are_respected():
    h = Harness(limit=6, max_data=4)
    h.half.write(b"abcdefgh")
    assert h.half.pending() == 4
    assert h.take() == (0, b"abcd", False)
    assert not h.half.has_fresh()
    assert h.half.held_back() == send.BY_STREAM
    h.half.max_data = 100
    assert h.take() == (4, b"ef", False)
    assert h.half.held_back() == send.BY_CONNECTION
    assert h.half.pending() == 0
    h.half.on_lost(0, 6, False)  # what was sent before needs no credit
    assert h.take() == (0, b"abcdef", False)
    h.outlet.raise_limit(8)
    h.half.finish()
    assert h.half.held_back() == send.FREE
    assert h.take() == (6, b"gh", True)


def test_an_end_waits_for_the_bytes_before_it():
    h = Harness(max_data=2)
    h.half.write(b"abc")
    h.half.finish()
    assert h.take() == (0, b"ab", False)
    assert not h.half.has_fresh()
    assert h.take() is None
    h.half.max_data = 3
    assert h.take() == (2, b"c", True)


def test_write_takes_up_to_the_marks():
    h = Harness()
    half = h.half
    data = bytes(HIGH_WATER + 5)
    assert half.write(data) == HIGH_WATER
    assert half.write(b"x") == 0
    assert half.write(b"") == 0
    half.take_run(1000, 1400)
    at = 0
    while half.held() > LOW_WATER:
        assert not h.events
        half.on_acked(at, 1400, False)
        at += 1400
    assert h.events == [StreamWritable(8)]
    half.on_acked(at, 1400, False)
    assert h.events == [StreamWritable(8)]


def test_streams_share_the_window():
    h = Harness(window=1000)
    other = SendHalf(12, h.outlet, UNLIMITED)
    assert h.half.write(bytes(700)) == 700
    assert other.write(bytes(700)) == 300
    assert h.half.write(b"x") == 0
    h.half.take(1000)
    h.half.on_acked(0, 249, False)
    assert not h.events
    h.half.on_acked(249, 1, False)
    assert h.events == [StreamWritable(12), StreamWritable(8)]
    assert other.reset(1)
    assert h.outlet.held == 450


def test_a_reset_half_wakes_the_others_and_not_itself():
    h = Harness(window=100)
    other = SendHalf(12, h.outlet, UNLIMITED)
    assert h.half.write(bytes(200)) == 100
    assert other.write(b"x") == 0
    assert h.half.reset(1)
    assert h.events == [StreamWritable(12)]


@pytest.mark.parametrize("count", [10, 1000])
def test_acks_in_order_leave_nothing_behind(count):
    h = Harness()
    for _ in range(count):
        h.half.write(bytes(5000))
        offset, pieces, _ = h.half.take_run(10, 1400)
        length = sum(map(len, pieces))
        h.half.on_acked(offset, length, False)
    assert h.half.held() == 0
    assert len(h.half._buffer._chunks) == 0
    assert not h.half._acked
