"""Upstream's tests of address_lookup.rs: endpoints that find each other through services."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import dns.message
import dns.rrset
import pytest

from iroh import ConnectError, Connection, Endpoint, SecretKey, TransportConfig
from iroh.address_lookup import (
    AddressLookup,
    DnsAddressLookup,
    LookupItem,
    MemoryLookup,
    PkarrPublisher,
    PkarrResolver,
)
from iroh.resolver import DnsResolver
from iroh.testing import MemoryNetwork
from iroh_base import AddrFilter, EndpointAddr, EndpointData, EndpointInfo, PublicKey, SocketAddr

from .kit import DnsServer, PkarrRelay, Reply

ALPN = b"n0/iroh/test"
NOBODY = SecretKey.from_bytes(bytes(32)).public()
WRONG = SocketAddr("127.0.0.1", 9)
"""The discard port: nobody answers."""

Shared = dict[PublicKey, EndpointData]
Bind = Callable[..., Any]


class SharedLookup(AddressLookup):
    """Publishes into, and finds in, a table that several endpoints share."""

    def __init__(self, shared: Shared, endpoint_id: PublicKey | None = None) -> None:
        self.shared = shared
        self.endpoint_id = endpoint_id
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.answer.set()

    def publish(self, data: EndpointData) -> None:
        if self.endpoint_id is not None:
            self.shared[self.endpoint_id] = data

    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        self.asked.set()
        await self.answer.wait()
        if endpoint_id in self.shared:
            yield LookupItem(EndpointInfo(endpoint_id, self.shared[endpoint_id]), "shared")


class Lying(AddressLookup):
    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        yield LookupItem(EndpointInfo(endpoint_id, EndpointData([WRONG])), "lying")


class Empty(AddressLookup):
    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        for item in ():
            yield item


class Failing(AddressLookup):
    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        raise OSError("simulated resolver failure")
        yield


class Hanging(AddressLookup):
    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        await asyncio.get_running_loop().create_future()
        yield


async def serve(bind: Bind, shared: Shared) -> Endpoint:
    """An endpoint that publishes itself into the table."""
    server: Endpoint = await bind(alpns=[ALPN])
    server.add_address_lookup(SharedLookup(shared, server.id()))
    return server


async def meet(client: Endpoint, server: Endpoint, addr: EndpointAddr | None = None) -> Connection:
    """Dial by id alone, unless given an address."""

    async def accept() -> Connection:
        incoming = await server.accept_next()
        assert incoming is not None
        return await incoming

    dialled = client.connect(addr or server.id(), ALPN)
    connection, _ = await asyncio.gather(dialled, accept())
    assert connection.remote_id() == server.id()
    return connection


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([], id="simple_shared"),
        pytest.param([Empty()], id="combined_with_empty_and_right"),
        pytest.param([Empty(), Lying()], id="combined_with_empty_and_wrong"),
        pytest.param([Failing()], id="succeeds_after_other_resolver_errors"),
        pytest.param([Hanging()], id="not_blocked_by_slow_lookup"),
    ],
)
async def test_address_lookup(bind: Bind, others: list[AddressLookup]) -> None:
    shared: Shared = {}
    server = await serve(bind, shared)
    client = await bind(address_lookup=[*others, SharedLookup(shared)])
    await meet(client, server)


async def test_address_lookup_with_wrong_existing_addr(bind: Bind) -> None:
    shared: Shared = {}
    server = await serve(bind, shared)
    client = await bind(address_lookup=[SharedLookup(shared)])
    await meet(client, server, EndpointAddr(server.id(), None, [WRONG]))


async def test_concurrent_connects_not_blocked_by_slow_lookup(bind: Bind) -> None:
    shared: Shared = {}
    server = await serve(bind, shared)
    client = await bind(address_lookup=[SharedLookup(shared), Hanging()])
    stuck = asyncio.create_task(client.connect(NOBODY, ALPN))
    await meet(client, server)
    assert not stuck.done()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck


async def test_concurrent_connects_do_not_race_on_empty_resolve(bind: Bind) -> None:
    shared: Shared = {}
    server = await serve(bind, shared)
    lookup = SharedLookup(shared)
    lookup.answer.clear()
    client = await bind(address_lookup=[lookup])
    first = asyncio.create_task(meet(client, server))
    await lookup.asked.wait()
    second = asyncio.create_task(meet(client, server))
    lookup.answer.set()
    await asyncio.gather(first, second)


async def test_address_lookup_combined_wrong_only(bind: Bind) -> None:
    server = await bind(alpns=[ALPN])
    patience = TransportConfig(max_idle_timeout=0.3)
    client = await bind(address_lookup=[Lying()], transport_config=patience)
    with pytest.raises(ConnectError):
        await client.connect(server.id(), ALPN)


async def test_pkarr_publish_dns_address_lookup(
    bind: Bind, relay: PkarrRelay, dns_server: DnsServer
) -> None:
    """Published to a pkarr relay, found by DNS; the endpoints know but their ids."""
    dns_server.handler = answer_from(relay)
    publisher = PkarrPublisher(relay.url, addr_filter=AddrFilter.unfiltered())
    server = await bind(alpns=[ALPN], address_lookup=[publisher])
    await relay.until_requests(1)
    by_dns = await bind(
        address_lookup=[DnsAddressLookup("testdns.example.")],
        dns_resolver=DnsResolver([dns_server.address]),
    )
    await meet(by_dns, server)
    by_http = await bind(address_lookup=[PkarrResolver(relay.url)])
    await meet(by_http, server)


async def test_custom_addresses_are_found_where_the_program_publishes_them(
    bind: Bind, relay: PkarrRelay, dns_server: DnsServer
) -> None:
    """No endpoint publishes them by itself, as upstream; found, they are dialled as any other."""
    dns_server.handler = answer_from(relay)
    network, key = MemoryNetwork(), SecretKey.generate()
    only = PkarrPublisher(relay.url, addr_filter=AddrFilter.unfiltered())
    server = await bind(
        preset=network.create_transport(key.public()),
        bind_addr=None,
        secret_key=key,
        alpns=[ALPN],
        address_lookup=[only],
    )
    assert relay.requests == []
    only.publish(EndpointData(server.custom_addrs()))
    await relay.until_requests(1)

    async def client(lookup: AddressLookup, **settings: Any) -> Endpoint:
        key = SecretKey.generate()
        transport = network.create_transport(key.public())
        endpoint: Endpoint = await bind(
            secret_key=key, custom_transports=[transport], address_lookup=[lookup], **settings
        )
        return endpoint

    resolver = DnsResolver([dns_server.address])
    await meet(await client(DnsAddressLookup("testdns.example."), dns_resolver=resolver), server)
    await meet(await client(PkarrResolver(relay.url)), server)
    known = EndpointAddr(server.id()).with_addrs(server.custom_addrs())
    await meet(await client(MemoryLookup.from_endpoint_info([known])), server)


def answer_from(relay: PkarrRelay) -> Callable[[dns.message.Message, str], Reply]:
    """Answer DNS with what was published to the relay."""

    def handler(query: dns.message.Message, _transport: str) -> Reply:
        name = query.question[0].name
        response = dns.message.make_response(query)
        for index in range(len(relay.requests)):
            packet = relay.packet(index)
            if name.labels[1].decode() == packet.public_key.to_z32():
                texts = [f'"{text}"' for text in packet.txt_records()]
                response.answer = [dns.rrset.from_text(name, 30, "IN", "TXT", *texts)]
        return response

    return handler
