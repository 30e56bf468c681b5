"""What is above the queries: the system's settings, custom resolvers, resets, hosts, endpoints."""

import asyncio
from typing import Any

import dns.message
import dns.rcode
import pytest

from iroh.resolver import (
    DnsResolver,
    EndpointLookupError,
    FallbackMode,
    MissingHostError,
    Nameserver,
    NoResponseError,
    NxDomainError,
    ResolveBothError,
    ServerError,
    StaggeredError,
    TxtRecord,
)
from iroh.resolver.stub import Ranking, StubResolver
from iroh.resolver.system import SystemConfig
from iroh_base import EndpointInfo, RelayUrl, SecretKey

from .kit import DnsServer, FakeClock, collect, no_jitter, running_dns_server, settle

KEY = SecretKey.from_bytes(bytes(range(32)))


def stub(clock: FakeClock, config: SystemConfig, *fallback: str, mode: Any = None) -> DnsResolver:
    """A resolver that takes `config` for that of the system."""
    resolver = StubResolver(
        fallback=mode, fallback_nameservers=fallback, clock=clock, system=lambda: config
    )
    return DnsResolver.custom(resolver)


async def test_fallback_nameservers(dns_server: DnsServer, clock: FakeClock) -> None:
    dns_server.add("host.example.", "A", "192.0.2.1")
    async with running_dns_server() as broken:
        broken.handler = lambda query, _: _refused(query)
        config = SystemConfig((Nameserver.parse(broken.address),))
        for mode in (None, FallbackMode.DEFERRED, FallbackMode.EAGER):
            resolver = stub(clock, config, dns_server.address, mode=mode)
            assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
        for mode in (FallbackMode.NEVER, FallbackMode.IF_SYSTEM_EMPTY):
            with pytest.raises(ServerError, match="REFUSED"):
                await stub(clock, config, dns_server.address, mode=mode).lookup_ipv4("host.example")
    for mode in (FallbackMode.IF_SYSTEM_EMPTY, FallbackMode.DEFERRED):
        resolver = stub(clock, SystemConfig(), dns_server.address, mode=mode)
        assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]


def _refused(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.REFUSED)
    return response


def test_who_names_nameservers_means_these(clock: FakeClock) -> None:
    assert StubResolver(["192.0.2.1"], clock=clock).tiers() == [(Nameserver.parse("192.0.2.1"),)]


async def test_search_list(dns_server: DnsServer, clock: FakeClock) -> None:
    dns_server.add("host.two.example.", "A", "192.0.2.1")
    server = (Nameserver.parse(dns_server.address),)
    config = SystemConfig(server, search=("one.example", "two.example"))
    assert await stub(clock, config).lookup_ipv4("host") == ["192.0.2.1"]
    asked = [query.question[0].name.to_text() for _, query in dns_server.seen]
    assert asked == ["host.one.example.", "host.two.example."]
    with pytest.raises(NxDomainError):
        await stub(clock, config).lookup_ipv4("host.")


async def test_hosts_file_and_localhost(clock: FakeClock) -> None:
    config = SystemConfig(hosts={"relay.lan": ("192.0.2.1", "2001:db8::1")}, search=("lan",))
    resolver = stub(clock, config)
    assert await resolver.lookup_ipv4("relay") == ["192.0.2.1"]
    assert await resolver.lookup_ipv6("Relay.LAN.") == ["2001:db8::1"]
    assert await resolver.lookup_ipv4("localhost") == ["127.0.0.1"]
    assert await resolver.lookup_ipv6("x.LocalHost.") == ["::1"]


def test_ranking_fades(clock: FakeClock) -> None:
    ranking = Ranking(clock.monotonic)
    one, two = Nameserver.parse("192.0.2.1"), Nameserver.parse("192.0.2.2")
    assert ranking.order([one, two]) == [one, two]
    ranking.failed(one)
    assert ranking.order([one, two]) == [two, one]
    ranking.answered(two, 3.0)
    assert ranking.order([one, two]) == [one, two]
    for _ in range(99):
        ranking.failed(one)
    assert ranking.score(one) <= Ranking.MAX
    clock.now += 3600
    assert ranking.score(one) == pytest.approx(Ranking.BASELINE, abs=1e-6)


class Scripted:
    """A `Resolver` of the test's own; each lookup waits for the test."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, asyncio.Future[Any]]] = []
        self.cleared = 0
        self.fresh: Scripted | None = None

    async def _call(self, host: str) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.calls.append((host, future))
        return await future

    lookup_ipv4 = lookup_ipv6 = lookup_txt = _call

    def clear_cache(self) -> None:
        self.cleared += 1

    def reset(self) -> "Scripted":
        self.fresh = Scripted()
        return self.fresh


async def test_custom_resolver() -> None:
    """Upstream custom_resolver."""

    class MyResolver(Scripted):
        async def lookup_ipv4(self, host: str) -> list[str]:
            if host != "foo.example":
                raise NoResponseError
            return ["1.1.1.1"]

    resolver = DnsResolver.custom(MyResolver())
    assert await resolver.lookup_ipv4("foo.example") == ["1.1.1.1"]
    with pytest.raises(NoResponseError, match="No response"):
        await resolver.lookup_ipv4("bar.example")


async def test_reset_begins_lookups_again(clock: FakeClock) -> None:
    old = Scripted()
    resolver = DnsResolver.custom(old, clock=clock)
    task = asyncio.create_task(resolver.lookup_txt("name"))
    await clock.advance(2.9)
    resolver.reset()
    await clock.advance(2.9)  # the time begins again too
    assert old.calls[0][1].cancelled()
    assert not task.done()
    assert old.fresh is not None
    old.fresh.calls[0][1].set_result([TxtRecord((b"x",))])
    assert await task == [(b"x",)]
    resolver.clear_cache()
    assert old.fresh.cleared == 1


async def test_a_finished_lookup_is_not_begun_again(clock: FakeClock) -> None:
    old = Scripted()
    resolver = DnsResolver.custom(old, clock=clock)
    task = asyncio.create_task(resolver.lookup_ipv4("name"))
    await settle()
    old.calls[0][1].set_result(["192.0.2.1"])
    await asyncio.sleep(0)
    resolver.reset()
    assert await task == ["192.0.2.1"]


async def test_cancelling_ends_the_queries(dns_server: DnsServer) -> None:
    dns_server.handler = lambda _query, _transport: None
    task = asyncio.create_task(DnsResolver([dns_server.address]).resolve_host("host.example"))
    await dns_server.until_seen(2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_resolve_host_literals() -> None:
    resolver = DnsResolver([])
    assert await resolver.resolve_host("192.0.2.1") == ["192.0.2.1"]
    assert await resolver.resolve_host("[2001:DB8::1]") == ["2001:db8::1"]
    with pytest.raises(MissingHostError, match="Missing host"):
        await resolver.resolve_host("")


async def test_resolve_host_prefers(dns_server: DnsServer) -> None:
    dns_server.add("host.example.", "A", "192.0.2.1", "192.0.2.2")
    dns_server.add("host.example.", "AAAA", "2001:db8::1")
    resolver = DnsResolver([dns_server.address])
    both = await resolver.resolve_host("host.example")
    assert both == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    both = await resolver.resolve_host("host.example", prefer_ipv6=True)
    assert both == ["2001:db8::1", "192.0.2.1", "192.0.2.2"]
    assert await resolver.resolve_host_staggered("host.example") == [*both[1:], both[0]]


async def test_resolve_host_when_families_fail() -> None:
    scripted = Scripted()
    resolver = DnsResolver.custom(scripted)

    async def resolve(ipv4: Any, ipv6: Any) -> list[str]:
        scripted.calls.clear()
        task = asyncio.create_task(resolver.resolve_host("host"))
        await settle()
        for (_, future), outcome in zip(scripted.calls, (ipv4, ipv6), strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        return await task

    assert await resolve(["192.0.2.1"], NxDomainError()) == ["192.0.2.1"]
    assert await resolve(NxDomainError(), ["::1"]) == ["::1"]
    with pytest.raises(NoResponseError):
        await resolve([], [])
    with pytest.raises(NoResponseError):
        await resolve(NxDomainError(), [])
    with pytest.raises(ResolveBothError) as caught:
        await resolve(NxDomainError(), NoResponseError())
    assert str(caught.value) == (
        "Resolve failed, IPv4: Domain name does not exist (NXDOMAIN), IPv6: No response"
    )
    with pytest.raises(ZeroDivisionError):  # an error of the custom resolver's own is not hidden
        await resolve(ZeroDivisionError(), ["::1"])


async def test_resolve_host_all_streams() -> None:
    scripted = Scripted()
    addresses = DnsResolver.custom(scripted).resolve_host_all("host")
    first = asyncio.create_task(anext(addresses))
    await settle()
    scripted.calls[1][1].set_result(["::1"])
    assert await first == "::1"
    scripted.calls[0][1].set_result(["192.0.2.1"])
    assert await collect(addresses) == ["192.0.2.1"]


async def test_endpoint_by_id(dns_server: DnsServer) -> None:
    """Upstream dns_resolve."""
    info = EndpointInfo.from_txt_strings(KEY.public(), ["relay=https://relay.example"])
    z32 = KEY.public().to_z32()
    name = f"_iroh.{z32}.testdns.example."
    dns_server.add(name, "TXT", *(f'"{text}"' for text in info.to_txt_strings()))
    resolver = DnsResolver([dns_server.address])
    found = await resolver.lookup_endpoint_by_id(KEY.public(), "testdns.example")
    assert found == info
    assert found.data.addrs == (RelayUrl("https://relay.example"),)
    for domain in (name, name.removeprefix("_iroh.")):
        assert await resolver.lookup_endpoint_by_domain_name(domain) == info
        assert await resolver.lookup_endpoint_by_domain_name_staggered(domain) == info


async def test_endpoint_lookup_failures(dns_server: DnsServer) -> None:
    z32 = KEY.public().to_z32()
    dns_server.add(f"_iroh.{z32}.example.", "TXT", '"future=1"')
    dns_server.add("_iroh.nobody.example.", "TXT", '"relay=https://r.example/"')
    resolver = DnsResolver([dns_server.address])
    with pytest.raises(EndpointLookupError, match="Failed to resolve TXT record") as caught:
        await resolver.lookup_endpoint_by_id(KEY.public(), "other.example")
    assert isinstance(caught.value.__cause__, NxDomainError)
    for name in (f"{z32}.example", "nobody.example"):
        with pytest.raises(EndpointLookupError, match="Malformed txt from lookup"):
            await resolver.lookup_endpoint_by_domain_name(name)


async def test_endpoint_by_id_staggered(clock: FakeClock) -> None:
    scripted = Scripted()
    resolver = DnsResolver.custom(scripted, clock=clock)
    resolver._randbelow = no_jitter
    task = asyncio.create_task(resolver.lookup_endpoint_by_id_staggered(KEY.public(), "o."))
    for count, moment in enumerate((0, 0.2, 0.1, 0.3, 0.4, 1, 1), 1):
        await clock.advance(moment)
        assert len(scripted.calls) == count
        scripted.calls[-1][1].set_exception(NxDomainError())
    with pytest.raises(StaggeredError) as caught:
        await task
    assert str(caught.value) == f"no calls succeeded: [{'Failed to resolve TXT record' * 7}]"
    assert clock.now == 1003
