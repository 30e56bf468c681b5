"""Each setting of a TransportConfig acts; what cannot be is refused with a word on what can."""

import pytest

from iroh.quic.config import AckFrequencyConfig, TransportConfig
from iroh.quic.errors import PeerError, StreamGone
from iroh.quic.path_errors import PathIdsExhausted
from iroh.quic.path_events import ObservedAddressChanged, PathAbandoned
from iroh_base import SocketAddr

from .engine_pair import CLIENT, SERVER, Pair, connected
from .recovery_kit import SIZE, Sender
from .test_mtud import lose, search

SECOND = SERVER._replace(port=2001)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"packet_threshold": 2}, "3 or more, not 2: fewer takes reordering for loss"),
        ({"time_threshold": 0.9}, "1.0..1000.0, not 0.9: less takes any delay for loss"),
        ({"time_threshold": float("nan")}, "not nan"),
        ({"persistent_congestion_threshold": 0}, "1 or more"),
        ({"initial_rtt": 0.0}, "0.001..60.0, not 0.0"),
        ({"max_idle_timeout": -1.0}, "None, or 0, is for ever"),
        ({"keep_alive_interval": 0.0}, "None is never"),
        ({"max_concurrent_bidi_streams": 2**60 + 1}, "RFC 9000 section 4.6"),
        ({"send_window": 0}, "1 or more"),
        ({"min_mtu": 1199}, "1200..mtu_upper_bound"),
        ({"min_mtu": 1453}, "raise that, too"),
        ({"mtu_interval": 0.0}, "mtu_upper_bound=initial_mtu never looks"),
        ({"mtu_minimum_change": 0}, "1..16384, not 0"),
        ({"mtu_black_hole_cooldown": -1.0}, "0.0 or more"),
        ({"crypto_buffer_size": 4095}, "4096 or more, not 4095: RFC 9000 section 7.5"),
        ({"max_concurrent_multipath_paths": 7}, "8..64, not 7"),
        ({"max_concurrent_multipath_paths": 65}, "8..64, not 65"),
        ({"default_path_max_idle_timeout": 15.1}, "0.001..15.0, not 15.1"),
        ({"default_path_keep_alive_interval": 5.1}, "0.001..5.0, not 5.1"),
        ({"max_remote_nat_traversal_addresses": 7}, "8..255, not 7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_says_what_can(settings, words):
    with pytest.raises(ValueError) as error:
        TransportConfig(**settings)
    assert str(error.value).startswith(next(iter(settings)))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"packet_threshold": 3.5}, "packet_threshold is an integer, not 3.5"),
        ({"time_threshold": "1.2"}, "time_threshold is a number, not '1.2'"),
        ({"receive_window": True}, "receive_window is an integer, not True"),
        ({"initial_rtt": None}, "initial_rtt is a number, not None"),
    ],
)
def test_what_is_no_number_is_a_type_error(settings, words):
    with pytest.raises(TypeError, match=words):
        TransportConfig(**settings)


def test_what_a_peer_cannot_be_asked_for():
    with pytest.raises(ValueError, match="ack_eliciting_threshold is 0 or more, not -1"):
        AckFrequencyConfig(ack_eliciting_threshold=-1)
    with pytest.raises(ValueError, match=r"max_ack_delay is 0.0..16.383"):
        AckFrequencyConfig(max_ack_delay=17.0)


# -- loss detection ------------------------------------------------------------------------------


def path_of(connection):
    return connection._p.paths.get(0)


def overtaken(pair: Pair, by: int) -> float:
    """Keep one of the client's packets back until so many others were acknowledged.

    Gives the time at which the client wants to be called next, after now.
    """
    client, server = pair.ends
    for n in range(by + 1):
        client.ping()
        (batch,) = client.transmit(pair.now)
        if n:
            batch.remote = CLIENT
            pair.server.endpoint.receive([batch], pair.now)
    for batch in server.transmit(pair.now):
        batch.remote = SERVER
        pair.client.endpoint.receive([batch], pair.now)
    due = client.next_timeout()
    assert due is not None
    return due - pair.now


def calm(transport: TransportConfig) -> Pair:
    """A pair whose client measured 100 ms."""
    pair = connected(transport)
    rtt = path_of(pair.ends[0]).recovery.path.rtt
    for _ in range(200):
        rtt.update(0.1, 0.0)
    return pair


@pytest.mark.parametrize(("threshold", "lost"), [(3, 1), (20, 0)])
def test_packet_threshold(threshold, lost):
    pair = calm(TransportConfig(packet_threshold=threshold))
    before = pair.ends[0].stats().lost_packets
    overtaken(pair, 6)
    assert pair.ends[0].stats().lost_packets - before == lost


def test_a_packet_threshold_is_where_patience_starts_and_returns_to():
    sender = Sender()
    assert sender.recovery.reordering.packet_threshold == 3
    pair = connected(TransportConfig(packet_threshold=300))
    reordering = path_of(pair.ends[0]).recovery.reordering
    reordering._tolerate(500)
    assert reordering.packet_threshold == 300, "it grows up to 128 only"
    reordering.reset()
    assert reordering.packet_threshold == 300


@pytest.mark.parametrize("threshold", [1.0, 9 / 8, 3.0])
def test_time_threshold(threshold):
    pair = calm(TransportConfig(time_threshold=threshold))
    before = pair.ends[0].stats().lost_packets
    due = overtaken(pair, 1)
    assert due == pytest.approx(0.1 * 7 / 8 * threshold), "the newest sample was of 0 s"
    pair.ends[0].handle_timeout(pair.now + due)
    assert pair.ends[0].stats().lost_packets - before == 1


@pytest.mark.parametrize(("periods", "window"), [(3, 2 * SIZE), (30, 500_000)])
def test_persistent_congestion_threshold(periods, window):
    sender = Sender()
    pair = connected(TransportConfig(persistent_congestion_threshold=periods))
    sender.path.persistent_periods = path_of(pair.ends[0]).recovery.path.persistent_periods
    sender.send(1, 0.0)
    sender.ack(0.1, (0, 0))
    for now in (1.0, 5.0, 8.0):
        sender.send(1, now)
    sender.ack(8.4, (3, 3))
    assert sender.path.congestion.window == window


# -- sending -------------------------------------------------------------------------------------


def read_all(connection, stream_id) -> int:
    try:
        return len(connection.read(stream_id, 1 << 20) or b"")
    except StreamGone:  # not there yet
        return 0


@pytest.mark.parametrize("fair", [True, False])
def test_send_fairness(fair):
    pair = connected(TransportConfig(send_fairness=fair))
    client, server = pair.ends
    streams = [client.open_stream(False) for _ in range(3)]
    for stream in streams:
        assert client.write(stream, bytes(60_000)) == 60_000
    got = dict.fromkeys(streams, 0)
    began = {}
    while min(got.values()) < 60_000:
        if not pair.step():
            pair._pass_time()
        for stream in streams:
            size = read_all(server, stream)
            if size and stream not in began:
                began[stream] = dict(got)
            got[stream] += size
    first, second, third = streams
    if fair:
        assert max(began[third].values()) < 60_000
    else:
        assert began[second][first] > 50_000, "one packet may hold the end and the next beginning"
        assert began[third][second] > 50_000


def sizes_sent(pair: Pair, act, seconds=0.5) -> list[list[int]]:
    """The client's datagrams, by batch, that come of something."""
    batches = []
    connection = pair.ends[0]
    transmit = connection.transmit

    def noting(now):
        out = transmit(now)
        batches.extend([len(one) for one in batch] for batch in out)
        return out

    connection.transmit = noting
    act(connection)
    pair.settle(seconds)
    del connection.transmit
    return batches


def talk(connection):
    stream = connection.open_stream(False)
    assert connection.write(stream, bytes(100_000)) == 100_000
    connection.finish(stream)
    connection.send_datagram(b"small")
    for _ in range(9):
        connection.send_datagram(bytes(700))
    small = connection.open_stream(True)
    connection.write(small, b"x")


def test_pad_to_mtu():
    plain = connected()
    assert len({size for batch in sizes_sent(plain, talk) for size in batch}) > 3
    pair = connected(TransportConfig(pad_to_mtu=True, mtu_upper_bound=1200))
    batches = sizes_sent(pair, talk)
    assert {size for batch in batches for size in batch} == {1200}
    assert max(len(batch) for batch in batches) > 5, "full packets still go in runs"
    assert read_all(pair.ends[1], 2) == 100_000
    pair.settle(6.0)  # a keep-alive is padded, too
    assert {size for batch in sizes_sent(pair, lambda _: None, 6.0) for size in batch} == {1200}


@pytest.mark.parametrize("offload", [True, False])
def test_enable_segmentation_offload(offload):
    pair = connected(TransportConfig(enable_segmentation_offload=offload))
    batches = sizes_sent(pair, talk)
    assert (max(map(len, batches)) > 1) is offload
    assert read_all(pair.ends[1], 2) == 100_000


# -- MTU -----------------------------------------------------------------------------------------


def test_min_mtu_is_what_the_mtu_starts_at_and_falls_back_to():
    pair = connected(TransportConfig(min_mtu=1300))
    mtud = path_of(pair.ends[0]).mtud
    assert mtud._minimum == 1300
    assert mtud.mtu >= 1300
    search(mtud, 1500)
    assert mtud.mtu == 1452
    assert [lose(mtud, 100 * n, 100 * n + 5, 1452) for n in range(10, 14)][-1]
    assert mtud.mtu == 1300


def test_min_mtu_yields_to_what_the_peer_takes():
    pair = connected(TransportConfig(min_mtu=1500, mtu_upper_bound=1600))
    assert path_of(pair.ends[0]).mtud.mtu == 1472


def test_when_and_how_finely_the_mtu_is_looked_for():
    coarse = connected(TransportConfig(mtu_minimum_change=300))
    assert search(path_of(coarse.ends[0]).mtud, 1500) == []
    pair = connected(TransportConfig(mtu_interval=7.0, mtu_black_hole_cooldown=3.0))
    mtud = path_of(pair.ends[0]).mtud
    search(mtud, 1500)  # it went on since the handshake
    found = mtud._resume
    mtud.mtu = 1200  # as if the path were another one
    assert mtud.next_probe(found - 0.1) == 0
    assert mtud.next_probe(found) == 1326
    assert found <= pair.now + 7.0
    search(mtud, 1500, found)
    assert [lose(mtud, 100 * n, 100 * n + 5, 1452) for n in range(10, 14)][-1]  # at 100 s
    assert [mtud.next_probe(100.0 + wait) for wait in (2.9, 3.0)] == [0, 1326]


# -- the handshake, and how long connections live ------------------------------------------------


def test_crypto_buffer_size():
    small, usual = TransportConfig(crypto_buffer_size=4096), TransportConfig()
    pair = connected(small, usual)
    for end, limit in zip(pair.ends, (4096, 16_384), strict=True):
        stream = end._p.data_crypto
        read = stream._read
        assert stream.receive(read + limit - 1, b"x") == b""
        with pytest.raises(PeerError, match="too much CRYPTO data"):
            stream.receive(read + limit, b"x")


@pytest.mark.parametrize(("server", "ends"), [(None, False), (20.0, True)])
def test_a_connection_without_idle_timeout_lives_by_the_peers(server, ends):
    silent = {"keep_alive_interval": None}
    pair = connected(
        TransportConfig(max_idle_timeout=None, **silent),
        TransportConfig(max_idle_timeout=server, **silent),
    )
    pair.settle(1.0)
    pair.dead |= {CLIENT, SERVER}
    pair.settle(200.0)
    assert (pair.ends[0].close_reason is not None) is ends


# -- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [8, 12])
def test_max_concurrent_multipath_paths(count):
    transport = TransportConfig(max_concurrent_multipath_paths=count)
    pair = connected(transport, transport)
    client, server = pair.ends
    for n in range(1, count):
        assert client.path_commands.open(SECOND._replace(port=2000 + n), None, pair.now) == n
        pair.settle(0.2)
    assert len(server.paths()) == count
    with pytest.raises(PathIdsExhausted, match=str(count - 1)):
        client.path_commands.open(SECOND._replace(port=2900), None, pair.now)


def test_the_fewer_paths_of_the_two_count():
    pair = connected(TransportConfig(max_concurrent_multipath_paths=12))
    client = pair.ends[0]
    for n in range(1, 8):
        client.path_commands.open(SECOND._replace(port=2000 + n), None, pair.now)
        pair.settle(0.2)
    with pytest.raises(PathIdsExhausted, match="7"):
        client.path_commands.open(SECOND._replace(port=2900), None, pair.now)


@pytest.mark.parametrize("timeout", [4.0, 15.0])
def test_default_path_max_idle_timeout(timeout):
    transport = TransportConfig(
        default_path_max_idle_timeout=timeout, default_path_keep_alive_interval=1.0
    )
    pair = connected(transport)
    client = pair.ends[0]
    client.path_commands.open(SECOND, None, pair.now)
    pair.settle(0.5)
    pair.dead |= {SECOND, CLIENT._replace(port=1001)}
    start = pair.now

    def gone():
        pair.client.gather()
        return any(isinstance(event, PathAbandoned) for event in pair.client.events)

    pair.run(gone)
    assert timeout - 1.0 <= pair.now - start <= timeout + 1.5, "it may have been pinged once"
    assert [path.path_id for path in client.paths()] == [0]


def test_default_path_keep_alive_interval():
    counts = []
    for interval in (1.0, 5.0):
        transport = TransportConfig(default_path_keep_alive_interval=interval)
        pair = connected(transport, TransportConfig(keep_alive_interval=None))
        pair.settle(5.0)
        counts.append(sum(map(len, sizes_sent(pair, lambda _: None, 20.0))))
    assert counts[0] >= 18
    assert counts[1] <= 12


def test_max_remote_nat_traversal_addresses():
    pair = connected(None, TransportConfig(max_remote_nat_traversal_addresses=9))
    addrs = [SocketAddr("192.0.2.7", 4000 + n) for n in range(12)]
    client, server = pair.ends
    assert client.path_commands.set_candidates(addrs) == addrs[9:]
    assert server.path_commands.set_candidates(addrs) == []


@pytest.mark.parametrize(("sends", "receives"), [(True, True), (True, False), (False, True)])
def test_observed_address_reports(sends, receives):
    pair = connected(
        TransportConfig(receive_observed_address_reports=receives),
        TransportConfig(send_observed_address_reports=sends),
    )
    pair.settle(1.0)
    told = [event.addr for event in pair.client.events if isinstance(event, ObservedAddressChanged)]
    assert told == ([CLIENT] if sends and receives else [])
    assert not any(isinstance(event, ObservedAddressChanged) for event in pair.server.events)
