"""NEW_TOKEN: given by servers, kept by clients, and what it spares under a flood."""

import random

import pytest

from iroh.quic.address_tokens import (
    LIFETIME,
    MAX_LENGTH,
    MAX_PEERS,
    MAX_PER_PEER,
    MAX_USED,
    AddressTokens,
    ReceivedTokens,
    TokenGiver,
)
from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.frames import NewToken
from iroh.quic.limits import Limits
from iroh.quic.make import make_connection
from iroh.quic.tokens import RetryToken, TokenExpired, TokenMisplaced
from iroh_base import SecretKey, SocketAddr

ALPN = b"tokens/1"
HOME = SocketAddr("192.0.2.1", 1000)
MOVED = HOME._replace(port=2000)
AWAY = SocketAddr("192.0.2.9", 1000)
SERVER = SocketAddr("198.51.100.1", 4000)
DESTINATION = b"8 bytes!"


def tokens() -> AddressTokens:
    return AddressTokens(random.Random(1).randbytes)


# -- what a server gives and takes -----------------------------------------------------------------


@pytest.mark.parametrize("remote", [HOME, MOVED], ids=["same port", "another port"])
def test_a_token_is_good_once_and_for_its_host(remote):
    mine = tokens()
    sealed = mine.for_later(HOME, 10.0)
    assert mine.open(sealed, AWAY, DESTINATION, 11.0) is None
    assert mine.open(sealed, remote, DESTINATION, 11.0) == RetryToken(DESTINATION, None)
    assert mine.open(sealed, remote, DESTINATION, 11.0) is None


def test_an_opaque_address_is_a_host_of_its_own():
    mine = tokens()
    sealed = mine.for_later("relay A", 0.0)
    assert mine.open(sealed, "relay B", DESTINATION, 1.0) is None
    assert mine.open(sealed, "relay A", DESTINATION, 1.0) is not None


def test_a_token_has_its_time():
    mine = tokens()
    early, late = mine.for_later(HOME, 100.0), mine.for_later(HOME, 100.0)
    assert mine.open(early, HOME, DESTINATION, 101.0 + LIFETIME) is None
    assert mine.open(late, HOME, DESTINATION, 50.0) is None, "of the future"
    assert mine.open(late, HOME, DESTINATION, 99.0 + LIFETIME) is not None


def test_tokens_of_others_and_noise():
    mine, sealed = tokens(), AddressTokens(random.Random(2).randbytes).for_later(HOME, 0.0)
    for data in (sealed, b"", b"x", bytes(12), bytes(100), sealed[:-1], sealed[1:]):
        assert mine.open(data, HOME, DESTINATION, 1.0) is None


def test_tokens_of_a_retry_go_the_same_way():
    mine = tokens()
    said = RetryToken(b"original", DESTINATION)
    sealed = mine.for_retry(b"original", DESTINATION, HOME, 0.0)
    assert mine.open(sealed, HOME, DESTINATION, 1.0) == said
    with pytest.raises(TokenMisplaced):
        mine.open(sealed, MOVED, DESTINATION, 1.0)
    with pytest.raises(TokenExpired):
        mine.open(sealed, HOME, DESTINATION, 100.0)


def test_what_was_used_is_remembered_within_bounds():
    mine = tokens()
    sealed = [mine.for_later(HOME, 1.0) for _ in range(MAX_USED + 2)]
    for token in sealed[: MAX_USED + 1]:
        assert mine.open(token, HOME, DESTINATION, 2.0) is not None
    assert len(mine._used) == 1
    for token in (sealed[0], sealed[-1]):
        assert mine.open(token, HOME, DESTINATION, 3.0) is None, "void since then"
    assert mine.open(mine.for_later(HOME, 2.5), HOME, DESTINATION, 3.0) is not None


def test_a_lost_token_is_replaced_by_another():
    giver = TokenGiver(tokens())
    giver.give(HOME, 2)
    assert giver.take_frames(0.0, 20) == []
    frames = [frame for frame, _ in giver.take_frames(0.0, 1000)]
    assert all(isinstance(frame, NewToken) for frame in frames)
    assert len({frame.encode() for frame in frames}) == 2
    assert giver.take_frames(0.0, 1000) == []
    giver.on_acked(None)
    giver.on_lost(None)
    assert len(giver.take_frames(0.0, 1000)) == 1


# -- what a client keeps ---------------------------------------------------------------------------


def test_the_newest_token_goes_first_and_once():
    kept = ReceivedTokens()
    for n in range(MAX_PER_PEER + 1):
        kept.add(b"peer", bytes([n]))
    taken = [kept.take(b"peer") for _ in range(MAX_PER_PEER + 1)]
    assert taken == [*(bytes([n]) for n in range(MAX_PER_PEER, 0, -1)), b""]
    assert len(kept) == 0


def test_few_servers_and_no_long_tokens_are_kept():
    kept = ReceivedTokens()
    for n in range(MAX_PEERS + 10):
        kept.add(b"%d" % n, b"token")
    assert len(kept) == MAX_PEERS
    assert kept.take(b"0") == b""
    kept.add(b"long", bytes(MAX_LENGTH + 1))
    assert kept.take(b"long") == b""


# -- both ends -------------------------------------------------------------------------------------


class Meeting:
    """A client that meets a server again and again, in virtual time."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.key = SecretKey.from_bytes(bytes([2]) * 32)
        self.config = ServerConfig([ALPN], TransportConfig(new_tokens=count))
        self.client = Endpoint(make_connection, SecretKey.from_bytes(bytes([1]) * 32))
        self.server = Endpoint(
            make_connection, self.key, self.config, limits=Limits(half_open_soft=0)
        )

    def meet(self, home: SocketAddr = HOME):
        """Connect; give both ends."""
        peer = self.key.public().to_bytes()
        dialled = self.client.connect(SERVER, peer, [ALPN], self.now)
        accepted = []
        for _ in range(20):
            self.now += 0.01
            self.carry(dialled.transmit(self.now), home, self.server, accepted)
            out = self.server.transmit()
            for connection in accepted:
                out += connection.transmit(self.now)
            self.carry(out, SERVER, self.client, [])
        (server,) = accepted
        assert dialled.peer == peer
        assert server.peer is not None
        return dialled, server

    def carry(self, batches, source, target, accepted):
        for batch in batches:
            moved = Datagrams(source, batch.data, batch.segment_size, batch.ecn)
            for incoming in target.receive([moved], self.now).incoming:
                accepted.append(incoming.accept(self.config, self.now))


def test_who_has_a_token_needs_no_retry():
    meeting = Meeting(2)
    first, _ = meeting.meet()
    assert first._p.retry_source_cid is not None
    for _ in range(3):
        client, server = meeting.meet(MOVED)
        assert client._p.retry_source_cid is None
        assert server._p.paths.get(0).validated
    client, _ = meeting.meet(AWAY)
    assert client._p.retry_source_cid is not None


def test_rust_gives_none_and_neither_do_we_unasked():
    meeting = Meeting(0)
    meeting.meet()
    client, _ = meeting.meet()
    assert client._p.retry_source_cid is not None
