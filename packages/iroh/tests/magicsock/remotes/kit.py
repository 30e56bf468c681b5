"""A remote with connections of a pretended engine, and a clock that the test moves."""

import heapq
import itertools
from collections.abc import Callable

from iroh.magicsock.direct_addrs import DirectAddresses
from iroh.magicsock.mapped import MappedAddrs, RelayPathAddr
from iroh.magicsock.remote import RemoteState
from iroh.magicsock.remote_paths import RemoteConnection, Surroundings
from iroh.magicsock.selector import BiasedRttPathSelector
from iroh.metrics import SocketMetrics
from iroh.quic import path_events as pe
from iroh.quic.path_commands import PathView
from iroh.quic.path_errors import LastPath, NatTraversalError, PathGone, ServerCannotOpen
from iroh_base import PublicKey, RelayUrl, SecretKey, SocketAddr

PEER = SecretKey.generate().public()
RELAY, RELAY_2 = RelayUrl("https://relay.example/"), RelayUrl("https://other.example/")
OURS = SocketAddr("192.0.2.1", 1000)
A, B, C = (SocketAddr("198.51.100.1", port) for port in (1, 2, 3))
SIX = SocketAddr("2001:db8::1", 1)


class Call:
    """What `call_at` gives."""

    def __init__(self, act: Callable) -> None:
        self.act: Callable | None = act

    def cancel(self) -> None:
        self.act = None


class Clock:
    """Stands still until the test lets time pass."""

    def __init__(self) -> None:
        self.now = 100.0
        self._order = itertools.count()
        self._calls: list[tuple[float, int, Call]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable) -> Call:
        call = Call(callback)
        heapq.heappush(self._calls, (when, next(self._order), call))
        return call

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            at, _, call = heapq.heappop(self._calls)
            self.now = max(self.now, at)
            if call.act is not None:
                call.act()
        self.now = end

    def pending(self) -> int:
        return sum(call.act is not None for *_, call in self._calls)


class Commands:
    """The engine's commands on paths; notes what it is told."""

    is_multipath = True
    is_nat_traversing = True

    def __init__(self, is_client: bool) -> None:
        self.is_client = is_client
        self.live: dict[int, PathView] = {}
        self.log: list[tuple] = []
        self.refuse: list[Exception] = []  # what the next calls of open raise
        self.local: list[SocketAddr] = []
        self.remote: list[SocketAddr] = []
        self.rounds = 0
        self._ids = itertools.count(1)

    def next_id(self) -> int:
        return next(self._ids)

    def views(self) -> list[PathView]:
        return list(self.live.values())

    def view(self, path_id: int) -> PathView | None:
        return self.live.get(path_id)

    def best(self):
        found = sorted(self.live.values(), key=lambda view: (not view.available, view.path_id))
        return found[0].remote if found else None

    def change(self, path_id: int, **to) -> None:
        fields = {name: getattr(self.live[path_id], name) for name in PathView.__slots__}
        self.live[path_id] = PathView(**{**fields, **to})

    def open(self, remote, local, _now, *, available=True) -> int:
        if self.refuse:
            raise self.refuse.pop(0)
        if not self.is_client:
            raise ServerCannotOpen
        path_id = self.next_id()
        self.live[path_id] = PathView(path_id, remote, local, False, available, 0.333, 0)
        self.log.append(("open", remote, available))
        return path_id

    def close(self, path_id: int, _now, code: int = 0) -> None:
        if len(self.live) == 1:
            raise LastPath
        self.log.append(("close", path_id))
        del self.live[path_id]

    def set_status(self, path_id: int, available: bool) -> None:
        if path_id not in self.live:
            raise PathGone
        self.change(path_id, available=available)

    def set_idle_timeout(self, path_id: int, seconds, _now) -> None:
        self.log.append(("idle", path_id, seconds))

    def set_candidates(self, addrs) -> list:
        self.local = list(addrs)
        return []

    def remote_candidates(self) -> list[SocketAddr]:
        return self.remote

    peer_candidates = remote_candidates

    def start_round(self, _now) -> list[SocketAddr]:
        if not self.local:
            raise NatTraversalError("no own addresses")
        self.rounds += 1
        return self.remote

    def ping(self, path_id: int) -> None:
        self.log.append(("ping", path_id))

    def challenge(self, path_id: int) -> None:
        self.log.append(("challenge", path_id))

    def send_elsewhere(self, path_id: int) -> None:
        self.log.append(("elsewhere", path_id))

    def on_network_change(self, is_recoverable, _now) -> None:
        self.log.append(("network", is_recoverable))

    def said(self, what: str) -> list[tuple]:
        return [entry[1:] for entry in self.log if entry[0] == what]


class Inbox:
    on_path_event: Callable | None = None
    remote: object = None

    def path_selected(self, remote) -> None:
        self.remote = remote


class Quic:
    """An engine's connection; with `commands` None one that knows nothing of multipath."""

    def __init__(self, is_client: bool, commands: Commands | None) -> None:
        self.is_client = is_client
        self.path_commands = commands
        self.pings = 0
        self.single: list = []

    def paths(self) -> list:
        return self.single

    def ping(self) -> None:
        self.pings += 1


class Driver:
    def __init__(self, is_client: bool, multipath: bool = True) -> None:
        self.commands = Commands(is_client)
        self.connection = Quic(is_client, self.commands if multipath else None)
        self.inbox = Inbox()
        self.scheduled = 0

    def schedule(self) -> None:
        self.scheduled += 1


class Net:
    """One remote of one socket."""

    def __init__(self, selector=None) -> None:
        self.clock = Clock()
        self.metrics = SocketMetrics()
        self.direct = DirectAddresses()
        self.direct.set_local([OURS])
        self.mapped = MappedAddrs(lambda n: bytes(n))
        self.explained: list = []
        self.lookups = 0
        self.remote = RemoteState(PEER, self._around(selector), self._lookup)
        self.addrs, self.paths, self.punch = (
            *(self.remote.addrs, self.remote.paths, self.remote.punch),
        )
        self._numbers = itertools.count()

    def _around(self, selector) -> Surroundings:
        return Surroundings(
            clock=self.clock,
            metrics=self.metrics,
            direct=self.direct,
            selector=selector or BiasedRttPathSelector(),
            path_address=self.path_address,
            transport_addr=self.transport_addr,
            explain=lambda _remote, connection: self.explained.append(connection),
        )

    async def _lookup(self, _endpoint_id):
        self.lookups += 1
        for _ in ():
            yield

    def path_address(self, endpoint_id: PublicKey, target):
        if isinstance(target, RelayUrl):
            return self.mapped.relay.get((target, endpoint_id))
        return target

    def transport_addr(self, address):
        return address.url if isinstance(address, RelayPathAddr) else address

    def way(self, target):
        return self.path_address(PEER, target)

    def connect(self, target, is_client: bool = True, rtt: float = 0.05) -> RemoteConnection:
        """Attach a connection whose path 0 runs over `target`."""
        driver = Driver(is_client)
        view = PathView(0, self.way(target), None, True, True, rtt, 0)
        driver.commands.live[0] = view
        return self.remote.attach(driver, next(self._numbers))


def commands_of(connection: RemoteConnection) -> Commands:
    return connection.driver.commands


def tell(connection: RemoteConnection, event) -> None:
    """Let the engine tell an event."""
    connection.driver.inbox.on_path_event(event)


def arrive(connection: RemoteConnection, net: Net, target, rtt=0.02, local=None) -> int:
    """Let a path that the other end, or NAT traversal, opened be established."""
    commands = commands_of(connection)
    path_id = commands.next_id()
    view = PathView(path_id, net.way(target), local, True, False, rtt, 0)
    commands.live[path_id] = view
    tell(connection, pe.PathEstablished(path_id, view.remote))
    return path_id


def answer(connection: RemoteConnection, path_id: int, rtt: float = 0.05) -> None:
    """Let a path that we opened be established."""
    commands = commands_of(connection)
    commands.change(path_id, established=True, rtt=rtt)
    tell(connection, pe.PathEstablished(path_id, commands.live[path_id].remote))


def die(connection: RemoteConnection, path_id: int, reason=pe.AbandonReason.TIMED_OUT) -> None:
    """Let a path be abandoned."""
    view = commands_of(connection).live.pop(path_id, None)
    tell(connection, pe.PathAbandoned(path_id, view.remote if view else None, reason, 0))


def statuses(connection: RemoteConnection) -> dict[int, bool]:
    return {view.path_id: view.available for view in commands_of(connection).views()}
