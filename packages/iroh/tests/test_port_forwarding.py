"""Endpoints and a home router that is made up: nothing here talks to a real one."""

from dataclasses import replace

import pytest

from iroh import presets
from iroh.netmon import DefaultRoute, Interface, LocalIp, NetworkState
from iroh.options import EndpointBuilder
from iroh.port_forwarding import PortForwarding
from iroh.portmap import Mapping, PortMapper, Router
from iroh_base import SocketAddr

OUTSIDE = SocketAddr("203.0.113.7", 4433)


class Gateway:
    """A protocol that always works."""

    name = "test"

    def __init__(self) -> None:
        self.routers: list[Router] = []
        self.mapped: list[int] = []
        self.released: list[int] = []

    def protocols(self, router: Router):
        self.routers.append(router)
        return [self]

    async def probe(self) -> None:
        pass

    async def map(self, internal_port: int, _wanted) -> Mapping:
        self.mapped.append(internal_port)
        return Mapping(self.name, internal_port, OUTSIDE, 3600)

    async def check(self, _mapping) -> bool:
        return True

    async def release(self, mapping: Mapping) -> None:
        self.released.append(mapping.internal_port)


@pytest.fixture
def gateway(monkeypatch) -> Gateway:
    """Turn port mapping on, with a gateway of the test's."""
    gateway = Gateway()
    monkeypatch.delenv("IROH_PORTMAPPER", raising=False)
    monkeypatch.setattr(
        PortForwarding.__init__,
        "__defaults__",
        (lambda router: PortMapper(router, gateway.protocols),),
    )
    monkeypatch.setattr("iroh.netmon.monitor.this_platform", Platform)
    return gateway


HOME = NetworkState(
    (Interface(2, "eth0", 1, b"", (LocalIp("192.0.2.9", 24), LocalIp("198.51.100.9", 24))),),
    DefaultRoute("eth0", "198.51.100.1"),
)


class Platform:
    """A machine at home, without events."""

    def read(self) -> NetworkState:
        return HOME

    def listen(self, _on_event):
        raise OSError("no events")

    def wall_clock(self) -> float:
        return 0.0


async def test_a_mapped_port_is_announced_first_and_taken_back(bind, gateway) -> None:
    endpoint = await bind(bind_addr="0.0.0.0:0", portmapper=True)
    port = int(endpoint.bound_sockets()[0].rpartition(":")[2])
    watcher = endpoint.watch_addr()
    while str(OUTSIDE) not in (addresses := watcher.get().direct_addresses()):
        await watcher.updated()
    assert addresses[0] == str(OUTSIDE)
    assert gateway.mapped == [port]
    assert gateway.routers == [Router("198.51.100.1", "198.51.100.9")]
    stats = endpoint.stats()
    assert stats["net_report:portmap_attempts"].value == 1
    assert stats["net_report:portmap_external_address_updated"].value == 1
    await endpoint.close()
    assert gateway.released == [port]


async def test_another_network_is_asked_again(bind, gateway, monkeypatch) -> None:
    endpoint = await bind(bind_addr="0.0.0.0:0", portmapper=True)
    external = endpoint._core.forwarding.mapper.external
    assert await external.watch().initialized() == OUTSIDE
    office = replace(HOME, default_v4=DefaultRoute("eth0", "192.0.2.1"))
    monkeypatch.setattr(Platform, "read", lambda _self: office)
    watcher = external.watch()
    await endpoint.network_change()
    assert await watcher.updated() is None
    assert await watcher.updated() == OUTSIDE
    assert gateway.routers[1:] == [Router("192.0.2.1", "192.0.2.9")]
    assert len(gateway.released) == 1


@pytest.mark.parametrize("where", ["127.0.0.1:0", "[::1]:0"])
async def test_an_endpoint_on_loopback_asks_nobody(bind, gateway, where: str) -> None:
    class OnlyThere(presets.Preset):
        def apply(self, builder: EndpointBuilder) -> None:
            builder.clear_ip_transports()

    endpoint = await bind(preset=OnlyThere(), bind_addr=where, portmapper=True)
    endpoint._core.forwarding.network_changed()
    await endpoint.close()
    assert gateway.routers == []


async def test_nobody_is_asked_where_it_is_off(bind, gateway, monkeypatch) -> None:
    endpoint = await bind(bind_addr="0.0.0.0:0")
    assert endpoint._core.forwarding is None
    monkeypatch.setenv("IROH_PORTMAPPER", "0")
    endpoint = await bind(bind_addr="0.0.0.0:0", portmapper=True)
    assert endpoint._core.forwarding is None
    assert gateway.routers == []


def test_which_presets_turn_it_on() -> None:
    def on(preset) -> bool:
        builder = EndpointBuilder()
        builder.apply(preset)
        return builder.config.portmapper

    assert on(presets.N0)
    assert on(presets.N0DisableRelay)
    assert not on(presets.Minimal)
    assert not on(presets.Empty)
    assert not on(presets.SelfHosted())


def test_the_home_router() -> None:
    assert HOME.home_router == ("198.51.100.1", "198.51.100.9")
    told = replace(HOME, default_v4=DefaultRoute("eth0", "198.51.100.1", "192.0.2.9"))
    assert told.home_router == ("198.51.100.1", "192.0.2.9")
    far = replace(HOME, default_v4=DefaultRoute("eth0", "203.0.113.1"))
    assert far.home_router == ("203.0.113.1", "192.0.2.9")
    for route in (None, DefaultRoute("eth0"), DefaultRoute("wg0", "203.0.113.1")):
        assert replace(HOME, default_v4=route).home_router is None
