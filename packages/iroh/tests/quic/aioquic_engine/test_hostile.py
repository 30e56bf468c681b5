"""An evil peer: forged frames inside authentic packets, garbage outside of them."""

import random
import time

import pytest
from aioquic import tls
from aioquic.buffer import encode_uint_var as varint
from aioquic.quic.crypto import CryptoPair
from hypothesis import given, settings
from hypothesis import strategies as st
from quic_sim import CLIENT, SERVER, Wire, connect, make_net, read_all, transfer

from aioquic_engine.packets import parse_first
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.errors import ConnectionClosed, TransportError
from iroh.quic.events import Closed, Connected

FLOW_CONTROL, STREAM_LIMIT, STREAM_STATE, FINAL_SIZE, ENCODING = 3, 4, 5, 6, 7
CID_LIMIT, VIOLATION, CRYPTO_BUFFER = 9, 0xA, 0xD


def forge(connection, payload: bytes, epoch=tls.Epoch.ONE_RTT, first=0x41) -> bytes:
    """A 1-RTT packet of `connection` with whatever payload."""
    core = connection._core
    number = core._packet_number
    core._packet_number += 1
    core.recovery._sent[core._spaces[epoch]].add(number, number + 1)
    crypto = core._cryptos[epoch]
    header = bytes([first | crypto.key_phase << 2]) + core._peer_cid.cid + number.to_bytes(2)
    return crypto.encrypt_packet(header, payload.ljust(4, b"\x00"), number)


def strike(pair, payload: bytes, *, by_server=False, **options):
    """Let one side send a forged packet; give the other side's close reason."""
    evil, victim = (pair.server, pair.client) if by_server else (pair.client, pair.server)
    source = SERVER if by_server else CLIENT
    target = pair.client_peer if by_server else pair.server_peer
    target.take([Datagrams(source, forge(evil, payload, **options))])
    assert not target.endpoint.dropped["internal error"]
    return victim.close_reason


def both_say(pair, payload, code, **options):
    reason = strike(pair, payload, **options)
    assert isinstance(reason, TransportError), reason
    assert reason.code == code
    evil = pair.server if options.get("by_server") else pair.client
    pair.net.run(lambda: evil.close_reason is not None)
    assert isinstance(evil.close_reason, ConnectionClosed)
    assert evil.close_reason.code == code


def stream_frame(stream_id, offset, data, fin=False):
    kind = bytes([0x0E | fin])
    return kind + varint(stream_id) + varint(offset) + varint(len(data)) + data


def ack(largest, first_range=0, more=()):
    frame = b"\x02" + varint(largest) + varint(0) + varint(len(more)) + varint(first_range)
    return frame + b"".join(varint(gap) + varint(length) for gap, length in more)


WINDOW = 1_250_000

FORGED = {
    "a frame type that is not known": (b"\x40\xff", ENCODING),
    "a multipath ACK that was not negotiated": (b"\x3e" + bytes(6), ENCODING),
    "a frame that is cut off": (b"\x0e\x00\x00\x40\xff", ENCODING),
    "a frame type that is cut off": (b"\x00\x00\x00\xc0", ENCODING),
    "data on a stream of the other side that does not exist": (stream_frame(1, 0, b"x"), 5),
    "data on the other side's unidirectional stream": (stream_frame(3, 0, b"x"), STREAM_STATE),
    "a stream beyond the limit": (stream_frame(400, 0, b"x"), STREAM_LIMIT),
    "data beyond the stream's window": (stream_frame(0, WINDOW, b"x"), FLOW_CONTROL),
    "data beyond 2**62": (stream_frame(0, 2**62 - 1, b"x"), ENCODING),
    "a reset beyond the window": (b"\x04\x00\x00" + varint(WINDOW + 1), FLOW_CONTROL),
    "a reset of a stream that only we send on": (b"\x04\x03\x00\x00", STREAM_STATE),
    "a stop of a stream that only the peer sends on": (b"\x05\x02\x00", STREAM_STATE),
    "a window for a stream that only the peer sends on": (b"\x11\x02\x05", STREAM_STATE),
    "a stream limit beyond 2**60": (b"\x12" + varint(2**60 + 1), ENCODING),
    "a blocked stream limit beyond 2**60": (b"\x17" + varint(2**60 + 1), ENCODING),
    "two ends of one stream": (
        stream_frame(0, 0, b"ab", True) + stream_frame(0, 0, b"abc", True),
        FINAL_SIZE,
    ),
    "NEW_TOKEN from a client": (b"\x07\x01x", VIOLATION),
    "HANDSHAKE_DONE from a client": (b"\x1e", VIOLATION),
    "a connection id of no bytes": (b"\x18\x05\x00\x00" + bytes(16), ENCODING),
    "a connection id of 21 bytes": (b"\x18\x05\x00\x15" + bytes(37), ENCODING),
    "a connection id that retires later ones": (
        b"\x18\x05\x06\x08" + bytes(8) + bytes(16),
        VIOLATION,
    ),
    "too many connection ids": (
        b"".join(b"\x18" + bytes([n, 0, 8, n]) + bytes(7 + 16) for n in range(6, 16)),
        CID_LIMIT,
    ),
    "retiring an id that was never given": (b"\x19\x3f", VIOLATION),
    "an ACK of a packet that was never sent": (ack(1_000_000), VIOLATION),
    "an ACK of everything up to a million": (ack(1_000_000, 1_000_000), VIOLATION),
    "an ACK of numbers below zero": (ack(2, 3), ENCODING),
    "an ACK of numbers below zero, later": (ack(9, 0, [(2, 9)]), ENCODING),
    "CRYPTO far ahead": (b"\x06" + varint(16_384) + b"\x01x", CRYPTO_BUFFER),
    "a TLS message after the handshake": (b"\x06\x00\x04\x18\x00\x00\x00", 0x10A),
    "a TLS key update": (b"\x06\x00\x05\x18\x00\x00\x01\x00", 0x10A),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_frames_close_with_the_right_code(name):
    payload, code = FORGED[name]
    pair = connect()
    pair.net.sleep(1)
    both_say(pair, payload, code)


def test_an_empty_packet():
    pair = connect()
    evil, core = pair.client, pair.client._core
    header = b"\x43" + core._peer_cid.cid + core._packet_number.to_bytes(4)
    data = core._cryptos[tls.Epoch.ONE_RTT].encrypt_packet(header, b"", core._packet_number)
    pair.server_peer.take([Datagrams(CLIENT, data)])
    assert pair.server.close_reason.code == VIOLATION
    assert evil.close_reason is None


def test_reserved_bits():
    pair = connect()
    both_say(pair, b"\x01", VIOLATION, first=0x59)


def test_a_server_that_lies_is_closed_too():
    pair = connect()
    pair.net.sleep(1)
    both_say(pair, ack(1_000_000), VIOLATION, by_server=True)


def test_retiring_the_id_in_use_with_one_that_is_known():
    """aioquic 1.7.2 pops from an empty list here."""
    pair = connect()
    pair.net.sleep(1)
    known = sorted(c.sequence_number for c in pair.server._core._peer_cid_available)
    highest = known[-1]
    pair.server._core._peer_cid_available.clear()
    frame = b"\x18" + bytes([highest, highest, 8]) + bytes(24)
    both_say(pair, frame, VIOLATION)


def test_acknowledging_a_skipped_number():
    pair = connect()
    pair.net.sleep(1)
    core = pair.server._core
    core._skip_at = core._packet_number
    skipped = core._packet_number
    pair.server.ping()
    pair.server.transmit(pair.net.now)
    assert core._packet_number == skipped + 2
    both_say(pair, ack(skipped + 1, 1), VIOLATION)


def test_optimistic_acks_are_caught():
    """A receiver that acknowledges what it never saw meets a skipped number soon."""
    pair = connect()
    net = pair.net
    stream_id = pair.server.open_stream(False)
    pair.server.write(stream_id, bytes(1_000_000))
    window = pair.server._core.recovery.congestion_window
    net.wire.lose = lambda n, data: True
    acked = pair.server._core._packet_number
    for _ in range(300):
        pair.server_peer.flush()
        if pair.server.close_reason is not None:
            break
        number = pair.server._core._packet_number
        strike(pair, ack(number - 1, number - 1 - acked))
        acked = number
        net.now += 0.02
    assert pair.server.close_reason.code == VIOLATION
    assert pair.server._core.recovery.congestion_window < 20 * window


def test_honest_acks_pass_the_check():
    pair = connect(Wire(loss=0.05, jitter=0.01))
    data = random.Random(3).randbytes(400_000)
    assert transfer(pair, data, sender=pair.server) == data
    assert pair.server.close_reason is pair.client.close_reason is None


# -- resources ---------------------------------------------------------------------------------


def test_a_fragment_storm_ends_the_connection_soon():
    pair = connect()
    start = time.perf_counter()
    offset = 1
    for _ in range(400):
        frames = b""
        while len(frames) < 1100:
            frames += stream_frame(0, offset, b"x")
            offset += 2
        if strike(pair, frames) is not None:
            break
    assert pair.server.close_reason.code == VIOLATION
    assert offset < 2 * 1024 + 400
    assert time.perf_counter() - start < 2


def test_fragments_in_descending_order_end_it_too():
    pair = connect()
    offset = 100_000
    while offset > 90_000:
        frames = b""
        while len(frames) < 1100:
            offset -= 1
            frames += stream_frame(0, offset, b"x")
        if strike(pair, frames) is not None:
            break
    assert pair.server.close_reason.code == VIOLATION
    assert offset > 98_000


def test_a_far_offset_allocates_nothing_and_moves_no_window():
    pair = connect()
    for n in range(100):
        assert strike(pair, stream_frame(4 * n, WINDOW - 1, b"x")) is None
    pair.net.sleep(1)
    core = pair.server._core
    held = sum(
        sum(map(len, stream.receiver._fragments._chunks)) for stream in core._streams.values()
    )
    assert held == 100
    assert {stream.max_stream_data_local for stream in core._streams.values()} == {WINDOW}


def test_resets_do_not_open_more_streams_than_allowed():
    """Each stream that is opened and reset counts until the reader has seen it."""
    pair = connect(server=TransportConfig(max_concurrent_uni_streams=10))
    for n in range(10):
        assert strike(pair, b"\x04" + varint(4 * n + 2) + b"\x00\x00") is None
    pair.net.sleep(1)
    assert strike(pair, b"\x04" + varint(42) + b"\x00\x00").code == STREAM_LIMIT


def test_path_challenges_are_answered_in_bounds():
    pair = connect()
    pair.net.sleep(1)
    before = pair.server.stats().udp_tx_bytes
    for n in range(50):
        assert strike(pair, b"".join(b"\x1a" + bytes([n, k]) + bytes(6) for k in range(50))) is None
    pair.net.sleep(1)
    assert pair.server.stats().udp_tx_bytes - before < 50 * 1200


def test_repeated_stops_are_told_once():
    pair = connect()
    stream_id = pair.server.open_stream(False)
    pair.server.write(stream_id, b"x")
    pair.net.sleep(1)
    pair.server_peer.events[pair.server].clear()
    for _ in range(50):
        assert strike(pair, b"\x05" + varint(stream_id) + b"\x07" * 1) is None
    assert len(pair.server.events()) == 1


def test_a_flood_of_crypto_in_the_handshake():
    """A ClientHello that claims 16 MiB is refused at once, not collected."""
    net, client, server = make_net()
    connection = client.dial(server)
    core = connection._core
    sender = core._crypto_streams[tls.Epoch.INITIAL].sender
    sender._buffer[1:4] = b"\xff\xff\xff"
    net.run(lambda: bool(server.connections) and server.connections[0].close_reason is not None)
    assert server.connections[0].close_reason.code == 0x132


def test_empty_and_tiny_datagrams():
    pair = connect()
    for data in (b"", b"\x00", b"\x40", b"\xc0", b"\xff" * 6, b"\x40" + bytes(8)):
        pair.server_peer.take([Datagrams(CLIENT, data)])
    assert transfer(pair, b"fine") == b"fine"


# -- garbage -----------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_mutated_datagrams_never_raise_and_never_hurt(data):
    """Datagrams of a real exchange, mutated, into fresh and running endpoints at any moment."""
    net, client, server = make_net()
    connection = client.dial(server)
    for _ in range(data.draw(st.integers(0, 12))):
        net.step()
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    for _ in range(8):
        source, destination, datagram = rng.choice(net.log or [(CLIENT, SERVER, b"\x40")])
        mutated = bytearray(datagram)
        kind = rng.randrange(5)
        if kind == 0:
            mutated[rng.randrange(len(mutated))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del mutated[rng.randrange(len(mutated)) :]
        elif kind == 2:
            at = rng.randrange(len(mutated))
            mutated[at:at] = rng.randbytes(rng.randrange(30))
        elif kind == 3:
            mutated[: rng.randrange(30)] = rng.randbytes(rng.randrange(30))
        else:
            mutated *= 2
        peer = net.peers[destination]
        peer.take([Datagrams(rng.choice([source, ("6.6.6.6", 6)]), bytes(mutated))])
    net.run(
        lambda: bool(client.got(connection, Connected) or client.got(connection, Closed)),
        seconds=100,
    )
    for peer in (client, server):
        assert not peer.endpoint.dropped["internal error"]


@given(st.binary(max_size=1300), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_any_bytes_never_raise(data, first):
    _net, client, server = make_net()
    for peer in (client, server):
        for datagram in (data, bytes([first]) + data, (bytes([first]) + data).ljust(1200)):
            peer.take([Datagrams(("6.6.6.6", 6), datagram)])
            peer.endpoint.transmit()
        assert not peer.endpoint.dropped["internal error"]
    assert not server.connections


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=150, deadline=None)
def test_any_authentic_payload_never_raises(payload):
    pair = connect()
    strike(pair, payload)
    for _ in range(50):
        pair.net.step()
    for peer in (pair.client_peer, pair.server_peer):
        assert not peer.endpoint.dropped["internal error"]


@given(st.binary(max_size=300), st.integers(0, 65535))
@settings(max_examples=150, deadline=None)
def test_any_initial_payload_never_raises(payload, number):
    """Anybody can make an authentic Initial, for a server and against a client that dials."""
    net, client, server = make_net()
    connection = client.dial(server)
    (batch,) = connection.transmit(net.now)
    first = parse_first(batch.data)
    for is_client in (True, False):
        keys = CryptoPair()
        keys.setup_initial(cid=first.destination, is_client=is_client, version=1)
        body = payload.ljust(1150 if is_client else 4, b"\x00")
        ids = (first.destination, first.source) if is_client else (first.source, bytes(8))
        header = b"\xc1\x00\x00\x00\x01" + b"".join(bytes([len(i)]) + i for i in ids)
        header += b"\x00" + (len(body) + 18 | 0x4000).to_bytes(2) + number.to_bytes(2)
        packet = keys.encrypt_packet(header, body, number)
        victim = server if is_client else client
        victim.take([Datagrams(CLIENT if is_client else SERVER, packet)])
        for _ in range(20):
            net.step()
        assert not victim.endpoint.dropped["internal error"]
        assert victim.connections


FRAME_STARTS = [bytes([n]) for n in range(0x20)] + [b"\x30", b"\x31"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FRAME_STARTS),
            st.lists(st.one_of(st.integers(0, 8), st.integers(0, 2**62 - 1)), max_size=5),
            st.binary(max_size=20),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
@settings(max_examples=250, deadline=None)
def test_frames_of_all_kinds_never_raise(frames, by_server):
    pair = connect()
    payload = b"".join(
        start + b"".join(map(varint, numbers)) + rest for start, numbers, rest in frames
    )
    strike(pair, payload[:1100], by_server=by_server)
    for _ in range(50):
        pair.net.step()
    for peer in (pair.client_peer, pair.server_peer):
        assert not peer.endpoint.dropped["internal error"]


def test_garbage_does_not_disturb_a_transfer():
    pair = connect()
    rng = random.Random(7)
    net = pair.net
    send = net.send

    def noisy(peer, batch):
        send(peer, batch)
        for data in batch:
            if rng.random() < 0.3:
                broken = bytearray(data)
                broken[rng.randrange(len(broken))] ^= 0xFF
                net.put(peer.address, batch.remote, bytes(broken))

    net.send = noisy
    data = rng.randbytes(300_000)
    assert transfer(pair, data) == data
    assert pair.server_peer.endpoint.dropped["not authentic or duplicate"] > 10


def test_connections_do_not_disturb_each_other():
    net, client, server = make_net()
    good, bad = client.dial(server), client.dial(server)
    net.run(lambda: all(client.got(c, Connected) for c in (good, bad)))
    net.sleep(1)
    stream_id = good.open_stream(True)
    good.write(stream_id, b"fine")
    good.finish(stream_id)
    server.take([Datagrams(CLIENT, forge(bad, b"\x40\xff"))])
    net.sleep(1)
    victim = next(c for c in server.connections if c.peer and c.close_reason is None)
    assert read_all(victim, stream_id) == (b"fine", True)
    assert sum(c.close_reason is not None for c in server.connections) == 1
