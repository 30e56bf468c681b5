"""0-RTT between two connections: taken, rejected, replayed, lost, hostile."""

import random
from collections import deque

import pytest
from engine_kit import CLIENT, CLIENT_ADDR, DELAY, SERVER, SERVER_ADDR, End, Wire
from hypothesis import given, settings
from hypothesis import strategies as st

from iroh.quic import build, stage
from iroh.quic import events as ev
from iroh.quic import packet as pk
from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.early import MAX_HELD, MAX_HELD_BYTES, Held
from iroh.quic.errors import DatagramTooLarge, TransportError
from iroh.quic.frames import HandshakeDone, Ping
from iroh.quic.tls import TicketStore

DATA = random.Random(3).randbytes(100_000)


def prepared(**options) -> Wire:
    """A wire whose client has tickets of the server."""
    wire = Wire(**options)
    client, _ = wire.meet()
    wire.run(seconds=0.1)
    client.connection.close(0, b"", wire.now)
    wire.run(seconds=5)
    wire.ends.clear()
    wire.sent.clear()
    assert len(wire.client.shared.received_tickets) == 2
    return wire


def kinds(wire: Wire) -> list[str]:
    """What the client's datagrams start with."""
    names = {pk.INITIAL: "initial", pk.ZERO_RTT: "0-RTT", pk.HANDSHAKE: "handshake"}
    first = [data[0] for is_client, batch in wire.sent if is_client for data in batch]
    return [names[byte >> 4 & 3] if byte & 0x80 else "1-RTT" for byte in first]


def arrives(wire: Wire, sender: End, receiver: End, stream_id: int, data: bytes = DATA) -> None:
    wire.run(lambda: stream_id in receiver.ended)
    assert receiver.got[stream_id] == data


def test_the_first_flight_carries_data():
    wire = prepared()
    start = wire.now
    client = wire.dial(early_data=True)
    assert client.connection.is_early
    assert client.connection.early_data_accepted is None
    stream_id = client.send(b"request")
    server = wire.partner()
    wire.run(lambda: stream_id in server.ended)
    assert wire.now == pytest.approx(start + DELAY)
    assert server.got[stream_id] == b"request"
    assert server.connection.is_early
    assert server.connection.early_data_accepted
    assert server.connection.peer is None
    server.to_write[stream_id] = deque([b"answer"])
    wire.run(lambda: stream_id in client.ended)
    assert wire.now == pytest.approx(start + 2 * DELAY)
    assert client.got[stream_id] == b"answer"
    assert kinds(wire)[:2] == ["initial", "0-RTT"]
    assert client.connection.early_data_accepted
    wire.run(lambda: client.parts.confirmed)
    assert not client.connection.is_early
    assert not server.connection.is_early
    assert server.connection.peer is not None
    assert not wire.server.dropped


def test_much_data_goes_on_where_early_data_ended():
    wire = prepared()
    client = wire.dial(early_data=True)
    stream_id = client.send(DATA)
    server = wire.partner()
    assert kinds(wire).count("0-RTT") == 9  # a first window of 12000 bytes, less the Initial
    arrives(wire, client, server, stream_id)
    wire.run(lambda: client.parts.confirmed)
    assert client.connection.stats().lost_packets == 0
    assert client.parts.streams.outlet.peek() is None


def test_an_early_answer_is_a_burst_within_three_times_what_came():
    wire = prepared()
    start = wire.now
    client = wire.dial(early_data=True)
    stream_id = client.send(DATA[:5000])
    server = wire.partner()
    wire.run(lambda: stream_id in server.ended)
    server.to_write[stream_id] = deque([DATA[:8000]])
    wire.run(lambda: stream_id in client.ended)
    assert wire.now == pytest.approx(start + 2 * DELAY)
    assert client.got[stream_id] == DATA[:8000]


def test_datagrams():
    wire = prepared()
    client = wire.dial(early_data=True)
    size = client.connection.max_datagram_size()
    assert size is not None
    assert 1100 < size < 1200
    client.connection.send_datagram(bytes(size))
    with pytest.raises(DatagramTooLarge):
        client.connection.send_datagram(bytes(size + 1))
    server = wire.partner()
    wire.run(lambda: bool(server.told(ev.DatagramReceived)))
    assert server.connection.is_early
    assert server.told(ev.DatagramReceived)[0].data == bytes(size)


def test_without_a_ticket():
    wire = Wire()
    client = wire.dial(early_data=True)
    assert not client.connection.is_early
    assert client.connection.open_stream(True) is None
    assert client.connection.max_datagram_size() is None
    _, server = wire.wait(client)
    assert client.connection.early_data_accepted is None
    assert server.connection.early_data_accepted is None
    assert client.told(ev.StreamsAvailable)
    assert "0-RTT" not in kinds(wire)


def test_nobody_asked_for_it():
    wire = prepared()
    client = wire.dial()
    assert not client.connection.is_early
    assert client.connection.open_stream(True) is None
    _, server = wire.wait(client)
    assert client.parts.tls.resumed
    assert server.parts.tls.resumed
    assert server.connection.peer == CLIENT
    assert client.connection.peer == SERVER
    assert client.connection.early_data_accepted is None
    assert server.connection.early_data_accepted is None


def test_the_server_does_not_know_the_ticket():
    wire = prepared()
    wire.server.shared.issued_tickets = TicketStore()
    client = wire.dial(early_data=True)
    assert client.connection.is_early
    client.connection.send_datagram(b"lost")
    first, second = client.send(DATA), client.send(b"short")
    _, server = wire.wait(client)
    assert client.connection.early_data_accepted is False
    assert server.connection.early_data_accepted is False
    arrives(wire, client, server, first)
    arrives(wire, client, server, second, b"short")
    assert not server.told(ev.DatagramReceived)
    assert set(wire.server.dropped) == {"no keys for the packet"}
    assert client.parts.recovery.lost_packets == 0  # nobody is to blame
    assert not client.parts.tls.resumed


def test_the_limits_are_lower_now():
    wire = prepared()
    config = TransportConfig(max_concurrent_bidi_streams=2, stream_receive_window=1000)
    wire.server_config = ServerConfig(wire.server_config.alpns, config)
    client = wire.dial(early_data=True)
    ids = [client.send(DATA[:5000]) for _ in range(5)]
    _, server = wire.wait(client)
    assert client.connection.early_data_accepted is False
    wire.run(lambda: set(ids[:2]) <= server.ended)
    for stream_id in ids:
        wire.run(lambda stream_id=stream_id: stream_id in server.ended)
        assert server.got[stream_id] == DATA[:5000]
        server.connection.finish(stream_id)


def test_a_replay_is_not_read():
    wire = prepared()
    client = wire.dial(early_data=True)
    stream_id = client.send(b"pay once")
    server = wire.partner()
    flight = [batch for is_client, batch in wire.sent if is_client]
    arrives(wire, client, server, stream_id, b"pay once")
    wire.server.routes.forget_first_id(server.connection)  # as if it were long ago
    for batch in flight:
        copy = Datagrams(("192.0.2.66", 6), batch.data, batch.segment_size)
        for incoming in wire.server.receive([copy], wire.now).incoming:
            wire.ends.append(End(incoming.accept(wire.server_config, wire.now)))
    replayed = wire.ends[-1]
    assert replayed is not server
    wire.run(seconds=1)
    assert replayed.connection.early_data_accepted is False
    assert not replayed.told(ev.StreamOpened)
    assert not replayed.connection.is_early


def test_retry():
    wire = prepared()
    wire.retries = True
    client = wire.dial(early_data=True)
    stream_id = client.send(DATA[:3000])
    server = wire.partner()
    wire.run(lambda: stream_id in server.ended)
    assert server.connection.is_early
    assert server.got[stream_id] == DATA[:3000]
    wire.run(lambda: client.parts.confirmed)
    assert client.connection.early_data_accepted


@pytest.mark.parametrize("seed", range(12))
def test_losses(seed):
    wire = prepared(seed=seed)
    rng = random.Random(seed)
    if seed % 2:
        wire.server.shared.issued_tickets = TicketStore()
    wire.passes = lambda _is_client, _datagrams: rng.random() > 0.3
    client = wire.dial(early_data=True)
    ids = [client.send(DATA[:30_000]) for _ in range(3)]
    known = len(wire.ends)
    wire.run(lambda: len(wire.ends) > known, seconds=40)
    server = wire.ends[-1]
    wire.run(lambda: server.ended >= set(ids), seconds=60)
    assert all(server.got[stream_id] == DATA[:30_000] for stream_id in ids)
    assert client.connection.early_data_accepted is not bool(seed % 2)


def test_early_packets_that_overtake_the_initial_are_sent_again():
    wire = prepared()
    late: list[Datagrams] = []

    def hold_the_initial(is_client: bool, batch: Datagrams) -> bool:
        if is_client and not late:
            late.append(batch)
            return False
        return True

    wire.passes = hold_the_initial
    client = wire.dial(early_data=True)
    stream_id = client.send(DATA[:5000])
    wire.run(seconds=0.02)
    assert wire.server.dropped["unknown connection"] == 5
    server = wire.partner()
    arrives(wire, client, server, stream_id, DATA[:5000])
    assert client.connection.early_data_accepted


# -- hostile ---------------------------------------------------------------------------------------


def forged(client: End, payload: bytes) -> bytes:
    """A 0-RTT packet with any payload."""
    early = client.parts.early
    assert early.keys is not None
    path = client.parts.paths.get(0)
    assert path is not None
    cid = client.parts.mp.remote_cids.active(0)
    assert cid is not None
    packet = build.Packet(1100)
    packet.add(payload)
    return build.seal_long(
        *(early.keys, path.recovery, pk.ZERO_RTT),
        *((cid, client.parts.source_cid), packet, 0.0),
    )


def early_pair() -> tuple[Wire, End, End]:
    """A server that takes early data, before anything else arrives."""
    wire = prepared()
    client = wire.dial(early_data=True)
    server = wire.partner()
    assert server.connection.is_early
    return wire, client, server


@pytest.mark.parametrize(
    "payload", [HandshakeDone().encode(), b"\x06\0\1x", b"\x02\0\0\0\0", b"\x07\1x"]
)
def test_frames_that_early_packets_may_not_have(payload):
    wire, client, server = early_pair()
    server.connection.receive_long(forged(client, payload), CLIENT_ADDR, None, 0, wire.now)
    reason = server.connection.close_reason
    assert isinstance(reason, TransportError)
    assert reason.code == 0xA


def test_early_packets_from_elsewhere_twice_or_of_another_id():
    wire, client, server = early_pair()
    data = forged(client, Ping().encode())
    receive = server.connection.receive_long
    receive(data, ("192.0.2.66", 6), None, 0, wire.now)
    assert wire.server.dropped == {"unexpected remote": 1}
    receive(data, CLIENT_ADDR, None, 0, wire.now)
    receive(data, CLIENT_ADDR, None, 0, wire.now)
    assert wire.server.dropped == {"unexpected remote": 1, "duplicate": 1}
    client.parts.source_cid = b"8 bytes!"
    receive(forged(client, Ping().encode()), CLIENT_ADDR, None, 0, wire.now)
    assert wire.server.dropped["unexpected remote"] == 2


def test_a_client_takes_no_early_packets():
    wire, client, _ = early_pair()
    client.connection.receive_long(forged(client, b"\1"), SERVER_ADDR, None, 0, wire.now)
    assert wire.client.dropped == {"no keys for the packet": 1}


def test_data_before_finished_is_not_read():
    """1-RTT packets wait for the client's Finished (RFC 9001 section 5.7)."""
    wire = prepared()
    client = wire.dial(early_data=True)
    server = wire.partner()
    wire.passes = lambda is_client, batch: not (is_client and batch.data[0] & 0x80)
    wire.run(lambda: client.parts.stage == stage.ESTABLISHED)
    stream_id = client.send(b"after")
    wire.run(seconds=0.1)
    assert server.parts.keys is not None
    assert stream_id not in server.got
    assert server.connection.is_early
    wire.passes = lambda _is_client, _batch: True
    arrives(wire, client, server, stream_id, b"after")


def test_what_waits_for_its_keys_is_bounded():
    wire = Wire()
    client, server = wire.meet()
    early = server.parts.early
    held = Held(bytes(100), CLIENT_ADDR, None, 0)
    assert not early.hold(held)  # the ClientHello was read
    server.parts.peer_params = None
    assert [early.hold(held) for _ in range(MAX_HELD + 1)] == [True] * MAX_HELD + [False]
    early.end()
    assert not early.hold(Held(bytes(MAX_HELD_BYTES + 1), CLIENT_ADDR, None, 0))
    assert not client.parts.early.hold(held)


def test_early_packets_before_a_long_client_hello_is_complete():
    wire = prepared()
    alpns = [b"%200d" % number for number in range(12)]
    connection = wire.client.connect(
        SERVER_ADDR, SERVER, [b"test/1", *alpns], wire.now, early_data=True
    )
    client = End(connection)  # type: ignore[arg-type]
    wire.ends.append(client)
    stream_id = client.send(b"request")
    client.work()
    batches = client.connection.transmit(wire.now)
    initials = [batch for batch in batches if batch.data[0] >> 4 & 3 == pk.INITIAL]
    early = [batch for batch in batches if batch.data[0] >> 4 & 3 == pk.ZERO_RTT]
    assert len(initials) >= 2
    for batch in [initials[0], *early, *initials[1:]]:
        batch.remote = CLIENT_ADDR
        for incoming in wire.server.receive([batch], wire.now).incoming:
            wire.ends.append(End(incoming.accept(wire.server_config, wire.now)))
    server = wire.ends[-1]
    assert server is not client
    server.work()
    assert server.got[stream_id] == b"request"
    assert not wire.server.dropped


@given(st.binary(min_size=1, max_size=60))
@settings(max_examples=50, deadline=None)
def test_payloads_of_noise(payload):
    wire, client, server = early_pair()
    server.connection.receive_long(forged(client, payload), CLIENT_ADDR, None, 0, wire.now)
    server.connection.transmit(wire.now)


@given(st.integers(0), st.integers(1, 255))
@settings(max_examples=50, deadline=None)
def test_changed_packets_are_dropped(at, change):
    wire, client, server = early_pair()
    packet = bytearray(forged(client, b"\1"))
    packet[at % len(packet)] ^= change
    server.connection.receive_long(bytes(packet), CLIENT_ADDR, None, 0, wire.now)
    assert server.connection.close_reason is None
