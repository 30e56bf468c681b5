"""Certificates of ACME, as far as can be seen without a server (`nox -s deploy` has one)."""

import asyncio
import datetime
import os
import stat
import sys
from pathlib import Path

import pytest
import trustme

from iroh_relay.server import CertificateError, RelayServer, RelayServerConfig
from iroh_relay.server.acme import AcmeCertificates

from .conftest import LOOPBACK
from .peer import PATIENCE
from .test_certs import get

NAME = "relay.example.org"


class Ordered(AcmeCertificates):
    """Gets its certificates from a CA in memory. What it was asked for, and how it fails."""

    def __init__(self, folder: Path, name: str = NAME) -> None:
        super().__init__([name], "me@example.org", folder)
        self.ca = trustme.CA()
        self.name = name
        self.orders = 0
        self.error: Exception | None = None
        self.life = datetime.timedelta(days=90)
        self.ordered = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def _order(self) -> tuple[bytes, bytes]:
        self.orders += 1
        self._loop.call_soon_threadsafe(self.ordered.set)
        self.challenges["token"] = "answer"
        if self.error is not None:
            raise self.error
        now = datetime.datetime.now(datetime.UTC)
        issued = self.ca.issue_cert(self.name, not_before=now, not_after=now + self.life)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return chain, issued.private_key_pem.bytes()


async def test_a_certificate_is_got_once_and_kept(tmp_path: Path) -> None:
    first = Ordered(tmp_path / "certs")
    await first.prepare()
    await first.close()
    await first.close()
    assert first.orders == 1
    assert first.challenges == {}
    for name in (f"{NAME}.crt", f"{NAME}.key"):
        assert stat.S_IMODE(os.stat(tmp_path / "certs" / name).st_mode) == 0o600
    second = Ordered(tmp_path / "certs")
    await second.prepare()
    assert second.orders == 0
    assert second.fingerprint() == first.fingerprint()
    await second.close()


async def test_one_for_other_names_is_not_used(tmp_path: Path) -> None:
    first = Ordered(tmp_path)
    await first.prepare()
    await first.close()
    for kind in ("crt", "key"):
        (tmp_path / f"{NAME}.{kind}").rename(tmp_path / f"other.example.org.{kind}")
    other = Ordered(tmp_path, "other.example.org")
    await other.prepare()
    await other.close()
    assert other.orders == 1


async def test_files_that_are_none_are_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"{NAME}.crt").write_text("nonsense")
    (tmp_path / f"{NAME}.key").write_text("nonsense")
    certificates = Ordered(tmp_path)
    await certificates.prepare()
    await certificates.close()
    assert certificates.orders == 1
    assert "getting a new one" in caplog.text


async def test_no_certificate_no_start(tmp_path: Path) -> None:
    certificates = Ordered(tmp_path)
    certificates.error = ValueError("DNS problem")
    with pytest.raises(CertificateError, match=r"DNS problem; the names must lead to this machine"):
        await certificates.prepare()
    assert certificates.challenges == {}


async def test_a_failed_renewal_keeps_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Ordered(tmp_path)
    await certificates.prepare()
    await certificates.close()
    old = certificates.fingerprint()
    certificates._fraction_left = lambda: 0.2  # type: ignore[method-assign]
    certificates.error, certificates.orders = OSError("down"), 0
    certificates.ordered.clear()
    await certificates.prepare()
    async with asyncio.timeout(PATIENCE):
        await certificates.ordered.wait()
        while "trying again in an hour" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
    assert certificates.fingerprint() == old
    await certificates.close()


async def test_the_plain_listener_answers_challenges(tmp_path: Path) -> None:
    certificates = Ordered(tmp_path)
    config = RelayServerConfig(http_bind_addr=LOOPBACK, https_bind_addr=LOOPBACK)
    async with RelayServer(config, certificates=certificates) as relay:
        assert certificates.orders == 1
        certificates.challenges["abc"] = "abc.thumbprint"
        path = "/.well-known/acme-challenge/"
        assert (await get(relay.http_addr, path + "abc")).endswith("\r\n\r\nabc.thumbprint")
        for other in (path, path + "x", "/abc"):
            assert (await get(relay.http_addr, other)).startswith("HTTP/1.1 4")


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "acme.client", None)
    with pytest.raises(CertificateError, match=r"pip install 'iroh-relay\[acme\]'"):
        AcmeCertificates([NAME], "me@example.org", tmp_path)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificateError, match="cannot use"):
        AcmeCertificates([NAME], "me@example.org", tmp_path / "file" / "certs")
