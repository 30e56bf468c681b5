"""Streams: commands, events, and what the peer may not do."""

import pytest
from streams_kit import feed, flush, link, read_all, settle

from iroh.quic.config import TransportConfig
from iroh.quic.errors import (
    FINAL_SIZE_ERROR,
    FLOW_CONTROL_ERROR,
    STREAM_LIMIT_ERROR,
    STREAM_STATE_ERROR,
    PeerError,
    StreamGone,
    StreamReset,
    StreamStopped,
)
from iroh.quic.events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamStoppedByPeer,
)
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
from iroh.quic.streams import commands


def test_stream_ids_are_those_of_rfc_9000():
    client, server = link()
    assert [client.streams.open_stream(True) for _ in range(3)] == [0, 4, 8]
    assert [client.streams.open_stream(False) for _ in range(2)] == [2, 6]
    assert [server.streams.open_stream(True), server.streams.open_stream(False)] == [1, 3]


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
@pytest.mark.parametrize("from_server", [False, True])
def test_data_arrives(bidirectional, size, from_server):
    end, peer = link()[:: -1 if from_server else 1]
    data = bytes(n % 251 for n in range(size))
    stream_id = end.streams.open_stream(bidirectional)
    at, got, ended = 0, b"", False
    is_finished = False
    while not ended:
        at += end.streams.write(stream_id, data[at:]) if at < size else 0
        if at == size and not is_finished:
            end.streams.finish(stream_id)
            is_finished = True
        settle(end, peer)
        piece, ended = read_all(peer, stream_id)
        got += piece
    assert got == data
    settle(end, peer)
    assert end.got(StreamFinished) == [StreamFinished(stream_id)]


def test_events_of_one_stream():
    client, server = link()
    stream_id = client.streams.open_stream(True)
    client.streams.write(stream_id, b"hello")
    flush(client)
    assert server.take_events() == [StreamOpened(0), StreamReadable(0)]
    client.streams.write(stream_id, b", you")
    flush(client)
    assert server.take_events() == []  # it was said, and nobody has read
    assert server.streams.read(0, 3) == b"hel"
    assert server.streams.read(0, 30) == b"lo, you"
    assert server.streams.read(0, 30) == b""
    client.streams.finish(stream_id)
    flush(client)
    assert client.take_events() == [StreamFinished(0)]
    assert server.take_events() == [StreamReadable(0)]
    assert server.streams.read(0, 30) is None
    for use in (
        lambda: server.streams.read(0, 1),
        lambda: server.streams.stop(0, 1),
        lambda: client.streams.write(0, b"x"),
        lambda: client.streams.finish(0),
        lambda: client.streams.reset(0, 0),
        lambda: client.streams.set_priority(0, 0),
    ):
        with pytest.raises(StreamGone):
            use()
    server.streams.write(0, b"answer")
    server.streams.finish(0)
    flush(server)
    assert read_all(client, 0) == (b"answer", True)
    assert len(client.streams) == len(server.streams) == 0


@pytest.mark.parametrize("stream_id", [0, 1, 2, 3, 400])
def test_unknown_streams(stream_id):
    streams = link()[0].streams
    for use in (
        lambda: streams.read(stream_id, 1),
        lambda: streams.write(stream_id, b"x"),
        lambda: streams.finish(stream_id),
        lambda: streams.reset(stream_id, 0),
        lambda: streams.stop(stream_id, 0),
        lambda: streams.set_priority(stream_id, 0),
    ):
        with pytest.raises(StreamGone):
            use()


@pytest.mark.parametrize("code", [-1, 2**62])
def test_codes_that_cannot_be_sent(code):
    streams = link()[0].streams
    stream_id = streams.open_stream(True)
    with pytest.raises(ValueError):
        streams.reset(stream_id, code)
    with pytest.raises(ValueError):
        streams.stop(stream_id, code)


def test_the_missing_half_of_a_unidirectional_stream():
    client, server = link()
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, b"x")
    flush(client)
    with pytest.raises(StreamGone):
        client.streams.read(stream_id, 1)
    with pytest.raises(StreamGone):
        server.streams.write(stream_id, b"x")
    with pytest.raises(StreamGone):
        server.streams.reset(stream_id, 1)


def test_lower_streams_are_opened_along():
    client, server = link()
    for _ in range(4):
        last = client.streams.open_stream(True)
    client.streams.finish(last)
    flush(client)
    assert server.got(StreamOpened) == [StreamOpened(n) for n in (0, 4, 8, 12)]
    assert server.streams.read(0, 1) == b""
    assert server.streams.read(last, 1) is None
    client.streams.write(0, b"x")
    flush(client)
    assert len(server.got(StreamOpened)) == 4
    assert server.streams.read(0, 1) == b"x"


# -- reset and stop ----------------------------------------------------------------------------


def test_reset_reaches_the_reader():
    client, server = link()
    stream_id = client.streams.open_stream(True)
    client.streams.write(stream_id, b"lost" * 10)
    flush(client)
    client.streams.reset(stream_id, 2**62 - 1)
    with pytest.raises(StreamGone):
        client.streams.reset(stream_id, 1)
    with pytest.raises(StreamGone):
        client.streams.write(stream_id, b"x")
    assert flush(client) == [ResetStream(stream_id, 2**62 - 1, 40)]
    with pytest.raises(StreamReset) as caught:
        server.streams.read(stream_id, 1)
    assert caught.value.code == 2**62 - 1
    with pytest.raises(StreamGone):
        server.streams.read(stream_id, 1)
    assert not client.got(StreamFinished)


def test_a_lost_reset_is_sent_again():
    client, server = link()
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, b"abc")
    flush(client)
    client.streams.reset(stream_id, 5)
    for _ in range(3):
        packet = client.pack()
        assert packet.frames == [ResetStream(stream_id, 5, 3)]
        assert client.pack() is None
        packet.lose()
    flush(client)
    packet.lose()  # of an end that has come
    packet.ack()
    assert client.pack() is None
    assert len(client.streams) == 0
    with pytest.raises(StreamReset):
        server.streams.read(stream_id, 1)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_stop_reaches_the_writer(bidirectional):
    client, server = link()
    stream_id = client.streams.open_stream(bidirectional)
    client.streams.write(stream_id, b"x" * 100)
    flush(client)
    server.streams.stop(stream_id, 9)
    with pytest.raises(StreamGone):
        server.streams.stop(stream_id, 9)
    with pytest.raises(StreamGone):
        server.streams.read(stream_id, 9)
    frames = settle(client, server)
    assert [type(frame) for frame in frames] == [StopSending, ResetStream]
    assert client.got(StreamStoppedByPeer) == [StreamStoppedByPeer(stream_id, 9)]
    for use in (
        lambda: client.streams.write(stream_id, b"x"),
        lambda: client.streams.finish(stream_id),
    ):
        with pytest.raises(StreamStopped) as caught:
            use()
        assert caught.value.code == 9
    with pytest.raises(StreamGone):
        client.streams.reset(stream_id, 9)
    assert len(client.streams._receivers) == int(bidirectional)
    assert len(client.streams._senders) == 0
    assert len(server.streams._receivers) == 0


def test_stop_while_bytes_are_missing_is_sent_though_the_half_is_over():
    client, server = link()
    client.streams.open_stream(False)
    feed(server.streams, Stream(2, 5, b"end", True).encode())
    server.streams.stop(2, 3)
    assert len(server.streams) == 0
    packet = server.pack()
    assert packet.frames == [StopSending(2, 3)]
    packet.lose()
    assert server.pack() is None  # it would only have spared the peer some work


def test_a_lost_stop_is_sent_again_until_the_end_is_known():
    client, server = link()
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, b"x")
    flush(client)
    server.streams.stop(stream_id, 9)
    packet = server.pack()
    packet.lose()
    assert server.pack().frames == [StopSending(stream_id, 9)]
    client.streams.finish(stream_id)
    flush(client)
    packet.lose()
    assert server.pack() is None


def test_stopping_what_is_over_says_nothing():
    client, _server = link()
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, b"x")
    client.streams.finish(stream_id)
    packet = client.pack()
    packet.deliver()
    packet.ack()
    feed(client.streams, StopSending(stream_id, 1).encode())
    assert not client.got(StreamStoppedByPeer)
    client.streams.open_stream(False)
    client.streams.reset(6, 4)
    feed(client.streams, StopSending(6, 1).encode() * 2)
    assert not client.got(StreamStoppedByPeer)
    assert client.pack().frames == [ResetStream(6, 4, 0)]


def test_stopped_streams_are_remembered_for_a_while(monkeypatch):
    monkeypatch.setattr(commands, "MAX_STOPPED", 2)
    client, server = link()
    ids = [client.streams.open_stream(False) for _ in range(4)]
    for stream_id in ids:
        client.streams.write(stream_id, b"x")
    flush(client)
    for stream_id in ids:
        server.streams.stop(stream_id, 1)
    settle(client, server)
    for stream_id, error in zip(ids, [StreamGone] * 2 + [StreamStopped] * 2, strict=True):
        with pytest.raises(error):
            client.streams.write(stream_id, b"x")


# -- what the peer may not do --------------------------------------------------------------------

LIMITED = TransportConfig(
    max_concurrent_bidi_streams=2,
    max_concurrent_uni_streams=3,
    stream_receive_window=1000,
    receive_window=1500,
)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        # The server gets them. Of its own: 1 and 3 are open. The client may open 0, 4; 2, 6, 10.
        (Stream(8, 0, b"x", False), STREAM_LIMIT_ERROR),
        (Stream(14, 0, b"x", False), STREAM_LIMIT_ERROR),
        (Stream(2**62 - 4, 0, b"", False), STREAM_LIMIT_ERROR),
        (ResetStream(8, 0, 0), STREAM_LIMIT_ERROR),
        (StopSending(8, 0), STREAM_LIMIT_ERROR),
        (MaxStreamData(8, 1), STREAM_LIMIT_ERROR),
        (StreamDataBlocked(8, 1), STREAM_LIMIT_ERROR),
        (Stream(3, 0, b"x", False), STREAM_STATE_ERROR),
        (ResetStream(3, 0, 0), STREAM_STATE_ERROR),
        (StreamDataBlocked(3, 0), STREAM_STATE_ERROR),
        (Stream(5, 0, b"x", False), STREAM_STATE_ERROR),
        (ResetStream(5, 0, 0), STREAM_STATE_ERROR),
        (StreamDataBlocked(5, 0), STREAM_STATE_ERROR),
        (StopSending(5, 0), STREAM_STATE_ERROR),
        (MaxStreamData(5, 0), STREAM_STATE_ERROR),
        (StopSending(7, 0), STREAM_STATE_ERROR),
        (MaxStreamData(7, 0), STREAM_STATE_ERROR),
        (StopSending(2, 0), STREAM_STATE_ERROR),
        (MaxStreamData(2, 0), STREAM_STATE_ERROR),
        (Stream(0, 999, b"xx", False), FLOW_CONTROL_ERROR),
        (ResetStream(0, 0, 1001), FLOW_CONTROL_ERROR),
        (Stream(1, 2**62 - 2, b"x", True), FLOW_CONTROL_ERROR),
    ],
)
def test_errors_of_the_peer(frame, code):
    _client, server = link(server=LIMITED)
    server.streams.open_stream(True)
    server.streams.open_stream(False)
    with pytest.raises(PeerError) as caught:
        feed(server.streams, frame.encode())
    assert caught.value.code == code
    assert caught.value.frame_type is not None


@pytest.mark.parametrize(
    "frame",
    [
        DataBlocked(5),
        StreamsBlocked(True, 2),
        StreamsBlocked(False, 2**60),
        StreamDataBlocked(0, 5),
        StreamDataBlocked(1, 2**62 - 1),
        MaxData(0),
        MaxStreams(True, 0),
        MaxStreamData(0, 5),
        MaxStreamData(1, 0),
        MaxStreamData(3, 0),
        StopSending(0, 0),
        Stream(2, 0, b"", False),
        Stream(10, 0, b"", False),
    ],
)
def test_frames_that_are_in_order(frame):
    _client, server = link(server=LIMITED)
    server.streams.open_stream(True)
    server.streams.open_stream(False)
    feed(server.streams, frame.encode() * 2)
    assert len(server.got(StreamOpened)) == {0: 1, 2: 1, 10: 3}.get(
        getattr(frame, "stream_id", -1), 0
    )


def test_the_connection_limit_counts_all_streams():
    _client, server = link(server=LIMITED)
    feed(server.streams, Stream(0, 0, bytes(1000), False).encode())
    feed(server.streams, Stream(4, 499, b"x", False).encode())
    with pytest.raises(PeerError) as caught:
        feed(server.streams, Stream(4, 500, b"x", False).encode())
    assert caught.value.code == FLOW_CONTROL_ERROR


def test_final_sizes_are_kept():
    _client, server = link(server=LIMITED)
    feed(server.streams, Stream(0, 0, b"abc", True).encode())
    with pytest.raises(PeerError) as caught:
        feed(server.streams, ResetStream(0, 0, 4).encode())
    assert caught.value.code == FINAL_SIZE_ERROR


def test_frames_of_streams_that_are_over_are_dropped():
    client, server = link()
    stream_id = client.streams.open_stream(True)
    client.streams.finish(stream_id)
    settle(client, server)
    assert server.streams.read(stream_id, 1) is None
    server.streams.finish(stream_id)
    settle(client, server)
    assert client.streams.read(stream_id, 1) is None
    assert len(client.streams) == len(server.streams) == 0
    client.take_events()
    server.take_events()
    for end in (client, server):
        for frame in (
            Stream(0, 0, b"late", True),
            ResetStream(0, 0, 9),
            StopSending(0, 0),
            MaxStreamData(0, 2**60),
            StreamDataBlocked(0, 5),
        ):
            feed(end.streams, frame.encode())
        assert end.pack() is None
        assert end.take_events() == []
