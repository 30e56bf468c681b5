"""Floods of an authentic peer: what is allowed once, a hundred thousand times.

Each is prepared first, and then costs at most a second of processor time and holds at most 10 MB.
"""

import pytest
from evil_kit import ELSEWHERE, EVIL, VICTIM, Arena, budget, vi

from iroh.quic import errors as err
from iroh.quic import frames as f
from iroh.quic import varint
from iroh_base import SocketAddr

ROOM = 1150
"""Bytes of frames in one hostile packet."""
TOKEN = bytes(16)


def packed(frames, room=ROOM):
    """Fill payloads with frames."""
    payloads, payload = [], bytearray()
    for frame in frames:
        if len(payload) + len(frame) > room:
            payloads.append(bytes(payload))
            payload.clear()
        payload += frame
    return [*payloads, bytes(payload)]


def stream(stream_id, offset, data=b"x", fin=False):
    return f.Stream(stream_id, offset, data, fin).encode()


def flood_of(frames, *, by_server=False, closes=None, works=True, **options):
    """Let them arrive in packets of the evil peer; then the connection works, or is closed."""

    arena = Arena(by_server=by_server, **options)
    flood(arena, [arena.seal(payload) for payload in packed(frames)])
    if closes is not None:
        arena.must_close(closes)
    elif works:
        arena.must_live()
    else:
        arena.must_serve_friend()
    return arena


def flood(arena, packets):
    """Let packets arrive, ten at a time, within the budget."""
    with budget(arena.victim_node):
        for at in range(0, len(packets), 10):
            arena.throw(*packets[at : at + 10])
            arena.carry(VICTIM, arena.victim_node.work())


# -- reassembly --------------------------------------------------------------------------------


def test_stream_every_second_byte_of_a_hundred_thousand():
    frames = [stream(0, 2 * n + 1) for n in range(100_000)]
    flood_of(frames, closes=err.PROTOCOL_VIOLATION)


def test_stream_backwards_byte_by_byte():
    frames = [stream(0, n) for n in range(50_000, 0, -1)]
    flood_of(frames, works=False)


def test_stream_in_order_byte_by_byte():
    frames = [stream(0, n) for n in range(50_000)]
    flood_of(frames, works=False)


def test_stream_the_same_byte_again_and_again():
    flood_of([stream(0, 1)] * 100_000, works=False)


def test_stream_a_byte_at_the_end_of_each_window():
    """Memory follows what arrived, not what was claimed."""
    frames = [stream(4 * n, 1_249_999) for n in range(100)]
    flood_of(frames, works=False)


def test_stream_holes_in_all_two_hundred_streams():
    """The bound on fragments is one of the connection."""
    ids = [4 * n for n in range(100)] + [4 * n + 2 for n in range(100)]
    frames = [stream(stream_id, 2 * n + 1) for n in range(500) for stream_id in ids]
    flood_of(frames, closes=err.PROTOCOL_VIOLATION)


def test_stream_overlapping_frames_of_a_thousand_bytes():
    frames = [stream(0, 1 + n, bytes(1000)) for n in range(3000)]
    flood_of(frames, works=False)


def test_stream_empty_frames():
    flood_of([stream(0, 0, b"")] * 100_000, works=False)


def test_crypto_every_second_byte():
    frames = [f.Crypto(2 * n + 1, b"x").encode() for n in range(8000)] * 6
    flood_of(frames)


def test_crypto_the_whole_buffer_again_and_again():
    frames = [f.Crypto(1000 * n + 1, bytes(1000)).encode() for n in range(16)] * 200
    flood_of(frames)


def test_a_server_that_gives_ten_thousand_tickets():
    ticket = b"\x04" + (50).to_bytes(3, "big") + bytes(4) + bytes(4) + b"\x01n"
    ticket += b"\x00\x20" + bytes(32) + b"\x00\x00"
    ticket = ticket[:1] + (len(ticket) - 4).to_bytes(3, "big") + ticket[4:]
    whole = ticket * 10_000
    arena = Arena(by_server=True)
    start = arena.victim._p.data_crypto._read  # behind the tickets that it got honestly
    payloads = packed(
        f.Crypto(start + at, whole[at : at + 1000]).encode() for at in range(0, len(whole), 1000)
    )
    flood(arena, [arena.seal(payload) for payload in payloads])
    arena.must_live()
    assert arena.victim._p.data_crypto._read == start + len(whole)


# -- acknowledgements --------------------------------------------------------------------------


def test_optimistic_acks_are_caught():
    """A peer that acknowledges what it never received meets a packet number that was left out."""
    arena = Arena()
    stream_id = arena.victim.open_stream(False)
    arena.victim.write(stream_id, bytes(1_000_000))
    arena.mute.add(EVIL)
    recovery = arena.victim._p.paths.get(0).recovery
    window = recovery.path.congestion.window
    for _ in range(100):
        arena.now += 0.03
        arena.carry(VICTIM, arena.victim_node.work())
        if arena.victim.close_reason is not None:
            break
        last = recovery.next - 1
        arena.throw(arena.seal(f.Ack([(0, last)], 0).encode()))
    reason = arena.victim.close_reason
    assert isinstance(reason, err.TransportError)
    assert reason.code == err.PROTOCOL_VIOLATION
    assert recovery.path.congestion.window <= 8 * window


def test_an_ack_of_a_skipped_packet_number():
    arena = Arena()
    recovery = arena.victim._p.paths.get(0).recovery
    for _ in range(70):
        arena.victim.ping()
        arena.settle()
    assert recovery._skipped
    skipped = recovery._skipped[0]
    arena.closes(err.PROTOCOL_VIOLATION, f.Ack([(skipped, skipped)], 0).encode())


def test_acks_of_five_hundred_ranges():
    gaps = [(2 * n, 2 * n) for n in range(500, 0, -1)]

    arena = Arena()
    arena.victim._p.paths.get(0).recovery.next = 2000
    frame = vi(0x02, gaps[0][1], 0, 499, 0) + vi(0, 0) * 499
    packets = [arena.seal(frame) for _ in range(500)]
    with budget(arena.victim_node):
        arena.throw(*packets)


def test_the_same_ack_again_and_again():
    flood_of([f.Ack([(0, 0)], 0).encode()] * 20_000)


def test_pings_in_packets_of_their_own():
    arena = Arena()
    packets = [arena.seal(b"\x01") for _ in range(5000)]

    with budget(arena.victim_node):
        for at in range(0, len(packets), 10):
            arena.throw(*packets[at : at + 10])
            arena.settle()


def test_packet_numbers_with_a_hole_each():
    """Every packet but every second one: the ranges that are kept are bounded."""

    arena = Arena()
    top = arena.evil._p.paths.get(0).recovery.next
    packets = [arena.seal(b"\x01", pn=top + 2 * n + 2) for n in range(3000)]

    with budget(arena.victim_node):
        for at in range(0, len(packets), 10):
            arena.throw(*packets[at : at + 10])
            arena.carry(VICTIM, arena.victim_node.work())
        assert arena.victim.close_reason is None
        assert len(arena.victim._p.paths.get(0).acks.ranges) <= 64


def test_immediate_ack_again_and_again():
    flood_of([f.ImmediateAck().encode()] * 20_000)


def test_ack_frequency_again_and_again():
    flood_of([f.AckFrequency(n, 1, 25_000, 1).encode() for n in range(20_000)])


# -- connection ids ----------------------------------------------------------------------------


def new_cid(seq, retire_prior_to, path_id=None):
    return f.NewConnectionId(seq, retire_prior_to, b"%08d" % seq, TOKEN, path_id).encode()


def test_ids_that_retire_all_before_them():
    """CVE-2024-22189: each makes us send a frame that the peer need not acknowledge."""
    frames = [new_cid(n, n) for n in range(10, 20_000)]
    flood_of(frames, closes=err.CONNECTION_ID_LIMIT_ERROR)


def test_an_id_that_retires_2_to_the_62():
    arena = Arena()
    arena.throw(arena.seal(new_cid(2**61, 2**61)))
    assert len(arena.victim._p.mp.remote_cids.outbox) <= 50
    arena.must_serve_friend()


def test_old_ids_that_are_retired_at_once():
    """Below what is retired already: each costs us a frame, up to the bound."""
    first = new_cid(40_000, 40_000)
    frames = [first, *(new_cid(n, 0) for n in range(10, 20_000))]
    flood_of(frames, closes=err.CONNECTION_ID_LIMIT_ERROR)


def test_a_peer_that_retires_all_ids_it_gets():
    arena = Arena()
    remote = arena.evil._p.mp.remote_cids

    with budget(arena.victim_node):
        for _ in range(150):
            remote.advance(0)
            arena.throw(arena.seal(b"\x01"))
            arena.settle()
        assert len(arena.victim_node.endpoint.routes.by_cid) < 200


def test_a_peer_that_gives_no_more_ids_is_still_served():
    """Every id but one is taken away: what needs a fresh one waits, the rest works."""
    arena = Arena()
    arena.evil._p.mp.local_cids.take_frames = lambda *_: []
    ours = arena.evil_node.endpoint
    arena.throw(arena.seal(new_cid(9, 9)))
    ours.routes.register(arena.evil, [(b"%08d" % 9, 0)])
    arena.settle()
    assert arena.victim.close_reason is None
    assert not arena.victim._p.mp.remote_cids.spare(0)
    arena.must_serve_friend()


# -- paths -------------------------------------------------------------------------------------


def test_path_challenges_in_one_place():
    flood_of([b"\x1a" + n.to_bytes(8, "big") for n in range(30_000)])


def test_path_challenges_from_a_thousand_addresses():
    """CVE-2023-49295: what is owed is bounded."""

    arena = Arena()
    frame = f.PathChallenge(b"12345678").encode()
    packets = [arena.seal(frame + bytes(1100)) for _ in range(1000)]
    sources = [SocketAddr(f"198.51.{n >> 8}.{n & 255}", 7) for n in range(1000)]

    with budget(arena.victim_node):
        for packet, source in zip(packets, sources, strict=True):
            arena.throw(packet, source=source)
        for path in arena.victim._p.paths.all():
            assert len(path.responses) <= 32
        arena.settle()


def test_small_path_challenges_of_spoofed_addresses_are_not_amplified():
    arena = Arena()
    packet = arena.seal(f.PathChallenge(b"12345678").encode())
    arena.throw(packet, source=ELSEWHERE)
    arena.settle()
    assert arena.bytes_to[ELSEWHERE] <= 3 * len(packet)
    arena.must_live()


def test_a_spoofed_migration_is_not_amplified():
    arena = Arena()
    stream_id = arena.victim.open_stream(False)
    arena.settle()
    packets = [arena.seal(b"\x01" + bytes(60)) for _ in range(3)]
    arena.mute.add(EVIL)
    arena.throw(*packets, source=ELSEWHERE)
    arena.victim.write(stream_id, bytes(1_000_000))
    arena.sleep(10)
    assert arena.bytes_to[ELSEWHERE] <= 3 * sum(map(len, packets))
    arena.must_serve_friend()


def test_path_status_again_and_again():
    flood_of([f.PathStatus(0, n, bool(n & 1)).encode() for n in range(1, 20_001)])


def test_path_status_of_paths_that_were_never_opened():
    flood_of([f.PathStatus(1 + n % 7, n, True).encode() for n in range(20_000)])


def test_max_path_id_again_and_again():
    flood_of([f.MaxPathId(8 + n).encode() for n in range(20_000)])


def test_paths_blocked_again_and_again():
    flood_of([f.PathsBlocked(7).encode()] * 20_000)


def test_path_cids_blocked_again_and_again():
    flood_of([f.PathCidsBlocked(1 + n % 7, 0).encode() for n in range(20_000)])


def test_path_abandon_of_every_path_that_may_be():
    """Each moves the window on, but not faster than we tell it."""

    arena = Arena()
    victim = arena.victim._p

    with budget(arena.victim_node):
        for _ in range(100):
            top = victim.paths.ids.local_max
            frames = [f.PathAbandon(n, 0).encode() for n in range(1, top + 1)]
            arena.throw(*map(arena.seal, packed(frames)))
            arena.settle()
        assert arena.victim.close_reason is None
        assert len(victim.paths.ids._leaving) <= 20
        assert len(arena.victim_node.endpoint.routes.by_cid) < 200


def test_path_abandon_of_the_only_path():
    """The peer has some time to open another, then the connection ends."""
    arena = Arena()
    arena.throw(arena.seal(f.PathAbandon(0, 0).encode()))
    arena.mute.add(EVIL)
    arena.sleep(30)
    assert arena.victim.close_reason is not None
    arena.must_serve_friend()


def test_packets_that_open_every_path():
    arena = Arena()
    cids = arena.victim._p.mp.local_cids
    packets = [arena.seal(b"\x01", path_id=n, cid=cids.cids(n)[0], pn=0) for n in range(1, 8)]

    with budget(arena.victim_node):
        for packet in packets:
            arena.throw(packet)
        arena.carry(VICTIM, arena.victim_node.work())
        assert len(arena.victim.path_commands.views()) == 8
        arena.mute.add(EVIL)
        arena.sleep(60)


# -- NAT traversal -----------------------------------------------------------------------------


def test_addresses_that_come_and_go():
    frames = []
    for n in range(10_000):
        frames.append(f.AddAddress(n, SocketAddr(f"203.0.{n >> 8 & 255}.{n & 255}", 9)).encode())
        frames.append(f.RemoveAddress(n).encode())
    flood_of(frames, by_server=True)


def test_more_addresses_than_the_limit_are_ignored():
    frames = [
        f.AddAddress(n, SocketAddr(f"203.0.{n >> 8 & 255}.{n & 255}", 9)).encode()
        for n in range(10_000)
    ]
    arena = flood_of(frames, by_server=True)
    assert len(arena.victim._p.mp.nat.remote_candidates()) == 32


def test_a_round_of_reach_out_after_the_other():
    """Each round sends small probes to its addresses: never more than three times what came."""

    arena = Arena()
    frames = [
        f.ReachOut(n, SocketAddr(f"203.0.113.{n % 200 + 1}", 9)).encode() for n in range(10_000)
    ]
    packets = [arena.seal(payload) for payload in packed(frames)]
    before = sum(arena.bytes_to.values())

    with budget(arena.victim_node):
        for packet in packets:
            arena.throw(packet)
            arena.settle()
        sent = sum(arena.bytes_to.values()) - before
        assert sent <= 3 * sum(map(len, packets))


def test_reach_out_to_32_addresses_in_each_packet():
    """The most that one packet can set off at once."""
    arena = Arena()
    before = sum(arena.bytes_to.values())
    received = 0
    for n in range(1, 50):
        frames = [f.ReachOut(n, SocketAddr(f"203.0.113.{k}", 9)).encode() for k in range(1, 33)]
        packet = arena.seal(b"".join(frames))
        received += len(packet)
        arena.throw(packet)
        arena.carry(VICTIM, arena.victim_node.work())
    assert sum(arena.bytes_to.values()) - before <= 5 * received


# -- the rest ----------------------------------------------------------------------------------


def test_datagrams_that_nobody_reads():
    arena = Arena()
    packets = [arena.seal(f.Datagram(bytes(1100)).encode()) for _ in range(10_000)]
    with budget(arena.victim_node):
        arena.throw(*packets)


def test_empty_datagrams():
    flood_of([f.Datagram(b"").encode()] * 20_000, works=False)


FRAMES = {
    "MAX_DATA": lambda n: f.MaxData(n).encode(),
    "MAX_STREAMS": lambda n: f.MaxStreams(True, n).encode(),
    "DATA_BLOCKED": lambda n: f.DataBlocked(n).encode(),
    "STREAMS_BLOCKED": lambda n: f.StreamsBlocked(False, n).encode(),
    "STREAM_DATA_BLOCKED": lambda n: f.StreamDataBlocked(4 * (n % 100), n).encode(),
    "MAX_STREAM_DATA": lambda n: f.MaxStreamData(4 * (n % 100), n).encode(),
    "PATH_RESPONSE": lambda n: f.PathResponse(n.to_bytes(8, "big")).encode(),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_again_and_again(name):
    flood_of([FRAMES[name](n) for n in range(20_000)], works=False)


def test_padding_between_pings():
    flood_of([b"\x01" + bytes(20)] * 20_000)


def test_streams_that_are_opened_and_reset():
    """The peer may open as many as the application lets go of, and not one more."""
    frames = [f.ResetStream(4 * n, 0, 0).encode() for n in range(200)]
    flood_of(frames, closes=err.STREAM_LIMIT_ERROR)


def test_streams_that_are_stopped_again_and_again():
    frames = [f.StopSending(4 * (n % 100), n).encode() for n in range(20_000)]
    flood_of(frames, works=False)


def test_key_updates_with_every_packet():
    arena = Arena()
    keys = arena.evil._p.keys
    packets = []
    for _ in range(1000):
        keys._rotate_send()
        packets.append(arena.seal(b"\x01"))

    with budget(arena.victim_node):
        for packet in packets:
            arena.throw(packet)
            arena.carry(VICTIM, arena.victim_node.work())


def test_a_large_window_does_not_make_us_buffer_without_bound():
    """The peer lets us send everything and acknowledges nothing."""
    arena = Arena()
    arena.throw(arena.seal(f.MaxData(varint.MAX).encode()))
    stream_id = arena.victim.open_stream(False)
    arena.throw(arena.seal(f.MaxStreamData(stream_id, varint.MAX).encode()))
    taken = 0
    while (count := arena.victim.write(stream_id, bytes(1 << 20))) > 0:
        taken += count
    assert taken <= 10_000_000
