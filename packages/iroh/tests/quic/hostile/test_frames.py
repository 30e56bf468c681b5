"""Forged frames inside authentic 1-RTT packets: each ends the connection with the right code."""

import pytest
from evil_kit import Arena, vi

from iroh.quic import errors as err
from iroh.quic import frames as f
from iroh.quic import varint
from iroh.quic.config import TransportConfig
from iroh_base import SocketAddr

WINDOW = TransportConfig().stream_receive_window
ADDRESS = SocketAddr("203.0.113.5", 5)
ADDRESS_6 = SocketAddr("2001:db8::5", 5)
TOKEN = bytes(16)


def cid(seq, retire_prior_to=0, text=b"12345678", token=TOKEN, path_id=None):
    return f.NewConnectionId(seq, retire_prior_to, text, token, path_id).encode()


def stream(stream_id, offset=0, data=b"x", fin=False):
    return f.Stream(stream_id, offset, data, fin).encode()


def reset(stream_id, size):
    return f.ResetStream(stream_id, 0, size).encode()


def ack(*ranges, path_id=None):
    return f.Ack(list(ranges), 0, path_id).encode()


BY_CLIENT = {
    # encoding
    "an unknown frame type of one byte": (b"\x3d", err.FRAME_ENCODING_ERROR),
    "an unknown frame type of eight bytes": (vi(2**61), err.FRAME_ENCODING_ERROR),
    "a frame type in more bytes than needed": (b"\x40\x01", err.PROTOCOL_VIOLATION),
    "a frame type that is cut off": (b"\x01\xc0", err.FRAME_ENCODING_ERROR),
    "a STREAM frame that is cut off": (b"\x0e\x00\x00\x40\xff", err.FRAME_ENCODING_ERROR),
    "a CRYPTO frame longer than its packet": (b"\x06\x00\x7f\xff", err.FRAME_ENCODING_ERROR),
    "an ACK with more ranges than bytes": (
        vi(0x02, 2**40, 0, 2**30, 0),
        err.FRAME_ENCODING_ERROR,
    ),
    "an ACK of numbers below zero": (vi(0x02, 2, 0, 0, 3), err.FRAME_ENCODING_ERROR),
    "an ACK of numbers below zero, in a later range": (
        vi(0x02, 9, 0, 1, 0, 2, 9),
        err.FRAME_ENCODING_ERROR,
    ),
    "a close reason longer than its packet": (
        vi(0x1C, 0, 0, 2**40),
        err.FRAME_ENCODING_ERROR,
    ),
    "an empty NEW_TOKEN": (b"\x07\x00", err.FRAME_ENCODING_ERROR),
    "a path id of more than 32 bits": (vi(0x3E7A, 2**32), err.FRAME_ENCODING_ERROR),
    "NEW_CONNECTION_ID of 21 bytes": (
        vi(0x18, 5, 0) + b"\x15" + bytes(37),
        err.FRAME_ENCODING_ERROR,
    ),
    "STREAM data beyond 2**62": (
        b"\x0e\x00" + vi(varint.MAX) + b"\x01x",
        err.FRAME_ENCODING_ERROR,
    ),
    "STREAM data beyond 2**62, in a packet of its own kind": (
        b"\x0c\x00" + vi(varint.MAX) + b"xy",
        err.FRAME_ENCODING_ERROR,
    ),
    "CRYPTO data beyond 2**62": (
        b"\x06" + vi(varint.MAX) + b"\x01x",
        err.FRAME_ENCODING_ERROR,
    ),
    # flow control and final sizes
    "a byte beyond the stream's window": (stream(0, WINDOW), err.FLOW_CONTROL_ERROR),
    "a final size beyond the stream's window": (reset(0, WINDOW + 1), err.FLOW_CONTROL_ERROR),
    "a bidirectional stream beyond the limit": (stream(4 * 100), err.STREAM_LIMIT_ERROR),
    "a unidirectional stream beyond the limit": (stream(4 * 100 + 2), err.STREAM_LIMIT_ERROR),
    "the last stream of all": (stream(2**62 - 4), err.STREAM_LIMIT_ERROR),
    "STREAM_DATA_BLOCKED of a stream beyond the limit": (
        f.StreamDataBlocked(4 * 100, 0).encode(),
        err.STREAM_LIMIT_ERROR,
    ),
    "STOP_SENDING of a stream beyond the limit": (
        f.StopSending(4 * 100, 0).encode(),
        err.STREAM_LIMIT_ERROR,
    ),
    "two ends of one stream": (
        stream(0, 0, b"ab", True) + stream(0, 0, b"abc", True),
        err.FINAL_SIZE_ERROR,
    ),
    "data behind the end": (stream(0, 0, b"ab", True) + stream(0, 2), err.FINAL_SIZE_ERROR),
    "an end before what was sent": (
        stream(0, 5, b"x") + stream(0, 0, b"a", True),
        err.FINAL_SIZE_ERROR,
    ),
    "a reset before what was sent": (stream(0, 5) + reset(0, 3), err.FINAL_SIZE_ERROR),
    "two resets of different sizes": (reset(0, 3) + reset(0, 4), err.FINAL_SIZE_ERROR),
    "a reset of another size than the end's": (
        stream(0, 0, b"ab", True) + reset(0, 9),
        err.FINAL_SIZE_ERROR,
    ),
    # streams that are not theirs
    "STREAM_DATA_BLOCKED of a send-only stream": (
        f.StreamDataBlocked(3, 0).encode(),
        err.STREAM_STATE_ERROR,
    ),
    "STOP_SENDING of a receive-only stream": (
        f.StopSending(2, 0).encode(),
        err.STREAM_STATE_ERROR,
    ),
    # acknowledgements
    "an ACK of a packet that was never sent": (ack((10**6, 10**6)), err.PROTOCOL_VIOLATION),
    "an ACK of everything up to a million": (ack((0, 10**6)), err.PROTOCOL_VIOLATION),
    "an ACK of the largest number there is": (
        ack((varint.MAX, varint.MAX)),
        err.PROTOCOL_VIOLATION,
    ),
    "PATH_ACK of a packet that was never sent": (
        ack((10**6, 10**6), path_id=0),
        err.PROTOCOL_VIOLATION,
    ),
    "PATH_ACK of a path that was never used": (ack((0, 0), path_id=3), err.PROTOCOL_VIOLATION),
    "PATH_ACK of a path above the limit": (ack((0, 0), path_id=99), err.PROTOCOL_VIOLATION),
    "ACK_FREQUENCY below min_ack_delay": (
        f.AckFrequency(0, 5, 1, 1).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    # connection ids
    "more connection ids than the limit": (
        b"".join(cid(n, 0, b"%08d" % n) for n in range(6, 20)),
        err.CONNECTION_ID_LIMIT_ERROR,
    ),
    "two connection ids under one number": (
        cid(4) + cid(4, 0, b"87654321"),
        err.PROTOCOL_VIOLATION,
    ),
    "one connection id under two numbers": (cid(4) + cid(5), err.PROTOCOL_VIOLATION),
    "one connection id with two tokens": (
        cid(4, 3) + cid(4, 3, b"12345678", b"t" * 16),
        err.PROTOCOL_VIOLATION,
    ),
    "RETIRE_CONNECTION_ID of one that was not issued": (
        f.RetireConnectionId(63).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "PATH_RETIRE_CONNECTION_ID of one that was not issued": (
        f.RetireConnectionId(63, 1).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "PATH_RETIRE_CONNECTION_ID of a path above the limit": (
        f.RetireConnectionId(0, 99).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    # CRYPTO after the handshake
    "CRYPTO data far ahead": (f.Crypto(16_384, b"x").encode(), err.CRYPTO_BUFFER_EXCEEDED),
    "a TLS message of a client after the handshake": (
        f.Crypto(0, b"\x04\x00\x00\x00").encode(),
        0x10A,
    ),
    "the beginning of a TLS message of 16 MB": (
        f.Crypto(0, b"\x01\xff\xff\xff").encode(),
        0x132,
    ),
    # multipath
    "PATH_ABANDON of a path above the limit": (
        f.PathAbandon(99, 0).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "PATH_STATUS of a path above the limit": (
        f.PathStatus(99, 1, True).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "PATH_NEW_CONNECTION_ID of a path above the limit": (
        cid(0, path_id=99),
        err.PROTOCOL_VIOLATION,
    ),
    "PATHS_BLOCKED above the limit": (f.PathsBlocked(99).encode(), err.PROTOCOL_VIOLATION),
    "PATH_CIDS_BLOCKED of a path above the limit": (
        f.PathCidsBlocked(99, 0).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "PATH_CIDS_BLOCKED on an id that was not issued": (
        f.PathCidsBlocked(1, 99).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    # NAT traversal and address discovery
    "ADD_ADDRESS by a client": (f.AddAddress(1, ADDRESS).encode(), err.PROTOCOL_VIOLATION),
    "ADD_ADDRESS by a client, IPv6": (
        f.AddAddress(1, ADDRESS_6).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "REMOVE_ADDRESS by a client": (f.RemoveAddress(1).encode(), err.PROTOCOL_VIOLATION),
    "REACH_OUT to more addresses than the limit": (
        b"".join(f.ReachOut(1, SocketAddr(f"203.0.113.{n}", 7)).encode() for n in range(1, 50)),
        err.PROTOCOL_VIOLATION,
    ),
    "OBSERVED_ADDRESS that was not negotiated": (
        f.ObservedAddress(1, ADDRESS).encode(),
        err.PROTOCOL_VIOLATION,
    ),
}

BY_SERVER = {
    "REACH_OUT by a server": (f.ReachOut(1, ADDRESS).encode(), err.PROTOCOL_VIOLATION),
    "OBSERVED_ADDRESS by a server, not negotiated": (
        f.ObservedAddress(1, ADDRESS).encode(),
        err.PROTOCOL_VIOLATION,
    ),
    "a server's ACK of a packet that was never sent": (
        ack((10**6, 10**6)),
        err.PROTOCOL_VIOLATION,
    ),
    "a server's data on a stream that the client did not open": (
        stream(0),
        err.STREAM_STATE_ERROR,
    ),
    "a server's stream beyond the limit": (stream(4 * 100 + 1), err.STREAM_LIMIT_ERROR),
    "a server's connection ids beyond the limit": (
        b"".join(cid(n, 0, b"%08d" % n) for n in range(6, 20)),
        err.CONNECTION_ID_LIMIT_ERROR,
    ),
}


@pytest.mark.parametrize("name", BY_CLIENT)
def test_by_client(name):
    payload, code = BY_CLIENT[name]
    Arena().closes(code, payload)


@pytest.mark.parametrize("name", BY_SERVER)
def test_by_server(name):
    payload, code = BY_SERVER[name]
    Arena(by_server=True).closes(code, payload)


TLS_BY_SERVER = {
    "KeyUpdate": b"\x18\x00\x00\x01\x00",
    "a second ServerHello": b"\x02\x00\x00\x00",
    "CertificateRequest after the handshake": b"\x0d\x00\x00\x00",
}


@pytest.mark.parametrize("name", TLS_BY_SERVER)
def test_tls_by_server(name):
    arena = Arena(by_server=True)
    start = arena.victim._p.data_crypto._read  # behind its tickets
    arena.closes(0x10A, f.Crypto(start, TLS_BY_SERVER[name]).encode())


WITHOUT_MULTIPATH = {
    "PATH_ACK": ack((0, 0), path_id=0),
    "PATH_ABANDON": f.PathAbandon(1, 0).encode(),
    "PATH_STATUS_BACKUP": f.PathStatus(0, 1, False).encode(),
    "PATH_STATUS_AVAILABLE": f.PathStatus(0, 1, True).encode(),
    "PATH_NEW_CONNECTION_ID": cid(1, path_id=0),
    "PATH_RETIRE_CONNECTION_ID": f.RetireConnectionId(0, 0).encode(),
    "MAX_PATH_ID": f.MaxPathId(9).encode(),
    "PATHS_BLOCKED": f.PathsBlocked(0).encode(),
    "PATH_CIDS_BLOCKED": f.PathCidsBlocked(0, 0).encode(),
    "REACH_OUT": f.ReachOut(1, ADDRESS).encode(),
    "ADD_ADDRESS": f.AddAddress(1, ADDRESS).encode(),
    "REMOVE_ADDRESS": f.RemoveAddress(1).encode(),
}


@pytest.mark.parametrize("name", WITHOUT_MULTIPATH)
def test_without_multipath(name):
    """A peer that offered no multipath speaks of paths all the same."""
    arena = Arena(multipath=False)
    assert not arena.victim._p.mp.ids.enabled
    arena.closes(err.PROTOCOL_VIOLATION, WITHOUT_MULTIPATH[name])


HARMLESS = {
    "a stream limit that falls": f.MaxStreams(True, 0).encode(),
    "a window that falls": f.MaxData(0).encode(),
    "windows without end": f.MaxData(varint.MAX).encode(),
    "the highest stream limits": (
        f.MaxStreams(True, 2**60).encode() + f.MaxStreams(False, 2**60).encode()
    ),
    "blocked signals without cause": (
        f.DataBlocked(0).encode() + f.StreamsBlocked(True, 2**60).encode()
    ),
    "the highest MAX_PATH_ID": f.MaxPathId(2**32 - 1).encode(),
    "a MAX_PATH_ID that falls": f.MaxPathId(0).encode(),
    "a PATH_RESPONSE that nobody asked for": f.PathResponse(b"12345678").encode(),
    "a packet of padding only": bytes(1000),
    "REACH_OUT to addresses that are no host's": b"".join(
        f.ReachOut(1, SocketAddr(ip, port)).encode()
        for ip, port in (("0.0.0.0", 1), ("224.0.0.1", 1), ("255.255.255.255", 1), ("9.9.9.9", 0))
    ),
    "ACK_FREQUENCY that asks for no ACKs": f.AckFrequency(9, varint.MAX, 2**40, 1).encode(),
    "an ACK with the longest delay": vi(0x02, 0, varint.MAX, 0, 0),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless(name):
    """Odd, but allowed: the connection goes on."""
    Arena().survives(HARMLESS[name])


def test_frames_of_a_stream_that_has_ended_are_ignored():
    arena = Arena()
    arena.echo(arena.evil, arena.victim)
    late = (f.MaxStreamData(0, 9), f.StopSending(0, 0), f.StreamDataBlocked(0, 0))
    arena.survives(*(frame.encode() for frame in late), stream(0, 0, b"ping", True), reset(0, 4))


def test_a_retired_connection_id_is_retired_again():
    arena = Arena()
    assert arena.evil._p.mp.remote_cids.advance(0)
    arena.settle()
    arena.survives(f.RetireConnectionId(0, 0).encode() * 3)


def test_a_connection_id_comes_again_unchanged():
    arena = Arena()
    ours = arena.evil._p.mp.local_cids._paths[0].cids[4]
    again = cid(4, 0, ours, arena.evil_node.endpoint.shared.reset_token(ours))
    arena.survives(again * 3)


def test_a_datagram_that_is_not_allowed():
    transport = TransportConfig(datagram_receive_buffer_size=0)
    arena = Arena(transport=transport)
    assert arena.evil._p.peer_params.max_datagram_frame_size == 0
    arena.closes(err.PROTOCOL_VIOLATION, f.Datagram(b"x").encode())


def test_data_beyond_the_connections_window():
    arena = Arena(transport=TransportConfig(receive_window=1000))
    payloads = [stream(4 * n, 0, bytes(600)) for n in range(2)]
    arena.closes(err.FLOW_CONTROL_ERROR, *payloads)


def test_a_reset_beyond_the_connections_window():
    arena = Arena(transport=TransportConfig(receive_window=1000))
    arena.closes(err.FLOW_CONTROL_ERROR, reset(0, 1001))


def test_an_id_for_a_client_that_said_it_uses_none():
    arena = Arena()
    arena.victim._p.mp.remote_cids.set_initial(b"")
    arena.throw(arena.seal(cid(1)))
    reason = arena.victim.close_reason
    assert reason is not None
    assert reason.code == err.PROTOCOL_VIOLATION


def test_frames_behind_connection_close_change_nothing():
    arena = Arena()
    arena.throw(arena.seal(f.ConnectionClose(7, b"bye", None).encode() + b"\x3d"))
    arena.settle()
    arena.must_serve_friend()
    assert arena.victim.close_reason is not None


def test_nothing_is_answered_while_draining():
    arena = Arena()
    arena.throw(arena.seal(f.ConnectionClose(7, b"bye", None).encode()))
    arena.settle()
    before = arena.bytes_to[arena.evil_node.address]
    arena.throw(*(arena.seal(f.Ping().encode()) for _ in range(100)))
    arena.settle()
    assert arena.bytes_to[arena.evil_node.address] == before


def test_closing_answers_ever_more_rarely():
    arena = Arena()
    arena.throw(arena.seal(b"\x3d"))
    arena.mute.add(arena.evil_node.address)
    before = arena.bytes_to[arena.evil_node.address]
    for _ in range(1000):
        arena.throw(arena.seal(f.Ping().encode()))
        arena.carry(arena.victim_node.address, arena.victim_node.work())
    answered = arena.bytes_to[arena.evil_node.address] - before
    assert 0 < answered < 20 * 100
