"""How many streams there may be, and that nothing is left of those that have ended."""

import gc

import pytest
from streams_kit import feed, flush, link, read_all, settle

from iroh.quic.config import TransportConfig
from iroh.quic.errors import (
    StreamReset,
)
from iroh.quic.events import (
    StreamsAvailable,
)
from iroh.quic.frames import (
    MaxData,
    MaxStreams,
    Stream,
    StreamsBlocked,
)
from iroh.quic.streams import Streams, commands


@pytest.mark.parametrize("bidirectional", [True, False])
def test_streams_are_limited_and_the_limit_moves(bidirectional):
    config = TransportConfig(max_concurrent_bidi_streams=3, max_concurrent_uni_streams=3)
    client, server = link(server=config)
    ids = [client.streams.open_stream(bidirectional) for _ in range(4)]
    assert ids[3] is None
    assert None not in ids[:3]
    for stream_id in ids[:3]:
        client.streams.write(stream_id, b"x")
        client.streams.finish(stream_id)
    frames = settle(client, server)
    assert frames.count(StreamsBlocked(bidirectional, 3)) == 1
    # The data has arrived, but nobody has read it: the streams still count.
    assert not client.got(StreamsAvailable)
    assert client.streams.open_stream(bidirectional) is None
    assert settle(client, server) == []  # said once for this limit
    for stream_id in ids[:3]:
        assert read_all(server, stream_id) == (b"x", True)
        if bidirectional:
            server.streams.finish(stream_id)
    settle(client, server)
    assert client.got(StreamsAvailable) == [StreamsAvailable(bidirectional)]
    again = [client.streams.open_stream(bidirectional) for _ in range(4)]
    assert again[3] is None
    assert None not in again[:3]


def test_a_stream_that_both_ends_are_done_with_makes_room_before_its_answer_is_acknowledged():
    client, server = link(server=TransportConfig(max_concurrent_bidi_streams=2))
    ids = [client.streams.open_stream(True) for _ in range(2)]
    for stream_id in ids:
        client.streams.finish(stream_id)
    client.pack().deliver()
    for stream_id in ids:
        assert read_all(server, stream_id) == (b"", True)
        server.streams.write(stream_id, b"answer")
        server.streams.finish(stream_id)
    packet = server.pack()
    assert packet.frames[-1] == MaxStreams(True, 4)  # in the packet of the answers
    packet.deliver()
    more = [client.streams.open_stream(True) for _ in range(3)]
    assert more == [8, 12, None]
    for stream_id in more[:2]:
        client.streams.finish(stream_id)
    client.pack().deliver()
    for stream_id in more[:2]:
        server.streams.finish(stream_id)
        assert read_all(server, stream_id) == (b"", True)
    # A client that acknowledges nothing does not get any number of them.
    late = server.pack()
    assert not [frame for frame in late.frames if isinstance(frame, MaxStreams)]
    packet.ack()
    late.ack()
    assert flush(server) == [MaxStreams(True, 6)]
    assert len(server.streams) == 0


def test_a_lost_limit_of_streams_is_sent_again_with_the_newest_value():
    config = TransportConfig(max_concurrent_uni_streams=1)
    _client, server = link(server=config)
    lost = []
    for n in range(3):
        feed(server.streams, Stream(2 + 4 * n, 0, b"", True).encode())
        assert server.streams.read(2 + 4 * n, 1) is None
        packet = server.pack()
        assert packet.frames == [MaxStreams(False, n + 2)]
        lost.append(packet)
    for packet in lost:
        packet.lose()
    assert server.pack().frames == [MaxStreams(False, 4)]
    assert server.pack() is None


def test_the_limit_can_be_raised():
    client, server = link(server=TransportConfig(max_concurrent_uni_streams=0))
    assert client.streams.open_stream(False) is None
    server.streams.set_max_concurrent_streams(False, 2)
    settle(client, server)
    assert client.got(StreamsAvailable) == [StreamsAvailable(False)]
    assert client.streams.open_stream(False) == 2
    server.streams.set_max_concurrent_streams(False, 0)
    assert client.streams.open_stream(False) == 6  # what was granted stays granted
    assert client.streams.open_stream(False) is None
    server.streams.set_max_concurrent_streams(True, 2**62)
    assert flush(server) == [MaxStreams(True, 2**60)]


def test_the_limit_moves_when_streams_are_opened_too():
    """At each of the closes the peer had many left; it is told when it has few."""
    client, server = link(server=TransportConfig(max_concurrent_uni_streams=10))
    for n in range(4):
        feed(server.streams, Stream(2 + 4 * n, 0, b"", True).encode())
        assert server.streams.read(2 + 4 * n, 1) is None
    assert settle(client, server) == []
    feed(server.streams, Stream(2 + 4 * 5, 0, b"", False).encode())
    assert settle(client, server) == []
    feed(server.streams, Stream(2 + 4 * 6, 0, b"", False).encode())
    assert settle(client, server) == [MaxStreams(False, 14)]


def test_a_small_raise_is_told_at_once():
    client, server = link()
    server.streams.set_max_concurrent_streams(False, 101)
    assert settle(client, server) == [MaxStreams(False, 101)]
    client, server = link(server=TransportConfig(receive_window=1000))
    server.streams.set_receive_window(1001)
    assert settle(client, server) == [MaxData(1001)]


def test_each_move_of_the_limit_is_told_to_who_was_refused_once():
    """The second may come before those woken by the first have opened a stream."""
    events = []
    streams = Streams(True, TransportConfig(), events)
    streams.set_peer_params(*[1000] * 4, 0, 0)
    streams.on_max_streams(MaxStreams(True, 1))
    assert not events
    assert streams.open_stream(True) == 0
    assert streams.open_stream(True) is None
    streams.on_max_streams(MaxStreams(True, 3))
    streams.on_max_streams(MaxStreams(True, 8))
    streams.on_max_streams(MaxStreams(True, 8))
    assert [event.count for event in events] == [2, 7]


def test_no_stream_before_the_limits_are_known():
    events = []
    streams = Streams(True, TransportConfig(), events)
    assert streams.open_stream(True) is None
    assert not streams.has_control()
    streams.set_peer_params(*[1000] * 6)
    assert events == [StreamsAvailable(True)]
    assert streams.open_stream(True) == 0


@pytest.mark.parametrize("bidirectional", [True, False])
def test_thousands_of_streams_leave_nothing_behind(bidirectional):
    client, server = link(server=TransportConfig(max_concurrent_uni_streams=7))
    for n in range(3000):
        stream_id = client.streams.open_stream(bidirectional)
        client.streams.set_priority(stream_id, n)
        client.streams.write(stream_id, b"x")
        if n % 3 == 0:
            client.streams.reset(stream_id, 0)
        else:
            client.streams.finish(stream_id)
        flush(client)
        if n % 3 == 1:
            server.streams.stop(stream_id, 0)
        else:
            with pytest.raises(StreamReset) if n % 3 == 0 else memoryview(b""):
                read_all(server, stream_id)
        if bidirectional:
            server.streams.finish(stream_id)
            flush(server)
            assert client.streams.read(stream_id, 1) is None
        flush(server)
        client.take_events()
        server.take_events()
    for end in (client, server):
        streams = end.streams
        assert len(streams) == 0
        control, outlet = streams.control, streams.outlet
        held = (control.order, control._wanted, control._stops, outlet.writers, outlet._parked)
        assert not any(held)
        assert outlet.held == 0
        assert len(outlet._levels) < 20
        assert sum(len(level.fresh) + len(level.lost) for level in outlet._levels) < 200
        assert len(streams._stopped) <= commands.MAX_STOPPED


def test_finished_halves_do_not_pile_up_behind_a_busy_stream():
    """A stream of a higher priority never lets the queue of the others be looked at."""
    client, server = link(client=TransportConfig(send_window=2**40))
    busy = client.streams.open_stream(False)
    client.streams.set_priority(busy, 1)
    client.streams.write(busy, bytes(100_000))
    for n in range(2000):
        stream_id = client.streams.open_stream(True)
        client.streams.write(stream_id, b"x")
        client.streams.reset(stream_id, 0)
        client.streams.stop(stream_id, 0)
        assert client.streams.next_sender().stream_id == busy
        for frame, token in client.streams.take_control(1000):
            feed(server.streams, frame.encode())
            client.streams.on_acked(token)
        with pytest.raises(StreamReset):
            server.streams.read(stream_id, 1)
        flush(server)
        queued = sum(len(level.fresh) for level in client.streams.outlet._levels)
        assert queued < 140, n
    gc.collect()
