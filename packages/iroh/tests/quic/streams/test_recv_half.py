"""RecvHalf against a byte array, and its table of states against every input."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic.errors import (
    FINAL_SIZE_ERROR,
    FLOW_CONTROL_ERROR,
    PROTOCOL_VIOLATION,
    PeerError,
    StreamGone,
    StreamReset,
)
from iroh.quic.streams import recv
from iroh.quic.streams.fragments import MAX_PIECES
from iroh.quic.streams.intake import Intake
from iroh.quic.streams.recv import RecvHalf

WINDOW = 1_000_000


def make(window=WINDOW, connection=2**62 - 1):
    intake = Intake(connection)
    return RecvHalf(4, intake, window), intake


sizes = st.one_of(st.integers(0, 40), st.integers(400, 3000))


@given(st.data())
@settings(max_examples=200)
def test_any_order_gives_the_stream(data):
    lengths = data.draw(st.lists(sizes, max_size=12))
    total = sum(lengths)
    whole = bytes(n % 251 for n in range(total))
    edges = [0]
    for length in lengths:
        edges.append(edges[-1] + length)
    frames = [(a, b, b == total) for a, b in pairwise(edges)] or [(0, 0, True)]
    for _ in range(data.draw(st.integers(0, 4))):
        a = data.draw(st.integers(0, total))
        frames.append((a, data.draw(st.integers(a, total)), False))
    half, intake = make()
    got, ended, readable = bytearray(), False, False
    for a, b, fin in data.draw(st.permutations(frames)):
        piece = whole[a:b] if data.draw(st.booleans()) else memoryview(whole)[a:b]
        readable = half.on_data(a, piece, fin) or readable
        while not ended and data.draw(st.booleans()):
            limit = data.draw(st.one_of(st.integers(0, 50), st.integers(1000, 4000)))
            read = half.read(limit)
            assert read is None or type(read) is bytes
            if read is None or (limit and not read):
                ended = read is None
                readable = False
                break
            assert len(read) <= limit
            assert readable or not read
            got += read
        assert whole.startswith(bytes(got))
        assert intake.consumed == half.read_offset == len(got)
        assert intake.received == half.highest
    while not ended:
        assert readable  # nobody waits for bytes that are there
        read = half.read(10_000)
        ended = read is None
        got += read or b""
    assert bytes(got) == whole
    assert half.state == recv.DATA_READ
    assert intake.consumed == intake.received == total


INPUTS = ("data", "fin", "fill", "reset", "stop", "read")


def apply(half, what):
    """Use one input on a stream of 10 bytes: "data" leaves a hole at 0, "fill" closes it."""
    if what == "data":
        half.on_data(5, b"56", False)
    elif what == "fin":
        half.on_data(7, b"789", True)
    elif what == "fill":
        half.on_data(0, b"0123456789", False)
    elif what == "reset":
        half.on_reset(77, 10)
    elif what == "stop":
        half.stop(66)
    else:
        half.read(100)


def expected(state, filled, what):
    """Say with the words of RFC 9000 what an input does: the state, and the error for the reader.

    filled: all ten bytes have arrived.
    """
    over = state in (recv.DATA_READ, recv.RESET_READ, recv.STOPPED)
    if what == "stop":
        if over:
            return state, StreamGone
        if state == recv.RECV:
            return recv.STOPPED, None
        return (recv.RESET_READ if state == recv.RESET_RECVD else recv.DATA_READ), None
    if what == "read":
        if over:
            return state, StreamGone
        if state == recv.RESET_RECVD:
            return recv.RESET_READ, StreamReset
        return state, None  # DATA_RECVD still has its bytes to give; the end comes after
    if what == "reset":
        table = {recv.STOPPED: recv.RESET_READ}
        table.update(dict.fromkeys((recv.RECV, recv.SIZE_KNOWN), recv.RESET_RECVD))
        return table.get(state, state), None
    if what == "fin" and state == recv.STOPPED:
        return recv.DATA_READ, None
    if what == "fin" and state == recv.RECV:
        return (recv.DATA_RECVD if filled else recv.SIZE_KNOWN), None
    if what == "fill" and state == recv.SIZE_KNOWN:
        return recv.DATA_RECVD, None
    return state, None


@given(st.lists(st.sampled_from(INPUTS), max_size=9))
@settings(max_examples=500)
def test_every_input_in_every_state(program):
    half, intake = make()
    filled = False
    for what in program:
        has_bytes = half._next > half.read_offset
        state, error = expected(half.state, filled, what)
        if what == "read" and half.state == recv.DATA_RECVD and not has_bytes:
            state = recv.DATA_READ
        if error is None:
            apply(half, what)
        else:
            with pytest.raises(error):
                apply(half, what)
        assert half.state == state, (what, half)
        filled = filled or (what == "fill" and half.state <= recv.DATA_RECVD)
        assert half.read_offset <= half._next <= half.highest <= 10
        assert intake.received == half.highest
        assert intake.consumed == half.read_offset
        if half.state in recv.OVER or half.state in (recv.STOPPED, recv.RESET_RECVD):
            assert intake.consumed == half.highest  # nothing keeps the window
            assert not half._ready
            assert half._fragments is None
    assert recv.STATES[half.state] in repr(half)


def test_the_table_names_only_states_and_inputs():
    for (state, what), following in recv.TRANSITIONS.items():
        assert state not in recv.OVER
        assert following != state
        assert 0 <= what <= recv.TOLD
        assert following < len(recv.STATES)


def test_reader_sees_the_end_once():
    half, _ = make()
    assert half.on_data(0, b"ab", True)
    assert half.read(1) == b"a"
    assert half.read(0) == b""
    assert half.read(9) == b"b"
    assert half.read(9) is None
    with pytest.raises(StreamGone):
        half.read(9)


def test_an_end_without_bytes_is_readable():
    half, _ = make()
    assert half.on_data(0, b"ab", False)
    assert half.read(9) == b"ab"
    assert not half.on_data(2, b"", False)
    assert half.on_data(2, b"", True)
    assert not half.on_data(2, b"", True)
    assert half.read(9) is None


def test_reset_loses_what_was_not_read_and_frees_the_windows():
    half, intake = make()
    half.on_data(0, b"abc", False)
    assert half.read(1) == b"a"
    assert half.on_reset(7, 10)
    assert not half.on_reset(8, 10)
    assert intake.consumed == intake.received == 10
    assert not half.on_data(3, b"defghij", False)
    with pytest.raises(StreamReset) as caught:
        half.read(9)
    assert caught.value.code == 7


def test_reset_after_everything_arrived_changes_nothing():
    half, _ = make()
    half.on_data(0, b"abc", True)
    assert not half.on_reset(7, 3)
    assert half.read(9) == b"abc"
    assert half.read(9) is None


def test_stop_helps_unless_everything_arrived():
    for frames, helps in (
        ([], True),
        ([(0, b"abc", False)], True),
        ([(2, b"c", True)], True),
        ([(0, b"abc", True)], False),
    ):
        half, intake = make()
        for frame in frames:
            half.on_data(*frame)
        assert half.stop(5) == helps
        assert intake.consumed == half.highest
    half, _ = make()
    half.on_reset(1, 0)
    assert not half.stop(5)
    assert half.state == recv.RESET_READ


def test_bytes_for_a_stopped_half_count_as_read():
    half, intake = make()
    half.stop(5)
    assert not half.on_data(0, bytes(1000), False)
    assert intake.consumed == intake.received == 1000
    assert not half.on_data(2000, b"", True)
    assert half.state == recv.DATA_READ
    assert intake.consumed == 2000


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, b"ab", True), (2, b"c", False)),
        ((0, b"ab", True), (0, b"a", True)),
        ((0, b"abc", False), (0, b"a", True)),
    ],
)
def test_final_size_cannot_change(first, second):
    half, _ = make()
    half.on_data(*first)
    with pytest.raises(PeerError) as caught:
        half.on_data(*second)
    assert (caught.value.code, caught.value.frame_type) == (FINAL_SIZE_ERROR, 0x08)


@pytest.mark.parametrize(("fin", "size"), [(True, 4), (True, 2), (False, 2)])
def test_reset_cannot_change_the_final_size(fin, size):
    half, _ = make()
    half.on_data(0, b"abc", fin)
    with pytest.raises(PeerError) as caught:
        half.on_reset(0, size)
    assert (caught.value.code, caught.value.frame_type) == (FINAL_SIZE_ERROR, 0x04)


@pytest.mark.parametrize("window", [(1000, 5000), (5000, 1000)])
@pytest.mark.parametrize(
    "use",
    [
        lambda half: half.on_data(1000, b"x", False),
        lambda half: half.on_data(2**62 - 2, b"x", False),
        lambda half: half.on_data(0, bytes(1001), False),
        lambda half: half.on_data(1001, b"", True),
        lambda half: half.on_reset(0, 1001),
        lambda half: half.on_reset(0, 2**62 - 1),
    ],
)
def test_limits_are_kept(window, use):
    half, intake = make(*window)
    with pytest.raises(PeerError) as caught:
        use(half)
    assert caught.value.code == FLOW_CONTROL_ERROR
    assert intake.received == 0
    half.on_data(0, bytes(1000), False)
    with pytest.raises(PeerError):
        use(half)


def test_the_last_byte_of_a_limit_may_be_used():
    half, intake = make(1000, 1000)
    half.on_data(0, bytes(1000), True)
    assert intake.received == intake.announced == half.announced


def test_tiny_pieces_are_joined():
    half, _ = make()
    for n in range(20_000):
        half.on_data(n, b"x", False)
    assert len(half._ready) <= 5
    assert half.read(7) == b"x" * 7
    assert half.read(30_000) == b"x" * 19_993


def test_a_tiny_frame_does_not_hold_its_packet():
    half, _ = make()
    packet = bytes(1400)
    half.on_data(0, memoryview(packet)[:10], False)
    half.on_data(20, memoryview(packet)[:10], False)
    assert type(half._ready[0]) is bytes
    assert type(half._fragments._pieces[0]) is bytearray


def test_frames_in_order_are_not_copied():
    half, _ = make()
    packet = bytes(1400)
    half.on_data(0, packet, False)
    assert half.read(5000) is packet
    half.on_data(1400, packet, False)
    half.on_data(2800, packet, False)
    assert half._ready[0] is packet
    assert half.read(1401) == bytes(1401)
    assert half.read(1401) == bytes(1399)


def test_one_byte_far_ahead_costs_one_byte():
    half, intake = make()
    half.on_data(999_999, b"x", False)
    assert sum(map(len, half._fragments._pieces)) == 1
    assert intake.received == 1_000_000


def test_after_a_hole_the_fast_way_is_open_again():
    half, _ = make()
    assert not half.on_data(1400, bytes(1400), False)
    assert not half._plain
    assert half.on_data(0, bytes(2000), False)
    assert half._plain
    assert half.read(9999) == bytes(2800)


def test_one_byte_fragments_out_of_order_are_bounded():
    """The full program is a million; what counts is that no step depends on how many came."""
    half, _ = make()
    for n in range(MAX_PIECES):
        half.on_data(2 * n + 1, b"x", False)
    with pytest.raises(PeerError) as caught:
        half.on_data(2 * MAX_PIECES + 1, b"x", False)
    assert caught.value.code == PROTOCOL_VIOLATION
    half, _ = make()
    for n in range(40_000, 0, -1):
        half.on_data(n, b"x", False)
        assert len(half._fragments) <= MAX_PIECES
    assert half.on_data(0, b"x", False)
    assert half.read(50_000) == b"x" * 40_001


def test_window_is_announced_in_quarters():
    half, _ = make(800)
    half.on_data(0, bytes(800), False)
    half.read(199)
    assert not half.is_due()
    half.read(1)
    assert half.is_due()
    assert half.limit() == 1000
    half.on_data(800, b"", True)
    assert not half.is_due()  # the peer has nothing more to send


def test_connection_window_never_shrinks():
    intake = Intake(1000)
    intake.consumed = 249
    assert not intake.is_due()
    intake.consumed = 250
    assert intake.is_due()
    intake.window = 10
    assert intake.limit() == 1000
    intake.window = 2**62
    assert intake.limit() == 2**62 - 1
