"""Paths that have stopped answering: left quickly, taken again when they live (our own addition).

    ALIVE ----2 probe timeouts without an ACK---------> SILENT   all paths are challenged
    SILENT ---an ACK----------------------------------> ALIVE
    SILENT ---no answer, and a third timeout or 1.5 s-> SUSPECT  the data goes on over another path
    SUSPECT --an ACK, or an answer--------------------> ALIVE    and comes back
    SUSPECT --2 s, and another path answers, but its
              ACKs are missing------------------------> gone     the peer sends them over this one
    SUSPECT --15 s of silence, 30 s over a relay------> gone     (the engine abandons it)

Upstream waits for the last step. An ACK may come by any path, the answer to a challenge only by the
one it was sent on: challenges, one a second, show which of the paths work, ACKs do not. A Rust peer
does not notice that a path is dead before it has been silent for 15 s, and sends its ACKs of other
paths there: when it is found out, the dead path is abandoned, which the peer hears of. That is the
one case in which a server closes a path.

Where all paths of a connection are suspects, the client tries, every two seconds, whatever else
might work: it opens its relay paths, and paths to addresses that once worked, punches holes, and
looks the peer up again. So a network that comes back is noticed within a second or two, not after
the seconds that probe timeouts have grown to.

A peer that only receives sends nothing that wants an answer; but who leaves a path says so
(PATH_STATUS), and on that word the other end pings all its paths.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress

from iroh.magicsock.alarm import Alarm
from iroh.magicsock.remote_paths import RemoteConnection, RemotePaths
from iroh.quic.frames.multipath import UNSTABLE_OR_POOR
from iroh.quic.path_errors import PathError

GRACE = 0.5
"""Seconds that a path may be silent beyond its first probe timeouts; loss comes in bursts."""
LONG = 1.5
"""Seconds of silence that are enough without a third probe timeout."""
SILENT, SUSPICIOUS = 2, 3
"""Probe timeouts in a row; at 20 % loss six packets lost of six are rare."""
TICK = 0.5
PING_INTERVAL = 1.0
PROOF = 1.5
"""Seconds for which the answer to a challenge shows that a path works."""
PATIENCE = 2.0
"""Seconds that a suspect gets to answer before the peer is told to leave it."""
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

    def silent(self, connection: RemoteConnection, path_id: int) -> None:
        """A path gave no answer to two probes or more."""
        if path_id in connection.open:
            now = self._clock.time()
            connection.silent.setdefault(path_id, now)
            self._challenge(connection, now)
            self._alarm.set_before(now + TICK)

    def doubted(self, connection: RemoteConnection) -> None:
        """The peer would rather use another path: see which of ours still work."""
        ping_all(connection)

    def _tick(self) -> None:
        now = self._clock.time()
        again = False
        for connection in list(self._paths.connections.values()):
            if not connection.silent:
                continue
            if self._judge(connection, now):
                self._paths.select()
            again = again or bool(connection.silent)
            self._challenge(connection, now)
            self._leave_deaf(connection, now)
            if connection.suspects and connection.all_suspect():
                self._help(connection, now)
        if again:
            self._alarm.set_before(now + TICK)

    def _judge(self, connection: RemoteConnection, now: float) -> bool:
        """Clear and raise suspicions. Says whether there was any change."""
        before = set(connection.suspects)
        for path_id, since in list(connection.silent.items()):
            view = connection.view(path_id)
            if view is None or not view.unanswered:
                del connection.silent[path_id]
                connection.suspects.discard(path_id)
            elif now - view.answered < PROOF:
                connection.suspects.discard(path_id)
            elif now - since >= (GRACE if view.unanswered >= SUSPICIOUS else LONG):
                connection.suspects.add(path_id)
        return connection.suspects != before

    def _challenge(self, connection: RemoteConnection, now: float) -> None:
        """Find out which paths work, one datagram a second each.

        Not without need: every packet puts the next probe timeout off.
        """
        commands = connection.commands
        if commands is None:
            return
        for view in connection.views():
            is_open = connection.silent.get(view.path_id, now) > view.answered
            if now - view.answered >= PING_INTERVAL and (is_open or connection.suspects):
                with suppress(PathError):
                    commands.challenge(view.path_id)
        connection.driver.schedule()

    def _leave_deaf(self, connection: RemoteConnection, now: float) -> None:
        """Abandon suspects when all that the others lack is ACKs."""
        commands = connection.commands
        if commands is None or not connection.suspects:
            return
        deaf = [
            view.path_id
            for view in connection.views()
            if view.path_id not in connection.suspects
            and view.unanswered >= SILENT
            and now - view.answered < PROOF
        ]
        for path_id in sorted(connection.suspects) if deaf else ():
            if now - connection.silent.get(path_id, now) >= PATIENCE:
                with suppress(PathError):
                    commands.close(path_id, now, UNSTABLE_OR_POOR)
                    for other in deaf:  # its window is full of packets without an ACK
                        commands.send_elsewhere(other)

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
