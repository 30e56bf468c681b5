"""Finding endpoints by DNS."""

import asyncio

import pytest

from iroh.address_lookup import (
    N0_DNS_ENDPOINT_ORIGIN_PROD,
    N0_DNS_ENDPOINT_ORIGIN_STAGING,
    AddressLookupServices,
    DnsAddressLookup,
    LookupContext,
    NoResults,
)
from iroh.resolver import DnsResolver, StaggeredError
from iroh_base import EndpointData, EndpointInfo, RelayUrl, SecretKey, SocketAddr

from .kit import DnsServer, FakeClock, collect

KEY = SecretKey.from_bytes(bytes(range(32)))
ID = KEY.public()


async def test_found(dns_server: DnsServer) -> None:
    name = f"_iroh.{ID.to_z32()}.example."
    dns_server.add(name, "TXT", '"relay=https://r.example/" ""', '"addr=192.0.2.1:5"')
    lookup = DnsAddressLookup("example.", resolver=DnsResolver([dns_server.address]))
    (item,) = await collect(lookup.resolve(ID))
    assert item.provenance == "dns"
    assert item.endpoint_info == EndpointInfo(
        ID, EndpointData([RelayUrl("https://r.example"), SocketAddr("192.0.2.1", 5)])
    )
    assert len(dns_server.seen) == 1


async def test_a_lost_answer_costs_a_fifth_of_a_second(
    dns_server: DnsServer, clock: FakeClock
) -> None:
    silent = dns_server.handler
    dns_server.handler = lambda _query, _transport: None
    resolver = DnsResolver([dns_server.address], clock=clock, randbelow=lambda width: width // 2)
    lookup = DnsAddressLookup("example.", resolver=resolver)
    task = asyncio.create_task(collect(lookup.resolve(ID)))
    await dns_server.until_seen(1)
    dns_server.add(f"_iroh.{ID.to_z32()}.example.", "TXT", '"relay=https://r.example/"')
    dns_server.handler = silent
    await clock.advance(0.2)
    assert len(await task) == 1


async def test_not_found(dns_server: DnsServer, clock: FakeClock) -> None:
    services = AddressLookupServices()
    services.add(DnsAddressLookup("example."))
    resolver = DnsResolver([dns_server.address], clock=clock, randbelow=lambda width: width // 2)
    services.bind(LookupContext(KEY, resolver, clock))
    task = asyncio.create_task(collect(services.resolve(ID)))
    for count, moment in enumerate((0, 0.2, 0.1, 0.3, 0.4, 1, 1), 1):
        await clock.advance(moment)
        await dns_server.until_seen(count)
    with pytest.raises(NoResults, match=r"Service 'dns' failed: no calls succeeded: \[Failed") as e:
        await task
    (error,) = e.value.errors
    assert isinstance(error.__cause__, StaggeredError)
    assert len(error.__cause__.errors) == 7
    await services.close()


def test_n0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DnsAddressLookup.n0().origin == N0_DNS_ENDPOINT_ORIGIN_PROD
    monkeypatch.setenv("IROH_FORCE_STAGING_RELAYS", "")
    assert DnsAddressLookup.n0().origin == N0_DNS_ENDPOINT_ORIGIN_PROD
    monkeypatch.setenv("IROH_FORCE_STAGING_RELAYS", "yes")
    assert DnsAddressLookup.n0().origin == N0_DNS_ENDPOINT_ORIGIN_STAGING
