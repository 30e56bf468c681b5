"""The part of a Connection that is about its paths: see them, follow them.

path_snapshot.py   one path at one moment
path_events.py     how they change
"""

from typing import overload

from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.mapped import RelayPathAddr
from iroh.path_events import PathEvent, PathEvents, PathUpdates
from iroh.path_snapshot import PathSnapshot, PathStatsRecord, snapshots
from iroh.watchers import PathChangeCallback, PathEventCallback, WatchHandle, method_of
from iroh_base import RelayUrl

__all__ = ["PathEvent", "PathMethods", "PathSnapshot", "PathStatsRecord"]


class PathMethods:
    """The methods."""

    _driver: ConnectionDriver

    def paths(self) -> list[PathSnapshot]:
        """Return the open paths; exactly one is selected. None are open after the end."""
        return snapshots(self._driver)

    def rtt(self) -> int | None:
        """Return the selected path's round trip time in milliseconds, at least 1."""
        return next((path.rtt_ms for path in self.paths() if path.is_selected), None)

    def why_not_direct(self) -> str | None:
        """Say in words why a relay carries the connection; None when it is direct, or has ended.

        Like "both NATs are symmetric: each gives every destination another port; hole punching
        failed 3 times, and goes on". For people: the words may change.
        """
        return self._driver.explain() if self._driver.inbox.close_reason is None else None

    def relay_url(self) -> RelayUrl | None:
        """Return the relay that carries the data; None when the path is direct."""
        remote = self._driver.inbox.remote
        return remote.url if isinstance(remote, RelayPathAddr) else None

    def paths_stream(self) -> PathUpdates:
        """Iterate over the open paths: the present ones, then again after each change.

        Ends with the connection, which it does not keep alive. Changes that a slow reader misses
        coalesce.
        """
        return PathUpdates(self._driver)

    def path_events(self) -> PathEvents:
        """Iterate over what happens to the paths from now on: opened, selected, closed.

        Ends with the connection, which it does not keep alive. Of a slow reader's events the
        latest 8 are kept, behind a PathEvent.LAGGED that counts the others.
        """
        return PathEvents(self._driver)

    @overload
    def watch_paths(self) -> PathUpdates: ...
    @overload
    def watch_paths(self, callback: PathChangeCallback) -> WatchHandle: ...
    def watch_paths(self, callback: PathChangeCallback | None = None) -> PathUpdates | WatchHandle:
        """Call back with the open paths, now and after each change; as `paths_stream` without."""
        updates = self.paths_stream()
        if callback is None:
            return updates
        return WatchHandle(updates, method_of(callback, "on_change"), "iroh-watch-paths")

    @overload
    def watch_path_events(self) -> PathEvents: ...
    @overload
    def watch_path_events(self, callback: PathEventCallback) -> WatchHandle: ...
    def watch_path_events(
        self, callback: PathEventCallback | None = None
    ) -> PathEvents | WatchHandle:
        """Call back with each event of the paths from now on; as `path_events` without."""
        events = self.path_events()
        if callback is None:
            return events
        return WatchHandle(events, method_of(callback, "on_event"), "iroh-watch-path-events")
