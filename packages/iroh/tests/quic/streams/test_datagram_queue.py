"""Datagrams that wait to be sent or to be read."""

import pytest

from iroh.quic.config import TransportConfig
from iroh.quic.datagram_queue import COST, OVERHEAD, DatagramQueue
from iroh.quic.errors import PROTOCOL_VIOLATION, DatagramTooLarge, DatagramUnsupported, PeerError
from iroh.quic.events import DatagramReceived, StreamOpened

ROOM = 1200


def make(send=10_000, receive=10_000, limit=65_535):
    events = []
    config = TransportConfig(datagram_send_buffer_size=send, datagram_receive_buffer_size=receive)
    queue = DatagramQueue(config, events)
    queue.set_peer_limit(limit)
    return queue, events


def test_first_in_first_out():
    queue, _ = make()
    assert not queue
    assert queue.take(ROOM, ROOM) is None
    for data in (b"a", b"", b"c"):
        queue.send(data, ROOM)
    assert queue
    assert [queue.take(ROOM, ROOM) for _ in range(4)] == [b"a", b"", b"c", None]
    assert queue.space() == 10_000 - COST


@pytest.mark.parametrize("limit", [0, OVERHEAD])
def test_a_peer_that_takes_none(limit):
    queue, _ = make(limit=limit)
    assert queue.max_size(ROOM) is None
    with pytest.raises(DatagramUnsupported):
        queue.send(b"", ROOM)


def test_the_size_follows_the_packet_and_the_peer():
    assert make()[0].max_size(ROOM) == ROOM - OVERHEAD
    assert make(limit=100)[0].max_size(ROOM) == 97
    assert make()[0].max_size(1) == 0
    queue, _ = make()
    queue.send(bytes(ROOM - OVERHEAD), ROOM)
    with pytest.raises(DatagramTooLarge):
        queue.send(bytes(ROOM - OVERHEAD + 1), ROOM)
    with pytest.raises(DatagramTooLarge):
        make(send=100)[0].send(bytes(100 - COST + 1), ROOM)


def test_the_oldest_give_way_when_sending():
    queue, _ = make(send=100)
    for n in range(5):
        queue.send(bytes((n,)) * 10, ROOM)
    assert queue.dropped_sent == 3
    assert queue.space() == 0
    assert [data[0] for data in iter(lambda: queue.take(ROOM, ROOM), None)] == [3, 4]


def test_a_datagram_waits_for_room_or_goes_when_there_will_never_be_any():
    queue, _ = make()
    queue.send(bytes(1000), ROOM)
    queue.send(b"small", ROOM)
    assert queue.take(500, ROOM) is None
    assert queue.dropped_sent == 0
    assert queue.take(500, 900) == b"small"
    assert queue.dropped_sent == 1
    queue.send(bytes(1000), ROOM)
    assert queue.take(500, 900) is None
    assert not queue


def test_received_datagrams_are_events():
    queue, events = make()
    queue.receive(b"a")
    events.append(StreamOpened(0))
    queue.receive(b"b")
    assert events == [DatagramReceived(b"a"), StreamOpened(0), DatagramReceived(b"b")]


def test_the_oldest_give_way_when_receiving():
    queue, events = make(receive=100)
    events.append(StreamOpened(0))
    for n in range(5):
        queue.receive(bytes((n,)) * 10)
        events.append(StreamOpened(n))
    kept = [event.data[0] for event in events if type(event) is DatagramReceived]
    assert kept == [3, 4]
    assert len(events) == 8
    assert queue.dropped_received == 3
    queue.receive(bytes(101))
    assert queue.dropped_received == 4


def test_draining_makes_room():
    queue, events = make(receive=100)
    for n in range(50):
        queue.receive(bytes(10))
        queue.receive(bytes(10))
        if n % 2:
            events.append(StreamOpened(n))
        assert len(events) == 2 + n % 2
        events.clear()
        if n % 3:
            events.append(StreamOpened(n))
            events.clear()
    assert queue.dropped_received == 0


def test_empty_datagrams_do_not_pile_up():
    queue, events = make(send=1000, receive=1000)
    for _ in range(1000):
        queue.receive(b"")
        queue.send(b"", ROOM)
    assert len(events) <= 1000 // COST
    assert len(queue.outgoing) <= 1000 // COST


def test_unasked_for_datagrams_are_a_violation():
    queue, _ = make(receive=0)
    with pytest.raises(PeerError) as caught:
        queue.receive(b"")
    assert caught.value.code == PROTOCOL_VIOLATION
