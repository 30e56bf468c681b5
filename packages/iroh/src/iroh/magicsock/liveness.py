"""Paths that have stopped answering: left quickly, taken again when they live (our own addition).

    ALIVE ----2 probe timeouts without an answer------> SILENT
    SILENT ---an answer-------------------------------> ALIVE
    SILENT ---still none after 0.5 s, and 3 of them---> SUSPECT  the data goes on over another path
    SUSPECT --an answer-------------------------------> ALIVE    and comes back
    SUSPECT --15 s of silence, 30 s over a relay------> gone     (the engine abandons it)

Upstream waits for the last step. Suspects are pinged once a second. Where all paths of a connection
are suspects, the client tries, every two seconds, whatever else might work: it opens its relay
paths, and paths to addresses that once worked, punches holes, and looks the peer up again. So a
network that comes back is noticed within a second or two, not after the seconds that probe timeouts
have grown to.

A peer that only receives sends nothing that wants an answer; but who leaves a path says so
(PATH_STATUS), and on that word the other end pings all its paths.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

from iroh.magicsock.alarm import Alarm
from iroh.magicsock.remote_paths import RemoteConnection, RemotePaths
from iroh.quic.path_errors import PathError

GRACE = 0.5
"""Seconds that a path may be silent beyond its first probe timeouts; loss comes in bursts."""
SUSPICIOUS = 3
"""Probe timeouts in a row that make a suspect: at 20 % loss six packets lost of six are rare."""
TICK = 0.5
PING_INTERVAL = 1.0
RESCUE_INTERVAL = 2.0
MAX_RESCUE_PATHS = 2
"""Paths to known addresses that a rescue opens at once; a dead one takes an id for 15 s."""


class Liveness:
    """Watches the paths of one remote's connections. rescue: told of a connection without any."""

    def __init__(self, paths: RemotePaths, rescue: Callable[[RemoteConnection], None]) -> None:
        self._paths = paths
        self._rescue = rescue
        self._clock = paths.around.clock
        self._alarm = Alarm(self._clock, self._tick)
        self._pinged = float("-inf")

    def silent(self, connection: RemoteConnection, path_id: int) -> None:
        """A path gave no answer to two probes or more."""
        if path_id in connection.open:
            now = self._clock.time()
            connection.silent.setdefault(path_id, now)
            self._alarm.set_before(now + TICK)

    def doubted(self, connection: RemoteConnection) -> None:
        """The peer would rather use another path: see which of ours still work."""
        ping_all(connection)

    def _tick(self) -> None:
        now = self._clock.time()
        pings = now >= self._pinged + PING_INTERVAL
        if pings:
            self._pinged = now
        again = False
        for connection in list(self._paths.connections.values()):
            if not connection.silent:
                continue
            if self._judge(connection, now):
                self._paths.select()
            again = again or bool(connection.silent)
            if pings and connection.suspects:
                _ping(connection, connection.suspects)
            if connection.suspects and connection.all_suspect():
                self._help(connection, now)
        if again:
            self._alarm.set_before(now + TICK)

    def _judge(self, connection: RemoteConnection, now: float) -> bool:
        """Clear and raise suspicions. Says whether there was any change."""
        changed = False
        for path_id, since in list(connection.silent.items()):
            view = connection.view(path_id)
            if view is None or not view.unanswered:
                del connection.silent[path_id]
                changed = changed or path_id in connection.suspects
                connection.suspects.discard(path_id)
            elif (
                path_id not in connection.suspects
                and view.unanswered >= SUSPICIOUS
                and now - since >= GRACE
            ):
                connection.suspects.add(path_id)
                changed = True
        return changed

    def _help(self, connection: RemoteConnection, now: float) -> None:
        if now - connection.rescued < RESCUE_INTERVAL or not connection.is_client:
            return
        connection.rescued = now
        paths = self._paths
        paths.open_all(connection, paths.addrs.relays()[:MAX_RESCUE_PATHS])
        spare = MAX_RESCUE_PATHS - len(connection.opening)
        if spare > 0:
            taken = (*connection.open.values(), *connection.opening.values())
            untried = [addr for addr in paths.addrs.worth_trying() if addr not in taken]
            paths.open_all(connection, untried[:spare])
        self._rescue(connection)

    def close(self) -> None:
        """Watch no more."""
        self._alarm.cancel()


def ping_all(connection: RemoteConnection) -> None:
    """Make the peer answer on every path of a connection."""
    _ping(connection, connection.open)


def _ping(connection: RemoteConnection, path_ids: Iterable[int]) -> None:
    commands = connection.commands
    if commands is None:
        connection.driver.connection.ping()
    else:
        for path_id in path_ids:
            with suppress(PathError):
                commands.ping(path_id)
    connection.driver.schedule()
