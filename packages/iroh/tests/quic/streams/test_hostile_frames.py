"""Any frames in any order: a PeerError or nothing, and the books stay right."""

from hypothesis import given, settings
from hypothesis import strategies as st
from streams_kit import End, feed

from iroh.quic.config import TransportConfig
from iroh.quic.errors import PeerError, QuicError, StreamGone, StreamReset, StreamStopped
from iroh.quic.frames import (
    DataBlocked,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    Stream,
    StreamDataBlocked,
    StreamsBlocked,
)

CONFIG = TransportConfig(
    max_concurrent_bidi_streams=3,
    max_concurrent_uni_streams=2,
    stream_receive_window=2000,
    receive_window=3000,
    send_window=5000,
)

ids = st.one_of(st.integers(0, 13), st.integers(0, 2**62 - 1))
offsets = st.one_of(st.integers(0, 2100), st.sampled_from([2**62 - 1, 2**62 - 3000]))
codes = st.integers(0, 2**62 - 1)
datas = st.one_of(st.binary(max_size=3), st.integers(500, 1500).map(bytes))
frames = st.one_of(
    st.builds(Stream, ids, offsets, datas, st.booleans()),
    st.builds(Stream, st.integers(0, 9), st.integers(0, 1500), datas, st.just(False)),
    st.builds(ResetStream, ids, codes, offsets),
    st.builds(StopSending, ids, codes),
    st.builds(MaxData, offsets),
    st.builds(MaxStreamData, ids, offsets),
    st.builds(MaxStreams, st.booleans(), st.integers(0, 10)),
    st.builds(DataBlocked, offsets),
    st.builds(StreamDataBlocked, ids, offsets),
    st.builds(StreamsBlocked, st.booleans(), st.integers(0, 2**60)),
)
commands = st.one_of(
    st.tuples(st.just("open_stream"), st.booleans()),
    st.tuples(st.just("write"), st.integers(0, 9), datas),
    st.tuples(st.just("finish"), st.integers(0, 9)),
    st.tuples(st.just("reset"), st.integers(0, 9), codes),
    st.tuples(st.just("set_priority"), st.integers(0, 9), st.integers(-2, 2)),
    st.tuples(st.just("read"), st.integers(0, 9), st.integers(0, 3000)),
    st.tuples(st.just("stop"), st.integers(0, 9), codes),
    st.tuples(st.just("set_max_concurrent_streams"), st.booleans(), st.integers(0, 5)),
    st.tuples(st.just("set_receive_window"), st.integers(0, 6000)),
    st.tuples(st.just("pack"), st.integers(31, 1200), st.sampled_from(["ack", "lose", ""])),
)


@given(st.booleans(), st.lists(st.one_of(frames, commands), max_size=40))
@settings(max_examples=300, deadline=None)
def test_nothing_but_a_peer_error(is_client, program):
    end = End(is_client, CONFIG)
    end.learn(CONFIG)
    for step in program:
        try:
            if isinstance(step, tuple):
                command(end, *step)
            else:
                feed(end.streams, step.encode())
            raised = None
        except QuicError as error:
            raised = type(error)
        if isinstance(step, tuple):
            assert raised in (None, StreamGone, StreamStopped, StreamReset)
        elif raised is not None:
            assert raised is PeerError
            break
        check(end)


def command(end, name, *arguments):
    if name != "pack":
        getattr(end.streams, name)(*arguments)
        return
    room, fate = arguments
    packet = end.pack(room)
    if packet is not None and fate:
        getattr(packet, fate)()


def check(end):
    streams = end.streams
    intake, outlet = streams._intake, streams.outlet
    assert intake.consumed <= intake.received <= intake.announced
    unread = sum(half.highest - half.read_offset for half in streams._receivers.values())
    assert intake.received - intake.consumed == unread
    assert outlet.used <= outlet.limit
    assert outlet.held == sum(half.held() for half in streams._senders.values())
    for half in streams._senders.values():
        assert half.next <= half.max_data
        if half.has_fresh():
            assert half.in_fresh
        if half.has_lost():
            assert half.in_lost
    for kind, ids in enumerate(streams._remote):
        open_ids = {i for i in (*streams._senders, *streams._receivers) if i & 3 == ids.base}
        assert ids.opened - ids.closed + ids.lingering == len(open_ids), kind
        assert ids.opened <= ids.announced <= ids.granted
    assert len(end.events) == len(set(map(repr, end.events)))  # nothing is said twice
    end.events.clear()
