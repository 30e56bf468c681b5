"""Loss, reordering, duplication, outages: nothing is wrong, nothing hangs."""

import random
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quic_sim import Wire, connect, make_net, read_all, transfer

from iroh.quic.config import TransportConfig
from iroh.quic.errors import StreamGone, StreamReset, StreamStopped
from iroh.quic.events import Closed, Connected


def wire(seed=1, **options):
    return Wire(rng=random.Random(seed), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": 0.01},
        {"loss": 0.05},
        {"loss": 0.2},
        {"jitter": 0.03},
        {"duplicate": 0.2},
        {"loss": 0.1, "jitter": 0.02, "duplicate": 0.1},
        {"delay": 0.3},
        {"delay": 0.0},
    ],
    ids=str,
)
def test_bytes_arrive_whatever_happens(options):
    pair = connect(wire(**options))
    data = random.Random(2).randbytes(300_000)
    assert transfer(pair, data) == data
    assert transfer(pair, data, sender=pair.server) == data
    for peer in (pair.client_peer, pair.server_peer):
        assert not peer.endpoint.dropped["internal error"]


@pytest.mark.parametrize("seed", range(30))
def test_handshakes_survive_30_percent_loss(seed):
    net, client, server = make_net(wire(seed, loss=0.3, delay=0.015))
    start = net.now
    connection = client.dial(server)
    net.run(lambda: bool(client.got(connection, Connected)), seconds=30)
    net.run(
        lambda: any(server.got(accepted, Connected) for accepted in server.connections),
        seconds=30,
    )
    assert net.now - start < 15


@pytest.mark.parametrize("lost", range(8))
def test_any_one_datagram_of_the_handshake_may_be_lost(lost):
    net, client, server = make_net(Wire(lose=lambda n, data: n == lost))
    connection = client.dial(server)
    net.run(
        lambda: (
            bool(client.got(connection, Connected))
            and any(server.got(accepted, Connected) for accepted in server.connections)
        ),
        seconds=5,
    )


def test_an_outage_of_five_seconds():
    pair = connect()
    net = pair.net
    stream_id = pair.client.open_stream(False)
    data = random.Random(2).randbytes(1_000_000)
    pair.client.write(stream_id, data)
    net.sleep(0.1)
    net.wire.loss = 1.0
    net.sleep(5)
    net.wire.loss = 0.0
    start = net.now
    got = bytearray()
    net.run(
        lambda: bool(got.extend(read_all(pair.server, stream_id)[0]) or len(got) == len(data)),
        seconds=20,
    )
    assert bytes(got) == data
    assert net.now - start < 8


def test_a_tail_that_is_lost_comes_again():
    pair = connect()
    net = pair.net
    net.sleep(1)
    stream_id = pair.client.open_stream(False)
    pair.client.write(stream_id, b"tail")
    pair.client.finish(stream_id)
    net.wire.loss = 1.0
    pair.client_peer.flush()
    net.wire.loss = 0.0
    start = net.now
    net.run(lambda: pair.server._core.find_stream(stream_id) is not None, seconds=5)
    assert net.now - start < 0.5


def act(rng, ours, theirs, sent, got):
    """Do one random thing with the streams that `ours` opened: sent and got are id -> bytes."""
    do = rng.random()
    if do < 0.2 or not sent:
        stream_id = ours.open_stream(rng.random() < 0.5)
        if stream_id is not None:
            sent[stream_id] = bytearray()
        return
    stream_id = rng.choice(list(sent))
    if do < 0.6:
        data = rng.randbytes(rng.randrange(8000))
        sent[stream_id] += data[: ours.write(stream_id, data)]
    elif do < 0.65:
        ours.finish(stream_id)
    elif do < 0.67:
        ours.reset(stream_id, 3)
    elif do < 0.69:
        theirs.stop(stream_id, 4)
    else:
        data = theirs.read(stream_id, rng.randrange(1, 10_000))
        got.setdefault(stream_id, bytearray()).extend(data or b"")


@given(st.integers(0, 2**32), st.floats(0, 0.3), st.floats(0, 0.05), st.floats(0, 0.3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_use_of_streams_on_a_random_wire(seed, loss, jitter, duplicate):
    """Both sides open, write, finish, reset, stop and read at random; what is read is a prefix."""
    rng = random.Random(seed)
    config = TransportConfig(
        stream_receive_window=20_000, max_concurrent_bidi_streams=5, send_window=50_000
    )
    pair = connect(client=config, server=config)
    pair.net.wire = Wire(0.01, jitter, loss, duplicate, random.Random(seed))
    sides = (pair.client, pair.server)
    sent, got = [{}, {}], [{}, {}]
    for _ in range(150):
        side = rng.randrange(2)
        # Any of these answers is right for a random use of a random stream.
        with suppress(StreamGone, StreamReset, StreamStopped):
            act(rng, sides[side], sides[1 - side], sent[side], got[side])
        for _ in range(rng.randrange(4)):
            pair.net.step()
    for side in range(2):
        assert all(sent[side][key].startswith(data) for key, data in got[side].items())
    for peer, connection in ((pair.client_peer, pair.client), (pair.server_peer, pair.server)):
        assert not peer.got(connection, Closed)
        assert not peer.endpoint.dropped["internal error"]
        assert connection._core.budget.held == sum(
            stream.sender.held for stream in connection._core._streams.values()
        )
