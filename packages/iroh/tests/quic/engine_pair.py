"""Two multipath engines and nothing between them: datagrams cross at once, in virtual time."""

from collections.abc import Callable

from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.connection import Connection
from iroh.quic.endpoint import Endpoint
from iroh.quic.events import Event
from iroh.quic.make import make_connection
from iroh_base import SecretKey, SocketAddr

CLIENT, SERVER = SocketAddr("192.0.2.1", 1000), SocketAddr("198.51.100.1", 2000)
ALPN = b"pair/0"


class Side:
    """One endpoint, its one connection, and the events it gave."""

    def __init__(self, home: SocketAddr, server: bool) -> None:
        self.home = home
        self.key = SecretKey.generate()
        config = ServerConfig([ALPN]) if server else None
        self.endpoint = Endpoint(make_connection, self.key, config)
        self.connection: Connection | None = None
        self.events: list[Event] = []

    def gather(self) -> None:
        if self.connection is not None:
            self.events += self.connection.events()


class Pair:
    """A client and a server. Addresses in `dead` swallow what is sent to them."""

    def __init__(
        self, transport: TransportConfig | None = None, server: TransportConfig | None = None
    ) -> None:
        self.now = 0.0
        self.served = ServerConfig([ALPN], server or TransportConfig())
        self.client, self.server = Side(CLIENT, False), Side(SERVER, True)
        self.dead: set[SocketAddr] = set()
        connection = self.client.endpoint.connect(
            SERVER, self.server.key.public().to_bytes(), [ALPN], 0.0, transport
        )
        assert isinstance(connection, Connection)
        self.client.connection = connection

    @property
    def ends(self) -> tuple[Connection, Connection]:
        assert self.client.connection is not None
        assert self.server.connection is not None
        return self.client.connection, self.server.connection

    def step(self) -> int:
        """Send all that wants to be sent, and deliver it; gives how many datagrams there were."""
        count = 0
        for here, there in ((self.client, self.server), (self.server, self.client)):
            if here.connection is None:
                continue
            here.gather()
            for batch in here.connection.transmit(self.now):
                count += len(batch)
                if batch.remote in self.dead:
                    continue
                # A second address of a side is told apart by its port: 1000 talks to 2000.
                batch.remote = self._source(here.home, batch.remote)
                received = there.endpoint.receive([batch], self.now)
                for incoming in received.incoming:
                    accepted = incoming.accept(self.served, self.now)
                    assert isinstance(accepted, Connection)
                    there.connection = accepted
            here.gather()
            here.endpoint.update(here.connection)
        return count

    @staticmethod
    def _source(home: SocketAddr, target: object) -> SocketAddr:
        assert isinstance(target, SocketAddr)
        return home._replace(port=home.port + (target.port % 1000))

    def run(self, until: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let time pass until something holds. Fails when it does not."""
        end = self.now + seconds
        while not until():
            if not self.step():
                self._pass_time()
            assert self.now < end, "it never came to be"

    def settle(self, seconds: float = 1.0) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        while self.now < end:
            if not self.step():
                self._pass_time(end)
        self.step()

    def _pass_time(self, end: float = float("inf")) -> None:
        sides = [side for side in (self.client, self.server) if side.connection is not None]
        due = [side.connection.next_timeout() for side in sides]  # type: ignore[union-attr]
        self.now = min([self.now + 1.0, end, *(at for at in due if at is not None)])
        for side in sides:
            assert side.connection is not None
            at = side.connection.next_timeout()
            if at is not None and at <= self.now:
                side.connection.handle_timeout(self.now)


def connected(
    transport: TransportConfig | None = None, server: TransportConfig | None = None
) -> Pair:
    """Give a pair whose handshake is confirmed at both ends."""
    pair = Pair(transport, server)
    pair.run(lambda: pair.server.connection is not None and pair.ends[0]._p.confirmed)
    pair.settle(0.1)
    return pair
