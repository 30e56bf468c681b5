"""The resolver against a DNS server on loopback: what is asked, and what comes of each answer."""

import asyncio
import datetime
import ipaddress
import ssl
import subprocess
import sys
from pathlib import Path

import dns.message
import dns.rcode
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iroh.resolver import (
    DnsError,
    DnsResolver,
    DnsTimeoutError,
    InvalidResponseError,
    NxDomainError,
    ResolveError,
    ServerError,
)
from iroh_base import SecretKey

from .kit import DnsServer, FakeClock, Reply, running_dns_server

KEY = SecretKey.from_bytes(bytes(range(32)))


def test_import_is_light() -> None:
    """Neither the resolver nor the lookups may load dnspython or aiohttp."""
    code = (
        "import sys, iroh.resolver as r, iroh.address_lookup as a;"
        "r.DnsResolver(); a.DnsAddressLookup.n0(); a.PkarrResolver.n0(); a.PkarrPublisher.n0();"
        "assert not {'dns', 'aiohttp'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_addresses(dns_server: DnsServer) -> None:
    dns_server.add("host.example.", "A", "192.0.2.1", "192.0.2.2")
    dns_server.add("host.example.", "AAAA", "2001:db8::1")
    resolver = DnsResolver([dns_server.address])
    assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1", "192.0.2.2"]
    assert await resolver.lookup_ipv6("HOST.example.") == ["2001:db8::1"]
    assert await resolver.lookup_txt("host.example") == []
    assert dns_server.kinds_seen() == ["udp"] * 3


async def test_txt(dns_server: DnsServer) -> None:
    dns_server.add("host.example.", "TXT", '"one" "two"', '"three"')
    records = await DnsResolver([dns_server.address]).lookup_txt("host.example.")
    assert records == [(b"one", b"two"), (b"three",)]
    assert [str(record) for record in records] == ["onetwo", "three"]


async def test_a_name_that_does_not_exist(dns_server: DnsServer) -> None:
    resolver = DnsResolver([dns_server.address])
    for _ in range(2):  # negative answers are not cached
        with pytest.raises(NxDomainError):
            await resolver.lookup_ipv4("host.example")
    assert len(dns_server.seen) == 2


async def test_a_name_that_cannot_be() -> None:
    with pytest.raises(ResolveError, match="invalid domain name"):
        await DnsResolver(["127.0.0.1:1"]).lookup_txt("a..b")


async def test_no_nameservers() -> None:
    with pytest.raises(ResolveError, match="no nameservers configured to query"):
        await DnsResolver([]).lookup_txt("host.example")


async def test_cache(dns_server: DnsServer, clock: FakeClock) -> None:
    dns_server.add("host.example.", "A", "192.0.2.1", ttl=30)
    resolver = DnsResolver([dns_server.address], clock=clock)
    for _ in range(3):
        assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
    assert len(dns_server.seen) == 1
    clock.now += 30
    await resolver.lookup_ipv4("host.example")
    assert len(dns_server.seen) == 2
    resolver.reset()  # the cache outlives the change of network
    await resolver.lookup_ipv4("host.example")
    assert len(dns_server.seen) == 2
    resolver.clear_cache()
    await resolver.lookup_ipv4("host.example")
    assert len(dns_server.seen) == 3


async def test_truncated_answer_is_fetched_over_tcp(dns_server: DnsServer) -> None:
    def handler(query: dns.message.Message, transport: str) -> Reply:
        response = dns.message.make_response(query)
        if transport == "udp":
            response.flags |= dns.flags.TC
        else:
            response.answer = dns_server.records["big.example.", "TXT"]
        return response

    dns_server.add("big.example.", "TXT", *(f'"{i:0200}"' for i in range(100)))
    dns_server.handler = handler
    records = await DnsResolver([dns_server.address]).lookup_txt("big.example")
    assert len(records) == 100
    assert dns_server.kinds_seen() == ["udp", "tcp"]


async def test_tcp_only(dns_server: DnsServer) -> None:
    dns_server.add("host.example.", "A", "192.0.2.1")
    resolver = DnsResolver([f"tcp://{dns_server.address}"])
    assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
    assert dns_server.kinds_seen() == ["tcp"]


async def test_no_udp_at_the_server() -> None:
    """A refused port is known at once (ICMP), so TCP does not wait for its moment."""
    async with running_dns_server(udp=False) as server:
        server.add("host.example.", "A", "192.0.2.1")
        resolver = DnsResolver([server.address], clock=FakeClock())
        assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
        assert server.kinds_seen() == ["tcp"]


async def test_no_way_to_the_server() -> None:
    """UDP to a broadcast address is not permitted, and TCP does not get there."""
    with pytest.raises(ResolveError, match="transport failure"):
        await DnsResolver(["255.255.255.255:53"]).lookup_ipv4("host.example")


async def test_lost_datagrams_are_sent_again(dns_server: DnsServer, clock: FakeClock) -> None:
    replies = iter([False, False, True])

    def handler(query: dns.message.Message, transport: str) -> Reply:
        return dns_server.from_records(query, transport) if next(replies) else None

    dns_server.add("host.example.", "A", "192.0.2.1")
    dns_server.handler = handler
    task = asyncio.create_task(
        DnsResolver([dns_server.address], clock=clock).lookup_ipv4("host.example")
    )
    await dns_server.until_seen(1)
    await clock.advance(0.3)
    await dns_server.until_seen(2)
    await clock.advance(0.3)
    assert await task == ["192.0.2.1"]
    ids = {query.id for _, query in dns_server.seen}
    assert len(ids) == 1


async def test_tcp_joins_when_udp_is_silent(dns_server: DnsServer, clock: FakeClock) -> None:
    def handler(query: dns.message.Message, transport: str) -> Reply:
        return dns_server.from_records(query, transport) if transport == "tcp" else None

    dns_server.add("host.example.", "A", "192.0.2.1")
    dns_server.handler = handler
    task = asyncio.create_task(
        DnsResolver([dns_server.address], clock=clock).lookup_ipv4("host.example")
    )
    await dns_server.until_seen(1)
    await clock.advance(0.9)
    assert await task == ["192.0.2.1"]
    assert dns_server.kinds_seen()[-1] == "tcp"


async def test_silence_ends_in_a_timeout(dns_server: DnsServer, clock: FakeClock) -> None:
    dns_server.handler = lambda _query, _transport: None
    task = asyncio.create_task(
        DnsResolver([dns_server.address], clock=clock).lookup_ipv4("host.example")
    )
    await dns_server.until_seen(1)
    await clock.advance(2.99)
    assert not task.done()
    await clock.advance(0.01)
    with pytest.raises(DnsTimeoutError, match="Request timed out"):
        await task


async def test_spoofed_answers_are_ignored(dns_server: DnsServer) -> None:
    def handler(query: dns.message.Message, transport: str) -> list[Reply]:
        evil = dns.message.make_response(query)
        evil.answer = [dns.rrset.from_text("host.example.", 60, "IN", "A", "6.6.6.6")]
        wrong_id = bytearray(evil.to_wire())
        wrong_id[0] ^= 0x55
        other = dns.message.make_query("evil.example", "A")
        other.id = query.id
        question = dns.message.make_response(other)
        return [b"", b"junk", bytes(wrong_id), question, dns_server.from_records(query, transport)]

    dns_server.add("host.example.", "A", "192.0.2.1")
    dns_server.handler = handler
    resolver = DnsResolver([dns_server.address])
    assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
    with pytest.raises(InvalidResponseError):  # over TCP there is one answer only
        await DnsResolver([f"tcp://{dns_server.address}"]).lookup_ipv4("host.example")


async def test_a_connection_that_ends_early(dns_server: DnsServer) -> None:
    dns_server.handler = lambda _query, _transport: b""
    with pytest.raises(DnsError):
        await DnsResolver([f"tcp://{dns_server.address}"]).lookup_ipv4("host.example")


async def test_a_server_without_edns(dns_server: DnsServer) -> None:
    def handler(query: dns.message.Message, transport: str) -> Reply:
        if query.edns >= 0:
            response = dns.message.make_response(query)
            response.set_rcode(dns.rcode.FORMERR)
            return response
        return dns_server.from_records(query, transport)

    dns_server.add("host.example.", "A", "192.0.2.1")
    dns_server.handler = handler
    resolver = DnsResolver([dns_server.address])
    assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
    assert [query.edns for _, query in dns_server.seen] == [0, -1]


async def test_cnames_are_followed(dns_server: DnsServer) -> None:
    def handler(query: dns.message.Message, transport: str) -> Reply:
        name = query.question[0].name.to_text()
        response = dns.message.make_response(query)
        if name.startswith("loop"):
            target = f"loop{len(dns_server.seen)}.example."
            response.answer = [dns.rrset.from_text(name, 60, "IN", "CNAME", target)]
            return response
        if name == "alias.example.":
            response.answer = [dns.rrset.from_text(name, 60, "IN", "CNAME", "host.example.")]
            return response
        return dns_server.from_records(query, transport)

    dns_server.add("host.example.", "A", "192.0.2.1")
    dns_server.handler = handler
    resolver = DnsResolver([dns_server.address])
    assert await resolver.lookup_ipv4("alias.example") == ["192.0.2.1"]
    with pytest.raises(InvalidResponseError):
        await resolver.lookup_ipv4("loop.example")
    assert len(dns_server.seen) == 2 + 8


async def test_another_nameserver_helps_out(dns_server: DnsServer) -> None:
    dns_server.add("host.example.", "A", "192.0.2.1")
    for code in ("SERVFAIL", "REFUSED"):
        async with running_dns_server() as broken:

            def handler(query: dns.message.Message, _: str, code: str = code) -> Reply:
                response = dns.message.make_response(query)
                response.set_rcode(dns.rcode.from_text(code))
                return response

            broken.handler = handler
            resolver = DnsResolver([broken.address, dns_server.address])
            assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
            assert len(broken.seen) == 1
            resolver.clear_cache()
            assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
            assert len(broken.seen) == 1  # it is asked last from now on
            with pytest.raises(ServerError, match=code):
                await DnsResolver([broken.address]).lookup_ipv4("host.example")


async def test_the_first_nameserver_decides_what_does_not_exist(dns_server: DnsServer) -> None:
    async with running_dns_server() as other:
        other.add("host.example.", "A", "192.0.2.1")
        resolver = DnsResolver([dns_server.address, other.address])
        with pytest.raises(NxDomainError):
            await resolver.lookup_ipv4("host.example")
        assert other.seen == []


async def test_silent_nameserver_costs_a_tenth_of_a_second(
    dns_server: DnsServer, clock: FakeClock
) -> None:
    dns_server.add("host.example.", "A", "192.0.2.1")
    async with running_dns_server() as silent:
        silent.handler = lambda _query, _transport: None
        resolver = DnsResolver([silent.address, dns_server.address], clock=clock)
        task = asyncio.create_task(resolver.lookup_ipv4("host.example"))
        await silent.until_seen(1)
        assert dns_server.seen == []
        await clock.advance(0.1)
        assert await task == ["192.0.2.1"]


async def test_tls(tmp_path: Path) -> None:
    server_context, client_context = tls_contexts(tmp_path)
    async with running_dns_server(udp=False, tls=server_context) as server:
        server.add("host.example.", "A", "192.0.2.1")
        for name in ("", "#dns.example"):
            resolver = DnsResolver([f"tls://{server.address}{name}"], ssl_context=client_context)
            assert await resolver.lookup_ipv4("host.example") == ["192.0.2.1"]
        wrong = DnsResolver([f"tls://{server.address}#evil.example"], ssl_context=client_context)
        with pytest.raises(ResolveError, match="transport failure"):
            await wrong.lookup_ipv4("host.example")
        with pytest.raises(ResolveError, match="transport failure"):  # the system trusts it not
            await DnsResolver([f"tls://{server.address}"]).lookup_ipv4("host.example")


def tls_contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for dns.example and 127.0.0.1, and who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dns.example")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("dns.example"), address]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))
