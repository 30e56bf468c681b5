"""The attacker: our own engine on a real UDP socket, honest up to a point, and its bare packets.

    Attacker ---- UDP on loopback ----> the victim's process
    Friend   ---- a socket of its own --> the same victim, which must go on to serve it

What to send is decided in cases.py. The packets are sealed by the kit of the tests against our own
engine (packages/iroh/tests/quic/hostile/evil_kit.py), so that both are attacked by the same hand.
"""

import importlib
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.connection import Connection
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.errors import ConnectionClosed, TransportError
from iroh.quic.events import Event
from iroh.quic.make import make_connection
from iroh_base import EndpointId, SecretKey, SocketAddr

KIT = Path(__file__).resolve().parents[2] / "packages/iroh/tests/quic/hostile"
ALPN = b"hostile/1"
STEP = 0.02
"""Seconds that a select waits at the most."""
GROUP = 10
"""Datagrams sent in one go: a socket's buffer holds some dozens of small ones."""


def kit(name: str) -> Any:
    """Import a module of the tests' hostile peer."""
    if str(KIT) not in sys.path:
        sys.path.insert(0, str(KIT))
    return importlib.import_module(name)


class Wire:
    """A UDP socket on loopback with an endpoint of our engine behind it."""

    def __init__(self, transport: TransportConfig | None = None) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.address = SocketAddr(*self.sock.getsockname())
        self.key = SecretKey.generate()
        self.config = ServerConfig([ALPN], transport or TransportConfig())
        self.endpoint = Endpoint(make_connection, self.key, self.config, transport)
        self.connections: list[Connection] = []
        self.events: list[Event] = []
        self.received = self.sent = 0
        """Bytes."""
        self.mute = False
        """Nothing of the engine's is sent any more; what comes is still read."""

    def close(self) -> None:
        """Forget everything without a word."""
        self.sock.close()

    def dial(self, victim: "Target", early: bool = False) -> Connection:
        """Begin a connection; nothing is sent yet."""
        connection: Any = self.endpoint.connect(
            victim.address, victim.key, [ALPN], time.monotonic(), early_data=early
        )
        self.connections.append(connection)
        return connection  # type: ignore[no-any-return]

    def put(self, data: bytes, to: SocketAddr) -> None:
        """Send one datagram; lost when the socket takes no more."""
        try:
            self.sent += self.sock.sendto(data, tuple(to))
        except BlockingIOError:
            select.select([], [self.sock], [], STEP)

    def take(self) -> None:
        """Read what has come."""
        now = time.monotonic()
        while True:
            try:
                data, source = self.sock.recvfrom(65_535)
            except (BlockingIOError, ConnectionRefusedError):
                return
            self.received += len(data)
            if not data:
                continue
            got = self.endpoint.receive([Datagrams(SocketAddr(*source), data)], now)
            for incoming in got.incoming:
                accepted: Any = incoming.accept(self.config, now)
                self.connections.append(accepted)

    def work(self) -> None:
        """Do what is due, and send what wants to be sent."""
        now = time.monotonic()
        for connection in self.connections:
            due = connection.next_timeout()
            if due is not None and due <= now:
                connection.handle_timeout(now)
            batches = connection.transmit(now)
            self.events += connection.events()
            self.endpoint.update(connection)
            for batch in batches if not self.mute else ():
                for data in batch:
                    self.put(data, batch.remote)  # type: ignore[arg-type]

    def run(self, until: Callable[[], object], seconds: float) -> bool:
        """Work until something holds; False when it did not in time."""
        end = time.monotonic() + seconds
        while True:
            self.take()
            self.work()
            if until():
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            select.select([self.sock], [], [], min(left, STEP))

    def pause(self, seconds: float) -> None:
        """Work for so long."""
        self.run(lambda: False, seconds)

    def answers(self, connection: Connection, seconds: float = 2.0) -> bool:
        """Whether the other end still acknowledges what is sent to it."""
        path = connection._p.paths.get(0)  # noqa: SLF001
        if path is None:
            return False
        start = path.recovery.next
        connection.ping()

        def heard() -> bool:
            over = connection.close_reason is not None
            return over or path.recovery.largest_acked >= start

        return self.run(heard, seconds) and connection.close_reason is None

    def echoes(self, connection: Connection, seconds: float = 3.0) -> bool:
        """Whether the other end's application echoes a stream."""
        if connection.close_reason is not None:
            return False
        stream_id = connection.open_stream(True)
        if stream_id is None:
            return False
        connection.write(stream_id, b"ping")
        connection.finish(stream_id)
        got = bytearray()

        def arrived() -> bool:
            if connection.close_reason is not None:
                return True
            while data := connection.read(stream_id, 100):
                got.extend(data)
            return data is None

        self.run(arrived, seconds)
        return got == b"ping"


class Target:
    """Whom to attack: the public face of a victim."""

    def __init__(self, peer: str, address: str) -> None:
        self.key = EndpointId.from_string(peer).to_bytes()
        self.address = SocketAddr.parse(address)


evil_kit: Any = kit("evil_kit")


class Attacker(evil_kit.Sealer):  # type: ignore[misc]
    """One attack: a connection to the victim, or of the victim's, and what is thrown at it."""

    evil: Connection

    def __init__(self, target: Target, dial_us: Callable[[str, str], None]) -> None:
        self.target = target
        self.wire = Wire()
        self._dial_us = dial_us

    def meet(self, *, by_server: bool = False, twist: Any = None) -> bool:
        """Connect, and wait until the handshake is confirmed; False when it failed."""
        self.begin(by_server=by_server, twist=twist)
        evil = self.evil

        def settled() -> bool:
            return evil.close_reason is not None or evil._p.confirmed  # noqa: SLF001

        self.wire.run(settled, 5.0)
        self.wire.pause(0.03)  # connection ids, tickets
        for bidirectional in (True, False):  # what forged frames are answered with is known then
            while evil.close_reason is None and evil.open_stream(bidirectional) is not None:
                pass
        return evil.close_reason is None and evil._p.confirmed  # noqa: SLF001

    def begin(self, *, by_server: bool = False, twist: Any = None, early: bool = False) -> None:
        """Begin a connection. Its own part is twisted (see evil_kit.twisted)."""
        with evil_kit.twisted(**(twist or {})):
            if by_server:
                self._dial_us(str(self.wire.key.public()), str(self.wire.address))
                self.wire.run(lambda: self.wire.connections, 5.0)
                self.evil = self.wire.connections[-1]
            else:
                self.evil = self.wire.dial(self.target, early)

    def throw(self, *packets: bytes, pace: float = 0.0) -> None:
        """Send packets in groups, and read what comes back in between."""
        for at in range(0, len(packets), GROUP):
            for packet in packets[at : at + GROUP]:
                self.wire.put(packet, self.target_address())
            self.wire.take()
            self.wire.work()
            if pace:
                self.wire.pause(pace)

    def target_address(self) -> SocketAddr:
        """Where the victim is reached: dialled, or as it dialled us."""
        evil = getattr(self, "evil", None)
        path = evil._p.paths.get(0) if evil is not None else None  # noqa: SLF001
        return path.remote if path is not None else self.target.address

    def outcome(self, seconds: float = 2.0) -> str:
        """What became of the connection: `0x..` the code it was closed with, `open`, `silent`.

        `we: 0x..` when our own engine closed it, for what the victim sent.
        """
        evil = self.evil
        if evil.close_reason is None:
            self.wire.run(lambda: evil.close_reason is not None, 0.1)
        if evil.close_reason is None and self.wire.answers(evil, seconds):
            return "open"
        reason = evil.close_reason
        if reason is None:
            # An answer under keys that a twisted ClientHello does not give us.
            return "unreadable" if self.wire.endpoint.dropped["not authentic"] else "silent"
        if isinstance(reason, ConnectionClosed | TransportError):
            told = f"{reason.code:#x}"
            return told if isinstance(reason, ConnectionClosed) else f"we: {told}"
        return reason.kind
