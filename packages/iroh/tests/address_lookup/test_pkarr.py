"""Publisher and resolver against a pkarr relay on loopback."""

import asyncio
import json
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from iroh.address_lookup import (
    N0_DNS_PKARR_RELAY_PROD,
    N0_DNS_PKARR_RELAY_STAGING,
    AddressLookupServices,
    DnsAddressLookup,
    LookupContext,
    PkarrPublisher,
    PkarrRelayClient,
    PkarrRelayError,
    PkarrResolver,
)
from iroh.resolver import DnsResolver
from iroh_base import (
    AddrFilter,
    EndpointData,
    EndpointInfo,
    EndpointInfoError,
    InvalidInputError,
    PacketTooLargeError,
    PkarrError,
    PublicKey,
    RelayUrl,
    SecretKey,
    SignedPacket,
    SocketAddr,
    UserData,
)

from .kit import DnsServer, FakeClock, PkarrRelay, collect, settle, stalling_server

KEY = SecretKey.from_bytes(bytes(range(32)))
ID = KEY.public()
RELAY = RelayUrl("https://relay.example")
IP = SocketAddr("192.0.2.1", 1)
DATA = EndpointData([IP, RELAY], UserData("foobar"))
RUST_PUTS = json.loads((Path(__file__).parent / "vectors" / "rust_puts.json").read_text())


def publisher(relay: PkarrRelay, clock: FakeClock, **options: Any) -> PkarrPublisher:
    return PkarrPublisher(relay.url, secret_key=KEY, clock=clock, **options)


async def test_request_is_that_of_rust(relay: PkarrRelay, clock: FakeClock) -> None:
    service = publisher(relay, clock)
    service.publish(DATA)
    await relay.until_requests(1)
    method, path, headers, body = relay.requests[0]
    assert (method, path) == ("PUT", f"/pkarr/{ID.to_z32()}")
    host = relay.url.removeprefix("http://").removesuffix("/pkarr")
    assert headers == {"accept": "*/*", "host": host, "content-length": str(len(body))}
    assert {name.lower() for name in RUST_PUTS[0]["headers"]} == set(headers)
    packet = relay.packet(0)
    assert packet.timestamp_us == clock.time_us()
    assert packet.txt_records() == [f"relay={RELAY}", "user-data=foobar"]  # no IP address
    assert packet.records()[0].ttl == 30
    await service.close()


async def test_republishes_with_a_new_timestamp(relay: PkarrRelay, clock: FakeClock) -> None:
    service = publisher(relay, clock, ttl=7, addr_filter=AddrFilter.unfiltered())
    service.publish(DATA)
    await clock.until_sleeping(300)
    await clock.advance(299.9)
    assert len(relay.requests) == 1
    await clock.advance(0.1)
    await clock.until_sleeping(300)
    assert relay.packet(1).timestamp_us == relay.packet(0).timestamp_us + 300_000_000
    assert relay.packet(1).txt_records() == [f"relay={RELAY}", f"addr={IP}", "user-data=foobar"]
    assert relay.packet(1).records()[0].ttl == 7
    await service.close()


async def test_backoff_is_linear(relay: PkarrRelay, clock: FakeClock) -> None:
    relay.statuses = [429, 500, 404, 301]  # a redirect that leads nowhere
    service = publisher(relay, clock)
    service.publish(DATA)
    for attempt in (1, 2, 3, 4):
        await clock.until_sleeping(attempt)
        assert len(relay.requests) == attempt
        await clock.advance(attempt)
    await clock.until_sleeping(300)
    assert len(relay.requests) == 5
    relay.statuses = [500]
    await clock.advance(300)
    await clock.until_sleeping(1)  # a success makes it begin at one again
    await service.close()


async def test_backoff_has_a_bound(relay: PkarrRelay, clock: FakeClock) -> None:
    relay.statuses = [500] * 5
    service = publisher(relay, clock, republish_interval=2)
    service.publish(DATA)
    for delay in (1, 2, 2):
        await clock.until_sleeping(delay)
        await clock.advance(delay)
    await service.close()


async def test_new_data_is_published_at_once(relay: PkarrRelay, clock: FakeClock) -> None:
    relay.statuses = [500, 500, 500]
    service = publisher(relay, clock)
    service.publish(DATA)
    await clock.until_sleeping(1)
    service.publish(EndpointData([RELAY]))
    await clock.until_sleeping(2)  # the count of failures goes on
    assert relay.packet(1).txt_records() == [f"relay={RELAY}"]
    service.publish(EndpointData([RELAY]))  # the same: no news
    service.publish(EndpointData([RELAY, IP]))  # the same when filtered
    await settle()
    assert len(relay.requests) == 2
    await service.close()


async def test_news_during_a_request(relay: PkarrRelay, clock: FakeClock) -> None:
    service = publisher(relay, clock)
    service.publish(DATA)
    await relay.until_requests(1)
    service.publish(EndpointData([RELAY], UserData("one")))
    service.publish(EndpointData([RELAY], UserData("two")))
    await relay.until_requests(2)
    await clock.until_sleeping(300)
    assert len(relay.requests) == 2
    assert relay.packet(1).txt_records()[-1] == "user-data=two"
    await service.close()


async def test_nothing_to_publish(relay: PkarrRelay, clock: FakeClock) -> None:
    service = publisher(relay, clock)
    service.publish(EndpointData())
    service.publish(EndpointData([IP]))  # filtered away
    await settle()
    assert service._task is None
    service.publish(DATA)
    await relay.until_requests(1)
    await clock.until_sleeping(300)
    service.publish(EndpointData([IP]))  # what was published is withdrawn
    await relay.until_requests(2)
    assert relay.packet(1).txt_records() == []
    await service.close()


async def test_unreachable_relay(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "iroh")
    service = PkarrPublisher("http://127.0.0.1:1/pkarr", secret_key=KEY, clock=clock)
    service.publish(DATA)
    await clock.until_sleeping(1)
    await clock.advance(1)
    await clock.until_sleeping(2)
    (record,) = caplog.records  # it says so once, and not as a warning
    assert record.levelno == logging.INFO
    assert "cannot publish to http://127.0.0.1:1/pkarr (1): " in caplog.text
    await service.close()


async def test_an_error_of_our_own_does_not_end_publishing(
    relay: PkarrRelay,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = publisher(relay, clock)
    with monkeypatch.context() as patch:
        patch.setattr(service, "_timestamp", lambda: 1 / 0)
        service.publish(DATA)
        await clock.until_sleeping(1)
    assert "ZeroDivisionError" in caplog.text
    await clock.advance(1)
    await relay.until_requests(1)
    await service.close()


async def test_too_much_to_publish(relay: PkarrRelay, clock: FakeClock) -> None:
    service = publisher(relay, clock)
    service.publish(EndpointData([RelayUrl(f"https://relay{i:0100}.example") for i in range(20)]))
    await clock.until_sleeping(1)
    assert relay.requests == []
    await service.close()


async def test_close(relay: PkarrRelay, clock: FakeClock) -> None:
    service = publisher(relay, clock)
    service.publish(DATA)
    await relay.until_requests(1)  # it may be under way
    await service.close()
    await service.close()
    service.publish(EndpointData([RELAY]))
    await settle()
    assert len(relay.requests) == 1


async def test_close_without_use() -> None:
    await PkarrPublisher.n0().close()
    await PkarrResolver.n0().close()


async def test_bound_to_an_endpoint(relay: PkarrRelay, clock: FakeClock) -> None:
    services = AddressLookupServices()
    services.publish(DATA)
    services.add(PkarrPublisher(relay.url))
    services.add(PkarrResolver(relay.url))
    await settle()
    assert relay.requests == []  # there is no key yet
    services.bind(LookupContext(KEY, DnsResolver([]), clock))
    await relay.until_requests(1)
    await clock.until_sleeping(300)
    (item,) = await collect(services.resolve(ID))
    assert item.provenance == "pkarr"
    assert item.last_updated_us is None
    assert item.endpoint_info == EndpointInfo(ID, EndpointData([RELAY], UserData("foobar")))
    await services.close()


async def test_timestamps_never_stand_still(relay: PkarrRelay) -> None:
    """Two publishers of one process: the later packet is the newer one."""
    services = [PkarrPublisher(relay.url, secret_key=KEY) for _ in range(2)]
    for count, service in enumerate(services, 1):
        service.publish(DATA)
        await relay.until_requests(count)
    assert relay.packet(1).more_recent_than(relay.packet(0))
    for service in services:
        await service.close()


@pytest.mark.parametrize("vector", RUST_PUTS)
async def test_packets_of_rust(relay: PkarrRelay, vector: dict[str, Any]) -> None:
    """What Rust iroh 1.4.1 published is resolved."""
    relay.packets[vector["path"]] = bytes.fromhex(vector["relay_payload_hex"])
    endpoint_id = PublicKey.from_string(vector["public_hex"])
    resolver = PkarrResolver(relay.url)
    (item,) = await collect(resolver.resolve(endpoint_id))
    assert item.endpoint_info.to_txt_strings() == vector["txt"]
    method, path, headers, body = relay.requests[0]
    assert (method, path, body) == ("GET", vector["path"], b"")
    assert set(headers) == {"accept", "host"}
    await resolver.close()


async def resolve(relay: PkarrRelay, body: bytes | None = None, **options: Any) -> Any:
    if body is not None:
        relay.packets[f"/pkarr/{ID.to_z32()}"] = body
    resolver = PkarrResolver(relay.url, **options)
    try:
        return await collect(resolver.resolve(ID))
    finally:
        await resolver.close()


async def test_resolver_errors(relay: PkarrRelay) -> None:
    with pytest.raises(PkarrRelayError, match="status 404") as caught:
        await resolve(relay)
    assert caught.value.status == 404
    good = EndpointInfo(ID, DATA).to_signed_packet(KEY, 1).to_relay_payload()
    assert len(await resolve(relay, good)) == 1
    with pytest.raises(PkarrError):
        await resolve(relay, good[:-1])
    with pytest.raises(PkarrError):
        await resolve(relay, b"")
    with pytest.raises(PacketTooLargeError, match="1105 bytes"):
        await resolve(relay, good + bytes(1_000_000))
    other = SignedPacket.sign(KEY, ["future=1"], 1).to_relay_payload()
    with pytest.raises(EndpointInfoError):
        await resolve(relay, other)


async def test_request_has_a_timeout() -> None:
    async with stalling_server() as (port, begun):
        resolver = PkarrResolver(f"http://127.0.0.1:{port}/pkarr", timeout=0.5)
        with pytest.raises(PkarrRelayError, match="no answer from http://127"):
            await collect(resolver.resolve(ID))
        assert begun.is_set()
        await resolver.close()


async def test_cancelling_a_request() -> None:
    async with stalling_server() as (port, begun):
        resolver = PkarrResolver(f"http://127.0.0.1:{port}/pkarr")
        task = asyncio.create_task(collect(resolver.resolve(ID)))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await resolver.close()


async def test_the_relay_is_found_by_our_resolver(
    relay: PkarrRelay, dns_server: DnsServer, clock: FakeClock
) -> None:
    dns_server.add("pkarr.example.", "A", "127.0.0.1")
    dns = DnsResolver([dns_server.address])
    url = relay.url.replace("127.0.0.1", "pkarr.example")
    client = PkarrRelayClient(url, resolver=lambda: dns)
    packet = EndpointInfo(ID, DATA).to_signed_packet(KEY, 5)
    await client.publish(packet)
    assert await client.resolve(ID) == packet
    await client.close()
    with pytest.raises(PkarrRelayError, match="closed"):
        await client.publish(packet)
    dns = DnsResolver([dns_server.address], clock=clock)
    lost = PkarrRelayClient(url.replace("pkarr.", "nowhere."), resolver=lambda: dns)
    task = asyncio.create_task(lost.publish(packet))
    before = len(dns_server.seen)
    for attempt in range(1, 8):
        await dns_server.until_seen(before + 2 * attempt)
        await clock.advance(1.2)
    with pytest.raises(PkarrRelayError, match=r"Error sending http request: .*no calls succeeded"):
        await task
    await lost.close()


async def test_the_trust_roots_of_the_endpoint() -> None:
    context = ssl.create_default_context()
    resolver = PkarrResolver.n0()
    resolver.bind(LookupContext(KEY, DnsResolver([]), ssl_context=context))
    connector = resolver._client._get_session().connector
    assert connector is not None
    assert connector._ssl is context
    await resolver.close()


@pytest.mark.parametrize("url", ["", "ftp://host/", "https://", "relay.example", "mailto:x@y"])
def test_bad_relay_url(url: str) -> None:
    with pytest.raises(InvalidInputError, match="Invalid relay URL"):
        PkarrPublisher(url)


def test_url_of_a_packet() -> None:
    for url, path in (
        ("https://h", "https://h/"),
        ("https://h/", "https://h/"),
        ("https://h/pkarr/?a=b#c", "https://h/pkarr/"),
    ):
        client = PkarrRelayClient(url, resolver=DnsResolver)
        query = "?a=b" if "?" in url else ""
        assert client.url_for(ID) == f"{path}{ID.to_z32()}{query}"


def test_n0(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PkarrPublisher.n0().relay_url == PkarrResolver.n0().relay_url == N0_DNS_PKARR_RELAY_PROD
    monkeypatch.setenv("IROH_FORCE_STAGING_RELAYS", "1")
    assert PkarrPublisher.n0().relay_url == N0_DNS_PKARR_RELAY_STAGING
    assert PkarrResolver.n0().relay_url == N0_DNS_PKARR_RELAY_STAGING


async def test_pkarr_publish_dns_resolve(
    relay: PkarrRelay, dns_server: DnsServer, clock: FakeClock
) -> None:
    """Upstream pkarr_publish_dns_resolve: published over HTTP, found by DNS and over HTTP."""
    origin = "testdns.example."
    dns = DnsResolver([dns_server.address])
    services = AddressLookupServices()
    services.bind(LookupContext(KEY, dns, clock))
    services.add(PkarrPublisher(relay.url))
    services.publish(DATA)
    await clock.until_sleeping(300)
    for record in relay.packet(0).txt_records():
        dns_server.add(f"_iroh.{ID.to_z32()}.{origin}", "TXT", f'"{record}"')
    services.add(DnsAddressLookup(origin))
    services.add(PkarrResolver(relay.url))
    items = await collect(services.resolve(ID))
    assert {item.provenance for item in items} == {"dns", "pkarr"}
    expected = EndpointInfo(ID, EndpointData([RELAY], UserData("foobar")))
    assert [item.endpoint_info for item in items] == [expected] * 2
    await services.close()
