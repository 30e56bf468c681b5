"""Certificates: from files and made here, in use and renewed."""

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest
import trustme

from iroh_base.addr import SocketAddr
from iroh_relay.protos.frames import Ping, Pong, RelayToClientDatagrams
from iroh_relay.server import (
    CertFiles,
    CertificateError,
    RelayServer,
    RelayServerConfig,
    SelfSigned,
)
from iroh_relay.server.tls import TLS_BUFFER, TlsFactory

from .conftest import LOOPBACK
from .peer import PATIENCE, Peer, secret


class Files:
    """A chain and a key on disk, and the CA that signed them."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "default.crt", folder / "default.key"
        self.ca = trustme.CA()
        self.renew()

    def renew(self) -> None:
        """Put a new certificate of the same CA in place."""
        issued = self.ca.issue_cert("localhost", "127.0.0.1")
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())

    def client(self) -> ssl.SSLContext:
        """A client that trusts the CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def config() -> RelayServerConfig:
    return RelayServerConfig(
        http_bind_addr=LOOPBACK, https_bind_addr=LOOPBACK, metrics_bind_addr=LOOPBACK
    )


async def get(addr: SocketAddr, path: str, context: ssl.SSLContext | None = None) -> str:
    """The whole answer to a request."""
    reader, writer = await asyncio.open_connection(addr.ip, addr.port, ssl=context)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE):
        answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return answer


async def shown(addr: SocketAddr, context: ssl.SSLContext) -> bytes:
    """The certificate that a listener shows, DER."""
    _, writer = await asyncio.open_connection(addr.ip, addr.port, ssl=context)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    assert isinstance(der, bytes)
    return der


async def test_a_relay_with_tls(files: Files) -> None:
    certificates = CertFiles(files.cert, files.key)
    async with RelayServer(config(), certificates=certificates) as relay:
        addr = relay.https_addr
        assert addr is not None
        assert str(relay.url) == f"https://127.0.0.1:{addr.port}/"
        page = await get(addr, "/healthz", files.client())
        assert page.startswith("HTTP/1.1 200")
        assert "Strict-Transport-Security" in page
        assert (await get(addr, "/generate_204", files.client())).startswith("HTTP/1.1 404")
        plain = await get(relay.http_addr, "/generate_204")
        assert plain.startswith("HTTP/1.1 204")
        for path in ("/", "/relay", "/ping"):
            other = await get(relay.http_addr, path)
            assert other.startswith("HTTP/1.1 404")
            assert "Strict-Transport-Security" not in other


async def test_clients_over_tls(files: Files) -> None:
    async with RelayServer(config(), certificates=CertFiles(files.cert, files.key)) as relay:
        addr = relay.https_addr
        assert addr is not None
        peers = []
        for seed in (1, 2):
            streams = await asyncio.open_connection(addr.ip, addr.port, ssl=files.client())
            peer = await Peer(*streams).upgraded()
            await peer.handshake(secret(seed))
            peers.append(peer)
        a, b = peers
        assert a.writer.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        for size in (1, 1200, 16_384, 60_000):
            a.send_datagram(b, bytes(size))
            received = await b.receive()
            assert isinstance(received, RelayToClientDatagrams)
            assert len(received.datagrams.contents) == size
        a.send(Ping(b"12345678").encode())
        assert await a.receive() == Pong(b"12345678")
        for peer in peers:
            await peer.close()


def tls_of(relay: RelayServer) -> TlsFactory:
    factory = relay._listeners["https"]._tls
    assert factory is not None
    return factory


async def test_all_clients_share_one_buffer_to_read_into(files: Files) -> None:
    """asyncio's own would be 256 KiB for each."""
    async with RelayServer(config(), certificates=CertFiles(files.cert, files.key)) as relay:
        addr = relay.https_addr
        assert addr is not None
        dial = asyncio.open_connection
        writers = [(await dial(addr.ip, addr.port, ssl=files.client()))[1] for _ in range(2)]
        one, two = (connection.get_buffer(100_000) for connection in tls_of(relay).alive)
        assert len(one) == len(two) == TLS_BUFFER
        assert one is two or not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
        for writer in writers:
            writer.close()
            await writer.wait_closed()


async def test_closing_a_relay_ends_handshakes(files: Files) -> None:
    """Nobody else would: until it is done, a handshake belongs to no request."""
    relay = RelayServer(config(), certificates=CertFiles(files.cert, files.key))
    await relay.start()
    assert relay.https_addr is not None
    reader, writer = await asyncio.open_connection(relay.https_addr.ip, relay.https_addr.port)
    writer.write(b"\x16\x03\x01\x02\x00\x01")  # the begin of a ClientHello
    factory = tls_of(relay)
    async with asyncio.timeout(PATIENCE):
        while not factory.alive:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
        await relay.close()
        assert not factory.alive
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(ConnectionResetError):
        await writer.wait_closed()


async def test_a_client_that_speaks_no_tls_harms_nobody(files: Files) -> None:
    async with RelayServer(config(), certificates=CertFiles(files.cert, files.key)) as relay:
        addr = relay.https_addr
        assert addr is not None
        reader, writer = await asyncio.open_connection(addr.ip, addr.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await reader.read()
        writer.close()
        await writer.wait_closed()
        assert (await get(addr, "/ping", files.client())).startswith("HTTP/1.1 200")


async def test_a_renewed_certificate_is_used_and_a_bad_one_is_not(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = CertFiles(files.cert, files.key)
    changes: list[bytes] = []
    certificates.on_change(lambda: changes.append(certificates.chain_pem))
    async with RelayServer(config(), certificates=certificates) as relay:
        addr = relay.https_addr
        assert addr is not None
        first = await shown(addr, files.client())
        assert not certificates.reload()
        files.renew()
        assert certificates.reload()
        second = await shown(addr, files.client())
        assert first != second
        assert changes == [files.cert.read_bytes()]
        files.key.write_bytes(b"nonsense")
        assert not certificates.reload()
        files.key.unlink()
        assert not certificates.reload()
        assert caplog.text.count("the old certificate stays in use") == 2
        assert await shown(addr, files.client()) == second


def test_files_that_cannot_be_used(files: Files, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"cannot read .*nowhere: No such file"):
        CertFiles(tmp_path / "nowhere", files.key)
    other = tmp_path / "other.key"
    other.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    with pytest.raises(CertificateError, match="are no certificate with its key"):
        CertFiles(files.cert, other)
    with pytest.raises(CertificateError, match="are no certificate with its key"):
        CertFiles(files.key, files.cert)


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CertificateError, match="without a password"):
        CertFiles(files.cert, files.key)


async def test_self_signed() -> None:
    certificates = SelfSigned(["relay.test", "127.0.0.1", "::1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificates.chain_pem.decode())
    async with RelayServer(config(), certificates=certificates) as relay:
        addr = relay.https_addr
        assert addr is not None
        assert (await get(addr, "/ping", context)).startswith("HTTP/1.1 200")
    parts = certificates.fingerprint().split(":")
    assert len(parts) == 32
    assert all(len(part) == 2 for part in parts)


async def test_metrics_have_a_page_of_their_own() -> None:
    async with RelayServer(config()) as relay:
        addr = relay.metrics_addr
        assert addr is not None
        for path in ("/metrics", "/", "/anything?x=y"):
            page = await get(addr, path)
            assert page.startswith("HTTP/1.1 200")
            assert "Content-Type: text/plain; charset=utf-8" in page
            assert "# TYPE relayserver_accepts counter\nrelayserver_accepts_total 0\n" in page
            assert "relayserver_bytes_rx_ratelimited_total 0\n" in page
            assert page.endswith("# EOF\n")
        assert '"status":"ok"' in await get(addr, "/healthz")
        assert (await get(relay.http_addr, "/metrics")).startswith("HTTP/1.1 404")
