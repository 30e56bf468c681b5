"""What the settings of a transport change on the wire: MTU, controller, spin bit, ACK frequency."""

import pytest

from iroh.quic import packet as pk
from iroh.quic.config import AckFrequencyConfig, TransportConfig
from iroh.quic.congestion import Cubic, NewReno
from iroh.quic.connection import Connection
from iroh.quic.frames import AckFrequency
from iroh.quic.key_phase import DataKeys
from iroh.quic.keys import AES_128_GCM_SHA256

from .engine_pair import SERVER, Pair, connected


def move(pair, size):
    """Send so many bytes from client to server."""
    client, server = pair.ends
    stream_id = client.open_stream(False)
    left = size
    got = 0
    while got < size:
        if left:
            left -= client.write(stream_id, bytes(min(left, 1 << 20)))
        pair.settle(0.01)
        while data := server.read(stream_id, 1 << 20):
            got += len(data)


def path_of(connection: Connection):
    return connection._p.paths.get(0)


@pytest.mark.parametrize(
    "settings",
    [
        {"congestion": "bbr"},
        {"initial_mtu": 1000},
        {"initial_mtu": 1500},
        {"mtu_upper_bound": 1100},
        {"mtu_upper_bound": 65_536},
        {"new_tokens": -1},
    ],
    ids=lambda settings: str(*settings.items()),
)
def test_settings_that_cannot_be(settings):
    with pytest.raises(ValueError):
        TransportConfig(**settings)


# -- MTU and controller --------------------------------------------------------------------------


def test_mtu_discovery_ends_at_1452():
    pair = connected()
    move(pair, 1_000_000)
    assert [path.stats.current_mtu for end in pair.ends for path in end.paths()] == [1452, 1452]


def test_mtu_discovery_goes_as_far_as_both_allow():
    jumbo = TransportConfig(mtu_upper_bound=9000)
    pair = connected(jumbo, jumbo)
    move(pair, 1_000_000)
    assert path_of(pair.ends[0]).mtud.mtu == 9000


def test_mtu_discovery_heeds_what_the_peer_takes():
    pair = connected(TransportConfig(mtu_upper_bound=9000))
    move(pair, 1_000_000)
    assert 1452 <= path_of(pair.ends[0]).mtud.mtu <= 1472


def test_mtu_discovery_switched_off():
    pair = connected(TransportConfig(mtu_upper_bound=1200))
    move(pair, 1_000_000)
    assert path_of(pair.ends[0]).mtud.mtu == 1200


@pytest.mark.parametrize(("name", "kind"), [("cubic", Cubic), ("newreno", NewReno)])
def test_the_congestion_controller_is_chosen(name, kind):
    pair = connected(TransportConfig(congestion=name, initial_mtu=9000, mtu_upper_bound=9000))
    controller = path_of(pair.ends[0]).recovery.path.congestion
    assert type(controller) is kind
    assert controller.window >= 2 * 9000
    pair.ends[0].path_commands.open(SERVER._replace(port=3000), None, pair.now)
    assert type(pair.ends[0]._p.paths.get(1).recovery.path.congestion) is kind


# -- ACK frequency -------------------------------------------------------------------------------


ASKS = AckFrequencyConfig(ack_eliciting_threshold=4, max_ack_delay=0.05, reordering_threshold=3)


def test_the_peer_is_asked_for_an_ack_frequency_and_heeds_it_on_every_path():
    pair = connected(TransportConfig(ack_frequency=ASKS))
    client, server = pair.ends
    acks = path_of(server).acks
    assert (acks.threshold, acks.max_ack_delay, acks._reordering) == (5, 0.05, 3)
    assert path_of(client).recovery.path.peer_max_ack_delay == 0.05
    assert path_of(client).acks.max_ack_delay == 0.025, "nobody asked it for anything"
    client.path_commands.open(SERVER._replace(port=3000), None, pair.now)
    pair.settle(0.5)
    later = server._p.paths.get(1)
    assert (later.acks.threshold, later.acks.max_ack_delay) == (5, 0.05)
    assert client._p.paths.get(1).recovery.path.peer_max_ack_delay == 0.05
    move(pair, 100_000)


def test_a_request_that_is_lost_is_made_again():
    pair = connected(TransportConfig(ack_frequency=ASKS))
    control = pair.ends[0]._p.mp.ack_frequency
    control.on_lost(0)
    ((frame, delay),) = control.take_frames(0.0, 1000)
    assert isinstance(frame, AckFrequency)
    assert (frame.seq, delay, control.take_frames(0.0, 1000)) == (0, 50_000, [])


def test_older_requests_change_nothing():
    pair = connected()
    control = pair.ends[0]._p.mp.ack_frequency
    assert control.on_frame(AckFrequency(7, 3, 30_000, 1))
    assert not control.on_frame(AckFrequency(7, 9, 30_000, 1))
    assert not control.on_frame(AckFrequency(0, 9, 30_000, 1))
    assert control.on_frame(AckFrequency(8, 4, 30_000, 1))


def test_a_delay_below_what_the_peer_can_is_not_asked_for():
    asks = AckFrequencyConfig(max_ack_delay=0.0)
    pair = connected(TransportConfig(ack_frequency=asks))
    assert path_of(pair.ends[1]).acks.max_ack_delay == 0.001


# -- spin bit ------------------------------------------------------------------------------------


def bits(pair, rounds):
    """The spin bits of client and server, round trip by round trip."""
    seen = []
    for _ in range(rounds):
        for here, there in (pair.ends, pair.ends[::-1]):
            here.ping()
            (batch, *_) = here.transmit(pair.now)
            seen.append(batch.data[0] & pk.SPIN)
            batch.remote = SERVER._replace(port=1000) if there is pair.ends[0] else SERVER
            there._receiver.receive_run(0, moved(pair, there, batch), pair.now)
    return seen


def moved(pair, there, batch):
    batch.remote = path_of(there).remote
    return batch


def spinning(pair, spins):
    for end in pair.ends:
        keys = end._p.keys
        keys.spins, keys.spin = (pk.SPIN if end.is_client else 0) if spins else None, 0


def test_the_spin_bit_turns_once_per_round_trip():
    pair = connected()
    spinning(pair, True)
    assert bits(pair, 4) == [0, 0, pk.SPIN, pk.SPIN] * 2


def test_the_spin_bit_stands_still_where_it_is_not_wanted():
    pair = connected(TransportConfig(allow_spin=False), TransportConfig(allow_spin=False))
    assert pair.ends[0]._p.keys.spins is pair.ends[1]._p.keys.spins is None
    assert len(set(bits(pair, 4))) == 1


def test_one_connection_in_eight_does_not_spin():
    def made(random):
        keys = DataKeys(AES_128_GCM_SHA256, bytes(32), bytes(32))
        keys.begin_spin(True, random)
        return keys

    quiet = [made(random) for random in range(256) if made(random).spins is None]
    assert len(quiet) == 32
    assert {keys.spin for keys in quiet} == {0, pk.SPIN}, "their bit tells nothing"
    for keys in quiet:
        before = keys.spin
        keys.on_spin(0)
        keys.reset_spin()
        assert keys.spin == before


# -- patience --------------------------------------------------------------------------------------


def sent_into_silence(pair, seconds=29.0):
    """The times at which a client sends while nobody answers."""
    client = pair.client.connection
    start, times = pair.now, []
    while pair.now < start + seconds:
        if client.transmit(pair.now):
            times.append(round(pair.now - start, 1))
        due = client.next_timeout()
        if due is None:
            break
        pair.now = max(due, pair.now)
        client.handle_timeout(pair.now)
    return times


def test_first_packets_go_when_rust_sends_them():
    """Seen of Rust iroh 1.4.1: 0, 1, 3, 6.1, 10.1, 15.1 s; probes back off by the path's 15 s."""
    assert sent_into_silence(Pair()) == [0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0, 28.0]


def test_probes_back_off_by_the_idle_timeout_of_their_path():
    pair = connected()
    commands = pair.ends[0].path_commands
    shared = path_of(pair.ends[0]).recovery.path
    assert shared.idle_timeout == 15.0
    commands.set_idle_timeout(0, 30.0, pair.now)
    assert shared.idle_timeout == 30.0
