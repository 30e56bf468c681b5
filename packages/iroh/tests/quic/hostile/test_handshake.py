"""Hostile handshakes: transport parameters, TLS messages, frames in the wrong kind of packet."""

import pytest
from evil_kit import (
    ELSEWHERE,
    EVIL,
    VICTIM,
    Arena,
    client_hello,
    initial,
    messages,
    vi,
    with_parameters,
)

from iroh.quic import errors as err
from iroh.quic import frames as f
from iroh.quic import packet as pk
from iroh.quic.frames import HANDSHAKE, INITIAL
from iroh.quic.keys import seal_packet
from iroh.quic.params import TransportParameters

UNEXPECTED_MESSAGE, DECODE_ERROR = 0x10A, 0x132


def parameter(key, value):
    return vi(key, len(value)) + value


CID_21 = bytes(21)
PREFERRED = bytes(4 + 2 + 16 + 2) + b"\x08" + bytes(8 + 16)
RAW = {
    "a parameter twice": lambda raw: raw + parameter(0x3FFF, b"") + parameter(0x3FFF, b""),
    "max_idle_timeout twice": lambda raw: raw + parameter(1, vi(1)) + parameter(1, vi(1)),
    "a parameter that is cut short": lambda raw: raw + vi(0x3FFF, 100) + b"short",
    "a parameter of 2**62 bytes": lambda raw: raw + vi(0x3FFF, 2**62 - 1),
    "a key without a length": lambda raw: raw + b"\x7f\xff",
    "a key that is cut short": lambda raw: raw + b"\xc0",
    "parameters that end in the middle": lambda raw: raw[:-1] if raw[-1:] else raw,
    "an integer with bytes left over": lambda raw: raw + parameter(0x3E, b"\x07\x00"),
    "an integer that is cut short": lambda raw: raw + parameter(0x3E, b"\x40"),
    "an empty integer": lambda raw: raw + parameter(0x3E, b""),
    "a flag with a value": lambda raw: raw + parameter(0x0C, b"\x00"),
    "a NAT traversal limit of two bytes": lambda raw: raw + parameter(0x3D7F91120401, b"\x01\x02"),
}
"""Names -> what becomes of the encoded parameters. Some replace what is there: see `without`."""
VALUES = {
    "active_connection_id_limit below 2": {"active_connection_id_limit": 1},
    "initial_max_streams_bidi above 2**60": {"initial_max_streams_bidi": 2**60 + 1},
    "initial_max_streams_uni above 2**60": {"initial_max_streams_uni": 2**60 + 1},
    "a source connection id of 21 bytes": {"initial_source_connection_id": CID_21},
    "the source connection id of somebody else": {"initial_source_connection_id": bytes(8)},
    "initial_max_path_id of more than 32 bits": {"initial_max_path_id": 2**32},
    "max_nat_traversal_addresses of 0": {"max_nat_traversal_addresses": 0},
    "an observed address role that does not exist": {"observed_address_role": 3},
    "min_ack_delay above max_ack_delay": {"min_ack_delay": 25_001},
}
OF_SERVER = {
    "a server without original_destination_connection_id": {
        "original_destination_connection_id": None
    },
    "a server with another original_destination_connection_id": {
        "original_destination_connection_id": bytes(20)
    },
    "a server without initial_source_connection_id": {"initial_source_connection_id": None},
    "a server with a Retry that never was": {"retry_source_connection_id": bytes(8)},
    "a reset token of 15 bytes": {"stateless_reset_token": bytes(15)},
    "a preferred address that is cut short": {"preferred_address": PREFERRED[:-1]},
    "a preferred address without connection id": {
        "preferred_address": bytes(24) + b"\x00" + bytes(16)
    },
    "a preferred address with bytes left over": {"preferred_address": PREFERRED + b"x"},
}


def set_to(values):
    def change(params: TransportParameters) -> None:
        for name, value in values.items():
            setattr(params, name, value)

    return change


def forget_multipath(params: TransportParameters) -> None:
    params.initial_max_path_id = params.max_nat_traversal_addresses = None
    params.disable_active_migration = False


@pytest.mark.parametrize("name", RAW)
def test_parameters_that_cannot_be_read(name):
    arena = Arena(meet=False, twist={"params": forget_multipath, "raw_params": RAW[name]})
    arena.must_close(err.TRANSPORT_PARAMETER_ERROR)


@pytest.mark.parametrize("name", VALUES)
def test_parameters_out_of_range(name):
    arena = Arena(meet=False, twist={"params": set_to(VALUES[name])})
    arena.must_close(err.TRANSPORT_PARAMETER_ERROR)


@pytest.mark.parametrize("name", OF_SERVER)
def test_parameters_of_a_server(name):
    arena = Arena(meet=False, by_server=True, twist={"params": set_to(OF_SERVER[name])})
    arena.settle()
    arena.must_close(err.TRANSPORT_PARAMETER_ERROR)


def test_a_thousand_unknown_parameters_are_ignored():
    many = b"".join(parameter(0x4000 + n, b"") for n in range(1000))
    arena = Arena(twist={"raw_params": lambda raw: raw + many})
    arena.must_live()


def test_parameters_that_make_the_hello_too_long():
    """20 kB of them: more than a TLS message may have."""
    long = b"\x00\x39" + (20_000).to_bytes(2, "big") + bytes(20_000)
    arena = Arena(meet=False, twist=with_parameters(lambda _: long))
    arena.settle()
    arena.must_close(DECODE_ERROR)


# -- TLS messages in the wrong order -----------------------------------------------------------

CERTIFICATE, CERTIFICATE_VERIFY, FINISHED = range(3)
NAMES = ("Certificate", "CertificateVerify", "Finished")


def in_flight(change):
    """Change the messages of the client's second flight."""

    def twist(epoch, data):
        return b"".join(change(messages(data))) if epoch == HANDSHAKE else data

    return {"tls": twist}


def without(which):
    return in_flight(lambda flight: flight[:which] + flight[which + 1 :])


def twice(which):
    return in_flight(lambda flight: [*flight[: which + 1], *flight[which:]])


@pytest.mark.parametrize("which", [CERTIFICATE, CERTIFICATE_VERIFY], ids=NAMES[:2])
def test_a_message_left_out(which):
    arena = Arena(meet=False, twist=without(which))
    arena.settle()
    arena.must_close(UNEXPECTED_MESSAGE)


def test_finished_left_out_leaves_the_handshake_open_until_it_times_out():
    arena = Arena(meet=False, twist=without(FINISHED))
    arena.settle()
    assert arena.victim.close_reason is None
    assert not arena.victim._p.confirmed
    arena.mute.add(EVIL)
    arena.sleep(60)
    assert isinstance(arena.victim.close_reason, err.TimedOut)
    assert arena.victim not in arena.victim_node.connections


@pytest.mark.parametrize("which", [CERTIFICATE, CERTIFICATE_VERIFY], ids=NAMES[:2])
def test_a_message_twice(which):
    arena = Arena(meet=False, twist=twice(which))
    arena.settle()
    arena.must_close(UNEXPECTED_MESSAGE)


def test_finished_twice_in_one_flight():
    arena = Arena(meet=False, twist=twice(FINISHED))
    arena.settle()
    arena.must_close(UNEXPECTED_MESSAGE)


def test_the_clients_hello_twice():
    arena = Arena(meet=False, twist={"tls": lambda at, data: data * 2 if at == INITIAL else data})
    arena.settle()
    arena.must_close(UNEXPECTED_MESSAGE)


def test_a_message_over_a_change_of_keys():
    arena = Arena(
        meet=False, twist={"tls": lambda at, data: data + b"\x0b\x00" if at == INITIAL else data}
    )
    arena.settle()
    arena.must_close(UNEXPECTED_MESSAGE)


FORGED = {
    "an empty Certificate": (CERTIFICATE, b"\x0b\x00\x00\x04\x00\x00\x00\x00", 0x174),
    "a Certificate that is cut short": (CERTIFICATE, b"\x0b\x00\x00\x02\x00\x00", DECODE_ERROR),
    "a signature of zeroes": (
        CERTIFICATE_VERIFY,
        b"\x0f\x00\x00\x44\x08\x07\x00\x40" + bytes(64),
        0x133,
    ),
    "another signature scheme": (
        CERTIFICATE_VERIFY,
        b"\x0f\x00\x00\x44\x04\x03\x00\x40" + bytes(64),
        0x12F,
    ),
    "a Finished of zeroes": (FINISHED, b"\x14\x00\x00\x30" + bytes(48), 0x133),
    "an unknown message": (CERTIFICATE, b"\xee\x00\x00\x00", UNEXPECTED_MESSAGE),
    "a ServerHello": (CERTIFICATE, b"\x02\x00\x00\x00", UNEXPECTED_MESSAGE),
    "a message of 16 MB": (CERTIFICATE, b"\x0b\xff\xff\xff", DECODE_ERROR),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_message(name):
    which, message, code = FORGED[name]

    def replace(flight):
        return [*flight[:which], message, *flight[which + 1 :]]

    arena = Arena(meet=False, twist=in_flight(replace))
    arena.settle()
    arena.must_close(code)


def test_a_client_hello_cut_short_by_each_length():
    """Whatever is missing: nothing but a wait or the right alert, and the friend is served."""
    whole = []
    Arena(meet=False, twist={"tls": lambda at, data: whole.append((at, data)) or data})
    hello = next(data for at, data in whole if at == INITIAL)
    arena = Arena()
    for length in range(4, len(hello), 7):
        short = hello[:1] + (length - 4).to_bytes(3, "big") + hello[4:length]
        dcid = length.to_bytes(8, "big")
        arena.throw(initial(dcid, b"", f.Crypto(0, short).encode()), source=ELSEWHERE)
        victim = arena.victim_node.connections[-1]
        assert isinstance(victim.close_reason, err.TransportError), length
        assert 0x100 <= victim.close_reason.code <= 0x1FF, (length, victim.close_reason)
    arena.must_serve_friend()


# -- frames and bits in the wrong kind of packet -----------------------------------------------

WRONG = {
    "STREAM": f.Stream(0, 0, b"x", False),
    "DATAGRAM": f.Datagram(b"x"),
    "MAX_DATA": f.MaxData(9),
    "NEW_CONNECTION_ID": f.NewConnectionId(1, 0, b"12345678", bytes(16)),
    "NEW_TOKEN": f.NewToken(b"x"),
    "HANDSHAKE_DONE": f.HandshakeDone(),
    "PATH_RESPONSE": f.PathResponse(bytes(8)),
    "PATH_ACK": f.Ack([(0, 0)], 0, 0),
    "ACK_FREQUENCY": f.AckFrequency(0, 1, 25_000, 1),
    "PATH_ABANDON": f.PathAbandon(0, 0),
    "REACH_OUT": f.ReachOut(1, ELSEWHERE),
    "an application's CONNECTION_CLOSE": f.ConnectionClose(1, b"", None),
}


def in_handshake(**options) -> Arena:
    """An arena whose evil client has Handshake keys and has sent nothing with them."""
    arena = Arena(meet=False, **options)
    arena.carry(VICTIM, arena.victim_node.work())
    return arena


@pytest.mark.parametrize("name", WRONG)
def test_a_frame_in_initial(name):
    arena = in_handshake()
    arena.throw(arena.seal_long(INITIAL, WRONG[name].encode(), size=1200))
    arena.must_close(err.PROTOCOL_VIOLATION)


@pytest.mark.parametrize("name", WRONG)
def test_a_frame_in_handshake(name):
    arena = in_handshake()
    arena.throw(arena.seal_long(HANDSHAKE, WRONG[name].encode()))
    arena.must_close(err.PROTOCOL_VIOLATION)


def test_reserved_bits_in_initial():
    arena = in_handshake()
    arena.throw(arena.seal_long(INITIAL, f.Ping().encode(), size=1200, bits=0x0C))
    arena.must_close(err.PROTOCOL_VIOLATION)


def test_a_handshake_packet_without_frames():
    arena = in_handshake()
    arena.throw(arena.seal_long(HANDSHAKE, b""))
    arena.must_close(err.PROTOCOL_VIOLATION)


def test_an_ack_of_an_initial_that_was_never_sent():
    arena = in_handshake()
    arena.throw(arena.seal_long(INITIAL, f.Ack([(9, 9)], 0).encode(), size=1200))
    arena.must_close(err.PROTOCOL_VIOLATION)


def test_an_ack_of_a_handshake_packet_that_was_never_sent():
    arena = in_handshake()
    arena.throw(arena.seal_long(HANDSHAKE, f.Ack([(0, 99)], 0).encode()))
    arena.must_close(err.PROTOCOL_VIOLATION)


@pytest.mark.parametrize("epoch", [INITIAL, HANDSHAKE], ids=("Initial", "Handshake"))
def test_crypto_data_far_ahead(epoch):
    arena = in_handshake()
    frame = f.Crypto(20_000, b"x").encode()
    arena.throw(arena.seal_long(epoch, frame, size=1200 if epoch == INITIAL else 0))
    arena.must_close(err.CRYPTO_BUFFER_EXCEEDED)


def test_an_initial_in_a_small_datagram_is_dropped():
    """A server takes no Initial of less than 1200 bytes (RFC 9000 section 14.1)."""
    arena = in_handshake()
    arena.throw(arena.seal_long(INITIAL, b"\x3d"))
    assert arena.victim.close_reason is None
    assert arena.victim_node.dropped["short Initial"] == 1
    arena.settle()
    arena.must_live()


def test_a_long_header_packet_from_another_source_id_is_dropped():
    """The first one binds the peer (RFC 9000 section 7.2)."""
    arena = in_handshake()
    p = arena.evil._p
    p.source_cid, honest = b"somebody", p.source_cid
    arena.throw(arena.seal_long(HANDSHAKE, b"\x3d"))
    p.source_cid = honest
    assert arena.victim.close_reason is None
    assert arena.victim_node.dropped["unexpected connection id"] == 1
    arena.settle()
    arena.must_live()


def test_a_short_header_before_the_handshake_is_complete_changes_nothing():
    arena = in_handshake()
    cid = arena.evil._p.mp.remote_cids.active(0)
    arena.throw(*(b"\x43" + cid + bytes([n]) * 100 for n in range(50)))
    arena.settle()
    arena.must_live()


def test_a_client_hello_to_a_connection_id_of_7_bytes_is_dropped():
    arena = Arena()
    before = len(arena.victim_node.connections)
    arena.throw(initial(b"1234567", b"", f.Ping().encode()), source=ELSEWHERE)
    assert len(arena.victim_node.connections) == before
    assert arena.victim_node.dropped["unknown connection"] == 1


def test_an_attempt_without_a_client_hello_ends_by_itself():
    arena = Arena()
    arena.throw(initial(b"12345678", b"", f.Ping().encode()), source=ELSEWHERE)
    (_, _, attempt) = arena.victim_node.connections
    arena.sleep(60)
    assert attempt.close_reason is not None
    assert attempt not in arena.victim_node.connections


def test_a_servers_initial_with_a_token():
    arena = Arena(by_server=True, meet=False)
    level, p = arena.evil._p.levels[INITIAL], arena.evil._p
    cids = (p.mp.remote_cids.active(0), p.source_cid)
    header = pk.long_header(pk.INITIAL, *cids, 50, 4, 1000, b"token")
    arena.throw(seal_packet(*level.send_keys, header, 50, bytes(1000)))
    reason = arena.victim.close_reason
    assert isinstance(reason, err.TransportError)
    assert reason.code == err.PROTOCOL_VIOLATION


def test_a_retry_that_is_not_authentic():
    arena = Arena(by_server=True, meet=False)
    victim = arena.victim._p
    forged = bytearray(pk.retry_packet(victim.original_dcid, victim.source_cid, b"newid", b"token"))
    forged[-1] ^= 1
    arena.throw(bytes(forged))
    assert arena.victim_node.dropped["unexpected Retry"] == 1
    arena.settle()
    arena.must_live()


def test_a_retry_with_the_id_that_there_is():
    """RFC 9000 section 17.2.5.1: the client has to discard it."""
    arena = Arena(by_server=True, meet=False)
    victim = arena.victim._p
    same = victim.original_dcid
    arena.throw(pk.retry_packet(same, victim.source_cid, same, b"token"))
    assert victim.retry_source_cid is None
    assert arena.victim_node.dropped["unexpected Retry"] == 1
    arena.settle()
    arena.must_live()


def test_a_retry_without_a_token():
    """RFC 9000 section 17.2.5.2: the same."""
    arena = Arena(by_server=True, meet=False)
    victim = arena.victim._p
    arena.throw(pk.retry_packet(victim.original_dcid, victim.source_cid, b"retry id", b""))
    assert victim.retry_source_cid is None
    arena.settle()
    arena.must_live()


def test_a_second_retry():
    arena = Arena(by_server=True, meet=False)
    victim = arena.victim._p
    for new in (b"retry id", b"another!"):
        arena.throw(pk.retry_packet(victim.original_dcid, victim.source_cid, new, b"token"))
    assert victim.retry_source_cid == b"retry id"
    assert arena.victim_node.dropped["unexpected Retry"] == 1


def test_a_retry_after_the_server_answered():
    arena = Arena(by_server=True, meet=False)
    arena.carry(EVIL, arena.evil_node.work())
    victim = arena.victim._p
    arena.throw(pk.retry_packet(victim.original_dcid, victim.source_cid, b"retry id", b"token"))
    assert victim.retry_source_cid is None
    arena.settle()
    arena.must_live()


VERSIONS = {
    "that lists our own": (1).to_bytes(4, "big") + bytes(4),
    "of no versions": b"",
    "that is cut short": b"\x00\x00\x00",
}


@pytest.mark.parametrize("name", VERSIONS)
def test_a_version_negotiation(name):
    arena = Arena(by_server=True, meet=False)
    victim = arena.victim._p
    head = b"\xc0" + bytes(4) + b"\x08" + victim.source_cid
    head += bytes([len(victim.original_dcid)]) + victim.original_dcid
    arena.throw(head + VERSIONS[name])
    assert arena.victim.close_reason is None
    arena.settle()
    arena.must_live()


def test_a_server_that_shows_another_key():
    def liar(epoch, data):
        if epoch != HANDSHAKE:
            return data
        flight = messages(data)
        at = next(n for n, message in enumerate(flight) if message[0] == 11)
        changed = bytearray(flight[at])
        changed[-4] ^= 1  # a byte of the key; two bytes of extensions follow it
        return b"".join([*flight[:at], bytes(changed), *flight[at + 1 :]])

    arena = Arena(by_server=True, meet=False, twist={"tls": liar})
    arena.settle()
    reason = arena.victim.close_reason
    assert isinstance(reason, err.TransportError)
    assert reason.code in (0x12A, 0x130), reason


def test_1rtt_packets_held_before_their_keys_are_few():
    """What waits for the end of the handshake is bounded in bytes, not only in batches."""
    arena = in_handshake()
    cid = arena.evil._p.mp.remote_cids.active(0)
    for n in range(100):
        arena.throw(b"\x43" + cid + bytes([n]) * 60_000)
    held = sum(len(batch.data) for _, batch in arena.victim._p._early)
    assert held <= 64_000
    arena.settle()
    arena.must_live()


def test_the_friend_is_served_while_a_hundred_handshakes_hang():
    arena = Arena()
    for n in range(100):
        arena.throw(initial(n.to_bytes(8, "big"), b"", f.Ping().encode()), source=ELSEWHERE)
    arena.must_serve_friend()
    assert len(arena.victim_node.connections) == 102


def test_a_recorded_hello_gives_its_replayer_nothing():
    """It opens a connection that cannot be completed, and no more than one."""
    hello = client_hello()
    arena = Arena()
    for _ in range(5):
        arena.throw(hello, source=ELSEWHERE)
    assert len(arena.victim_node.connections) == 3
    attempt = arena.victim_node.connections[-1]
    arena.settle()
    assert attempt.peer is None
    assert arena.bytes_to[ELSEWHERE] <= 3 * 5 * len(hello)


def test_a_refused_peer_gets_one_small_answer():
    arena = Arena()
    arena.victim_node.endpoint.set_accepting(False)
    arena.throw(initial(b"12345678", b"", f.Ping().encode()), source=ELSEWHERE)
    arena.settle()
    assert 0 < arena.bytes_to[ELSEWHERE] < 1200
