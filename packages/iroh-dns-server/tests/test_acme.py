"""Certificates of ACME, as far as can be seen without a server (`nox -s deploy` has one)."""

import asyncio
import datetime
import os
import ssl
import stat
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
import trustme

from iroh_dns_server import CertificateError, CertMode, Config, DnsServer, HttpsConfig
from iroh_dns_server import acme as module
from iroh_dns_server.acme import PRODUCTION, STAGING, AcmeCertificates

NAME = "dns.example.org"


class Ordered(AcmeCertificates):
    """Gets its certificates from a CA in memory. What it was asked for, and how it fails."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        super().__init__([name], "me@example.org", folder)
        self.ca = trustme.CA()
        self.name = name
        self.orders = 0
        self.error: Exception | None = None
        self.ordered = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def _order(self) -> tuple[bytes, bytes]:
        self.orders += 1
        self._loop.call_soon_threadsafe(self.ordered.set)
        self.challenges["token"] = "answer"
        if self.error is not None:
            raise self.error
        now = datetime.datetime.now(datetime.UTC)
        end = now + datetime.timedelta(days=90)
        issued = self.ca.issue_cert(self.name, not_before=now, not_after=end)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return chain, issued.private_key_pem.bytes()


async def test_a_certificate_is_got_once_and_kept(tmp_path: Path) -> None:
    first = Ordered(tmp_path / "certs")
    await first.prepare()
    await first.close()
    await first.close()
    assert (first.orders, first.challenges) == (1, {})
    for name in (f"{NAME}.crt", f"{NAME}.key"):
        assert stat.S_IMODE(os.stat(tmp_path / "certs" / name).st_mode) == 0o600
    second = Ordered(tmp_path / "certs")
    await second.prepare()
    await second.close()
    assert second.orders == 0
    assert second.fingerprint() == first.fingerprint()


async def test_one_for_other_names_or_none_at_all_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Ordered(tmp_path)
    await first.prepare()
    await first.close()
    for kind in ("crt", "key"):
        (tmp_path / f"{NAME}.{kind}").rename(tmp_path / f"other.example.org.{kind}")
        (tmp_path / f"{NAME}.{kind}").write_text("nonsense")
    for name in ("other.example.org", NAME):
        again = Ordered(tmp_path, name)
        await again.prepare()
        await again.close()
        assert again.orders == 1
    assert "getting a new one" in caplog.text


async def test_no_certificate_no_start(tmp_path: Path) -> None:
    certificates = Ordered(tmp_path)
    certificates.error = ValueError("DNS problem")
    with pytest.raises(CertificateError, match=r"DNS problem; the names must lead to this machine"):
        await certificates.prepare()
    assert certificates.challenges == {}


async def test_a_failed_renewal_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Ordered(tmp_path)
    await certificates.prepare()
    await certificates.close()
    old = certificates.fingerprint()
    certificates._fraction_left = lambda: 0.2  # type: ignore[method-assign]
    certificates.error, certificates.orders = OSError("down"), 0
    certificates.ordered.clear()
    slept: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def sleep(seconds: float) -> None:
        slept.set_result(seconds)
        await asyncio.Event().wait()

    monkeypatch.setattr(module.asyncio, "sleep", sleep)  # type: ignore[attr-defined]
    await certificates.prepare()
    async with asyncio.timeout(5):
        assert await slept == 3600
    assert certificates.orders == 1
    assert certificates.fingerprint() == old
    await certificates.close()


async def test_http_answers_challenges_and_https_has_the_certificate(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Ordered] = []

    def make(domains: tuple[str, ...], contact: str, folder: Path, **options: str) -> Ordered:
        assert (domains, contact, folder.name) == ((NAME,), "me@example.org", "cert_cache")
        assert options == {"directory": STAGING, "ca_file": None}
        made.append(Ordered(folder))
        return made[0]

    monkeypatch.setattr(module, "AcmeCertificates", make)
    https = HttpsConfig(
        port=0,
        bind_addr=IPv4Address("127.0.0.1"),
        domains=(NAME,),
        cert_mode=CertMode.LETS_ENCRYPT,
        letsencrypt_contact="me@example.org",
    )
    async with DnsServer(replace(config, https=https)) as server:
        assert server.https_addr is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made[0].ca.configure_trust(context)
        _, writer = await asyncio.open_connection(
            *server.https_addr, ssl=context, server_hostname=NAME
        )
        writer.close()
        await writer.wait_closed()
        made[0].challenges["abc"] = "abc.thumbprint"
        url = f"http://{server.http_addr}/.well-known/acme-challenge/"
        async with aiohttp.ClientSession() as session:
            async with session.get(url + "abc") as response:
                assert (response.status, await response.text()) == (200, "abc.thumbprint")
            for other in ("", "x"):
                async with session.get(url + other) as response:
                    assert response.status == 404


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "acme.client", None)
    with pytest.raises(CertificateError, match=r"pip install 'iroh-dns-server\[acme\]'"):
        AcmeCertificates([NAME], "me@example.org", tmp_path)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot use"):
        AcmeCertificates(
            [NAME], "me@example.org", tmp_path / "file" / "certs", directory=PRODUCTION
        )
