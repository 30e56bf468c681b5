"""A certificate from a real ACME server: pebble, which Let's Encrypt tests its clients with."""

import asyncio
import json
import ssl
import urllib.request
from pathlib import Path

import pytest
import trustme

from iroh_relay.server import RelayServer, RelayServerConfig
from iroh_relay.server.acme import AcmeCertificates

from .conftest import LOOPBACK, PATIENCE, free_port, program, running

NAMES = ["relay.example.org", "other.example.org"]


async def test_pebble_issues_renews_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two names on one certificate, another one after it, and none when nobody answers."""
    pebble, names = program("pebble"), program("pebble-challtestsrv")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1")
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    port, management, http, dns = (free_port() for _ in range(4))
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(tmp_path / "cert.pem"),
        "privateKey": str(tmp_path / "key.pem"),
        "httpPort": http,
        "tlsPort": free_port(),
    }
    (tmp_path / "pebble.json").write_text(json.dumps({"pebble": config}))
    monkeypatch.setenv("PEBBLE_VA_NOSLEEP", "1")
    monkeypatch.setenv("PEBBLE_WFE_NONCEREJECT", "0")
    resolver = [names, "-dnsserver", f"127.0.0.1:{dns}", "-defaultIPv4", "127.0.0.1"]
    resolver += ["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""]
    command = [pebble, "-config", str(tmp_path / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"]
    manage = free_port()
    resolver += ["-management", f"127.0.0.1:{manage}"]
    async with running(*resolver, port=manage), running(*command, port=port):
        url = f"https://127.0.0.1:{port}/dir"
        issuer = await asyncio.to_thread(root, management, tmp_path / "ca.pem")
        first = await served(tmp_path, url, http, issuer)
        assert await served(tmp_path, url, http, issuer) == first
        (tmp_path / "certs" / f"{NAMES[0]}.crt").unlink()  # the account stays: another order
        assert await served(tmp_path, url, http, issuer) != first
        nobody = AcmeCertificates(
            ["third.example.org"], "me@example.org", tmp_path / "certs",
            directory=url, ca_file=str(tmp_path / "ca.pem"),
        )  # fmt: skip
        with pytest.raises(Exception, match="the names must lead to this machine"):
            await nobody.prepare()


async def served(folder: Path, url: str, http: int, issuer: str) -> bytes:
    """Run a relay with certificates of that server; give the one that a client sees and trusts."""
    certificates = AcmeCertificates(
        NAMES, "me@example.org", folder / "certs", directory=url, ca_file=str(folder / "ca.pem")
    )
    config = RelayServerConfig(
        http_bind_addr=LOOPBACK._replace(port=http), https_bind_addr=LOOPBACK
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=issuer)
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


def root(management: int, ca_file: Path) -> str:
    """The CA that pebble made for this run."""
    context = ssl.create_default_context(cafile=str(ca_file))
    url = f"https://127.0.0.1:{management}/roots/0"
    with urllib.request.urlopen(url, context=context) as answer:
        text: str = answer.read().decode()
        return text
