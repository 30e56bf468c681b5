"""DNS over HTTPS with an own authority, from our own DNS server; and the resolver's builder."""

from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context

import pytest
import trustme
from aiohttp import web

from iroh import Endpoint, presets
from iroh.address_lookup import DnsAddressLookup, PkarrPublisher
from iroh.resolver import (
    DnsProtocol,
    DnsResolver,
    FallbackMode,
    Nameserver,
    NxDomainError,
    ResolveError,
)
from iroh.resolver.stub import StubResolver
from iroh.resolver.system import SystemConfig
from iroh_base import SecretKey, UserData
from iroh_dns_server import CertMode, Config, DnsConfig, DnsServer, HttpConfig, HttpsConfig

from .kit import FakeClock

HOST = "127.0.0.1"
ORIGIN = "dns.example."


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> SSLContext:
    context = create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def server(authority: trustme.CA, tmp_path: Path) -> AsyncIterator[DnsServer]:
    """Our DNS server with a certificate for 127.0.0.1 and doh.example."""
    folder = tmp_path / "cert_cache"
    folder.mkdir()
    leaf = authority.issue_cert("doh.example", HOST)
    leaf.private_key_pem.write_to_path(folder / "doh.example.key")
    (folder / "doh.example.crt").write_bytes(b"".join(p.bytes() for p in leaf.cert_chain_pems))
    here = IPv4Address(HOST)
    config = Config(
        http=HttpConfig(port=0, bind_addr=here),
        https=HttpsConfig(
            port=0, bind_addr=here, domains=("doh.example",), cert_mode=CertMode.MANUAL
        ),
        dns=DnsConfig(port=0, bind_addr=here, origins=(ORIGIN, "."), rr_a=IPv4Address("192.0.2.7")),
        data_dir=tmp_path,
    )
    async with DnsServer(config) as running:
        yield running


async def test_over_https_with_an_own_authority(server: DnsServer, trusting: SSLContext) -> None:
    for name in ("", "#doh.example"):
        resolver = DnsResolver([f"https://{server.https_addr}{name}"], ssl_context=trusting)
        assert await resolver.lookup_ipv4(ORIGIN) == ["192.0.2.7"]
        assert await resolver.lookup_ipv6(ORIGIN) == []
        with pytest.raises(NxDomainError):
            await resolver.lookup_txt(f"nothing.{ORIGIN}")
    assert server.metrics.dns_requests_https == 6


async def test_who_is_not_trusted(server: DnsServer, trusting: SSLContext) -> None:
    for where, context in (("#evil.example", trusting), ("", None)):
        resolver = DnsResolver([f"https://{server.https_addr}{where}"], ssl_context=context)
        with pytest.raises(ResolveError, match=r"(?i)certificate"):
            await resolver.lookup_ipv4(ORIGIN)


async def test_an_endpoint_is_found_over_https(server: DnsServer, trusting: SSLContext) -> None:
    """Published over HTTP with user data, and looked up over HTTPS, by the endpoint's resolver."""
    secret = SecretKey(bytes([8]) * 32)
    resolver = DnsResolver.builder().tls_client_config(trusting)
    resolver.with_nameserver(str(server.https_addr), DnsProtocol.HTTPS)
    publisher = PkarrPublisher(f"http://{server.http_addr}/pkarr")
    lookup = DnsAddressLookup(ORIGIN)
    async with await Endpoint.bind(
        presets.Minimal,
        bind_addr="127.0.0.1:0",
        secret_key=secret,
        user_data="hello",
        dns_resolver=resolver.build(),
        address_lookup=[publisher, lookup],
    ):
        items = [item async for item in lookup.resolve(secret.public())]
        assert items[0].endpoint_info.data.user_data == UserData("hello")


@pytest.fixture
async def liar(authority: trustme.CA) -> AsyncIterator[Callable[[web.Response], Awaitable[str]]]:
    """Serve one HTTP answer to every question; gives the nameserver's text."""
    runners = []
    context = SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)

    async def serve(response: web.Response) -> str:
        async def answer(request: web.Request) -> web.Response:
            return response

        app = web.Application()
        app.router.add_post("/dns-query", answer)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0, ssl_context=context)
        await site.start()
        return f"https://{HOST}:{runner.addresses[0][1]}"

    yield serve
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"status": 503}, "HTTP status 503"),
        ({"status": 301, "headers": {"Location": "https://evil.example/"}}, "HTTP status 301"),
        ({"body": b"x" * 70_000, "content_type": "application/dns-message"}, "too long"),
        ({"body": b"short", "content_type": "application/dns-message"}, "(?i)dns"),
        ({"text": "hello"}, "text/plain"),
    ],
)
async def test_what_is_no_answer(liar, trusting: SSLContext, answer: dict, says: str) -> None:
    resolver = DnsResolver([await liar(web.Response(**answer))], ssl_context=trusting)
    with pytest.raises(Exception, match=says) as caught:
        await resolver.lookup_ipv4("host.example")
    assert type(caught.value).__module__ == "iroh.resolver.errors"


async def test_fallback_from_a_server_that_fails(server: DnsServer, liar, trusting) -> None:
    broken = await liar(web.Response(status=500))
    resolver = DnsResolver([broken, f"https://{server.https_addr}"], ssl_context=trusting)
    assert await resolver.lookup_ipv4(ORIGIN) == ["192.0.2.7"]


def test_the_builder() -> None:
    resolver = (
        DnsResolver.builder()
        .with_nameserver("192.0.2.1:53")
        .with_nameserver("192.0.2.2:853", DnsProtocol.TLS, "dns.example")
        .with_nameserver("[2001:db8::1]:443", DnsProtocol.HTTPS)
        .fallback(FallbackMode.NEVER)
        .build()
    )
    stub = resolver._resolver
    assert isinstance(stub, StubResolver)
    assert [str(server) for server in stub.tiers()[0]] == [
        "udp://192.0.2.1:53",
        "tls://192.0.2.2:853#dns.example",
        "https://[2001:db8::1]:443",
    ]
    one = DnsResolver.with_nameserver("192.0.2.1:53")._resolver
    assert isinstance(one, StubResolver)
    assert one.tiers() == [(Nameserver("udp", "192.0.2.1", 53),)]


def test_named_ones_before_those_of_the_system() -> None:
    theirs = Nameserver("udp", "192.0.2.9", 53)
    stub = StubResolver(
        ["192.0.2.1"],
        clock=FakeClock(),
        with_system=True,
        system=lambda: SystemConfig((theirs,), ("example",)),
    )
    for resolver in (stub, stub.reset()):
        assert resolver.tiers() == [(Nameserver("udp", "192.0.2.1", 53), theirs)]
        assert resolver._configuration().search == ("example",)
    system = DnsResolver.builder().with_system_defaults().build()._resolver
    assert isinstance(system, StubResolver)
    assert system._given is None
