"""Key updates that we start, that the peer starts, and that both do (RFC 9001 section 6)."""

import random

import pytest
from engine_kit import End, Wire

from iroh.quic import key_phase
from iroh.quic.errors import AEAD_LIMIT_REACHED, TransportError

DATA = random.Random(3).randbytes(2_000_000)


def transfer(wire: Wire, sender: End, receiver: End, data: bytes = DATA) -> None:
    stream_id = sender.send(data)
    wire.run(lambda: stream_id in receiver.ended)
    assert receiver.got[stream_id] == data


def phases(*ends: End) -> list[int]:
    found = []
    for end in ends:
        assert end.parts.keys is not None
        found.append(end.parts.keys.phase)
    return found


@pytest.mark.parametrize("updater", [0, 1])
@pytest.mark.parametrize("sender", [0, 1])
def test_either_end_updates_while_data_flows(updater, sender):
    wire = Wire()
    ends = wire.meet()
    ends[updater].parts.update_after = 20
    transfer(wire, ends[sender], ends[1 - sender])
    wire.run(seconds=1)
    first, second = phases(*ends)
    assert first >= 3
    assert abs(first - second) <= 1  # the last one may wait for a packet
    assert not wire.client.dropped
    assert not wire.server.dropped


def test_both_ends_update():
    wire = Wire()
    ends = wire.meet()
    for end in ends:
        end.parts.update_after = 10
        end.send(DATA)
    wire.run(lambda: all(end.ended for end in ends))
    wire.run(seconds=1)
    first, second = phases(*ends)
    assert first >= 5
    assert abs(first - second) <= 1  # the last one may be under way
    assert [list(end.got.values()) for end in ends] == [[DATA], [DATA]]


def test_updates_with_losses_and_reordering():
    wire = Wire()
    ends = wire.meet()
    rng = random.Random(5)
    wire.passes = lambda _is_client, _datagrams: rng.random() > 0.1
    for end in ends:
        end.parts.update_after = 7
    transfer(wire, *ends, DATA[:500_000])
    assert phases(*ends)[0] >= 3


def test_none_before_the_last_one_is_acknowledged():
    wire = Wire()
    client, server = wire.meet()
    client.parts.update_after = 0
    client.connection.ping()
    client.connection.transmit(wire.now)
    keys = client.parts.keys
    assert keys is not None
    assert keys.phase == 1
    for _ in range(3):  # what was sent is lost: nobody acknowledges
        client.connection.ping()
        assert client.connection.transmit(wire.now)
        assert keys.phase == 1
    wire.run(lambda: keys.phase > 1)
    assert phases(server)[0] >= 1


def test_none_before_the_handshake_is_confirmed():
    wire = Wire()
    client = wire.dial()
    client.parts.update_after = 0
    server = wire.partner()
    wire.run(lambda: client.parts.keys is not None)
    client.send(b"as soon as it is connected")
    wire.run(lambda: client.parts.keys is not None and client.parts.keys.sent > 0)
    assert not client.parts.confirmed
    assert phases(client) == [0]
    wire.run(lambda: client.parts.confirmed and phases(client)[0] > 0)
    assert server.connection.close_reason is None


def test_a_peer_that_never_follows(monkeypatch):
    monkeypatch.setattr(key_phase, "SEND_LIMIT", 50)
    wire = Wire()
    client, _ = wire.meet()
    client.parts.update_after = 20
    keys = client.parts.keys
    assert keys is not None
    wire.passes = lambda is_client, _datagrams: is_client
    for _ in range(200):
        client.connection.ping()
        client.connection.transmit(wire.now)
    reason = client.connection.close_reason
    assert isinstance(reason, TransportError)
    assert reason.code == AEAD_LIMIT_REACHED
    assert keys.phase == 1
    assert keys.sent <= 51
