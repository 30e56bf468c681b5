"""Two engines, a virtual clock and a network that loses, delays, reorders and duplicates."""

import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aioquic_engine import AioquicConnection, AioquicEndpoint, Limits
from iroh.quic.api import Incoming, ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Datagrams
from iroh.quic.events import Closed, Connected, Drained, Event
from iroh_base import SecretKey

CLIENT = ("10.0.0.1", 1000)
SERVER = ("10.0.0.2", 2000)
ALPN = b"test/1"


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


@dataclass
class Wire:
    """One direction-less network: datagrams arrive `delay` later, unless they do not."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    lose: Callable[[int, bytes], bool] | None = None
    """Called with a count and each datagram; True loses it."""


class Peer:
    """An endpoint at an address, and its connections' events so far."""

    def __init__(self, net: "Net", endpoint: AioquicEndpoint, address: object) -> None:
        self.net = net
        self.endpoint = endpoint
        self.address = address
        self.config = ServerConfig([ALPN])
        self.auto_accept = True
        self.incoming: list[Incoming] = []
        self.events: dict[AioquicConnection, list[Event]] = {}

    def add(self, connection: AioquicConnection) -> AioquicConnection:
        self.events.setdefault(connection, [])
        return connection

    def dial(self, peer: "Peer", remote: object = None, **options: object) -> AioquicConnection:
        alpns = options.pop("alpns", [ALPN])
        key = options.pop("key", peer.key)
        transport = options.pop("transport", None)
        return self.add(
            self.endpoint.connect(
                remote or peer.address, key, alpns, self.net.now, transport=transport
            )
        )

    @property
    def key(self) -> bytes:
        return self.endpoint._shared.secret_key.public().to_bytes()

    @property
    def connections(self) -> list[AioquicConnection]:
        return list(self.events)

    def take(self, batches: Sequence[Datagrams]) -> None:
        received = self.endpoint.receive(batches, self.net.now)
        for incoming in received.incoming:
            if self.auto_accept:
                self.add(incoming.accept(self.config, self.net.now))
            else:
                self.incoming.append(incoming)
        assert len(set(received.connections)) == len(received.connections)

    def flush(self) -> None:
        """Collect events, send what is there."""
        for batch in self.endpoint.transmit():
            self.net.send(self, batch)
        for connection, events in list(self.events.items()):
            events.extend(connection.events())
            for _ in range(200):
                batches = connection.transmit(self.net.now)
                if not batches:
                    break
                for batch in batches:
                    assert 1 <= len(batch) <= 10
                    self.net.send(self, batch)
            else:
                raise AssertionError("transmit never ends")
            events.extend(connection.events())
            if any(isinstance(event, Drained) for event in events):
                self.endpoint.forget(connection)

    def got(self, connection: AioquicConnection, kind: type) -> list[Event]:
        return [event for event in self.events[connection] if isinstance(event, kind)]


class Net:
    """The clock and the queue of datagrams on their way."""

    def __init__(self, wire: Wire | None = None) -> None:
        self.now = 1000.0
        self.wire = wire or Wire()
        self.peers: dict[object, Peer] = {}
        self.routes: dict[object, list[tuple[object, object]]] = {}
        """Fan-out: a destination address -> (the real destination, the source it shows)."""
        self.log: list[tuple[object, object, bytes]] = []
        self._queue: list[tuple[float, int, object, object, bytes]] = []
        self._order = itertools.count()
        self._sent = itertools.count()

    def peer(
        self,
        address: object,
        seed: int,
        *,
        server: bool = False,
        transport: TransportConfig | None = None,
        limits: Limits | None = None,
    ) -> Peer:
        rng = seeded(seed)
        endpoint = AioquicEndpoint(
            SecretKey.generate(rng),
            ServerConfig([ALPN]) if server else None,
            transport,
            rng,
            limits,
        )
        peer = self.peers[address] = Peer(self, endpoint, address)
        if transport:
            peer.config = ServerConfig([ALPN], transport)
        return peer

    def send(self, sender: Peer, batch: Datagrams) -> None:
        for data in batch:
            self.put(sender.address, batch.remote, data)

    def put(self, source: object, destination: object, data: bytes) -> None:
        """Put one datagram on the wire, through losses and fan-out."""
        wire = self.wire
        for real, shown in self.routes.get(destination, [(destination, source)]):
            self.log.append((shown, real, data))
            if wire.lose is not None and wire.lose(next(self._sent), data):
                continue
            if wire.rng.random() < wire.loss:
                continue
            copies = 2 if wire.rng.random() < wire.duplicate else 1
            for _ in range(copies):
                at = self.now + wire.delay + wire.rng.random() * wire.jitter
                heapq.heappush(self._queue, (at, next(self._order), shown, real, data))

    def step(self) -> bool:
        """Flush all, then go to the next datagram or timer. False when nothing is left to do."""
        for peer in self.peers.values():
            peer.flush()
        timers = [
            (at, peer, connection)
            for peer in self.peers.values()
            for connection in peer.events
            if (at := connection.next_timeout()) is not None
        ]
        times = [at for at, _, _ in timers]
        if self._queue:
            times.append(self._queue[0][0])
        if not times:
            return False
        self.now = max(self.now, min(times))
        arrived: dict[object, list[Datagrams]] = {}
        while self._queue and self._queue[0][0] <= self.now:
            _, _, source, destination, data = heapq.heappop(self._queue)
            arrived.setdefault(destination, []).append(Datagrams(source, data))
        for destination, batches in arrived.items():
            if destination in self.peers:
                self.peers[destination].take(batches)
        for at, _, connection in timers:
            if at <= self.now:
                connection.handle_timeout(self.now)
        return True

    def run(self, until: Callable[[], bool], seconds: float = 60.0, steps: int = 100_000) -> None:
        """Step until `until` holds; fails after so many virtual seconds."""
        deadline = self.now + seconds
        for _ in range(steps):
            if until():
                return
            if not self.step() or self.now > deadline:
                break
        assert until(), f"did not happen in {seconds} virtual seconds"

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            for peer in self.peers.values():
                peer.flush()
            times = [
                at
                for peer in self.peers.values()
                for connection in peer.events
                if (at := connection.next_timeout()) is not None
            ]
            if self._queue:
                times.append(self._queue[0][0])
            if not times or min(times) > end:
                break
            self.step()
        self.now = end


@dataclass
class Pair:
    """A client and a server that are connected to each other."""

    net: Net
    client_peer: Peer
    server_peer: Peer
    client: AioquicConnection
    server: AioquicConnection

    def closed(self, connection: AioquicConnection) -> Closed | None:
        peer = self.client_peer if connection is self.client else self.server_peer
        events = peer.got(connection, Closed)
        return events[0] if events else None


def make_net(
    wire: Wire | None = None,
    *,
    client: TransportConfig | None = None,
    server: TransportConfig | None = None,
    limits: Limits | None = None,
) -> tuple[Net, Peer, Peer]:
    net = Net(wire)
    client_peer = net.peer(CLIENT, 1, transport=client)
    server_peer = net.peer(SERVER, 2, server=True, transport=server, limits=limits)
    return net, client_peer, server_peer


def connect(
    wire: Wire | None = None,
    *,
    client: TransportConfig | None = None,
    server: TransportConfig | None = None,
) -> Pair:
    """Connect two engines."""
    net, client_peer, server_peer = make_net(wire, client=client, server=server)
    connection = client_peer.dial(server_peer)
    net.run(
        lambda: (
            bool(client_peer.got(connection, Connected))
            and bool(server_peer.connections)
            and bool(server_peer.got(server_peer.connections[0], Connected))
        )
    )
    return Pair(net, client_peer, server_peer, connection, server_peer.connections[0])


def read_all(connection: AioquicConnection, stream_id: int) -> tuple[bytes, bool]:
    """Read what is there: the bytes, and whether the end came."""
    parts = []
    while True:
        data = connection.read(stream_id, 1 << 20)
        if data is None:
            return b"".join(parts), True
        if not data:
            return b"".join(parts), False
        parts.append(data)


def transfer(
    pair: Pair,
    data: bytes,
    *,
    sender: AioquicConnection | None = None,
    bidirectional: bool = True,
    seconds: float = 300.0,
) -> bytes:
    """Send `data` over a new stream and give what arrived; checks that the end came."""
    source = sender or pair.client
    sink = pair.server if source is pair.client else pair.client
    stream_id = source.open_stream(bidirectional)
    assert stream_id is not None
    got = bytearray()
    state = {"sent": 0, "fin": False, "end": False}

    def turn() -> bool:
        if not state["fin"]:
            state["sent"] += source.write(stream_id, data[state["sent"] :])
            if state["sent"] == len(data):
                source.finish(stream_id)
                state["fin"] = True
        if sink._core.find_stream(stream_id) is not None and not state["end"]:
            piece, state["end"] = read_all(sink, stream_id)
            got.extend(piece)
        return bool(state["end"])

    pair.net.run(turn, seconds)
    return bytes(got)
