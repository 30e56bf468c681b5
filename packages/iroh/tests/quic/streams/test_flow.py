"""Flow control in both directions, and whose turn it is to send."""

import pytest
from streams_kit import feed, flush, link, read_all, settle

from iroh.quic.config import TransportConfig
from iroh.quic.events import StreamWritable
from iroh.quic.frames import (
    DataBlocked,
    MaxData,
    MaxStreamData,
    StreamDataBlocked,
)
from iroh.quic.streams.send import HIGH_WATER


def received(end, stream_id):
    half = end.streams._receivers.get(stream_id)
    return half.highest if half else 0


def test_a_stream_that_is_not_read_holds_the_peer_back():
    window = 100_000
    client, server = link(server=TransportConfig(stream_receive_window=window))
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, bytes(window * 3))
    frames = settle(client, server)
    assert received(server, stream_id) == window
    assert frames.count(StreamDataBlocked(stream_id, window)) == 1
    got = updates = 0
    while got < window * 3:
        got += len(server.streams.read(stream_id, 10_000))
        frames = settle(client, server)
        updates += sum(type(frame) is MaxStreamData for frame in frames)
        half = server.streams._receivers[stream_id]
        assert half.highest <= half.read_offset + window
    assert 4 <= updates <= 12  # in quarters of the window


def test_the_connection_window_counts_all_streams():
    window = 50_000
    client, server = link(server=TransportConfig(receive_window=window))
    ids = [client.streams.open_stream(False) for _ in range(4)]
    for stream_id in ids:
        client.streams.write(stream_id, bytes(40_000))
        client.streams.finish(stream_id)
    frames = settle(client, server)
    assert sum(received(server, stream_id) for stream_id in ids) == window
    assert frames.count(DataBlocked(window)) == 1
    open_ids, got = set(ids), 0
    for _ in range(50):
        for stream_id in sorted(open_ids):
            if received(server, stream_id):
                data, end = read_all(server, stream_id)
                got += len(data)
                if end:
                    open_ids.discard(stream_id)
        settle(client, server)
    assert got == 160_000
    assert not open_ids


@pytest.mark.parametrize("stops", [True, False])
def test_reset_and_stopped_bytes_free_the_connection_window(stops):
    client, server = link(server=TransportConfig(receive_window=20_000))
    for _ in range(6):
        stream_id = client.streams.open_stream(False)
        assert client.streams.write(stream_id, bytes(15_000)) == 15_000
        settle(client, server)
        assert received(server, stream_id) == 15_000
        if stops:
            server.streams.stop(stream_id, 0)
        else:
            client.streams.reset(stream_id, 0)
        settle(client, server)


def test_bytes_that_come_after_a_stop_free_the_connection_window():
    client, server = link(server=TransportConfig(receive_window=1000))
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, bytes(5000))
    packet = client.pack(500)
    packet.deliver()
    server.streams.stop(stream_id, 0)
    for _ in range(20):  # STOP_SENDING is on its way all the time
        while (packet := client.pack(500)) is not None:
            packet.deliver()
        for frame, _ in server.streams.take_control(1000):
            if type(frame) is MaxData:
                feed(client.streams, frame.encode())
    assert received(server, stream_id) == 5000


def test_the_receive_window_can_change():
    client, server = link(server=TransportConfig(receive_window=10_000))
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, bytes(100_000))
    settle(client, server)
    assert received(server, stream_id) == 10_000
    server.streams.set_receive_window(60_000)
    assert settle(client, server)[0] == MaxData(60_000)
    assert received(server, stream_id) == 60_000
    server.streams.set_receive_window(20_000)
    server.streams.read(stream_id, 44_000)
    assert settle(client, server) == []
    server.streams.read(stream_id, 1_000)
    assert settle(client, server)[0] == MaxData(65_000)


def test_lost_limits_are_sent_again_with_the_newest_value():
    config = TransportConfig(stream_receive_window=1000, receive_window=1000)
    client, server = link(server=config)
    stream_id = client.streams.open_stream(False)
    packets = []
    for _ in range(2):
        client.streams.write(stream_id, bytes(1000))
        while (packet := client.pack()) is not None:
            packet.deliver()
        assert len(read_all(server, stream_id)[0]) == 1000
        packet = server.pack()
        assert len(packet.frames) == 2
        packets.append(packet)
        packet.deliver()  # but the ACK is lost
    packets[0].lose()
    assert server.pack() is None  # a newer one is under way
    packets[1].lose()
    assert set(server.pack().frames) == {MaxData(3000), MaxStreamData(stream_id, 3000)}
    assert server.pack() is None


def test_lost_limits_of_a_stream_that_has_ended_are_not_sent_again():
    client, server = link(server=TransportConfig(stream_receive_window=1000))
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, bytes(1000))
    flush(client)
    read_all(server, stream_id)
    packet = server.pack()
    assert packet.frames == [MaxStreamData(stream_id, 2000)]
    client.streams.finish(stream_id)
    flush(client)
    packet.lose()
    assert server.pack() is None
    assert read_all(server, stream_id) == (b"", True)
    packet.lose()
    assert server.pack() is None


def test_blocked_is_said_once_for_each_limit_and_again_when_lost():
    client, server = link(server=TransportConfig(stream_receive_window=1000, receive_window=1500))
    one, two = client.streams.open_stream(False), client.streams.open_stream(False)
    for stream_id in (one, two):
        client.streams.write(stream_id, bytes(2000))
    blocked = {StreamDataBlocked(one, 1000), DataBlocked(1500)}
    seen = []
    while (packet := client.pack(40)) is not None:
        seen += [
            (frame, packet)
            for frame in packet.frames
            if type(frame) in (DataBlocked, StreamDataBlocked)
        ]
        packet.deliver()
    assert {frame for frame, _ in seen} <= blocked
    assert [frame for frame, _ in seen].count(DataBlocked(1500)) == 1
    lost = next(packet for frame, packet in seen if frame == DataBlocked(1500))
    lost.lose()
    again = []
    while (packet := client.pack(40)) is not None:
        again += packet.frames
        packet.deliver()
    assert DataBlocked(1500) in again
    server.streams.set_receive_window(10_000)
    flush(server)
    lost.lose()
    frames = flush(client)
    assert DataBlocked(1500) not in frames
    assert DataBlocked(10_000) not in frames


def test_lower_limits_are_ignored():
    client, server = link()
    stream_id = client.streams.open_stream(False)
    for frame in (MaxData(1), MaxStreamData(stream_id, 1)):
        feed(client.streams, frame.encode())
    client.streams.write(stream_id, bytes(1000))
    flush(client)
    assert received(server, stream_id) == 1000


def test_writable_comes_when_there_is_room():
    client, _server = link()
    stream_id = client.streams.open_stream(False)
    assert client.streams.write(stream_id, bytes(HIGH_WATER + 5)) == HIGH_WATER
    assert client.streams.write(stream_id, b"x") == 0
    packets = []
    while (packet := client.pack()) is not None:
        packets.append(packet)
        packet.deliver()
    assert not client.got(StreamWritable)
    for packet in packets:
        packet.ack()
    assert client.got(StreamWritable) == [StreamWritable(stream_id)]
    assert client.streams.write(stream_id, b"x") == 1


# -- whose turn ----------------------------------------------------------------------------------


def turns(end, count, room=1000):
    """Give the streams of the next packets."""
    ids = []
    for _ in range(count):
        half = end.streams.next_sender()
        if half is None:
            break
        ids.append(half.stream_id)
        half.take(room)
    return ids


def test_equal_streams_take_turns():
    client, _ = link()
    ids = [client.streams.open_stream(False) for _ in range(3)]
    for stream_id, size in zip(ids, (3000, 1000, 2000), strict=True):
        client.streams.write(stream_id, bytes(size))
    a, b, c = ids
    for _ in range(3):
        assert client.streams.outlet.peek().stream_id == a  # looking costs no turn
    assert turns(client, 10) == [a, b, c, a, c, a]
    assert not client.streams.has_data()
    assert client.streams.next_sender() is None


def test_priority_goes_first_and_lost_data_before_new():
    client, _ = link()
    low, high, other = (client.streams.open_stream(False) for _ in range(3))
    for stream_id in (low, high, other):
        client.streams.write(stream_id, bytes(3000))
    client.streams.set_priority(high, 5)
    client.streams.set_priority(other, -5)
    assert turns(client, 4) == [high, high, high, low]
    half = client.streams._senders[low]
    half.on_lost(0, 1000, False)
    client.streams._senders[other].take(1000)
    client.streams._senders[other].on_lost(0, 1000, False)
    client.streams.set_priority(other, 0)
    assert turns(client, 2) == [low, other]  # lost, in the order of loss
    assert turns(client, 4) == [low, other, low, other]
    assert half.take(1) is None


def test_a_blocked_stream_does_not_block_the_others():
    client, _ = link(server=TransportConfig(stream_receive_window=1000))
    one, two = client.streams.open_stream(False), client.streams.open_stream(False)
    client.streams.set_priority(one, 1)
    client.streams.write(one, bytes(3000))
    client.streams.write(two, bytes(500))
    assert turns(client, 10, 700) == [one, one, two]
    feed(client.streams, MaxStreamData(one, 2000).encode())
    assert turns(client, 10, 700) == [one, one]


def test_an_end_needs_no_credit():
    client, server = link(server=TransportConfig(receive_window=1000))
    one, two = client.streams.open_stream(False), client.streams.open_stream(False)
    client.streams.write(one, bytes(3000))
    client.streams.finish(two)
    flush(client)
    assert read_all(server, two) == (b"", True)


def test_control_frames_keep_to_the_budget():
    client, _server = link()
    ids = [client.streams.open_stream(False) for _ in range(50)]
    for stream_id in ids:
        client.streams.reset(stream_id, stream_id)
    seen = []
    assert client.streams.take_control(24) == []
    while client.streams.has_control():
        frames = client.streams.take_control(100)
        assert sum(len(frame.encode()) for frame, _ in frames) <= 100
        seen += [frame.stream_id for frame, _ in frames]
    assert seen == ids


# -- 0-RTT ---------------------------------------------------------------------------------------


def test_a_rejected_0rtt_is_sent_again():
    client, server = link()
    one, two, three = (client.streams.open_stream(True) for _ in range(3))
    client.streams.write(one, b"hello")
    client.streams.finish(one)
    client.streams.write(two, bytes(5000))
    client.streams.reset(three, 9)
    while client.pack() is not None:
        pass  # all of it rejected, none of it told
    client.streams.write(two, b"more")
    client.streams.reset_for_retry()
    assert client.pack() is None
    client.learn(server.config)
    flush(client)
    assert read_all(server, one) == (b"hello", True)
    assert len(read_all(server, two)[0]) == 5004
    assert client.streams.outlet.used == 5009
    assert client.streams._senders[two].held() == 0
    assert three not in client.streams._senders


def test_after_a_rejection_lower_limits_hold():
    client, _server = link()
    ids = [client.streams.open_stream(False) for _ in range(4)]
    for stream_id in ids:
        client.streams.write(stream_id, bytes(1000))
        client.streams.finish(stream_id)
    client.streams.reset(ids[3], 7)
    bi = [client.streams.open_stream(True) for _ in range(2)]
    client.streams.stop(bi[1], 3)
    while client.pack() is not None:
        pass
    config = TransportConfig(
        max_concurrent_uni_streams=1, max_concurrent_bidi_streams=1, stream_receive_window=600
    )
    client.streams.reset_for_retry()
    fresh_server = link(server=config)[1]
    client.peer = fresh_server
    client.learn(config)
    settle(client, fresh_server)
    assert received(fresh_server, ids[0]) == 600
    assert fresh_server.streams._remote[1].opened == 1
    read_all(fresh_server, ids[0])
    fresh_server.peer = client
    settle(client, fresh_server)
    assert read_all(fresh_server, ids[0]) == (bytes(400), True)
    settle(client, fresh_server)
    assert received(fresh_server, ids[1]) == 600
    fresh_server.streams.set_max_concurrent_streams(False, 100)
    fresh_server.streams.set_max_concurrent_streams(True, 100)
    settle(client, fresh_server)
    assert fresh_server.streams._receivers[ids[3]].reset_code == 7
    assert ids[3] not in client.streams._senders
    assert received(fresh_server, ids[2]) == 600
    assert bi[1] not in fresh_server.streams._senders  # it was stopped


def test_an_accepted_0rtt_goes_on_with_higher_limits():
    client, _server = link()
    client.streams.set_peer_params(0, 0, 0, 0, 0, 0)  # lower: ignored
    stream_id = client.streams.open_stream(False)
    client.streams.write(stream_id, bytes(1000))
    client.streams.set_peer_params(2**62 - 1, 2**40, 2**40, 2**40, 200, 200)
    assert client.streams._senders[stream_id].max_data == 2**40
    assert len([client.streams.open_stream(True) for _ in range(200)]) == 200


def test_limits_that_were_announced_in_0rtt_are_announced_again():
    client, _ = link()
    client.streams.set_receive_window(2**62 - 1)
    client.streams.set_max_concurrent_streams(True, 200)
    client.streams.set_max_concurrent_streams(False, 2000)
    bi = client.streams.open_stream(True)
    client.streams.stop(bi, 3)
    before = {repr(frame) for frame, _ in client.streams.take_control(1000)}
    client.streams.reset_for_retry()
    client.learn(TransportConfig())
    assert {repr(frame) for frame, _ in client.streams.take_control(1000)} == before
