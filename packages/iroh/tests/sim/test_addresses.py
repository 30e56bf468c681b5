"""Addresses that change, that several stand for, and that are no IP addresses."""

import pytest

from iroh.quic.errors import ConnectionClosed
from iroh.quic.events import PathChanged

from .engines import SEEDS
from .link import Conditions
from .pair import CLIENT, SERVER, hosts, join
from .simulation import ALPN

RELAY_CLIENT, RELAY_SERVER = ("relay", "client"), ("relay", "server")


def behind_nat(kinds, conditions=None, seed=0, **nat):
    """A client behind a NAT, connected."""
    sim, client, server = hosts(kinds, conditions, seed=seed)
    nat = sim.network.nat(CLIENT, "192.0.2.1", **nat)
    return join(sim, kinds, client, server), nat


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_rebinding_in_the_middle_of_a_transfer(kinds, loss, seed):
    pair, nat = behind_nat(kinds, Conditions(loss=loss), seed)
    moves = []
    pair.server.listeners.append(
        lambda event: moves.append(event.remote) if isinstance(event, PathChanged) else None
    )
    pair.traffic.send(0, 300_000, answer=300_000)
    pair.sim.at(0.05, nat.rebind)
    assert pair.transfer(30.0) < 10
    assert moves[-1] == nat.outward(SERVER)
    pair.close()


def test_many_rebindings_in_a_row(kinds):
    pair, nat = behind_nat(kinds)
    pair.traffic.send(0, 500_000, answer=500_000)
    for number in range(6):
        pair.sim.at(0.04 * (number + 1), nat.rebind)
    pair.transfer(30.0)
    assert nat.rebindings == 6
    pair.close()


@pytest.mark.parametrize("side", [0, 1])
def test_a_rebinding_while_nobody_speaks(kinds, side):
    """The client's next packet shows the new address; a keep-alive is soon enough."""
    pair, nat = behind_nat(kinds)
    pair.sim.sleep(20.0)
    nat.rebind()
    pair.traffic.send(side, 50_000, answer=50_000)
    assert pair.transfer(30.0) < 8.0
    pair.close()


@pytest.mark.parametrize("nat", [{"symmetric": True}, {"filtering": True}], ids=str)
def test_kinds_of_nats_make_no_difference_to_a_dial(kinds, nat):
    pair, _ = behind_nat(kinds, **nat)
    pair.traffic.send(1, 20_000, answer=20_000)
    pair.transfer(10.0)


# -- several addresses --------------------------------------------------------------------------


@pytest.mark.parametrize("dead", [(), (SERVER,), (RELAY_SERVER,)], ids=["none", "direct", "relay"])
@pytest.mark.parametrize("relay_delay", [0.005, 0.2])
def test_a_dial_on_every_known_address(kinds, dead, relay_delay):
    """The first answer wins, copies of the Initial do no harm, dead addresses cost nothing."""
    sim, client, server = hosts(
        kinds,
        client_addresses=(CLIENT, RELAY_CLIENT),
        server_addresses=(SERVER, RELAY_SERVER),
    )
    for link in sim.network.both(RELAY_CLIENT, RELAY_SERVER):
        link.conditions = Conditions(delay=relay_delay)
    for address in dead:
        sim.network.link(
            CLIENT if address is SERVER else RELAY_CLIENT, address
        ).conditions = Conditions(is_up=False)
    sim.network.fan_out("mixed", [SERVER, RELAY_SERVER, ("10.9.9.9", 9)])
    pair = join(sim, kinds, client, server, remote="mixed")
    assert sim.now - 1000.0 < 1.0
    assert len(server.accepted) == 1
    pair.traffic.send(0, 100_000, answer=100_000)
    pair.transfer(10.0)
    best = RELAY_SERVER if SERVER in dead or (relay_delay < 0.01 and not dead) else SERVER
    assert best in {path.remote for path in pair.client.connection.paths()}
    pair.close()


def test_an_opaque_address_is_as_good_as_any(kinds):
    sim, client, server = hosts(
        kinds, client_addresses=(RELAY_CLIENT,), server_addresses=(RELAY_SERVER,)
    )
    pair = join(sim, kinds, client, server)
    pair.traffic.send(0, 50_000, answer=50_000)
    pair.transfer(10.0)
    pair.close()


# -- attempts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_retry_proves_the_address(kinds, loss):
    sim, client, server = hosts(kinds, Conditions(loss=loss))
    server.auto_accept = False
    seen = []

    def decide():
        while server.incoming:
            incoming = server.incoming.pop()
            seen.append(incoming.remote_validated)
            if incoming.remote_validated:
                server.accept(incoming)
            else:
                incoming.retry(sim.now)
            server.flush()
        return any(end.connected for end in server.accepted)

    client.dial(server.key, SERVER, [ALPN])
    sim.run(decide, 20.0)
    assert seen[0] is False
    assert True in seen


def test_a_refusal_ends_the_dial(kinds):
    sim, client, server = hosts(kinds)
    server.auto_accept = False
    dialled = client.dial(server.key, SERVER, [ALPN])
    sim.run(lambda: bool(server.incoming), 5.0)
    server.incoming.pop().refuse(sim.now)
    server.flush()
    sim.settle(60.0)
    assert isinstance(dialled.closed, ConnectionClosed)
    assert dialled.closed.code == 2  # CONNECTION_REFUSED, RFC 9000 section 20.1
    assert not client.ends


def test_a_dial_into_the_void_ends(kinds):
    sim, client, server = hosts(kinds)
    dialled = client.dial(server.key, ("10.9.9.9", 9), [ALPN])
    took = sim.settle(120.0)
    assert dialled.closed is not None
    assert dialled.closed.kind == "TimedOut"
    assert took < 60
    assert not client.ends
