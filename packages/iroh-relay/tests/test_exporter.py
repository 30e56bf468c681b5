"""Keying material of TLS sessions, and the handshake that needs no challenge thanks to it."""

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
import trustme

from iroh_base.addr import SocketAddr
from iroh_base.keys import SecretKey
from iroh_relay import exporter
from iroh_relay.client import RelayClient
from iroh_relay.exporter import exporter_of
from iroh_relay.protos.http import CLIENT_AUTH_HEADER
from iroh_relay.protos.keying import EXPORT_LABEL, KeyMaterialClientAuth
from iroh_relay.relay_map import RelayConfig
from iroh_relay.server import RelayServer, RelayServerConfig, SelfSigned

LOOPBACK = SocketAddr("127.0.0.1", 0)
KEY = SecretKey.from_bytes(bytes([7]) * 32)


class Session:
    """Both ends of a TLS session in memory."""

    def __init__(self, version: ssl.TLSVersion) -> None:
        ca = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(server)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.maximum_version = version
        ca.configure_trust(client)
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(to_client, to_server, server_hostname="localhost")
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        for end in (self.client, self.server, self.client, self.server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_ends_derive_the_same(version: ssl.TLSVersion) -> None:
    session = Session(version)
    mine, theirs = exporter_of(session.client), exporter_of(session.server)
    assert mine is not None
    assert theirs is not None
    material = mine(EXPORT_LABEL, b"context", 32)
    assert material is not None
    assert len(material) == 32
    assert theirs(EXPORT_LABEL, b"context", 32) == material
    assert theirs(EXPORT_LABEL, b"other", 32) != material
    assert theirs(b"other", b"context", 32) != material
    other = exporter_of(Session(version).server)
    assert other is not None
    assert other(EXPORT_LABEL, b"context", 32) != material
    auth = KeyMaterialClientAuth.create(KEY, mine)
    assert auth is not None
    assert auth.verify(theirs)
    assert not auth.verify(other)


def test_no_session_no_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exporter_of(None) is None
    session = Session(ssl.TLSVersion.TLSv1_3)
    monkeypatch.setattr(exporter, "_CONTEXT_AT", 16)  # as in a Python whose objects differ
    assert exporter_of(session.client) is None


def test_a_python_that_hides_openssl() -> None:
    code = (
        "import ctypes, ssl\n"
        "def hidden(name):\n    raise OSError('no such library')\n"
        "ctypes.CDLL = hidden\n"
        "from iroh_relay.exporter import exporter_of\n"
        "context = ssl.create_default_context()\n"
        "bio = ssl.MemoryBIO\n"
        "print(exporter_of(context.wrap_bio(bio(), bio(), server_hostname='a')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert run.stdout.strip() == b"None"


@contextlib.asynccontextmanager
async def tls_relay() -> AsyncIterator[tuple[RelayServer, ssl.SSLContext]]:
    """A relay with TLS on loopback, and what its clients trust."""
    certificates = SelfSigned()
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(cadata=certificates.chain_pem.decode())
    config = RelayServerConfig(http_bind_addr=LOOPBACK, https_bind_addr=LOOPBACK)
    async with RelayServer(config, certificates=certificates) as relay:
        yield relay, trust


async def connected(relay: RelayServer, trust: ssl.SSLContext) -> None:
    client = RelayClient(
        RelayConfig(url=str(relay.url)), KEY, on_datagrams=lambda *_: None, ssl_context=trust
    )
    client.start()
    async with asyncio.timeout(10):
        await client.connected()
    await client.close()


async def test_a_client_over_tls_needs_no_challenge() -> None:
    async with tls_relay() as (relay, trust):
        await connected(relay, trust)
        assert relay.metrics.handshakes_by_key_material == 1
        assert relay.metrics.accepts == 1


async def test_material_of_another_session_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = exporter_of(Session(ssl.TLSVersion.TLSv1_3).client)
    assert foreign is not None
    header = KeyMaterialClientAuth.create(KEY, foreign)
    assert header is not None
    monkeypatch.setattr(KeyMaterialClientAuth, "create", lambda *_: header)
    async with tls_relay() as (relay, trust):  # the relay falls back to its challenge
        await connected(relay, trust)
        assert relay.metrics.handshakes_by_key_material == 0
        assert relay.metrics.accepts == 1


async def test_a_header_that_cannot_be_read_ends_the_connection() -> None:
    async with tls_relay() as (relay, trust):
        addr = relay.https_addr
        assert addr is not None
        reader, writer = await asyncio.open_connection(addr.ip, addr.port, ssl=trust)
        writer.write(
            b"GET /relay HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: iroh-relay-v2\r\n"
            + f"{CLIENT_AUTH_HEADER}: ???\r\n\r\n".encode()
        )
        async with asyncio.timeout(10):
            answer = await reader.read()
        assert answer.endswith(b"\r\n\r\n")  # the 101, and no frame
        writer.close()
        await writer.wait_closed()
        assert relay.metrics.handshakes_errored == 1
