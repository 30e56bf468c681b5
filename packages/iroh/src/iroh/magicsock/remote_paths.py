"""The open paths of all connections to one remote, and which of them carries the data.

    event                      what is done                                     by
    ------------------------   ----------------------------------------------   ------
    connection attached        register its paths; open known custom addresses  client
                               and, when no path is relayed, relays; select
    path established           register it; select                              both
    path abandoned, moved      note what became of its address; select          both
    select                     ask the selector; the chosen path Available,     both
                               all others Backup
                               open it on the other connections; close other    client
                               IP paths while a connection has more than one
    path ids used up, or a     open again in 333 ms                             client
    custom path abandoned
    relay path abandoned       open again in 30 s                               client

Only the client opens and closes, so that the two ends never close different paths at once. Relay
and custom paths are never closed for being too many. A path under suspicion (liveness.py) is chosen
only where every other is, too.
"""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from iroh.magicsock.alarm import Alarm, Clock
from iroh.magicsock.inbox import Inbox
from iroh.magicsock.remote_addrs import RemoteAddrs
from iroh.magicsock.selector import PathCandidate, PathSelectionContext, PathSelector, Way
from iroh.metrics import SocketMetrics
from iroh.quic.api import Connection
from iroh.quic.datagrams import Address
from iroh.quic.path_commands import PathCommands, PathView
from iroh.quic.path_errors import PathBlocked, PathError
from iroh_base import CustomAddr, PublicKey, RelayUrl, SocketAddr, TransportAddr

if TYPE_CHECKING:
    from iroh.magicsock.direct_addrs import DirectAddresses
    from iroh.magicsock.remote import RemoteState

logger: logging.Logger = logging.getLogger(__name__)

RELAY_IDLE_TIMEOUT = 30.0  # iroh RELAY_PATH_MAX_IDLE_TIMEOUT: outlives a relay that restarts
OPEN_RETRY = 0.333  # iroh remote_state.rs: after RemoteCidsExhausted, MaxPathIdReached
BACKUP_RETRY = 30.0
"""Seconds until a client tries to have a relay path again that it lost (our own addition)."""
MAX_TO_OPEN = 32
"""Addresses that wait for a path id."""
MAX_BACKUPS = 3
"""Relay paths a connection opens: there are ids for eight paths, and direct ones need some."""
MAX_CUSTOM = 2
"""Paths a connection opens to custom addresses, for the same reason."""
MAX_CONSIDERED = 32
"""Connections whose paths are compared: a peer with thousands must not slow the others down."""


class Driver(Protocol):
    """What is needed of a ConnectionDriver."""

    connection: Connection
    inbox: Inbox

    def schedule(self) -> None:
        """Send soon what a command left to send."""


@dataclass(slots=True)
class Surroundings:
    """What the remotes of one socket share.

    path_address: what QUIC calls an address of an endpoint. transport_addr: the way back.
    explain: why a connection of a remote is not direct.
    reaches: whether we have a transport for a custom address.
    """

    clock: Clock
    metrics: SocketMetrics
    direct: "DirectAddresses"
    selector: PathSelector
    path_address: Callable[[PublicKey, TransportAddr], Address]
    transport_addr: Callable[[Address], TransportAddr | None]
    explain: Callable[["RemoteState", "RemoteConnection"], str | None] = (
        lambda _remote, _connection: None
    )
    reaches: Callable[[CustomAddr], bool] = lambda _addr: False


class RemoteConnection:
    """One connection, as its remote sees it.

    number: grows with every connection; the client's with the lowest one punches holes.
    open: established paths, by path id. opening: those we opened and the peer has not answered on.
    silent: since when a path has given no answer. suspects: those given up for the time being.
    emptied: suspects whose data in flight was sent again elsewhere.
    """

    __slots__ = (
        *("driver", "is_client", "noted", "number", "open", "opening"),
        *("emptied", "rescued", "silent", "since", "suspects", "was_direct"),
    )

    def __init__(self, driver: Driver, number: int, now: float) -> None:
        self.driver = driver
        self.number = number
        self.since = now
        self.is_client: bool = driver.connection.is_client
        self.open: dict[int, TransportAddr] = {}
        self.opening: dict[int, TransportAddr] = {}
        self.silent: dict[int, float] = {}
        self.suspects: set[int] = set()
        self.emptied: set[int] = set()
        self.rescued: float = float("-inf")
        self.was_direct = self.noted = False

    @property
    def commands(self) -> PathCommands | None:
        """The engine's commands, once both sides agreed on multipath."""
        commands = self.driver.connection.path_commands
        return commands if commands is not None and commands.is_multipath else None

    @property
    def is_relayed(self) -> bool:
        """Whether a relay is the only way."""
        return all(isinstance(addr, RelayUrl) for addr in self.open.values())

    def views(self) -> list[PathView]:
        """The established paths that are registered."""
        found = (self.view(path_id) for path_id in self.open)
        return [view for view in found if view is not None]

    def view(self, path_id: int) -> PathView | None:
        """One path; None when it is gone."""
        commands = self.commands
        if commands is not None:
            return commands.view(path_id)
        for path in self.driver.connection.paths():
            if path.path_id == path_id:
                return PathView(path_id, path.remote, None, True, True, path.stats.rtt, 0)
        return None

    def all_suspect(self) -> bool:
        """Say whether no path is known to work."""
        return self.suspects.issuperset(self.open)


class RemotePaths:
    """The connections of one remote, and the path they share."""

    def __init__(self, endpoint_id: PublicKey, addrs: RemoteAddrs, around: Surroundings) -> None:
        self.endpoint_id = endpoint_id
        self.addrs = addrs
        self.around = around
        self.connections: dict[int, RemoteConnection] = {}
        self.selected: Way | None = None
        """The way that carries the data; None without a connection."""
        self.on_direct: Callable[[], None] = lambda: None
        """Told when a connection got an IP path."""
        self.on_lost: Callable[[RemoteConnection], None] = lambda _connection: None
        """Told when a connection lost an IP path that nobody closed."""
        self._to_open: dict[TransportAddr, None] = {}
        self._closing: set[tuple[int, int]] = set()  # paths we closed: (connection, path id)
        self._open_again = Alarm(around.clock, self._open_waiting)
        self._back_up = Alarm(around.clock, self._open_all_backups)

    @property
    def is_suspect(self) -> bool:
        """Whether the selected way seems dead."""
        return self.selected is not None and any(
            addr == self.selected.remote and path_id in connection.suspects
            for connection in self.connections.values()
            for path_id, addr in connection.open.items()
        )

    # -- connections -----------------------------------------------------------------------------

    def attach(self, connection: RemoteConnection) -> None:
        """Manage one more connection."""
        self.connections[connection.number] = connection
        commands = connection.commands
        if commands is not None:
            established = [view for view in commands.views() if view.established]
        else:
            ids = [path.path_id for path in connection.driver.connection.paths()]
            views = (connection.view(path_id) for path_id in ids)
            established = [view for view in views if view is not None]
        for view in established:
            self._register(connection, view.path_id, view.remote)
        self.open_backups(connection)
        self.select(connection)

    def detach(self, connection: RemoteConnection) -> None:
        """Forget a connection that ended. Without any, nothing is selected."""
        self.connections.pop(connection.number, None)
        addrs, connection.open = set(connection.open.values()), {}
        self._closing = {key for key in self._closing if key[0] != connection.number}
        for addr in addrs:
            self._unless_open(addr)
        if not self.connections:
            self.selected = None
            self._to_open.clear()
            self.close()
        elif addrs:
            self.select()

    # -- events ----------------------------------------------------------------------------------

    def established(self, connection: RemoteConnection, path_id: int) -> None:
        """The peer answered on a path."""
        view = connection.view(path_id)
        if view is None or path_id in connection.open:
            return
        self._register(connection, path_id, view.remote)
        self.select(connection)

    def moved(self, connection: RemoteConnection, path_id: int, remote: Address) -> None:
        """A path has another remote address now."""
        old, new = connection.open.get(path_id), self.around.transport_addr(remote)
        if old is None or new is None or old == new:
            return
        self._register(connection, path_id, remote)
        self._unless_open(old)
        self.select(connection)

    def abandoned(self, connection: RemoteConnection, path_id: int) -> None:
        """A path is given up, by whomever."""
        worked = connection.open.pop(path_id, None)
        addr = worked or connection.opening.pop(path_id, None)
        connection.opening.pop(path_id, None)
        connection.silent.pop(path_id, None)
        connection.suspects.discard(path_id)
        surplus = (connection.number, path_id) in self._closing
        self._closing.discard((connection.number, path_id))
        if addr is None:
            return
        self._unless_open(addr)
        self.select(connection)
        if isinstance(addr, SocketAddr) and not surplus and connection.is_relayed:
            self.on_lost(connection)
        if isinstance(addr, RelayUrl) and connection.is_client:
            self._back_up.set_before(self.around.clock.time() + BACKUP_RETRY)
        if isinstance(worked, CustomAddr):
            # A server whose network changed gives it up; its transport may work all the same.
            self._open_later(worked)

    def _register(self, connection: RemoteConnection, path_id: int, remote: Address) -> None:
        addr = self.around.transport_addr(remote)
        if addr is None:
            return
        connection.open[path_id] = addr
        connection.opening.pop(path_id, None)
        self.addrs.opened(addr, self.around.clock.time())
        metrics, commands = self.around.metrics, connection.commands
        if isinstance(addr, RelayUrl):
            metrics.paths_relay += 1
            if commands is not None:
                now = self.around.clock.time()
                commands.set_idle_timeout(path_id, RELAY_IDLE_TIMEOUT, now)
        elif isinstance(addr, CustomAddr):
            metrics.paths_custom += 1
        else:
            metrics.paths_direct += 1
            metrics.num_conns_direct += not connection.was_direct
            connection.was_direct = True
            self.on_direct()

    def _unless_open(self, addr: TransportAddr) -> None:
        """Note that an address is abandoned, unless some connection has a path to it."""
        if not any(addr in connection.open.values() for connection in self.connections.values()):
            self.addrs.abandoned(addr, self.around.clock.time())

    # -- choosing --------------------------------------------------------------------------------

    def select(self, changed: RemoteConnection | None = None) -> None:
        """Choose anew, and see to it that the connections do as chosen.

        changed: the connection that something happened to; None for all.
        """
        chosen = self._ask(self._candidates(changed))
        previous = self.selected
        if chosen is not None and chosen != previous:
            self.selected = chosen
            if previous is None or not chosen.is_same(previous):
                logger.debug("%s: %s carries the data", self.endpoint_id.fmt_short(), chosen.remote)
                changed = None
        for connection in [changed] if changed is not None else list(self.connections.values()):
            self._apply(connection)

    def _candidates(self, changed: RemoteConnection | None) -> list[PathCandidate]:
        considered = dict.fromkeys(islice(self.connections.values(), MAX_CONSIDERED))
        if changed is not None:
            considered[changed] = None
        found, suspects = [], []
        for connection in considered:
            for view in connection.views():
                way = Way(connection.open[view.path_id], view.local)
                found.append(PathCandidate(way, view.rtt))
                if view.path_id in connection.suspects:
                    suspects.append(way)
        fine = [path for path in found if not any(path.way.is_same(way) for way in suspects)]
        return fine or found

    def _ask(self, paths: list[PathCandidate]) -> Way | None:
        if not paths:
            return None
        try:
            return self.around.selector.select(PathSelectionContext(self.selected, paths))
        except Exception:  # the application's selector: its bug must not end the connection
            logger.exception("the path selector failed; the path stays as it is")
            return None

    def _apply(self, connection: RemoteConnection) -> None:
        selected, commands = self.selected, connection.commands
        if selected is None or commands is None:
            return
        views = connection.views()
        ways = {view.path_id: Way(connection.open[view.path_id], view.local) for view in views}
        on_it = [path_id for path_id, way in ways.items() if way.is_same(selected)]
        if not on_it:
            self.open(connection, selected.remote, selected.local)
        elif connection.is_client:
            self._close_surplus(connection, commands, ways, on_it)
        for path_id in ways:
            with suppress(PathError):
                commands.set_status(path_id, path_id in on_it)
        self._empty_suspects(connection, commands, on_it)
        best = commands.best()
        if best is not None:
            connection.driver.inbox.path_selected(best)
        connection.driver.schedule()

    def _close_surplus(
        self,
        connection: RemoteConnection,
        commands: PathCommands,
        ways: dict[int, Way],
        on_it: list[int],
    ) -> None:
        """Keep one IP path: the selected one, or where a relay is selected whichever is first."""
        direct = [path_id for path_id, way in ways.items() if isinstance(way.remote, SocketAddr)]
        kept = [path_id for path_id in direct if path_id in on_it] or direct[:1]
        now = self.around.clock.time()
        for path_id in direct:
            if path_id not in kept:
                self._closing.add((connection.number, path_id))
                with suppress(PathError):
                    commands.close(path_id, now)

    def _empty_suspects(
        self, connection: RemoteConnection, commands: PathCommands, on_it: list[int]
    ) -> None:
        """What is in flight on a path that seems dead goes over the selected one, again."""
        if not on_it:
            return
        connection.emptied &= connection.suspects - set(on_it)
        for path_id in connection.suspects - connection.emptied - set(on_it):
            connection.emptied.add(path_id)
            with suppress(PathError):
                commands.send_elsewhere(path_id)

    # -- opening ---------------------------------------------------------------------------------

    def open_backups(self, connection: RemoteConnection) -> None:
        """Give a client's connection more ways than the handshake took.

        Relays to fall back to, unless it has one. And custom addresses: only a path shows what they
        are worth, and nothing else opens one (upstream leaves them to the handshake).
        """
        if not connection.is_client:
            return
        taken = {*connection.open.values(), *connection.opening.values()}
        if not any(isinstance(addr, RelayUrl) for addr in taken):
            self.open_all(connection, self.addrs.relays()[:MAX_BACKUPS])
        room = MAX_CUSTOM - sum(isinstance(addr, CustomAddr) for addr in taken)
        reaches = self.around.reaches
        custom = (addr for addr in self.addrs if isinstance(addr, CustomAddr))
        new = [addr for addr in custom if addr not in taken and reaches(addr)]
        self.open_all(connection, new[: max(room, 0)])

    def _open_all_backups(self) -> None:
        for connection in list(self.connections.values()):
            self.open_backups(connection)

    def open_all(self, connection: RemoteConnection, addrs: Iterable[TransportAddr]) -> None:
        """Open a path to each of the addresses."""
        for addr in addrs:
            self.open(connection, addr)

    def open(
        self, connection: RemoteConnection, addr: TransportAddr, local: Address | None = None
    ) -> None:
        """Open a path to an address, unless there is one or we are the server."""
        commands, around = connection.commands, self.around
        if commands is None or not connection.is_client:
            return
        address = around.path_address(self.endpoint_id, addr)
        if any(view.remote == address and _fits(view.local, local) for view in commands.views()):
            return
        now = around.clock.time()
        available = self.selected is not None and self.selected.remote == addr
        try:
            path_id = commands.open(address, local, now, available=available)
        except PathBlocked:
            self._open_later(addr)
        except PathError as error:
            logger.debug("%s: no path to %s: %s", self.endpoint_id.fmt_short(), addr, error)
        else:
            connection.opening[path_id] = addr
        connection.driver.schedule()

    def _open_later(self, addr: TransportAddr) -> None:
        if len(self._to_open) < MAX_TO_OPEN:
            self._to_open[addr] = None
        self._open_again.set_before(self.around.clock.time() + OPEN_RETRY)

    def _open_waiting(self) -> None:
        waiting, self._to_open = list(self._to_open), {}
        for addr in waiting:
            for connection in list(self.connections.values()):
                self.open(connection, addr)

    def close(self) -> None:
        """Do nothing any more."""
        self._open_again.cancel()
        self._back_up.cancel()


def _fits(one: object | None, other: object | None) -> bool:
    return one is None or other is None or one == other
