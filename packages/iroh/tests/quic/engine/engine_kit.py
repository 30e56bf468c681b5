"""Two endpoints of the multipath engine with a wire between them, in virtual time."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from iroh.quic import events as ev
from iroh.quic.api import Rng, ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.connection import Connection
from iroh.quic.datagrams import Datagrams
from iroh.quic.endpoint import Endpoint
from iroh.quic.make import make_connection
from iroh.quic.parts import Parts
from iroh_base import SecretKey, SocketAddr

ALPN = b"test/1"
CLIENT_KEY = SecretKey.from_bytes(bytes([1]) * 32)
SERVER_KEY = SecretKey.from_bytes(bytes([2]) * 32)
CLIENT = CLIENT_KEY.public().to_bytes()
SERVER = SERVER_KEY.public().to_bytes()
CLIENT_ADDR = SocketAddr("192.0.2.1", 1)
SERVER_ADDR = SocketAddr("192.0.2.2", 2)
DELAY = 0.01
"""Seconds that a datagram is on its way."""
MAX_STEPS = 100_000


@dataclass
class End:
    """One end of a connection, what it was told and what it has read."""

    connection: Connection
    events: list[ev.Event] = field(default_factory=list)
    got: dict[int, bytearray] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    to_write: dict[int, deque[bytes]] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        return self.connection._p

    def send(self, data: bytes, stream_id: int | None = None) -> int:
        """Write all of it and the end, as the stream takes it."""
        if stream_id is None:
            stream_id = self.connection.open_stream(True)
            assert stream_id is not None
        pieces = [data[at : at + 65536] for at in range(0, len(data), 65536)]
        self.to_write[stream_id] = deque(pieces)
        return stream_id

    def told(self, kind: type[ev.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def work(self) -> None:
        """Take events, read what there is, write what fits."""
        fresh = self.connection.events()
        self.events += fresh
        for event in fresh:
            if isinstance(event, ev.StreamOpened | ev.StreamReadable):
                self._read(event.stream_id)
        if self.connection.close_reason is None:
            for stream_id in list(self.to_write):
                self._write(stream_id)

    def _read(self, stream_id: int) -> None:
        if stream_id in self.ended:
            return
        while data := self.connection.read(stream_id, 1 << 20):
            self.got.setdefault(stream_id, bytearray()).extend(data)
        if data is None:
            self.ended.add(stream_id)

    def _write(self, stream_id: int) -> None:
        pieces = self.to_write[stream_id]
        while pieces:
            taken = self.connection.write(stream_id, pieces[0])
            if taken < len(pieces[0]):
                pieces[0] = pieces[0][taken:]
                return
            pieces.popleft()
        del self.to_write[stream_id]
        self.connection.finish(stream_id)


Hook = Callable[[bool, Datagrams], bool]
"""(from the client, datagrams) -> whether they pass."""


class Wire:
    """A client and a server endpoint; `dial` makes connections between them.

    passes: asked of every batch. sent: all that was put on the wire: (from the client, batch).
    retries: the server wants addresses proven.
    """

    def __init__(self, seed: int = 1, **options: Any) -> None:
        rng: Rng = random.Random(seed).randbytes
        self.now = 100.0
        self.server_config = ServerConfig([ALPN])
        self.client = Endpoint(make_connection, CLIENT_KEY, rng=rng, **options)
        self.server = Endpoint(make_connection, SERVER_KEY, self.server_config, rng=rng, **options)
        self.passes: Hook = lambda _is_client, _datagrams: True
        self.retries = False
        self.sent: list[tuple[bool, Datagrams]] = []
        self.ends: list[End] = []
        self._flying: deque[tuple[float, Endpoint, Datagrams]] = deque()

    def dial(self, transport: TransportConfig | None = None, **options: Any) -> End:
        connection = self.client.connect(
            SERVER_ADDR, SERVER, [ALPN], self.now, transport, **options
        )
        return self._add(connection)

    def _add(self, connection: Any) -> End:
        end = End(connection)
        self.ends.append(end)
        return end

    def meet(self, **options: Any) -> tuple[End, End]:
        """Dial and wait until the handshake is confirmed on both ends."""
        return self.wait(self.dial(**options))

    def wait(self, client: End) -> tuple[End, End]:
        """Wait until the handshake of a dial is confirmed on both ends."""
        server = self.partner()
        self.run(lambda: client.parts.confirmed and server.parts.confirmed)
        return client, server

    def partner(self) -> End:
        """Wait for the server's end that comes next."""
        known = len(self.ends)
        self.run(lambda: len(self.ends) > known)
        return self.ends[-1]

    def run(self, until: Callable[[], bool] = lambda: False, seconds: float = 10.0) -> None:
        """Let time pass until something is so; fails when it is not in time."""
        deadline = self.now + seconds
        for _ in range(MAX_STEPS):
            self._pump()
            if until():
                return
            due = [end.connection.next_timeout() for end in self.ends]
            times = [at for at in due if at is not None]
            if self._flying:
                times.append(self._flying[0][0])
            following = max(self.now, min(times, default=deadline))
            if following >= deadline:
                self.now = deadline
                break
            self.now = following
            self._deliver()
            for end in self.ends:
                at = end.connection.next_timeout()
                if at is not None and at <= self.now:
                    end.connection.handle_timeout(self.now)
        else:
            raise AssertionError("it never ends")
        assert until is Wire.run.__defaults__[0] or until(), "not in time"  # type: ignore[index]

    def _pump(self) -> None:
        for end in self.ends:
            end.work()
            connection = end.connection
            while batches := connection.transmit(self.now):
                self._send(connection.is_client, batches)
            end.events += connection.events()
            (self.client if connection.is_client else self.server).update(connection)
        self._send(True, self.client.transmit())
        self._send(False, self.server.transmit())

    def _send(self, is_client: bool, batches: list[Datagrams]) -> None:
        target = self.server if is_client else self.client
        source = CLIENT_ADDR if is_client else SERVER_ADDR
        for sent in batches:
            self.sent.append((is_client, sent))
            if self.passes(is_client, sent):
                moved = Datagrams(source, sent.data, sent.segment_size, sent.ecn)
                self._flying.append((self.now + DELAY, target, moved))

    def _deliver(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, target, datagrams = self._flying.popleft()
            received = target.receive([datagrams], self.now)
            for incoming in received.incoming:
                if self.retries and not incoming.remote_validated:
                    incoming.retry(self.now)
                else:
                    self._add(incoming.accept(self.server_config, self.now))
