"""The paths of a connection: what they are now, and how they change.

    (nothing) --OPENED--> open --SELECTED--> carries the data --CLOSED--> (nothing)

A watcher sees the difference between what it saw last and what is now: changes that happen while
it is busy coalesce, and nothing has to be queued for it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, overload

from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.mapped import MappedAddr, MixedAddr, RelayPathAddr
from iroh.quic.api import PathInfo
from iroh.quic.datagrams import Address
from iroh.variants import Variant
from iroh.watchers import PathChangeCallback, PathEventCallback, WatchHandle
from iroh_base import RelayUrl, SocketAddr, WatchClosedError

__all__ = ["PathEvent", "PathMethods", "PathSnapshot", "PathStatsRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStatsRecord:
    """Totals and state of one path. rtt_ms in milliseconds, the rest in bytes or counts."""

    rtt_ms: int
    udp_tx_datagrams: int
    udp_tx_bytes: int
    udp_rx_datagrams: int
    udp_rx_bytes: int
    cwnd: int
    congestion_events: int
    lost_packets: int
    lost_bytes: int
    current_mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSnapshot:
    """One open path of a connection, as it was when asked.

    remote_addr: "ip:port", or the relay's URL.
    is_selected: it carries the data.
    """

    id: str
    is_selected: bool
    remote_addr: str
    is_ip: bool
    is_relay: bool
    rtt_ms: int
    stats: PathStatsRecord


class PathEvent(Variant):
    """A change of a connection's paths: PathEvent.OPENED, CLOSED, SELECTED or LAGGED."""

    OPENED: "type[_Opened]"
    CLOSED: "type[_Closed]"
    SELECTED: "type[_Selected]"
    LAGGED: "type[_Lagged]"
    is_opened: Callable[[], bool]
    is_closed: Callable[[], bool]
    is_selected: Callable[[], bool]
    is_lagged: Callable[[], bool]


@PathEvent.variant("OPENED")
@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened(PathEvent):
    """A path can be used. local_addr is "unknown" where the system does not tell."""

    id: str
    remote_addr: str
    local_addr: str


@PathEvent.variant("CLOSED")
@dataclass(frozen=True, slots=True, kw_only=True)
class _Closed(PathEvent):
    """A path is gone, perhaps with the connection."""

    id: str
    remote_addr: str
    local_addr: str
    last_stats: PathStatsRecord


@PathEvent.variant("SELECTED")
@dataclass(frozen=True, slots=True, kw_only=True)
class _Selected(PathEvent):
    """A path carries the data from now on."""

    id: str
    remote_addr: str
    local_addr: str


@PathEvent.variant("LAGGED")
@dataclass(frozen=True, slots=True, kw_only=True)
class _Lagged(PathEvent):
    """Events were lost. Of the bindings; here changes coalesce instead, so it never comes."""

    missed: int


def path_text(remote: Address) -> str:
    """Write the remote end of a path: "ip:port" or a relay URL."""
    if isinstance(remote, RelayPathAddr):
        return str(remote.url)
    if isinstance(remote, MappedAddr):
        return "mixed" if isinstance(remote, MixedAddr) else "unknown"
    return str(remote)


def _snapshot(path: PathInfo) -> PathSnapshot:
    remote = path.remote
    s = path.stats
    rtt_ms = max(1, round(s.rtt * 1000))
    return PathSnapshot(
        id=str(path.path_id),
        is_selected=path.is_selected,
        remote_addr=path_text(remote),
        is_ip=isinstance(remote, SocketAddr),
        is_relay=isinstance(remote, RelayPathAddr),
        rtt_ms=rtt_ms,
        stats=PathStatsRecord(
            rtt_ms=rtt_ms,
            udp_tx_datagrams=s.udp_tx_datagrams,
            udp_tx_bytes=s.udp_tx_bytes,
            udp_rx_datagrams=s.udp_rx_datagrams,
            udp_rx_bytes=s.udp_rx_bytes,
            cwnd=s.cwnd,
            congestion_events=s.congestion_events,
            lost_packets=s.lost_packets,
            lost_bytes=s.lost_bytes,
            current_mtu=s.current_mtu,
        ),
    )


def snapshots(driver: ConnectionDriver) -> list[PathSnapshot]:
    """Return the open paths of a connection, none once it has ended."""
    if driver.inbox.close_reason is not None:
        return []
    return [_snapshot(path) for path in driver.connection.paths()]


def changes(before: list[PathSnapshot], after: list[PathSnapshot]) -> list[PathEvent]:
    """Return the events that lead from one state to the other."""
    old = {(path.id, path.remote_addr): path for path in before}
    new = {(path.id, path.remote_addr): path for path in after}
    events: list[PathEvent] = [
        PathEvent.CLOSED(
            id=path.id,
            remote_addr=path.remote_addr,
            local_addr=_local_text(path),
            last_stats=path.stats,
        )
        for key, path in old.items()
        if key not in new
    ]
    for key, path in new.items():
        where = {
            "id": path.id,
            "remote_addr": path.remote_addr,
            "local_addr": _local_text(path),
        }
        if key not in old:
            events.append(PathEvent.OPENED(**where))
        if path.is_selected and not (key in old and old[key].is_selected):
            events.append(PathEvent.SELECTED(**where))
    return events


def _local_text(path: PathSnapshot) -> str:
    return path.remote_addr if path.is_relay else "unknown"


class PathUpdates:
    """The paths now, then after every change; ends with the connection. An async iterator."""

    def __init__(self, driver: ConnectionDriver) -> None:
        self._driver = driver
        self._watcher = driver.inbox.path_changes.watch()
        self._started = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[PathSnapshot]:
        if self._started:
            try:
                await self._watcher.updated()
            except WatchClosedError:
                raise StopAsyncIteration from None
        self._started = True
        return snapshots(self._driver)


class PathEvents:
    """Every change of the paths from now on; ends with the connection. An async iterator."""

    def __init__(self, driver: ConnectionDriver) -> None:
        self._updates = PathUpdates(driver)
        self._seen = snapshots(driver)
        self._ready: deque[PathEvent] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PathEvent:
        while not self._ready:
            now = await anext(self._updates)
            self._ready.extend(changes(self._seen, now))
            self._seen = now
        return self._ready.popleft()


class PathMethods:
    """The part of a Connection that is about its paths."""

    _driver: ConnectionDriver

    def paths(self) -> list[PathSnapshot]:
        """Return the open paths; exactly one is selected. None are open after the end."""
        return snapshots(self._driver)

    def rtt(self) -> int | None:
        """Return the selected path's round trip time in milliseconds, at least 1."""
        return next((path.rtt_ms for path in self.paths() if path.is_selected), None)

    def relay_url(self) -> RelayUrl | None:
        """Return the relay that carries the data; None when the path is direct."""
        remote = self._driver.inbox.remote
        return remote.url if isinstance(remote, RelayPathAddr) else None

    @overload
    def watch_paths(self) -> PathUpdates: ...
    @overload
    def watch_paths(self, callback: PathChangeCallback) -> WatchHandle: ...
    def watch_paths(self, callback: PathChangeCallback | None = None) -> PathUpdates | WatchHandle:
        """Follow the open paths: the present ones first, then each change.

        An async iterator, or with a callback a WatchHandle that calls it. Neither keeps the
        connection alive.
        """
        updates = PathUpdates(self._driver)
        if callback is None:
            return updates
        return WatchHandle(updates, callback.on_change, "iroh-watch-paths")

    @overload
    def watch_path_events(self) -> PathEvents: ...
    @overload
    def watch_path_events(self, callback: PathEventCallback) -> WatchHandle: ...
    def watch_path_events(
        self, callback: PathEventCallback | None = None
    ) -> PathEvents | WatchHandle:
        """Follow the changes of the paths from now on. Iterator or callback, as watch_paths."""
        events = PathEvents(self._driver)
        if callback is None:
            return events
        return WatchHandle(events, callback.on_event, "iroh-watch-path-events")
