"""The relay transport over scripted relay clients."""

import asyncio
import socket

import pytest

from iroh.magicsock.mapped import MappedAddrs
from iroh.magicsock.transports import relay as module
from iroh.magicsock.transports.relay import RelayResolver, RelayTransport
from iroh.quic.datagrams import Datagrams
from iroh_base import IrohError, RelayUrl, SecretKey, Watchable
from iroh_relay.client import RelayState, RelayStats, RelayStatus
from iroh_relay.relay_map import RelayConfig, RelayMap

A, B = (RelayUrl(f"https://{name}.example/") for name in "ab")
PEER = SecretKey.generate().public()
NO_POINT = bytes([2]) + bytes(31)  # no curve point has this y coordinate


class Client:
    """What the transport sees of a relay client."""

    def __init__(
        self,
        config,
        _key,
        *,
        on_datagrams,
        on_endpoint_gone,
        on_lost,
        on_idle,
        resolver,
        **_settings,
    ) -> None:
        self.config = config
        self.on_datagrams = on_datagrams
        self.on_endpoint_gone = on_endpoint_gone
        self.on_lost = on_lost
        self.on_idle = on_idle
        loop = asyncio.get_running_loop()
        self.status = Watchable(RelayStatus(config.url), loop.create_future)
        self.stats = RelayStats()
        self.sent: list[tuple[bytes, bytes, int]] = []
        self.home = self.closed = self.is_connected = False
        self.stuck = False

    def start(self) -> None:
        self.started = True

    def set_home(self, home: bool) -> None:
        self.home = home

    def send(self, dest, data, size, _ecn) -> bool:
        self.sent.append((dest, data, size))
        return True

    def come_up(self) -> None:
        self.is_connected = True
        self.stats.conns_success += 1
        self.status.set(RelayStatus(self.config.url, RelayState.CONNECTED))

    async def close(self) -> None:
        if self.stuck:
            await asyncio.get_running_loop().create_future()
        self.closed = True
        self.stats.conns_closed += 1
        self.status.close()


class Lab:
    def __init__(self) -> None:
        self.made: list[Client] = []
        self.delivered: list[Datagrams] = []
        self.relay_map = RelayMap.from_urls([str(A)])
        self.mapped = MappedAddrs(lambda n: bytes(n))
        self.transport = RelayTransport(
            SecretKey.generate(),
            self.relay_map,
            self.mapped,
            self.delivered.extend,
            make_client=self.make,
        )

    def make(self, *args, **settings) -> Client:
        self.made.append(Client(*args, **settings))
        return self.made[-1]

    def send(self, url: RelayUrl, data: bytes = b"data") -> bool:
        return self.transport.send(Datagrams(self.mapped.relay.get((url, PEER)), data))


@pytest.fixture
async def lab():
    lab = Lab()
    yield lab
    await lab.transport.close()


async def test_a_relay_is_used_from_the_first_datagram_on(lab) -> None:
    assert lab.send(B)
    assert lab.send(B)
    (client,) = lab.made
    assert client.config.url == str(B)
    assert client.sent == [(PEER.to_bytes(), b"data", 0)] * 2
    assert lab.transport.counted().send_relay == 8


async def test_received_datagrams_name_relay_and_peer(lab) -> None:
    lab.send(A)
    lab.made[0].on_datagrams(PEER.to_bytes(), b"aabb", 2, 0)
    (batch,) = lab.delivered
    assert batch.remote == lab.mapped.relay.get((A, PEER))
    assert list(batch) == [b"aa", b"bb"]
    counted = lab.transport.counted()
    assert (counted.recv_data_relay, counted.recv_datagrams, counted.recv_gro_datagrams) == (
        4,
        2,
        1,
    )


async def test_a_source_that_is_no_key_is_a_counted_drop(lab) -> None:
    lab.send(A)
    for source in (NO_POINT, b"", bytes(31), bytes(33)):
        lab.made[0].on_datagrams(source, b"evil", 0, 0)
    assert lab.delivered == []
    assert lab.transport.dropped_bad_source == 4


async def test_a_relay_that_hears_the_peer_saves_a_connection(lab) -> None:
    lab.send(A)
    client = lab.made[0]
    client.on_datagrams(PEER.to_bytes(), b"hello", 0, 0)
    lab.send(B)
    assert len(lab.made) == 2  # A is not connected: its word is worth nothing
    client.come_up()
    lab.made[1].on_idle()
    lab.send(B)
    assert len(lab.made) == 2
    assert len(client.sent) == 2
    client.on_endpoint_gone(PEER.to_bytes())
    lab.send(B)
    assert len(lab.made) == 3


async def test_what_a_relay_told_counts_for_that_connection_alone(lab) -> None:
    """A relay that ended and is there again does not say who has not come back."""
    lab.send(A)
    client = lab.made[0]
    client.come_up()
    client.on_datagrams(PEER.to_bytes(), b"hello", 0, 0)
    client.on_lost()
    client.come_up()
    lab.send(B)
    assert len(lab.made) == 2
    assert len(client.sent) == 1


async def test_that_a_peer_left_one_relay_says_nothing_of_another(lab) -> None:
    lab.send(A)
    lab.send(B)
    a, b = lab.made
    a.come_up()
    a.on_datagrams(PEER.to_bytes(), b"hello", 0, 0)
    b.on_endpoint_gone(PEER.to_bytes())
    b.on_idle()
    lab.send(B)
    assert len(lab.made) == 2


async def test_the_number_of_relays_in_use_is_bounded(lab, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_RELAYS", 2)
    urls = [RelayUrl(f"https://{n}.example/") for n in range(3)]
    assert [lab.send(url) for url in urls] == [True, True, False]
    assert lab.transport.dropped == 1
    lab.made[0].on_idle()
    assert lab.send(urls[2])


async def test_the_routes_are_bounded(lab, monkeypatch) -> None:
    monkeypatch.setattr(module, "_MAX_ROUTES", 3)
    lab.send(A)
    for _ in range(10):
        lab.made[0].on_datagrams(SecretKey.generate().public().to_bytes(), b"x", 0, 0)
    assert len(lab.transport._routes) == 3


async def test_a_token_that_changes_in_the_map_is_used_for_the_next_attempt(lab) -> None:
    lab.send(A)
    config = lab.made[0].config
    assert config.auth_token is None
    lab.relay_map.insert(RelayConfig(url=str(A), auth_token="new"))
    assert config.auth_token == "new"
    lab.relay_map.remove(str(A))
    assert config.auth_token is None


async def test_home_is_kept_followed_and_changed(lab) -> None:
    lab.transport.set_home(A)
    (a,) = lab.made
    assert a.home
    seen = lab.transport.home_status.watch()
    a.come_up()
    assert (await seen.updated()).is_connected
    a.on_idle()  # never for a home relay, but if it were
    assert lab.transport.clients() == {A: a}
    lab.transport.set_home(B)
    assert not a.home
    assert lab.made[1].home
    lab.made[1].come_up()
    while (await seen.updated()).url != str(B):
        pass
    lab.transport.set_home(None)
    assert lab.transport.home_status.get() is None
    assert lab.transport.counted().relay_home_change == 2


async def test_a_client_that_ended_by_itself_is_replaced(lab) -> None:
    lab.transport.set_home(A)
    lab.made[0].closed = True
    assert lab.send(A)
    assert lab.made[1].home
    assert lab.made[1].sent
    lab.made[1].come_up()
    while not lab.transport.home_status.get().is_connected:
        await lab.transport.home_status.changed()


async def test_counters_of_relays_that_were_left_stay(lab) -> None:
    lab.send(A)
    lab.made[0].come_up()
    assert lab.transport.counted().relay_conns_success == 1
    lab.made[0].on_idle()
    assert lab.transport.counted().relay_conns_success == 1
    await lab.transport.close()
    counted = lab.transport.counted()
    assert (counted.relay_conns_success, counted.relay_conns_closed) == (1, 1)


async def test_a_stuck_relay_does_not_hold_up_the_end(lab, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.05)
    lab.send(A)
    lab.send(B)
    lab.made[0].stuck = True
    await lab.transport.close()
    assert lab.made[1].closed
    assert "did not let us go" in caplog.text
    assert not lab.send(A)
    lab.transport.set_home(A)
    assert len(lab.made) == 2


@pytest.mark.parametrize("error", [IrohError("no such name"), RuntimeError("a bug")])
async def test_whatever_a_resolver_raises_is_an_os_error(error) -> None:
    class Resolver:
        async def resolve_host_staggered(self, _host) -> list[str]:
            raise error

    with pytest.raises(OSError, match="cannot resolve"):
        await RelayResolver(Resolver()).resolve("relay.example")


async def test_resolved_addresses_have_families() -> None:
    class Resolver:
        async def resolve_host_staggered(self, _host) -> list[str]:
            return ["192.0.2.1", "2001:db8::1"]

    assert await RelayResolver(Resolver()).resolve("relay.example") == [
        (socket.AF_INET, "192.0.2.1"),
        (socket.AF_INET6, "2001:db8::1"),
    ]
