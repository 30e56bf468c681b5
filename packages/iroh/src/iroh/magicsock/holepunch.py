"""When to start rounds of hole punching (iroh `remote_state.rs`, `trigger_holepunching`).

    trigger                                                  a round
    -------                                                  -------
    connection attached                                      now
    candidates of ours or the peer's came that the last      now (*)
    round did not have
    anything else within 5 s of the last round               5 s after it
    anything else                                            now
    every 60 s while some connection has no IP path of       as above
    10 ms or less
    a connection lost its direct path, or never had one      after 5, 10, 20, 40, then every 60 s
    nothing works any more (liveness.py)                     now, at most every 2 s

(*) A network that flaps, or a peer that plays with its candidates, gets the first such round at
once, then each only after 0.1, 0.2, 0.4 ... 5 s, until 10 s went by without; upstream does not
bound them. The fifth line is better than upstream's tick of 60 s; what is scheduled is never
dropped. Without an address of ours there is nothing to punch for: the round comes with the first
one, as every change of our addresses is a trigger (upstream polls for it every 100 ms).

Rounds run on the client's connection with the lowest number; every path they open is opened on the
others as well, once it is selected.
"""

import logging
from dataclasses import dataclass

from iroh.magicsock.alarm import Alarm
from iroh.magicsock.remote_paths import RemoteConnection, RemotePaths
from iroh.quic.errors import QuicError
from iroh.quic.path_commands import PathCommands
from iroh_base import SocketAddr

logger: logging.Logger = logging.getLogger(__name__)

ATTEMPTS_INTERVAL = 5.0  # iroh HOLEPUNCH_ATTEMPTS_INTERVAL
UPGRADE_INTERVAL = 60.0  # iroh UPGRADE_INTERVAL
ROUND = 4.2
"""Seconds from the first probe of a round to the last (see nat_probes.py)."""
GOOD_ENOUGH_LATENCY = 0.010  # iroh GOOD_ENOUGH_LATENCY
FIRST_GAP = 0.1
"""Seconds between the second and the third round for new candidates; doubled from there."""
MAX_DOUBLINGS = 8


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last round: when, and with which candidates."""

    when: float
    local: frozenset[SocketAddr]
    remote: frozenset[SocketAddr]


class HolePuncher:
    """Starts the rounds of one remote."""

    def __init__(self, paths: RemotePaths) -> None:
        self._paths = paths
        self._clock = paths.around.clock
        self.last: Attempt | None = None
        self.rounds: int = 0
        """Rounds since the last direct path came up."""
        self._failed = 0
        self._hurried = 0  # rounds for new candidates, one soon after the other
        self._calm_at = 0.0  # until then no new candidate is news
        self._scheduled = Alarm(self._clock, self.trigger)
        self._upgrade = Alarm(self._clock, self._check)

    def connection(self) -> RemoteConnection | None:
        """Return the connection that punches; None when we dialled none, or the peer cannot."""
        for connection in self._paths.connections.values():  # the lowest number is the oldest
            commands = connection.commands
            if connection.is_client and commands is not None and commands.is_nat_traversing:
                return connection
        return None

    def failures(self) -> int:
        """Count the rounds since then that ran to their end for nothing."""
        return self._failed + self._is_over(self._clock.time())

    def _is_over(self, now: float) -> bool:
        return self.last is not None and self.rounds > 0 and now >= self.last.when + ROUND

    def trigger(self) -> None:
        """Something changed, or it is time: start a round, or schedule it."""
        connection = self.connection()
        commands = connection.commands if connection is not None else None
        if connection is None or commands is None:
            return
        now, last = self._clock.time(), self.last
        local = frozenset(self._paths.around.direct.get())
        remote = frozenset(commands.remote_candidates())
        if last is not None:
            is_new = not (remote <= last.remote and local <= last.local)
            due = last.when + (self._gap(now) if is_new else ATTEMPTS_INTERVAL)
            if due > now:
                self._scheduled.set_before(due)
                return
            self._hurried += is_new
        self._start(connection, commands, local, remote)
        self._upgrade.set_before(now + self._next_check())

    def urgent(self, interval: float) -> None:
        """Nothing works: start a round now, unless one was started within `interval` seconds."""
        connection = self.connection()
        commands = connection.commands if connection is not None else None
        last, now = self.last, self._clock.time()
        if connection is None or commands is None or (last and now < last.when + interval):
            return
        local = frozenset(self._paths.around.direct.get())
        self._start(connection, commands, local, frozenset(commands.remote_candidates()))

    def lost(self) -> None:
        """A connection is relayed that was direct: try often again."""
        self.rounds = self._failed = 0
        self.trigger()
        self._upgrade.set_before(self._clock.time() + self._next_check())

    def direct(self) -> None:
        """A direct path came up."""
        self.rounds = self._failed = 0

    def close(self) -> None:
        """Start no more rounds."""
        self._scheduled.cancel()
        self._upgrade.cancel()

    def _start(
        self,
        connection: RemoteConnection,
        commands: PathCommands,
        local: frozenset[SocketAddr],
        remote: frozenset[SocketAddr],
    ) -> None:
        self._scheduled.cancel()
        try:
            probed = commands.start_round(self._clock.time())
        except QuicError as error:  # no address of ours yet, or the connection is closing
            logger.debug("%s: no round: %s", self._paths.endpoint_id.fmt_short(), error)
            return
        now = self._clock.time()
        self._failed += self._is_over(now)
        self.last = Attempt(now, local, remote)
        self.rounds += 1
        self._paths.around.metrics.holepunch_attempts += 1
        connection.driver.schedule()
        logger.debug(
            *("%s: round %d", self._paths.endpoint_id.fmt_short(), self.rounds),
            extra={"probed": [str(addr) for addr in probed]},
        )

    def _gap(self, now: float) -> float:
        """Give the least time between two rounds for new candidates, as often as they come."""
        if now >= self._calm_at:
            self._hurried = 0
        self._calm_at = now + 2 * ATTEMPTS_INTERVAL
        if not self._hurried:
            return 0.0
        doublings: int = min(self._hurried - 1, MAX_DOUBLINGS)
        return min(FIRST_GAP * (1 << doublings), ATTEMPTS_INTERVAL)

    def _next_check(self) -> float:
        if any(connection.is_relayed for connection in self._paths.connections.values()):
            doublings = min(max(self.rounds - 1, 0), MAX_DOUBLINGS)
            return min(ATTEMPTS_INTERVAL * (1 << doublings), UPGRADE_INTERVAL)
        return UPGRADE_INTERVAL

    def _check(self) -> None:
        if self.connection() is None:
            return
        if not all(map(_is_good, self._paths.connections.values())):
            self.trigger()
        self._upgrade.set_before(self._clock.time() + self._next_check())


def _is_good(connection: RemoteConnection) -> bool:
    """Say whether an IP path is quick enough (iroh `check_connections`)."""
    return any(
        isinstance(connection.open[view.path_id], SocketAddr) and view.rtt <= GOOD_ENOUGH_LATENCY
        for view in connection.views()
    )
