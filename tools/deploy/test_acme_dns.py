"""The DNS server gets its certificate from a real ACME server, as its file says."""

import asyncio
import ssl
from pathlib import Path

import pytest

from iroh_dns_server import DnsServer
from iroh_dns_server.config_toml import parse_config

from .acme_server import acme_server
from .conftest import PATIENCE

NAMES = ["dns.example.org", "other.example.org"]
SETTINGS = """
data_dir = "{folder}/data"
[http]
port = {http}
bind_addr = "127.0.0.1"
[https]
port = 0
bind_addr = "127.0.0.1"
domains = ["dns.example.org", "other.example.org"]
cert_mode = "lets_encrypt"
letsencrypt_contact = "me@example.org"
acme_directory = "{url}"
acme_ca = "{ca_file}"
[dns]
port = 0
bind_addr = "127.0.0.1"
origins = ["dns.example.org."]
default_soa = "ns1.example.org hostmaster.example.org 0 10800 3600 604800 60"
default_ttl = 30
[metrics]
disabled = true
"""


async def test_pebble_issues_and_the_certificate_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One certificate for both names; a restart uses it, a lost one is ordered again."""
    async with acme_server(tmp_path, monkeypatch) as acme:
        text = SETTINGS.format(folder=tmp_path, **acme._asdict())
        first = await served(text, acme.issuer)
        assert await served(text, acme.issuer) == first
        (tmp_path / "data" / "cert_cache" / f"{NAMES[0]}.crt").unlink()
        assert await served(text, acme.issuer) != first


async def served(text: str, issuer: str) -> bytes:
    """Run a server; give the certificate that a client sees and trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=issuer)
    async with DnsServer(parse_config(text)) as server:
        assert server.https_addr is not None
        found = set()
        for name in NAMES:
            async with asyncio.timeout(PATIENCE):
                _, writer = await asyncio.open_connection(
                    *server.https_addr, ssl=context, server_hostname=name
                )
            found.add(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.close()
            await writer.wait_closed()
    (der,) = found
    assert isinstance(der, bytes)
    return der
