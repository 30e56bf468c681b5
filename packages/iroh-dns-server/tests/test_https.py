"""HTTPS: certificates from files and made at start, read again, and the same pages over TLS."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from iroh_dns_server import (
    CertificateError,
    CertMode,
    Config,
    DnsServer,
    DnsServerError,
    HttpsConfig,
)
from iroh_dns_server.certs import CertFiles

DOMAIN = "dns.example.org"


def issue(ca: trustme.CA, folder: Path) -> None:
    """Put a certificate where the server looks for it."""
    issued = ca.issue_cert(DOMAIN)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{DOMAIN}.crt").write_bytes(b"".join(b.bytes() for b in issued.cert_chain_pems))
    (folder / f"{DOMAIN}.key").write_bytes(issued.private_key_pem.bytes())


def trust(pem: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=pem.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


@pytest.fixture
def secure(config: Config) -> Config:
    """The usual configuration, over TLS as well."""
    return replace(config, https=HttpsConfig(port=0, bind_addr=IPv4Address("127.0.0.1")))


async def test_self_signed(secure: Config, publisher: Callable[[int], Any]) -> None:
    who = publisher(1)
    async with DnsServer(replace(secure, http=None)) as server:
        with pytest.raises(DnsServerError):
            _ = server.http_addr
        assert server.certificates is not None
        assert server.https_addr is not None
        assert not server.certificates.reload()
        url = f"https://localhost:{server.https_addr.port}/pkarr/{who.z32}"
        connector = aiohttp.TCPConnector(ssl=trust(server.certificates.chain_pem))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.put(url, data=who.txt("x")) as response:
                assert response.status == 204
            async with session.get(url) as response:
                assert (await response.read())[72:] == who.txt("x")[72:]
        assert server.metrics.http_requests_success == 2


async def test_files_are_read_again(
    secure: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad file is refused and the old certificate stays; a good one counts at once."""
    caplog.set_level(logging.INFO)
    ca, folder = trustme.CA(), tmp_path / "data" / "cert_cache"
    assert secure.https is not None
    https = replace(secure.https, cert_mode=CertMode.MANUAL, domains=(DOMAIN,))
    secure = replace(secure, https=https)
    with pytest.raises(CertificateError, match=rf"cannot read .*{DOMAIN}\.crt: No such file"):
        await DnsServer(secure).start()
    issue(ca, folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)

    async def seen(server: DnsServer) -> bytes:
        assert server.https_addr is not None
        _, writer = await asyncio.open_connection(
            *server.https_addr, ssl=context, server_hostname=DOMAIN
        )
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        return der

    async with DnsServer(secure) as server:
        first = await seen(server)
        (folder / f"{DOMAIN}.crt").write_bytes(b"no certificate")
        server.reload(secure)
        assert "the old certificate stays in use" in caplog.text
        assert await seen(server) == first
        issue(ca, folder)
        server.reload(secure)
        assert await seen(server) != first
        assert server.certificates is not None
        assert server.certificates.fingerprint() in caplog.text


def test_the_names_of_the_files(tmp_path: Path) -> None:
    with pytest.raises(CertificateError) as caught:
        CertFiles(tmp_path, "*.dns/../example.org")
    assert f"{tmp_path}/.dns..example.org.crt" in str(caught.value)


async def test_who_speaks_no_tls_or_nothing_harms_nobody(secure: Config) -> None:
    async with DnsServer(secure) as server:
        assert server.https_addr is not None
        reader, writer = await asyncio.open_connection(*server.https_addr)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert not (await reader.read()).startswith(b"HTTP")
        writer.close()
        reader, silent = await asyncio.open_connection(*server.https_addr)
        silent.write(b"\x16")  # the first byte of a handshake, and no more
        await silent.drain()
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    silent.close()
