"""The trio front of `iroh.paths`. Written by tools/fronts.py."""

from __future__ import annotations

from iroh import paths as aio
from iroh.path_events import PathEvent
from iroh.path_snapshot import PathSnapshot
from iroh.trio.front import Front, Steps
from iroh_base import RelayUrl

__all__ = ["PathMethods"]


class PathMethods(Front):
    """The methods."""

    _aio: aio.PathMethods

    def paths(self) -> list[PathSnapshot]:
        """Return the open paths; exactly one is selected. None are open after the end."""
        return self._portal.call(self._aio.paths)

    def rtt(self) -> int | None:
        """Return the selected path's round trip time in milliseconds, at least 1."""
        return self._portal.call(self._aio.rtt)

    def why_not_direct(self) -> str | None:
        """Say in words why a relay carries the connection; None when it is direct, or has ended.

        Like "both NATs are symmetric: each gives every destination another port; hole punching
        failed 3 times, and goes on". For people: the words may change.
        """
        return self._portal.call(self._aio.why_not_direct)

    def relay_url(self) -> RelayUrl | None:
        """Return the relay that carries the data; None when the path is direct."""
        return self._portal.call(self._aio.relay_url)

    def paths_stream(self) -> Steps[list[PathSnapshot]]:
        """Iterate over the open paths: the present ones, then again after each change.

        Ends with the connection, which it does not keep alive. Changes that a slow reader misses
        coalesce.
        """
        return Steps(self._portal, self._portal.call(self._aio.paths_stream))

    def path_events(self) -> Steps[PathEvent]:
        """Iterate over what happens to the paths from now on: opened, selected, closed.

        Ends with the connection, which it does not keep alive. Of a slow reader's events the
        latest 8 are kept, behind a PathEvent.LAGGED that counts the others.
        """
        return Steps(self._portal, self._portal.call(self._aio.path_events))

    def watch_paths(self) -> Steps[list[PathSnapshot]]:
        """Call back with the open paths, now and after each change; as `paths_stream` without."""
        return Steps(self._portal, self._portal.call(self._aio.watch_paths))

    def watch_path_events(self) -> Steps[PathEvent]:
        """Call back with each event of the paths from now on; as `path_events` without."""
        return Steps(self._portal, self._portal.call(self._aio.watch_path_events))
