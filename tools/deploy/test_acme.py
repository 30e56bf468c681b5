"""A certificate from a real ACME server: pebble, which Let's Encrypt tests its clients with."""

import asyncio
import ssl
from pathlib import Path

import pytest

from iroh_relay.server import RelayServer, RelayServerConfig
from iroh_relay.server.acme import AcmeCertificates

from .acme_server import AcmeServer, acme_server
from .conftest import LOOPBACK, PATIENCE

NAMES = ["relay.example.org", "other.example.org"]


async def test_pebble_issues_renews_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two names on one certificate, another one after it, and none when nobody answers."""
    async with acme_server(tmp_path, monkeypatch) as server:
        first = await served(tmp_path, server)
        assert await served(tmp_path, server) == first
        (tmp_path / "certs" / f"{NAMES[0]}.crt").unlink()  # the account stays: another order
        assert await served(tmp_path, server) != first
        nobody = AcmeCertificates(
            ["third.example.org"], "me@example.org", tmp_path / "certs",
            directory=server.url, ca_file=server.ca_file,
        )  # fmt: skip
        with pytest.raises(Exception, match="the names must lead to this machine"):
            await nobody.prepare()


async def served(folder: Path, server: AcmeServer) -> bytes:
    """Run a relay with certificates of that server; give the one that a client sees and trusts."""
    certificates = AcmeCertificates(
        NAMES, "me@example.org", folder / "certs", directory=server.url, ca_file=server.ca_file
    )
    config = RelayServerConfig(
        http_bind_addr=LOOPBACK._replace(port=server.http), https_bind_addr=LOOPBACK
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=server.issuer)
    async with RelayServer(config, certificates=certificates) as relay:
        addr = relay.https_addr
        assert addr is not None
        found = set()
        for name in NAMES:
            async with asyncio.timeout(PATIENCE):
                _, writer = await asyncio.open_connection(
                    addr.ip, addr.port, ssl=context, server_hostname=name
                )
            found.add(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.close()
            await writer.wait_closed()
    (der,) = found
    assert isinstance(der, bytes)
    return der
