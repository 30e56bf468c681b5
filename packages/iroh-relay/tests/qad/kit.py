"""A QAD client made of stock aioquic, and two ways to connect it: in memory, and over a socket."""

import asyncio
import ipaddress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from aioquic._buffer import Buffer
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from iroh_base.addr import SocketAddr
from iroh_relay.qad import ALPN, CLOSE_CODE, CLOSE_REASON
from iroh_relay.qad.connection import QadConnection
from iroh_relay.qad.observed import FRAME_V4, FRAME_V6, RECEIVES, encode_role
from iroh_relay.qad.server import QadServer
from iroh_relay.server import SelfSigned

PATIENCE = 10.0
CLIENT, SERVER = ("192.0.2.7", 4433), ("198.51.100.1", 7842)


@cache
def certificate() -> SelfSigned:
    """One for the whole run."""
    return SelfSigned()


def client_configuration(**options: Any) -> QuicConfiguration:
    return QuicConfiguration(
        is_client=True,
        alpn_protocols=[ALPN.decode()],
        server_name="localhost",
        cadata=certificate().chain_pem,
        **options,
    )


def server_configuration() -> QuicConfiguration:
    return QuicConfiguration(
        is_client=False,
        alpn_protocols=[ALPN.decode()],
        certificate=x509.load_pem_x509_certificate(certificate().chain_pem),
        private_key=load_pem_private_key(certificate().key_pem, None),
    )


class QadClient(QuicConnection):
    """Stock aioquic that asks for reports with `role` (None does not), and keeps them."""

    def __init__(self, role: int | None = RECEIVES, **options: Any) -> None:
        self.role = role
        self.reports: list[tuple[int, str, int]] = []
        super().__init__(configuration=client_configuration(**options))
        handlers: dict[int, Any] = self._QuicConnection__frame_handlers  # type: ignore[attr-defined]
        for kind in (FRAME_V4, FRAME_V6):
            handlers[kind] = (self._on_report, handlers[0x1E][1])  # 1-RTT only, as HANDSHAKE_DONE

    def _serialize_transport_parameters(self) -> bytes:
        more = b"" if self.role is None else encode_role(self.role)
        return super()._serialize_transport_parameters() + more

    def _on_report(self, _context: object, kind: int, buf: Buffer) -> None:
        seq = buf.pull_uint_var()
        ip = ipaddress.ip_address(buf.pull_bytes(4 if kind == FRAME_V4 else 16))
        self.reports.append((seq, str(ip), buf.pull_uint16()))


@dataclass
class Wire:
    """A client and a server connection in memory, with a clock of their own."""

    client: QuicConnection
    server: QadConnection | None = None
    now: float = 1000.0
    client_addr: tuple[str, int] = CLIENT
    ended: list[events.ConnectionTerminated] = field(default_factory=list)

    def run(self, drop_server: int = 0) -> None:
        """Exchange until nobody has anything to send; drop the server's first datagrams."""
        while True:
            self.now += 0.001  # aioquic paces what it sends
            up = self.client.datagrams_to_send(now=self.now)
            if up and self.server is None:
                dcid = up[0][0][6 : 6 + up[0][0][5]]
                self.server = QadConnection(server_configuration(), dcid, None)
            for data, _ in up:
                assert self.server is not None
                self.server.receive_datagram(data, self.client_addr, now=self.now)
            down = [] if self.server is None else self.server.datagrams_to_send(now=self.now)
            for data, addr in down:
                if drop_server:
                    drop_server -= 1
                elif addr == self.client_addr:
                    self.client.receive_datagram(data, SERVER, now=self.now)
            if not up and not down:
                return

    def wait(self) -> None:
        """Let the next timer of either side fire."""
        timers = [t for end in (self.client, self.server) if end and (t := end.get_timer())]
        self.now = max(self.now, min(timers))
        for end in (self.client, self.server):
            if end is not None and (due := end.get_timer()) is not None and due <= self.now:
                end.handle_timer(now=self.now)

    def server_end(self) -> events.ConnectionTerminated | None:
        """How the server's end finished, if it did."""
        assert self.server is not None
        while (event := self.server.next_event()) is not None:
            if isinstance(event, events.ConnectionTerminated):
                return event
        return None


def connect(role: int | None = RECEIVES) -> Wire:
    """Do a handshake in memory."""
    client = QadClient(role)
    wire = Wire(client)
    client.connect(SERVER, now=wire.now)
    wire.run()
    return wire


class SocketClient(asyncio.DatagramProtocol):
    """A QadClient on a UDP socket."""

    def __init__(self, server: SocketAddr, role: int | None = RECEIVES) -> None:
        self.quic = QadClient(role)
        self.changed = asyncio.Event()
        self.terminated: events.ConnectionTerminated | None = None
        self.connected = False
        self._server = server
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.DatagramTransport | None = None

    async def open(self) -> None:
        local = "127.0.0.1" if self._server.is_ipv4 else "::1"
        old, self.transport = self.transport, None
        await self._loop.create_datagram_endpoint(lambda: self, local_addr=(local, 0))
        if old is not None:
            old.close()

    async def __aenter__(self) -> Self:
        await self.open()
        self.quic.connect((self._server.ip, self._server.port), now=self._loop.time())
        self.move()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.quic.close(CLOSE_CODE, reason_phrase=CLOSE_REASON.decode())
        self.move()
        if self._timer is not None:
            self._timer.cancel()
        assert self.transport is not None
        self.transport.close()
        await asyncio.sleep(0)

    @property
    def local(self) -> tuple[str, int]:
        assert self.transport is not None
        name: tuple[str, int] = self.transport.get_extra_info("sockname")[:2]
        return name

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.quic.receive_datagram(data, addr[:2], now=self._loop.time())
        self.move()

    def move(self) -> None:
        now = self._loop.time()
        for data, _ in self.quic.datagrams_to_send(now=now):
            if self.transport is not None:
                self.transport.sendto(data, (self._server.ip, self._server.port))
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, events.ConnectionTerminated):
                self.terminated = event
            elif isinstance(event, events.HandshakeCompleted):
                self.connected = True
        if self._timer is not None:
            self._timer.cancel()
        due = self.quic.get_timer()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)
        self.changed.set()

    def _on_timer(self) -> None:
        self._timer = None
        self.quic.handle_timer(now=self._loop.time())
        self.move()

    async def until(self, done: Any) -> None:
        """Wait for `done()` to be true."""
        async with asyncio.timeout(PATIENCE):
            while not done():
                self.changed.clear()
                await self.changed.wait()


def listening(server: QadServer, ip: str) -> SocketAddr:
    return SocketAddr(ip, server.addr.port)
