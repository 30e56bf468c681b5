"""aioquic through its own asyncio API, as it is configured by default.

Its writer has no backpressure and its datagrams no pacing, so the adapter holds both back; without
that, memory grows with the transfer, and most datagrams are dropped inside the sender.
"""

import asyncio
import datetime
import ssl
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve as serve_aioquic
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import DatagramFrameReceived, QuicEvent

from bench.interface import Client, Conn, Info, OnDatagram, OnStream, Stream

DISTS = ("aioquic", "cryptography")
MOST_UNSENT = 4 << 20
MOST_DATAGRAMS = 64
POLL = 0.0005
PIECES = 16

_keep: set[Any] = set()


def _configuration(is_client: bool) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["bench"],
        max_datagram_frame_size=65_536,
        idle_timeout=300,
        verify_mode=ssl.CERT_NONE,
    )


def _certificate() -> Path:
    """Write a key and a self-signed certificate to a file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2026, 1, 1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, SHA256())
    )
    pem = serialization.Encoding.PEM
    shape, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = Path(tempfile.mkdtemp()) / "server.pem"
    path.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, shape, plain))
    return path


class Protocol(QuicConnectionProtocol):
    """A connection; on the server it hands datagrams on."""

    on_datagram: ClassVar[OnDatagram | None] = None

    def quic_event_received(self, event: QuicEvent) -> None:
        """Act on an event."""
        super().quic_event_received(event)
        take = type(self).on_datagram
        if isinstance(event, DatagramFrameReceived) and take is not None:
            take(event.data)


class BiStream:
    """A pair of asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.read = reader.read
        self.read_exactly = reader.readexactly
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Write, keeping at most 4 MiB unacknowledged or unsent."""
        self._writer.write(data)
        while self._unsent() > MOST_UNSENT:  # noqa: ASYNC110 (nothing tells when it shrinks)
            await asyncio.sleep(POLL)

    def _unsent(self) -> int:
        transport: Any = self._writer.transport
        streams = transport.protocol._quic._streams  # noqa: SLF001 (there is no public count)
        stream = streams.get(transport.stream_id)
        return len(stream.sender._buffer) if stream is not None else 0  # noqa: SLF001

    async def finish(self) -> None:
        """End the stream."""
        self._writer.write_eof()


class Connection:
    """A dialled connection."""

    def __init__(self, protocol: Any, context: Any) -> None:
        self._protocol = protocol
        self._context = context
        self._sent = 0

    async def open_bi(self) -> Stream:
        """Open a stream."""
        return BiStream(*await self._protocol.create_stream())

    async def send_datagram(self, data: bytes) -> None:
        """Send a datagram, some at a time."""
        quic = self._protocol._quic  # noqa: SLF001 (datagrams have no asyncio API)
        quic.send_datagram_frame(data)
        self._sent += 1
        if self._sent % PIECES == 0:
            self._protocol.transmit()
            while len(quic._datagrams_pending) > MOST_DATAGRAMS:  # noqa: SLF001, ASYNC110
                await asyncio.sleep(POLL)

    async def close(self) -> None:
        """Close without waiting out the closing period."""
        self._protocol.transmit()
        self._protocol.close()
        self._protocol._transport.close()  # noqa: SLF001

    def packets(self) -> int | None:
        """Not counted by aioquic."""
        return None


class Dialler:
    """Each connection of aioquic has a socket of its own."""

    async def connect(self, info: Info) -> Conn:
        """Connect to the server's port."""
        context = connect(
            "127.0.0.1",
            info["port"],
            configuration=_configuration(is_client=True),
            create_protocol=Protocol,
        )
        return Connection(await context.__aenter__(), context)

    async def close(self) -> None:
        """Release nothing."""


def _reap(task: "asyncio.Task[None]") -> None:
    """Forget a task; a client that went away is no error of the server."""
    _keep.discard(task)
    if not task.cancelled():
        task.exception()


async def bind() -> Client:
    """Make a dialling end."""
    return Dialler()


async def serve(on_stream: OnStream, on_datagram: OnDatagram) -> Info:
    """Start a server."""
    Protocol.on_datagram = on_datagram
    configuration = _configuration(is_client=False)
    configuration.load_cert_chain(_certificate())

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await on_stream(BiStream(reader, writer))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(stream(reader, writer))
        _keep.add(task)
        task.add_done_callback(_reap)

    server: Any = await serve_aioquic(
        "127.0.0.1",
        0,
        configuration=configuration,
        create_protocol=Protocol,
        stream_handler=accept,
    )
    _keep.add(server)
    return {"port": server._transport.get_extra_info("sockname")[1]}  # noqa: SLF001
