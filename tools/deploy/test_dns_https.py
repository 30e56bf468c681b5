"""DNS over HTTPS of `iroh-dns-server`, asked by curl and by dig, over both versions of HTTP."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from iroh_dns_server import CertMode, Config, DnsConfig, DnsServer, HttpConfig, HttpsConfig

from .conftest import HOST, PATIENCE, Site, program

HERE = IPv4Address("127.0.0.1")
ORIGIN = "dns.example.org."
SOA = "ns1.example.org. hostmaster.example.org. 0 10800 3600 604800 60"


@pytest.fixture
async def server(site: Site, tmp_path: Path) -> AsyncIterator[DnsServer]:
    """Run a server whose certificate is the site's."""
    folder = tmp_path / "data" / "cert_cache"
    folder.mkdir(parents=True)
    (folder / f"{HOST}.crt").write_bytes(site.cert.read_bytes())
    (folder / f"{HOST}.key").write_bytes(site.key.read_bytes())
    site.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    config = Config(
        http=HttpConfig(port=0, bind_addr=HERE),
        https=HttpsConfig(port=0, bind_addr=HERE, domains=(HOST,), cert_mode=CertMode.MANUAL),
        dns=DnsConfig(port=0, bind_addr=HERE, origins=(ORIGIN,), default_soa=SOA, rr_a=HERE),
        data_dir=tmp_path / "data",
    )
    async with DnsServer(config) as running:
        yield running


async def said(*command: str) -> str:
    """What a program prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(PATIENCE):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


@pytest.mark.parametrize(("version", "spoken"), [("--http1.1", "1.1"), ("--http2", "2")])
async def test_curl(server: DnsServer, tmp_path: Path, version: str, spoken: str) -> None:
    assert server.https_addr is not None
    port = server.https_addr.port
    curl = [program("curl"), "-sS", version, "--cacert", str(tmp_path / "ca.pem")]
    curl += ["--resolve", f"{HOST}:{port}:127.0.0.1"]
    url = f"https://{HOST}:{port}/dns-query"
    question = bytes.fromhex("00000100000100000000000003646e73076578616d706c65036f72670000010001")
    packed = base64.urlsafe_b64encode(question).decode().rstrip("=")
    written = ["-w", " %{http_version} %{http_code} %{content_type}", "-o", "/dev/null"]
    message = ["-H", "Accept: application/dns-message"]
    for arguments in ([f"{url}?dns={packed}", *message], [url, "--data-binary", "@-"]):
        process = await asyncio.create_subprocess_exec(
            *(*curl, *written, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate(question)
        assert out.decode() == f" {spoken} 200 application/dns-message"
    found = await said(*curl, f"{url}?name={ORIGIN}", "-H", "Accept: application/dns-json")
    assert json.loads(found)["Answer"][0]["data"] == "127.0.0.1"
    refused = await said(*curl, *written, url)  # curl's own Accept: */*
    assert refused == f" {spoken} 406 application/json"


async def test_dig(server: DnsServer, tmp_path: Path) -> None:
    """BIND's client, HTTP/2 only; with the name of the certificate checked."""
    assert server.https_addr is not None
    dig = [program("dig"), "@127.0.0.1", "-p", str(server.https_addr.port), "+tries=1", "+short"]
    dig += [f"+tls-ca={tmp_path / 'ca.pem'}", f"+tls-hostname={HOST}"]
    for option in ("+https", "+https-get"):
        assert await said(*dig, option, ORIGIN, "A") == "127.0.0.1\n"
        assert (await said(*dig, option, ORIGIN, "SOA")).strip() == SOA
    assert server.metrics.dns_requests_https == 4
    assert server.metrics.http2_connections == 4
