"""The main job in one process: our relay, our DNS server, two endpoints, an EndpointId."""

import asyncio
import hashlib
import os

import pytest

from iroh import (
    ConnectError,
    DnsResolver,
    Endpoint,
    EndpointAddr,
    LookupFailedError,
    RelayMode,
    SecretKey,
)
from iroh.address_lookup import PkarrPublisher, PkarrResolver
from iroh.protocols import ECHO_ALPN, Echo
from iroh.testing.local_servers import ORIGIN, LocalServers
from iroh_base import AddrFilter, SocketAddr
from iroh_dns_server.server import DnsServer
from iroh_relay.server import RelayServer
from iroh_relay.server.config import RelayServerConfig


@pytest.fixture
async def servers():
    async with LocalServers() as servers:
        yield servers


@pytest.fixture
def relay(servers):
    return servers.relay


@pytest.fixture
def dns(servers):
    return servers.dns


async def published(dns: DnsServer, endpoint: Endpoint) -> list[str]:
    """Wait until the DNS server knows the endpoint."""
    resolver = DnsResolver(nameservers=[str(dns.dns_addr)])
    info = await resolver.lookup_endpoint_by_id_staggered(endpoint.id(), ORIGIN)
    return info.to_txt_strings()


async def echo(client: Endpoint, target, size: int):
    """Echo random bytes; gives the path that the connection began with, and the one at its end."""
    async with await client.connect(target, ECHO_ALPN) as conn:
        first = selected(conn)
        data = os.urandom(size)
        send, recv = await conn.open_bi()

        async def upload() -> None:
            await send.write_all(data)
            await send.finish()

        _, back = await asyncio.gather(upload(), recv.read_to_end(size))
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
        return first, selected(conn)


def selected(conn):
    (path,) = (path for path in conn.paths() if path.is_selected)
    return path


async def test_dial_by_id_alone(bind, servers, relay, dns) -> None:
    preset = servers.preset
    server = await bind(preset=preset, protocols={ECHO_ALPN: Echo()})
    client = await bind(preset=preset)
    await server.online()
    assert await published(dns, server) == [f"relay={relay.http_url}"]
    first, last = await echo(client, server.id(), 10_000_000)
    assert first.is_relay
    assert first.remote_addr == str(relay.http_url)
    assert last.is_ip, "it became direct while it carried data"
    assert relay.metrics.bytes_sent < 20_000_000


async def test_published_ip_addresses_make_the_path_direct(bind, relay, dns) -> None:
    lookup = [
        PkarrPublisher(f"http://{dns.http_addr}/pkarr", addr_filter=AddrFilter.unfiltered()),
        PkarrResolver(f"http://{dns.http_addr}/pkarr"),
    ]
    server = await bind(protocols={ECHO_ALPN: Echo()}, address_lookup=lookup[:1])
    client = await bind(address_lookup=lookup[1:])
    await published(dns, server)
    first, _last = await echo(client, server.id(), 10_000)
    assert first.is_ip


async def test_user_data_is_published(bind, dns) -> None:
    lookup = [PkarrPublisher(f"http://{dns.http_addr}/pkarr")]
    endpoint = await bind(address_lookup=lookup, user_data="chess")
    assert await published(dns, endpoint) == ["user-data=chess"]


async def test_an_id_nobody_published_is_a_clear_error(bind, dns) -> None:
    client = await bind(address_lookup=[PkarrResolver(f"http://{dns.http_addr}/pkarr")])
    with pytest.raises(LookupFailedError, match="pkarr"):
        await client.connect(SecretKey.generate().public(), ECHO_ALPN)


async def test_dialling_by_relay_url_only(bind, relay) -> None:
    mode = RelayMode.custom_from_urls([str(relay.http_url)])
    server = await bind(relay_mode=mode, protocols={ECHO_ALPN: Echo()})
    client = await bind(relay_mode=RelayMode.custom_from_urls([]))
    await server.online()
    assert server.addr().relay_url() == str(relay.http_url)
    first, _last = await echo(client, EndpointAddr(server.id(), str(relay.http_url)), 100_000)
    assert first.is_relay


async def test_a_dead_relay_does_not_hinder_a_direct_dial(bind, relay) -> None:
    mode = RelayMode.custom_from_urls(["http://127.0.0.1:1/"])
    server = await bind(relay_mode=mode, protocols={ECHO_ALPN: Echo()})
    client = await bind(relay_mode=mode)
    first, _last = await echo(client, server.addr(), 100_000)
    assert first.is_ip


async def test_the_home_relay_comes_and_goes(bind, relay) -> None:
    endpoint = await bind(relay_mode=RelayMode.custom_from_urls([str(relay.http_url)]))
    status = endpoint.watch_home_relay()
    await endpoint.online()
    assert (await status.initialized()).is_connected
    assert await endpoint.remove_relay(str(relay.http_url))
    while status.get() is not None:
        await status.updated()
    assert endpoint.addr().relay_url() is None


async def test_a_restarted_relay_is_found_again(bind) -> None:
    config = RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))
    first = RelayServer(config)
    await first.start()
    addr, url = first.http_addr, str(first.http_url)
    mode = RelayMode.custom_from_urls([url])
    server = await bind(relay_mode=mode, protocols={ECHO_ALPN: Echo()})
    client = await bind(relay_mode=mode)
    await server.online()
    await echo(client, EndpointAddr(server.id(), url), 1000)
    status = server.watch_home_relay()
    await first.close()
    while (await status.updated()).is_connected:
        pass
    async with RelayServer(RelayServerConfig(http_bind_addr=addr)):
        await server.online()
        await echo(client, EndpointAddr(server.id(), url), 1000)


async def test_relayed_close_code_reaches_the_peer(bind, relay) -> None:
    mode = RelayMode.custom_from_urls([str(relay.http_url)])
    server = await bind(relay_mode=mode, alpns=[b"close/0"])
    client = await bind(relay_mode=mode)
    await server.online()
    dial = asyncio.create_task(
        client.connect(EndpointAddr(server.id(), str(relay.http_url)), b"close/0")
    )
    accepted = await (await server.accept_next())
    conn = await dial
    assert conn.relay_url() == relay.http_url
    conn.close(9, b"over the relay")
    assert await accepted.closed() == "closed by peer: over the relay (code 9)"


async def test_the_peer_behind_a_relay_is_not_there(bind, relay) -> None:
    from iroh import TransportConfig

    client = await bind(
        relay_mode=RelayMode.custom_from_urls([str(relay.http_url)]),
        transport_config=TransportConfig(max_idle_timeout=0.3, initial_rtt=0.01),
    )
    nobody = EndpointAddr(SecretKey.generate().public(), str(relay.http_url))
    with pytest.raises(ConnectError):
        await client.connect(nobody, ECHO_ALPN)
