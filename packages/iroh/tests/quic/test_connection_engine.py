"""Rules of the handshake, of timers and of the end, datagram by datagram, without the simulator."""

import itertools
import random

import pytest

from iroh.quic import packet as pk
from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.errors import ConnectionGone
from iroh.quic.events import Closed, Connected, Drained
from iroh.quic.frames import HANDSHAKE, INITIAL
from iroh.quic.local_cids import UNOPENED
from iroh.quic.make import make_connection
from iroh_base import SecretKey

ALPN = b"rules/1"
CLIENT, SERVER, ELSEWHERE = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
DELAY = 0.01


class End:
    """An endpoint with at most one connection."""

    def __init__(self, name, address, config, *, is_server):
        rng = random.Random(name).randbytes
        self.key = SecretKey.generate(rng)
        self.config = ServerConfig([ALPN], config)
        self.address = address
        self.endpoint = Endpoint(
            make_connection, self.key, self.config if is_server else None, config, rng
        )
        self.connection = None
        self.events = []

    @property
    def parts(self):
        return self.connection._p

    def take(self, datagrams, remote, now):
        """Receive datagrams one by one, accept what comes in."""
        for data in datagrams:
            got = self.endpoint.receive([Datagrams(remote, data)], now)
            for incoming in got.incoming:
                self.connection = incoming.accept(self.config, now)

    def send(self, now):
        """Give every datagram that wants to leave."""
        batches = list(self.endpoint.transmit())
        while self.connection is not None:
            more = self.connection.transmit(now)
            if not more:
                break
            batches += more
        if self.connection is not None:
            self.events += self.connection.events()
        return [data for batch in batches for data in batch]

    def fire(self, now):
        """Let time pass up to `now`, and give what leaves on the way."""
        sent = []
        for _ in range(200):
            due = self.connection.next_timeout()
            if due is None or due > now:
                return sent
            self.connection.handle_timeout(due)
            sent += self.send(due)
        raise AssertionError("timers without end")

    def is_seen(self, kind):
        return any(isinstance(event, kind) for event in self.events)


class Wire:
    """Two ends and the clock between them."""

    def __init__(self, config=None):
        config = config or TransportConfig()
        self.client = End("client", CLIENT, config, is_server=False)
        self.server = End("server", SERVER, config, is_server=True)
        self.now = 100.0
        key = self.server.key.public().to_bytes()
        self.client.connection = self.client.endpoint.connect(SERVER, key, [ALPN], self.now)

    def up(self, datagrams=None):
        """Carry datagrams to the server, by default all that the client wants to send."""
        datagrams = self.client.send(self.now) if datagrams is None else datagrams
        self.now += DELAY
        self.server.take(datagrams, CLIENT, self.now)
        return datagrams

    def down(self, datagrams=None):
        """The same to the client."""
        datagrams = self.server.send(self.now) if datagrams is None else datagrams
        self.now += DELAY
        self.client.take(datagrams, SERVER, self.now)
        return datagrams

    def settle(self, rounds=6):
        for _ in range(rounds):
            self.up()
            self.down()

    def wait(self, seconds, *, carry=True):
        """Let timers fire in their order, and carry what they send unless it is to be lost."""
        end = self.now + seconds
        for _ in itertools.count():
            dues = [
                side.connection.next_timeout()
                for side in (self.client, self.server)
                if side.connection is not None
            ]
            due = min((at for at in dues if at is not None), default=end)
            if due > end:
                break
            self.now = max(self.now, due)
            for side, carry_to in ((self.client, self.up), (self.server, self.down)):
                if side.connection is not None:
                    sent = side.fire(self.now)
                    if carry and sent:
                        carry_to(sent)
                        self.settle(2)
            if due == end:
                break
        self.now = max(self.now, end)


def kinds(datagram):
    """Tell the packets of a datagram: i, h, or 1 for a short header."""
    names, at = "", 0
    while at < len(datagram):
        if not datagram[at] & pk.LONG:
            return names + "1"
        header = pk.parse_long(datagram, at)
        names += {pk.INITIAL: "i", pk.HANDSHAKE: "h"}.get(header.kind, "?")
        at = header.end
    return names


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def connected(wire):
    wire.settle()
    assert wire.client.is_seen(Connected)
    assert wire.server.is_seen(Connected)
    wire.wait(1.0)
    return wire


# -- padding and coalescing ---------------------------------------------------------------------


def test_every_datagram_with_an_eliciting_initial_has_1200_bytes(wire):
    flights = [wire.up(), wire.down(), wire.up(), wire.down()]
    seen = [(kinds(datagram), len(datagram)) for flight in flights for datagram in flight]
    assert seen[0] == ("i", 1200)
    assert all(size == 1200 for names, size in seen if "i" in names)
    assert seen[1][0] == "ih", "the server's Initial and Handshake share a datagram"


def test_what_the_client_says_last_in_initial_shares_a_datagram_with_its_finished(wire):
    wire.up()
    wire.down()
    flight = wire.up()
    assert kinds(flight[0]) == "ih"
    assert len(flight[0]) == 1200
    assert INITIAL not in wire.client.parts.levels


# -- keys ---------------------------------------------------------------------------------------


def test_when_keys_are_dropped(wire):
    """RFC 9001 section 4.9."""
    client, server = wire.client, wire.server
    wire.up()
    flight = wire.server.send(wire.now)
    assert set(server.parts.levels) == {INITIAL, HANDSHAKE}
    wire.down(flight)
    assert set(client.parts.levels) == {INITIAL, HANDSHAKE}
    finished = client.send(wire.now)
    assert set(client.parts.levels) == {HANDSHAKE}, "by sending a Handshake packet"
    wire.up(finished)
    assert not server.parts.levels, "complete is confirmed"
    assert not client.parts.confirmed
    wire.down()
    assert client.parts.confirmed
    assert not client.parts.levels
    assert client.parts.recovery.bytes_in_flight >= 0
    for side in (client, server):
        assert [space.data for space in side.parts.recovery.spaces] == [True]


# -- lost flights -------------------------------------------------------------------------------


def test_connection_ids_are_issued_once_the_handshake_is_confirmed(wire):
    wire.up()
    client, server = wire.client.parts.mp, wire.server.parts.mp
    wire.down()
    assert wire.client.connection.peer is not None
    assert issued(client) == issued(server) == [1] + [0] * 7
    wire.up()
    assert issued(server) == [5] + [UNOPENED] * 7
    assert issued(client) == [1] + [0] * 7
    wire.down()
    assert issued(client) == [5] + [UNOPENED] * 7
    wire.up()
    for mp in (client, server):
        assert mp.remote_cids.spare(0) >= 3
        assert all(mp.remote_cids.spare(path_id) == UNOPENED for path_id in range(1, 8))


def issued(mp):
    return [len(mp.local_cids.cids(path_id)) for path_id in range(8)]


def test_a_lost_flight_of_the_server_comes_again_without_the_client(wire):
    wire.up()
    wire.server.send(wire.now)  # lost
    again = wire.server.fire(wire.now + 1.1)
    assert kinds(again[0])[0] == "i"
    wire.down(again)
    wire.settle()
    assert wire.client.is_seen(Connected)


def test_a_lost_finished_comes_again(wire):
    wire.up()
    wire.down()
    wire.client.send(wire.now)  # lost
    again = wire.client.fire(wire.now + 1.1)
    assert "h" in "".join(map(kinds, again))
    wire.up(again)
    wire.settle()
    assert wire.server.is_seen(Connected)
    assert wire.client.parts.confirmed


def test_a_lost_handshake_done_comes_again(wire):
    wire.up()
    wire.down()
    wire.up()
    wire.server.send(wire.now)  # lost
    assert not wire.client.parts.confirmed
    wire.down(wire.server.fire(wire.now + 1.5))
    assert wire.client.parts.confirmed


def test_a_client_whose_initial_was_only_acknowledged_keeps_asking(wire):
    """It has no Handshake keys: the probe is an Initial (RFC 9002 section 6.2.2.1)."""
    client = wire.client
    client.send(wire.now)
    recovery = client.parts.levels[INITIAL].recovery
    recovery.on_ack([(0, recovery.next - 1)], 0.0, wire.now + DELAY)
    probes = client.fire(wire.now + 5.0)
    assert probes
    assert all(kinds(datagram) == "i" and len(datagram) == 1200 for datagram in probes)


# -- the 3x limit -------------------------------------------------------------------------------


def test_a_server_never_sends_more_than_three_times_what_it_got(wire):
    """However long it waits, and without a timer that fires for nothing."""
    got = sum(map(len, wire.up()))
    sent = sum(map(len, wire.server.send(wire.now)))
    sent += sum(map(len, wire.server.fire(wire.now + 25.0)))
    assert 1200 < sent <= 3 * got
    assert wire.server.parts.recovery.blocked
    probe = wire.client.fire(wire.now + 25.0)
    wire.now += 25.0
    wire.up(probe)
    assert wire.server.send(wire.now), "more came in, so more goes out"


def test_what_comes_from_elsewhere_earns_nothing(wire):
    flight = wire.client.send(wire.now)
    wire.server.take(flight, CLIENT, wire.now)
    wire.server.send(wire.now)
    before = wire.server.parts.paths.get(0).bytes_received
    wire.server.take(flight, ELSEWHERE, wire.now)
    assert wire.server.parts.paths.get(0).bytes_received == before


def test_an_ack_in_a_small_allowance_tells_the_newest(connected):
    """What does not fit is left out, oldest first, and not taken for told."""
    server = connected.server
    path = server.parts.paths.get(0)
    acks = path.acks
    top = acks.ranges.largest()
    for number in range(top + 2, top + 60, 2):
        acks.received(number, number, 1, connected.now)
    path.validated, path.limited = False, True
    path.bytes_received, path.bytes_sent = 30, 0
    sent = server.send(connected.now)
    assert sent
    assert sum(map(len, sent)) <= 90
    assert acks._largest_told == top + 58
    due = server.connection.next_timeout()
    assert due is None or due > connected.now


# -- foreign packets in the handshake -----------------------------------------------------------


def test_a_second_source_id_is_dropped(wire):
    """RFC 9000 section 7.2."""
    wire.up()
    flight = wire.server.send(wire.now)
    other = Wire()
    other.server = wire.server
    wire.down(flight)
    assert wire.client.parts.peer_source_cid == pk.parse_long(flight[0], 0).scid
    wire.client.parts.peer_source_cid = b"someone!"
    wire.client.take(flight, SERVER, wire.now)
    assert wire.client.endpoint.dropped["unexpected connection id"] >= 1


# -- idle, keep-alive ---------------------------------------------------------------------------


def test_idle_ends_at_the_time_out_and_says_so_once():
    wire = Wire(TransportConfig(max_idle_timeout=5.0, keep_alive_interval=None))
    wire.settle()
    for path in wire.client.parts.paths:
        wire.client.parts.mp.timers.set_keep_alive(path.path_id, None, wire.now)
    wire.wait(1.0)
    start = wire.client.parts.last_received
    wire.client.fire(start + 4.9)
    assert not wire.client.is_seen(Closed)
    wire.client.fire(start + 9.0)
    ends = [event for event in wire.client.events if isinstance(event, Closed | Drained)]
    assert [type(event) for event in ends] == [Closed, Drained]
    assert ends[0].reason.kind == "TimedOut"
    assert wire.client.connection.next_timeout() is None
    with pytest.raises(ConnectionGone):
        wire.client.connection.open_stream(True)


def test_sending_into_silence_puts_the_time_out_off_only_once(connected):
    """RFC 9000 section 10.1: the first ack-eliciting packet after one was received restarts it."""
    client, parts = connected.client, connected.client.parts
    heard = parts.last_received
    for at in (5.0, 10.0, 15.0):
        connected.now = heard + at
        client.connection.ping()
        client.send(connected.now)
    assert parts.idle_restart == pytest.approx(heard + 5.0, abs=1.0)
    client.fire(heard + 29.0)
    assert not client.is_seen(Closed)
    client.fire(heard + 40.0)
    assert client.is_seen(Closed)


# -- the end ------------------------------------------------------------------------------------


def test_closed_comes_once_and_drained_last(connected):
    client, server = connected.client, connected.server
    client.connection.close(7, b"enough", connected.now)
    client.connection.close(8, b"again", connected.now)
    connected.up()
    assert server.connection.close_reason.code == 7
    assert not server.send(connected.now), "who drains says nothing"
    for side in (client, server):
        side.fire(connected.now + 10.0)
        side.events += side.connection.events()
        ends = [event for event in side.events if isinstance(event, Closed | Drained)]
        assert [type(event) for event in ends] == [Closed, Drained]
        assert side.events[-1] is ends[-1]
        assert side.connection.next_timeout() is None
        side.endpoint.forget(side.connection)
        assert side.endpoint.remembered() == 0


def test_a_lost_close_is_said_again_ever_more_rarely(connected):
    client, server = connected.client, connected.server
    client.connection.close(7, b"", connected.now)
    assert len(client.send(connected.now)) == 1  # lost
    answers = 0
    for _ in range(16):
        server.connection.ping()
        connected.now += client.parts.recovery.pto()
        client.take(server.send(connected.now), SERVER, connected.now)
        answers += len(client.send(connected.now))
    assert answers == 5  # for the 1st, 2nd, 4th, 8th and 16th


def test_a_close_is_not_said_again_for_what_was_on_its_way(connected):
    client, server = connected.client, connected.server
    client.connection.close(7, b"", connected.now)
    assert len(client.send(connected.now)) == 1
    for _ in range(16):
        server.connection.ping()
        client.take(server.send(connected.now), SERVER, connected.now + DELAY)
        assert client.send(connected.now + DELAY) == []


@pytest.mark.parametrize("reason", [b"", b"x" * 5000])
def test_a_close_in_mid_handshake_fits_its_datagrams(wire, reason):
    """Each level that the server may know gets one, none of them larger than paths carry."""
    wire.up()
    wire.down()
    client = wire.client
    client.connection.close(3, reason, wire.now)
    flight = client.send(wire.now)
    assert all(len(datagram) <= 1252 for datagram in flight)
    assert "h" in kinds(flight[0])
    wire.up(flight)
    assert wire.server.connection.close_reason is not None
    wire.server.events += wire.server.connection.events()
    assert not wire.server.is_seen(Connected)


def test_a_server_that_closes_before_the_handshake_is_heard(wire):
    wire.up()
    wire.server.connection.close(3, b"secret", wire.now)
    wire.down()
    reason = wire.client.connection.close_reason
    assert reason is not None
    assert b"secret" not in repr(reason).encode(), "RFC 9000 section 10.2.3"


# -- timers -------------------------------------------------------------------------------------


def test_no_timer_is_ever_due_after_it_was_served(connected):
    """Every deadline lies in the future once handle_timeout and transmit were called."""
    client, server = connected.client, connected.server
    stream = client.connection.open_stream(True)
    for _ in range(300):
        client.connection.write(stream, b"x" * 3000)
        for side, other in ((client, server), (server, client)):
            due = side.connection.next_timeout()
            if due is not None and due <= connected.now:
                side.connection.handle_timeout(connected.now)
            sent = side.send(connected.now)
            after = side.connection.next_timeout()
            assert after is None or after > connected.now
            other.take(sent[::2], side.address, connected.now + 0.001)
        if server.connection.read(stream, 1 << 20) is None:
            break
        connected.now += 0.003


def test_the_pacer_wakes_up_until_all_is_sent(connected):
    """Nothing but the timer drives the sender, and ACKs come back."""
    client, server = connected.client, connected.server
    stream = client.connection.open_stream(False)
    assert client.connection.write(stream, bytes(60_000)) == 60_000
    client.connection.finish(stream)
    got = 0
    for _ in range(400):
        sent = client.send(connected.now)
        server.take(sent, CLIENT, connected.now)
        got += len(server.connection.read(stream, 1 << 20) or b"") if got < 60_000 else 0
        client.take(server.send(connected.now), SERVER, connected.now)
        if got == 60_000:
            return
        dues = [side.connection.next_timeout() for side in (client, server)]
        connected.now = max(connected.now, min(at for at in dues if at is not None))
        for side in (client, server):
            side.connection.handle_timeout(connected.now)
    raise AssertionError(f"stalled at {got} bytes")


def test_app_limited_tells_whether_there_was_more_to_send(connected):
    client = connected.client
    stream = client.connection.open_stream(False)
    client.connection.write(stream, b"little")
    client.send(connected.now)
    assert client.parts.recovery.app_limited
    client.connection.write(stream, bytes(400_000))
    client.send(connected.now)
    assert not client.parts.recovery.app_limited
