"""How the paths of a connection change, and the two iterators that follow them.

    (nothing) --OPENED--> open --SELECTED--> carries the data --CLOSED--> (nothing)

PathUpdates gives the paths as they are: changes that happen while its reader is busy coalesce.
PathEvents gives each change, out of a queue of 8 (iroh `path_watcher.rs`): a reader that is slower
is told how many it missed, by LAGGED, and finds the present state in `Connection.paths`.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from iroh.magicsock.driver import ConnectionDriver
from iroh.path_snapshot import PathSnapshot, PathStatsRecord, snapshots, stats_record
from iroh.variants import Variant
from iroh_base import WatchClosedError

__all__ = ["PathEvent", "PathEvents", "PathUpdates", "changes"]

MAX_EVENTS = 8
"""Events that wait for their reader (iroh BROADCAST_CAPACITY)."""


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
@dataclass(frozen=True, slots=True)
class _Opened(PathEvent):
    """A path can be used. The addresses are texts, as in PathSnapshot."""

    id: str
    remote_addr: str
    local_addr: str


@PathEvent.variant("CLOSED")
@dataclass(frozen=True, slots=True)
class _Closed(PathEvent):
    """A path is gone, perhaps with the connection. last_stats: what it had done by then."""

    id: str
    remote_addr: str
    local_addr: str
    last_stats: PathStatsRecord


@PathEvent.variant("SELECTED")
@dataclass(frozen=True, slots=True)
class _Selected(PathEvent):
    """A path carries the data from now on."""

    id: str
    remote_addr: str
    local_addr: str


@PathEvent.variant("LAGGED")
@dataclass(frozen=True, slots=True)
class _Lagged(PathEvent):
    """The reader was too slow: so many events were lost before the next one."""

    missed: int


def changes(before: list[PathSnapshot], after: list[PathSnapshot]) -> list[PathEvent]:
    """Return the events that lead from one state to the other."""
    old, new = {_key(path): path for path in before}, {_key(path): path for path in after}
    events: list[PathEvent] = [
        PathEvent.CLOSED(**_where(path), last_stats=path.stats)
        for key, path in old.items()
        if key not in new
    ]
    for key, path in new.items():
        if key not in old:
            events.append(PathEvent.OPENED(**_where(path)))
        if path.is_selected and not (key in old and old[key].is_selected):
            events.append(PathEvent.SELECTED(**_where(path)))
    return events


def _key(path: PathSnapshot) -> tuple[str, str]:
    return path.id, path.remote_addr


def _where(path: PathSnapshot) -> dict[str, str]:
    return {"id": path.id, "remote_addr": path.remote_addr, "local_addr": path.local_addr}


class PathUpdates:
    """The paths now, then after every change; ends with the connection. An async iterator.

    Cancelling a step loses nothing.
    """

    def __init__(self, driver: ConnectionDriver) -> None:
        self._driver = driver
        self._watcher = driver.inbox.path_changes.watch()
        self._seen: list[tuple[tuple[str, str], str, bool]] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[PathSnapshot]:
        while True:
            if self._seen is not None:
                try:
                    await self._watcher.updated()
                except WatchClosedError:
                    raise StopAsyncIteration from None
            if self._driver.inbox.close_reason is not None:
                raise StopAsyncIteration
            now = snapshots(self._driver)
            shape = [(_key(path), path.local_addr, path.is_selected) for path in now]
            if shape != self._seen:  # else it was something that no snapshot shows
                self._seen = shape
                return now


class PathEvents:
    """Every change of the paths from now on; ends with the connection. An async iterator.

    When the connection ends, each path that was open is CLOSED first. Cancelling a step loses
    nothing.
    """

    def __init__(self, driver: ConnectionDriver) -> None:
        self._driver = driver
        self._watcher = driver.inbox.path_changes.watch()
        self._paths = snapshots(driver)
        self._ready: deque[PathEvent] = deque()
        self._missed = 0
        driver.inbox.path_listeners.add(self)

    def paths_changed(self) -> None:
        """Queue what has changed. Called by the connection, in the middle of its events."""
        before, self._paths = self._paths, snapshots(self._driver)
        for event in changes(before, self._paths):
            if isinstance(event, PathEvent.CLOSED):
                event = self._with_last_stats(event)
            if len(self._ready) >= MAX_EVENTS:
                self._ready.popleft()
                self._missed += 1
            self._ready.append(event)

    def _with_last_stats(self, event: _Closed) -> PathEvent:
        stats = self._driver.connection.path_stats(int(event.id))
        if stats is None:  # forgotten already: what was seen last
            return event
        return replace(event, last_stats=stats_record(stats))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PathEvent:
        while not self._ready:
            try:
                await self._watcher.updated()
            except WatchClosedError:
                raise StopAsyncIteration from None
        if self._missed:
            missed, self._missed = self._missed, 0
            return PathEvent.LAGGED(missed=missed)
        return self._ready.popleft()
