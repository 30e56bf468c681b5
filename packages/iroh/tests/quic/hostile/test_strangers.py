"""What nobody authenticated: garbage, replays, forged resets, spoofed addresses, Initial floods."""

import random

import pytest
from evil_kit import ELSEWHERE, EVIL, FRIEND, VICTIM, Arena, Net, budget, client_hello, initial, vi

from iroh.quic import errors as err
from iroh.quic import frames as f
from iroh.quic import packet as pk
from iroh.quic.datagrams import Datagrams
from iroh.quic.events import Closed, Drained
from iroh.quic.keys import seal_run
from iroh.quic.limits import Limits
from iroh_base import SocketAddr

PING = f.Ping().encode()


def spoofed(n):
    return SocketAddr(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", 1000 + n % 1000)


def first(n, payload=PING, **options):
    return initial(n.to_bytes(8, "big"), b"", payload, **options)


# -- garbage -----------------------------------------------------------------------------------


def test_zero_length_datagrams():
    """curl CVE-2026-11352: a loop that starves on them."""
    arena = Arena()
    with budget(arena.victim_node):
        for _ in range(10_000):
            arena.victim_node.take([Datagrams(EVIL, b"")])
    arena.must_live()


def test_datagrams_of_one_byte():
    arena = Arena()
    arena.throw(*(bytes([n]) for n in range(256)))
    arena.must_live()


def test_datagrams_cut_short_by_each_length():
    arena = Arena()
    packet = arena.seal(PING + bytes(50))
    arena.throw(*(packet[:n] for n in range(1, len(packet))))
    assert arena.victim_node.dropped["not authentic"] > 20
    arena.must_live()


def test_datagrams_with_each_bit_flipped():
    arena = Arena()
    packet = arena.seal(PING + bytes(20))
    for n in range(8 * len(packet)):
        flipped = bytearray(packet)
        flipped[n >> 3] ^= 1 << (n & 7)
        arena.throw(bytes(flipped))
    arena.must_live()


def test_ten_thousand_packets_that_do_not_authenticate():
    arena = Arena()
    cid = arena.evil._p.mp.remote_cids.active(0)
    noise = random.Random(1)
    packets = [b"\x40" + cid + noise.randbytes(60) for _ in range(10_000)]
    with budget(arena.victim_node):
        arena.throw(*packets)
    arena.must_live()


def test_long_headers_of_noise():
    arena = Arena()
    noise = random.Random(2)
    packets = [bytes([0xC0 | n & 63]) + noise.randbytes(40 + n % 1300) for n in range(5000)]
    with budget(arena.victim_node):
        arena.throw(*packets, source=ELSEWHERE)
    arena.must_live()


def test_long_headers_of_our_version_and_noise():
    arena = Arena()
    noise = random.Random(3)
    start = b"\x00\x00\x00\x01"
    packets = [bytes([0xC0 | n & 63]) + start + noise.randbytes(40 + n % 1300) for n in range(5000)]
    with budget(arena.victim_node):
        arena.throw(*packets, source=ELSEWHERE)
    arena.must_live()


def test_a_gro_buffer_of_many_ids():
    """Nothing in one buffer need belong together."""
    arena = Arena()
    noise = random.Random(4)
    buffer = b"".join(bytes([noise.randrange(256)]) + noise.randbytes(49) for _ in range(1000))
    with budget(arena.victim_node):
        arena.victim_node.take([Datagrams(EVIL, buffer, 50)])
        arena.victim_node.take([Datagrams(EVIL, buffer, 1)])
    arena.must_live()


def test_a_gro_buffer_with_one_forged_packet_among_good_ones():
    arena = Arena()
    p = arena.evil._p
    path = p.paths.get(0)
    pn = path.recovery.next_pn(3)
    payloads = [PING + bytes(20)] * 3
    cid = p.mp.remote_cids.active(0)
    run = bytearray(seal_run(p.keys.send, p.keys.send_hp, 0x40, cid, pn, payloads))
    size = len(run) // 3
    run[size + 20] ^= 1
    arena.victim_node.take([Datagrams(EVIL, bytes(run), size)])
    assert arena.victim_node.dropped["not authentic"] == 1
    arena.must_live()


def test_coalesced_initials_before_the_handshake():
    """LSQUIC CVE-2025-54939: packets of a datagram that nobody takes must leave nothing behind."""
    arena = Arena()
    one = first(7, size=0)
    for n in range(200):
        arena.throw(first(7, size=1200 - 10 * len(one)) + one * 10, source=spoofed(n))
    assert len(arena.victim_node.connections) == 3
    arena.must_live()


def test_coalesced_packets_without_length():
    arena = Arena()
    cid = arena.victim._p.source_cid
    empty = b"\xc0\x00\x00\x00\x01\x08" + cid + b"\x00\x00\x00"
    arena.throw((empty * 100)[:1400])
    handshake = b"\xe0\x00\x00\x00\x01\x08" + cid + b"\x00\x00"
    arena.throw((handshake * 100)[:1400])
    arena.must_live()


def test_a_connection_id_of_255_bytes():
    arena = Arena()
    packet = b"\xc0\x00\x00\x00\x01\xff" + bytes(255) + b"\xff" + bytes(255) + bytes(1000)
    arena.throw(packet, source=ELSEWHERE)
    assert not arena.bytes_to[ELSEWHERE]
    arena.must_live()


def test_a_token_longer_than_the_datagram():
    arena = Arena()
    head = b"\xc0\x00\x00\x00\x01\x08" + bytes(8) + b"\x00"
    arena.throw((head + vi(2**40)).ljust(1200, b"\0"), source=ELSEWHERE)
    arena.must_live()


# -- replays -----------------------------------------------------------------------------------


def test_replayed_packets():
    arena = Arena()
    packets = [arena.seal(f.Datagram(b"once").encode()) for _ in range(100)]
    arena.throw(*packets)
    before = arena.victim_node.dropped["duplicate"]
    for _ in range(10):
        arena.throw(*packets)
    arena.settle()
    assert arena.victim_node.dropped["duplicate"] == before + 1000
    assert sum(arena.victim_node.told.values())
    arena.must_live()


def test_replayed_packets_from_elsewhere_move_nothing():
    arena = Arena()
    packets = [arena.seal(PING) for _ in range(10)]
    arena.throw(*packets)
    arena.settle()
    before = arena.victim.paths()[0].remote
    arena.throw(*packets, source=ELSEWHERE)
    arena.settle()
    assert arena.victim.paths()[0].remote == before
    assert not arena.bytes_to[ELSEWHERE]
    arena.must_live()


def test_packet_numbers_too_old_to_tell():
    arena = Arena()
    old = arena.seal(PING)
    top = arena.evil._p.paths.get(0).recovery.next
    arena.throw(*(arena.seal(PING, pn=top + 3 * n) for n in range(1, 200)))
    before = arena.victim_node.dropped["duplicate"]
    arena.throw(old)
    assert arena.victim_node.dropped["duplicate"] == before + 1


# -- stateless resets --------------------------------------------------------------------------


def reset_of(token):
    return b"\x41" + bytes(range(30)) + token


def test_a_forged_stateless_reset():
    arena = Arena()
    noise = random.Random(5)
    arena.throw(*(reset_of(noise.randbytes(16)) for _ in range(1000)), source=ELSEWHERE)
    arena.must_live()


def test_a_stateless_reset_with_one_wrong_bit():
    arena = Arena(by_server=True)
    (token, *_) = arena.victim._p.mp.remote_cids.reset_tokens()
    for n in range(128):
        wrong = bytearray(token)
        wrong[n >> 3] ^= 1 << (n & 7)
        arena.throw(reset_of(bytes(wrong)))
    arena.must_live()
    arena.throw(reset_of(token))
    assert isinstance(arena.victim.close_reason, err.Reset)
    arena.must_serve_friend()


def test_the_same_stateless_reset_twice_at_once():
    """Found by the simulation: the end was told twice."""
    arena = Arena(by_server=True)
    (token, *_) = arena.victim._p.mp.remote_cids.reset_tokens()
    arena.victim_node.take([Datagrams(EVIL, reset_of(token) * 3, len(reset_of(token)))])
    arena.victim_node.work()
    assert arena.victim_node.told[Drained] == arena.victim_node.told[Closed] == 1
    arena.must_serve_friend()


def test_a_stateless_reset_with_our_own_token():
    """What we would send ourselves must not be turned against us."""
    arena = Arena()
    shared = arena.victim_node.endpoint.shared
    cids = arena.victim._p.mp.local_cids.cids(0)
    arena.throw(*(reset_of(shared.reset_token(cid)) for cid in cids))
    arena.must_live()


def test_the_token_of_one_peer_does_not_end_the_connection_of_another():
    """An evil peer that names the friend's reset token does not get it."""
    arena = Arena()
    (token, *_) = arena.friends_peer._p.mp.remote_cids.reset_tokens()
    arena.throw(arena.seal(f.NewConnectionId(9, 9, b"new id 9", token).encode()))
    arena.settle()
    arena.evil.close(0, b"", arena.now)
    arena.sleep(30)
    arena.must_serve_friend()
    assert arena.victim_node.endpoint.routes.by_token.get(token) is arena.friends_peer


def test_stateless_resets_are_few_and_small():
    arena = Arena()
    packets = [b"\x41" + n.to_bytes(8, "big") + bytes(100) for n in range(1000)]
    arena.throw(*packets, source=ELSEWHERE)
    arena.settle()
    assert 0 < arena.bytes_to[ELSEWHERE] < 2 * len(packets[0])
    assert not arena.bytes_to[FRIEND] > 100_000


def test_two_endpoints_do_not_reset_each_other_for_ever():
    net = Net()
    one, two = net.add(VICTIM), net.add(EVIL)
    two.take([Datagrams(VICTIM, b"\x41" + bytes(500))])
    net.settle(100)
    assert one.dropped["unknown connection"] + two.dropped["unknown connection"] < 30


# -- amplification -----------------------------------------------------------------------------


def sent_for(packets, seconds=60.0):
    """Let packets come from a spoofed address, and time pass; the bytes sent there."""
    arena = Arena()
    arena.throw(*packets, source=ELSEWHERE)
    arena.settle()
    arena.friend.close(0, b"", arena.now)
    arena.sleep(seconds)
    return arena.bytes_to[ELSEWHERE]


HELLO = client_hello()
AMPLIFIED = {
    "one ClientHello": [HELLO],
    "a ClientHello three times": [HELLO] * 3,
    "a ClientHello and noise behind it": [HELLO[:1200] + bytes(100)],
    "an Initial with a PING": [first(1)],
    "an Initial with an alert in the making": [first(1, f.Crypto(0, b"\x01\xff\xff\xff").encode())],
    "an unknown version": [b"\xc0\x0a\x0a\x0a\x0a\x08" + bytes(8) + b"\x08" + bytes(1190)],
    "an unknown version in a small datagram": [b"\xc0\x0a\x0a\x0a\x0a\x08" + bytes(8) + b"\x00"],
    "a short header": [b"\x41" + bytes(100)],
    "a short header of the smallest size": [b"\x41" + bytes(20)],
    "a Handshake packet": [b"\xe0\x00\x00\x00\x01\x08" + bytes(1200)],
    "a Retry": [pk.retry_packet(bytes(8), bytes(8), bytes(8), b"token")],
}


@pytest.mark.parametrize("name", AMPLIFIED)
def test_no_more_than_three_times(name):
    packets = AMPLIFIED[name]
    assert sent_for(packets) <= 3 * sum(map(len, packets))


def test_a_client_hello_is_answered_within_the_limit_at_all_times():
    """The handshake, its probes and its end: every byte counts (RFC 9000 section 8.1)."""
    arena = Arena()
    arena.throw(HELLO, source=ELSEWHERE)
    for _ in range(100):
        arena.now += 0.3
        arena.carry(VICTIM, arena.victim_node.work())
        assert arena.bytes_to[ELSEWHERE] <= 3 * len(HELLO)
    assert arena.bytes_to[ELSEWHERE] > len(HELLO)


# -- floods of attempts ------------------------------------------------------------------------


def test_an_initial_flood_of_20_000():
    """Retry turns on by itself; half-open attempts stay capped; an honest peer gets through."""
    net = Net()
    victim = net.add(VICTIM)
    limits = Limits()
    half = 10_000
    packets = [first(n) for n in range(2 * half)]
    for n in range(half):
        victim.take([Datagrams(spoofed(n), packets[n])])
        if not n % 100:
            net.carry(VICTIM, victim.work())
    assert len(victim.connections) <= limits.half_open_soft
    honest = net.add(FRIEND)
    with budget(victim, memory=32 << 20):
        connection = honest.dial(victim)
        net.settle()
    assert connection.peer is not None
    for n in range(half, 2 * half):
        victim.take([Datagrams(spoofed(n), packets[n])])
        if not n % 100:
            net.carry(VICTIM, victim.work())
    net.carry(VICTIM, victim.work())
    sent = sum(count for to, count in net.bytes_to.items() if to[0].startswith("10."))
    received = sum(map(len, packets))
    assert sent <= 3 * received
    assert len(victim.connections) <= limits.half_open_soft + 1
    assert connection.close_reason is None
    net.sleep(120)
    assert victim.endpoint.remembered() < 100


def test_undecided_attempts_are_capped_too():
    net = Net()
    victim = net.add(VICTIM, limits=Limits(half_open_soft=20, half_open_hard=40))
    victim.holds = True
    for n in range(1000):
        victim.take([Datagrams(spoofed(n), first(n))])
    assert len(victim.incoming) == 20
    for incoming in victim.incoming:
        incoming.ignore()
    assert victim.endpoint.remembered() == 0


def test_an_undecided_attempt_holds_few_datagrams():
    net = Net()
    victim = net.add(VICTIM)
    victim.holds = True
    with budget(victim):
        victim.take([Datagrams(ELSEWHERE, first(1, pn=n)) for n in range(10_000)])
    (incoming,) = victim.incoming
    assert len(incoming.held) <= 16
    incoming.ignore()


def test_attempts_with_tokens_meet_the_hard_cap():
    """Addresses that are proven may come above the soft cap, but not above the hard one."""
    net = Net()
    victim = net.add(VICTIM, limits=Limits(half_open_soft=5, half_open_hard=10))
    for n in range(50):
        victim.take([Datagrams(spoofed(n), first(n))])
    tokens = {batch.remote: batch.data for batch in victim.endpoint.transmit()}
    assert len(tokens) == 45
    for n in range(5, 50):
        retry = pk.parse_long(tokens[spoofed(n)])
        again = initial(retry.scid, b"", PING, token=retry.token)
        victim.take([Datagrams(spoofed(n), again)])
    assert len(victim.connections) == 10
    assert victim.dropped["too many half-open"] == 40
    net.sleep(60)
    assert not victim.connections


def retried(victim, address):
    """Give the Retry that the victim answers an Initial from this address with."""
    victim.take([Datagrams(address, first(99))])
    (batch,) = [batch for batch in victim.endpoint.transmit() if batch.remote == address]
    return pk.parse_long(batch.data)


def under_retry():
    net = Net()
    return net, net.add(VICTIM, limits=Limits(half_open_soft=0, half_open_hard=10))


def test_a_retry_token_from_another_address():
    net, victim = under_retry()
    retry = retried(victim, spoofed(1))
    again = initial(retry.scid, b"", PING, token=retry.token)
    victim.take([Datagrams(spoofed(2), again)])
    assert not victim.connections
    assert not net.bytes_to[spoofed(2)]


def test_a_retry_token_that_is_too_old():
    net, victim = under_retry()
    retry = retried(victim, spoofed(1))
    net.now += 16
    victim.take([Datagrams(spoofed(1), initial(retry.scid, b"", PING, token=retry.token))])
    assert not victim.connections
    (refusal,) = victim.endpoint.transmit()
    assert len(refusal.data) < 1200


def test_retry_tokens_with_each_byte_changed():
    _, victim = under_retry()
    retry = retried(victim, spoofed(1))
    for at in range(len(retry.token)):
        forged = bytearray(retry.token)
        forged[at] ^= 1
        victim.take([Datagrams(spoofed(1), initial(retry.scid, b"", PING, token=bytes(forged)))])
    assert not victim.connections


def test_a_retry_token_for_another_connection_id():
    _, victim = under_retry()
    retry = retried(victim, spoofed(1))
    victim.take([Datagrams(spoofed(1), initial(b"other id", b"", PING, token=retry.token))])
    assert not victim.connections


def test_a_handshake_that_never_ends_is_given_up():
    """A peer that only pings is never idle, and does not keep its place for ever."""
    net = Net()
    victim = net.add(VICTIM)
    victim.take([Datagrams(ELSEWHERE, first(1))])
    (attempt,) = victim.connections
    for n in range(1, 10):
        net.sleep(5)
        victim.take([Datagrams(ELSEWHERE, first(1, pn=n))])
    assert isinstance(attempt.close_reason, err.TimedOut)
    assert attempt not in victim.connections
