"""Ranges, fragments and the send buffer against sets and byte arrays."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.streams import buffer
from iroh.quic.streams.buffer import SendBuffer
from iroh.quic.streams.fragments import MAX_HOLES, MAX_PIECES, Fragments
from iroh.quic.streams.ranges import Ranges

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
        pairs = ranges.pairs()
        assert bool(ranges) == bool(model)
        assert len(ranges) == len(pairs)
        assert not model or ranges.first()[0] == min(model)
        assert [n for a, b in pairs for n in range(a, b)] == sorted(model)
        assert all(b < a for (_, b), (a, _) in pairwise(pairs))
        gaps = [n for a, b in ranges.gaps(*probe) for n in range(a, b)]
        assert gaps == sorted(set(range(*probe)) - model)
    ranges.clear()
    assert repr(ranges) == "Ranges([])"


@given(st.lists(spans, max_size=60), st.integers(0, 80))
@settings(max_examples=300)
def test_fragments_keep_every_byte_once(spans, offset):
    whole = bytes(range(100))
    fragments, model = Fragments(), set()
    for start, stop in spans:
        before = len(fragments)
        fragments.add(start, memoryview(whole)[start:stop])
        model |= set(range(start, stop))
        held = dict(zip(fragments._starts, fragments._pieces, strict=True))
        assert list(held) == sorted(held)
        assert sum(map(len, held.values())) == len(model)
        assert all(whole[s : s + len(p)] == p for s, p in held.items())
        assert len(fragments) <= before + 1
    ready = b"".join(fragments.release(offset))
    end = offset
    while end in model:
        end += 1
    assert ready == (whole[offset:end])
    assert sum(map(len, fragments._pieces)) == len({n for n in model if n > end})


def test_every_second_byte_meets_the_bound():
    fragments = Fragments()
    for n in range(MAX_PIECES):
        fragments.add(2 * n + 1, b"x")
    with pytest.raises(PeerError) as caught:
        fragments.add(2 * MAX_PIECES + 1, b"x")
    assert caught.value.code == PROTOCOL_VIOLATION
    assert len(fragments) == MAX_PIECES + 1


@pytest.mark.parametrize("size", [1, 7, 1200])
def test_descending_order_is_no_attack(size):
    """Each frame stands right before the one that came before: no holes, but many pieces."""
    count = 10 * MAX_PIECES
    fragments = Fragments()
    for n in range(count, 0, -1):
        fragments.add(n * size, b"x" * size)
        assert len(fragments) <= MAX_PIECES
    assert sum(map(len, fragments.release(size))) == count * size
    assert len(fragments) == 0


def test_holes_up_to_the_bound_are_fine():
    fragments = Fragments()
    for n in range(MAX_HOLES):
        fragments.add(1000 * n + 1, b"x" * 10)
        fragments.add(1000 * n + 500, b"y" * 10)
    for n in range(MAX_HOLES):  # closing holes makes none
        fragments.add(1000 * n + 1, b"x" * 499)
    assert len(fragments.release(1)) > 0


def test_a_copy_of_many_tiny_pieces_replaces_them():
    fragments = Fragments()
    for n in range(500, 0, -1):
        fragments.add(n, b"x")
    assert len(fragments) == 500
    fragments.add(1, b"x" * 600)
    assert len(fragments) == 1
    fragments.clear()
    assert len(fragments) == 0


@given(st.data())
@settings(max_examples=150)
def test_send_buffer_gives_what_was_written(data):
    small, block = buffer.SMALL, buffer.BLOCK
    sizes = st.one_of(st.integers(1, 40), st.sampled_from([small - 1, small, small + 1, block]))
    held = SendBuffer()
    whole = b""
    start = 0
    for _ in range(data.draw(st.integers(1, 12))):
        piece = bytes(n % 251 for n in range(len(whole), len(whole) + data.draw(sizes)))
        held.append(data.draw(st.sampled_from([bytes, bytearray, memoryview]))(piece))
        whole += piece
        assert held.stop == len(whole)
        first = data.draw(st.integers(start, len(whole)))
        last = data.draw(st.integers(first, min(len(whole), first + 9000)))
        size = data.draw(st.sampled_from([1 + last // 50, 7, 1400, 70_000]))
        pieces = held.cut(first, last, size)
        assert b"".join(pieces) == whole[first:last]
        assert all(len(one) == size for one in pieces[:-1])
        start = data.draw(st.integers(start, len(whole)))
        held.release(start)
        assert sum(map(len, held._chunks)) <= len(whole) - start + 2 * block
    held.release(len(whole) - len(held._tail))
    assert not held._chunks
    held.clear()


def test_tiny_writes_make_few_chunks():
    held = SendBuffer()
    for _ in range(100_000):
        held.append(b"x")
    assert len(held._chunks) == 100_000 // buffer.BLOCK
    assert sum(map(len, held.cut(0, held.stop, 1400))) == 100_000
    for n in range(0, 100_000, 1400):
        held.release(n)
    held.release(100_000)
    assert not held._chunks


def test_many_chunks_are_released_in_order():
    held = SendBuffer()
    data = bytes(buffer.SMALL)
    for _ in range(1000):
        held.append(data)
    for n in range(0, held.stop, 1400):
        held.release(n)
        assert len(held._chunks) - held._head == 1000 - n // buffer.SMALL
        assert held.cut(n, n + 10, 100) == [bytes(10)]
        assert held._head <= 64
