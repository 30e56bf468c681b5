"""Streams between two engines: data, ends, windows, limits, order."""

import pytest
from quic_sim import connect, make_net, read_all, transfer

from aioquic_engine.sending import HIGH_WATER
from iroh.quic.config import TransportConfig
from iroh.quic.errors import ConnectionGone, StreamGone, StreamReset, StreamStopped
from iroh.quic.events import (
    Closed,
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)

KIB = 1024


def run(pair, seconds=5.0):
    pair.net.sleep(seconds)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
def test_data_goes_both_ways(bidirectional, size):
    pair = connect()
    data = bytes(n % 251 for n in range(size))
    assert transfer(pair, data, bidirectional=bidirectional) == data
    assert transfer(pair, data, sender=pair.server, bidirectional=bidirectional) == data


def test_stream_ids_are_those_of_rfc_9000():
    pair = connect()
    assert [pair.client.open_stream(True) for _ in range(3)] == [0, 4, 8]
    assert [pair.client.open_stream(False) for _ in range(2)] == [2, 6]
    assert [pair.server.open_stream(True), pair.server.open_stream(False)] == [1, 3]


def test_events_of_one_stream():
    pair = connect()
    stream_id = pair.client.open_stream(True)
    assert pair.client.write(stream_id, b"hello") == 5
    run(pair)
    assert pair.server_peer.got(pair.server, StreamOpened) == [StreamOpened(0)]
    assert pair.server_peer.got(pair.server, StreamReadable) == [StreamReadable(0)]
    assert pair.server.read(0, 3) == b"hel"
    assert pair.server.read(0, 30) == b"lo"
    assert pair.server.read(0, 30) == b""
    assert not pair.client_peer.got(pair.client, StreamFinished)
    pair.client.finish(stream_id)
    run(pair)
    assert pair.client_peer.got(pair.client, StreamFinished) == [StreamFinished(0)]
    assert pair.server_peer.got(pair.server, StreamReadable) == [StreamReadable(0)] * 2
    assert pair.server.read(0, 30) is None
    for use in (
        lambda: pair.server.read(0, 1),
        lambda: pair.server.stop(0, 1),
        lambda: pair.client.write(0, b"x"),
        lambda: pair.client.finish(0),
    ):
        with pytest.raises(StreamGone):
            use()
    assert pair.server.write(0, b"answer") == 6
    pair.server.finish(0)
    run(pair)
    assert read_all(pair.client, 0) == (b"answer", True)


@pytest.mark.parametrize("stream_id", [0, 1, 2, 3, 400])
def test_unknown_streams(stream_id):
    pair = connect()
    for use in (
        lambda: pair.client.read(stream_id, 1),
        lambda: pair.client.write(stream_id, b"x"),
        lambda: pair.client.finish(stream_id),
        lambda: pair.client.reset(stream_id, 0),
        lambda: pair.client.stop(stream_id, 0),
        lambda: pair.client.set_priority(stream_id, 0),
    ):
        with pytest.raises(StreamGone):
            use()


def test_the_missing_half_of_a_unidirectional_stream():
    pair = connect()
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, b"x")
    run(pair)
    with pytest.raises(StreamGone):
        pair.client.read(stream_id, 1)
    with pytest.raises(StreamGone):
        pair.server.write(stream_id, b"x")
    with pytest.raises(StreamGone):
        pair.server.reset(stream_id, 1)


def test_reset_reaches_the_reader():
    pair = connect()
    stream_id = pair.client.open_stream(True)
    pair.client.write(stream_id, b"lost" * 10)
    run(pair)
    pair.client.reset(stream_id, 2**62 - 1)
    with pytest.raises(StreamGone):
        pair.client.reset(stream_id, 1)
    with pytest.raises(StreamGone):
        pair.client.write(stream_id, b"x")
    run(pair)
    with pytest.raises(StreamReset) as caught:
        pair.server.read(stream_id, 1)
    assert caught.value.code == 2**62 - 1
    with pytest.raises(StreamGone):
        pair.server.read(stream_id, 1)


@pytest.mark.parametrize("code", [-1, 2**62])
def test_codes_that_cannot_be_sent(code):
    pair = connect()
    stream_id = pair.client.open_stream(True)
    with pytest.raises(ValueError):
        pair.client.reset(stream_id, code)
    with pytest.raises(ValueError):
        pair.client.stop(stream_id, code)
    with pytest.raises(ValueError):
        pair.client.close(code, b"", pair.net.now)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_stop_reaches_the_writer(bidirectional):
    pair = connect()
    stream_id = pair.client.open_stream(bidirectional)
    pair.client.write(stream_id, b"x" * 100)
    run(pair)
    pair.server.stop(stream_id, 9)
    run(pair)
    stopped = pair.client_peer.got(pair.client, StreamStoppedByPeer)
    assert stopped == [StreamStoppedByPeer(stream_id, 9)]
    for use in (
        lambda: pair.client.write(stream_id, b"x"),
        lambda: pair.client.finish(stream_id),
    ):
        with pytest.raises(StreamStopped) as caught:
            use()
        assert caught.value.code == 9


def test_stopped_streams_are_remembered_for_a_while(monkeypatch):
    monkeypatch.setattr("aioquic_engine.stream_core.MAX_STOPPED", 2)
    pair = connect()
    ids = [pair.client.open_stream(False) for _ in range(4)]
    for stream_id in ids:
        pair.client.write(stream_id, b"x")
    run(pair)
    for stream_id in ids:
        pair.server.stop(stream_id, 1)
    run(pair)
    for stream_id, error in zip(ids, [StreamGone] * 2 + [StreamStopped] * 2, strict=True):
        with pytest.raises(error):
            pair.client.write(stream_id, b"x")


# -- holding back ------------------------------------------------------------------------------


def test_a_stream_that_is_not_read_holds_the_peer_back():
    window = 100_000
    pair = connect(server=TransportConfig(stream_receive_window=window))
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, bytes(window * 3))
    run(pair, 20)
    assert pair.server._core.find_stream(stream_id).receiver.highest_offset == window
    got = 0
    for _ in range(100):
        got += len(pair.server.read(stream_id, 10_000) or b"")
        run(pair, 1)
        receiver = pair.server._core.find_stream(stream_id).receiver
        assert receiver.highest_offset <= receiver.read_offset + window
        if got == window * 3:
            break
    assert got == window * 3


def test_the_connection_window_counts_all_streams():
    window = 50_000
    pair = connect(server=TransportConfig(receive_window=window))
    ids = [pair.client.open_stream(False) for _ in range(4)]
    for stream_id in ids:
        pair.client.write(stream_id, bytes(40_000))
        pair.client.finish(stream_id)
    run(pair, 10)
    streams = [pair.server._core.find_stream(stream_id) for stream_id in ids]
    assert sum(s.receiver.highest_offset for s in streams if s) == window
    ends, got = set(), 0
    for _ in range(50):
        for stream_id in set(ids) - ends:
            if pair.server._core.find_stream(stream_id):
                data, end = read_all(pair.server, stream_id)
                got += len(data)
                if end:
                    ends.add(stream_id)
        run(pair, 1)
    assert got == 160_000
    assert len(ends) == 4


def test_reset_and_stopped_bytes_free_the_connection_window():
    pair = connect(server=TransportConfig(receive_window=20_000))
    for n in range(6):
        stream_id = pair.client.open_stream(False)
        assert pair.client.write(stream_id, bytes(15_000)) == 15_000
        run(pair, 2)
        assert pair.server._core.find_stream(stream_id).receiver.highest_offset == 15_000
        if n % 2:
            pair.server.stop(stream_id, 0)
        else:
            pair.client.reset(stream_id, 0)
        run(pair, 2)
    assert not pair.closed(pair.client)


def test_the_receive_window_can_grow():
    pair = connect(server=TransportConfig(receive_window=10_000))
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, bytes(100_000))
    run(pair, 5)
    assert pair.server._core.find_stream(stream_id).receiver.highest_offset == 10_000
    pair.server.set_receive_window(60_000)
    run(pair, 5)
    assert pair.server._core.find_stream(stream_id).receiver.highest_offset == 60_000


def test_write_takes_up_to_the_high_water_mark():
    pair = connect()
    stream_id = pair.client.open_stream(False)
    assert pair.client.write(stream_id, bytes(HIGH_WATER + 5)) == HIGH_WATER
    assert pair.client.write(stream_id, b"x") == 0
    run(pair, 0.001)
    assert not pair.client_peer.got(pair.client, StreamWritable)
    run(pair, 20)
    assert pair.client_peer.got(pair.client, StreamWritable) == [StreamWritable(stream_id)]
    assert pair.client.write(stream_id, b"x") == 1


def test_all_streams_share_the_send_window():
    pair = connect(client=TransportConfig(send_window=10_000))
    a, b, c = (pair.client.open_stream(False) for _ in range(3))
    assert pair.client.write(a, bytes(6000)) == 6000
    assert pair.client.write(b, bytes(6000)) == 4000
    assert pair.client.write(c, b"x") == 0
    run(pair)
    woken = {event.stream_id for event in pair.client_peer.got(pair.client, StreamWritable)}
    assert woken == {b, c}
    assert pair.client._core.budget.held == 0


def test_a_blocked_stream_that_is_reset_is_not_woken():
    pair = connect(client=TransportConfig(send_window=1000))
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, bytes(2000))
    pair.client.reset(stream_id, 0)
    run(pair)
    assert not pair.client_peer.got(pair.client, StreamWritable)
    assert pair.client._core.budget.held == 0


# -- how many ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [True, False])
def test_streams_are_limited_and_the_limit_moves(bidirectional):
    config = TransportConfig(max_concurrent_bidi_streams=3, max_concurrent_uni_streams=3)
    pair = connect(server=config)
    ids = [pair.client.open_stream(bidirectional) for _ in range(4)]
    assert ids[3] is None
    assert None not in ids[:3]
    for stream_id in ids[:3]:
        pair.client.write(stream_id, b"x")
        pair.client.finish(stream_id)
    run(pair)
    # The data has arrived, but nobody has read it: the streams still count.
    assert not pair.client_peer.got(pair.client, StreamsAvailable)
    assert pair.client.open_stream(bidirectional) is None
    for stream_id in ids[:3]:
        assert read_all(pair.server, stream_id) == (b"x", True)
        if bidirectional:
            pair.server.finish(stream_id)
    run(pair)
    assert pair.client_peer.got(pair.client, StreamsAvailable)[-1].bidirectional == bidirectional
    again = [pair.client.open_stream(bidirectional) for _ in range(4)]
    assert again[3] is None
    assert None not in again[:3]


def test_many_streams_one_after_the_other():
    pair = connect(server=TransportConfig(max_concurrent_uni_streams=2))
    for n in range(50):
        assert transfer(pair, b"%d" % n, bidirectional=False) == b"%d" % n
        run(pair, 0.2)
    assert len(pair.server._core._streams) == len(pair.client._core._streams) == 0
    assert len(pair.server._core._streams_queue) == 0


def test_the_limit_can_be_raised():
    pair = connect(server=TransportConfig(max_concurrent_uni_streams=0))
    assert pair.client.open_stream(False) is None
    pair.server.set_max_concurrent_streams(False, 2)
    run(pair)
    assert pair.client_peer.got(pair.client, StreamsAvailable) == [StreamsAvailable(False)]
    assert pair.client.open_stream(False) == 2
    pair.server.set_max_concurrent_streams(False, 0)
    assert pair.client.open_stream(False) == 6  # what was granted stays granted
    assert pair.client.open_stream(False) is None


def test_no_stream_before_the_handshake_is_complete():
    net, client, server = make_net()
    connection = client.dial(server)
    assert connection.open_stream(True) is None
    net.run(lambda: bool(client.got(connection, StreamsAvailable)))
    assert connection.open_stream(True) == 0


# -- order -------------------------------------------------------------------------------------


def test_priority_goes_first():
    pair = connect(client=TransportConfig(send_window=1 << 24))
    low, high = pair.client.open_stream(False), pair.client.open_stream(False)
    pair.client.set_priority(high, 5)
    size = 200_000
    pair.client.write(low, bytes(size))
    pair.client.write(high, bytes(size))
    received = {low: 0, high: 0}

    def arrived() -> bool:
        for stream_id in received:
            stream = pair.server._core.find_stream(stream_id)
            received[stream_id] = stream.receiver.highest_offset if stream else 0
        return received[high] == size

    pair.net.run(arrived)
    assert received[low] < size // 10


def test_equal_streams_share():
    pair = connect()
    ids = [pair.client.open_stream(False) for _ in range(4)]
    for stream_id in ids:
        pair.client.write(stream_id, bytes(300_000))
    pair.net.run(
        lambda: any(
            (s := pair.server._core.find_stream(i)) and s.receiver.highest_offset > 150_000
            for i in ids
        )
    )
    offsets = [pair.server._core.find_stream(i).receiver.highest_offset for i in ids]
    assert min(offsets) > 100_000


# -- after the end -----------------------------------------------------------------------------


def test_what_arrived_can_be_read_after_the_close():
    pair = connect()
    stream_id = pair.client.open_stream(True)
    pair.client.write(stream_id, b"last words")
    pair.client.finish(stream_id)
    pair.net.run(lambda: bool(pair.client_peer.got(pair.client, StreamFinished)))
    pair.client.close(0, b"", pair.net.now)
    pair.net.run(lambda: bool(pair.server_peer.got(pair.server, Closed)))
    assert pair.server.read(stream_id, 100) == b"last words"
    assert pair.server.read(stream_id, 100) is None
    with pytest.raises(ConnectionGone):
        pair.server.read(stream_id, 100)


def test_every_command_says_that_the_connection_is_gone():
    pair = connect()
    stream_id = pair.client.open_stream(True)
    pair.client.write(stream_id, b"x")
    pair.client.close(3, b"why", pair.net.now)
    client = pair.client
    for use in (
        lambda: client.open_stream(True),
        lambda: client.write(stream_id, b"x"),
        lambda: client.finish(stream_id),
        lambda: client.reset(stream_id, 0),
        lambda: client.stop(stream_id, 0),
        lambda: client.read(stream_id, 1),
        lambda: client.read(4444, 1),
        lambda: client.set_priority(stream_id, 0),
        lambda: client.set_max_concurrent_streams(True, 1),
        lambda: client.set_receive_window(1),
        lambda: client.send_datagram(b"x"),
        lambda: client.ping(),
    ):
        with pytest.raises(ConnectionGone) as caught:
            use()
        assert caught.value.reason == client.close_reason
