"""What an endpoint does when the machine's network changed (iroh `socket.rs`).

    change   always   direct addresses, published ones too; a net report
             major    before: fresh sockets; relays checked; the DNS resolver starts afresh
             then     every path of every connection, as soon as packets may leave: now, or
                      looked for after 100, 200, 400, 800, 1000 ... ms, for 5 s at most

A path that is told too early sends into the void and backs off; hence the wait. Changes that come
during it join it, so that a flapping interface costs no more than the monitor lets through.
"""

import logging
from collections.abc import Callable, Collection

from iroh.magicsock.mapped import RelayPathAddr
from iroh.magicsock.socket import MagicSock
from iroh.magicsock.udp import local_ip
from iroh.netmon import NetworkChange, NetworkMonitor, NetworkState
from iroh.netmon.monitor import TimerHandle, Timers
from iroh.quic.path import Path
from iroh_base import SocketAddr, Watchable

__all__ = ["NetworkCare", "is_recoverable"]

logger: logging.Logger = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT, PATIENCE = 0.1, 1.0, 5.0
"""Seconds (iroh `PendingNetworkChangeNotify`)."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds after which a socket that could not be bound anew is tried again, doubled each time."""


class NetworkCare:
    """Follows a monitor and looks after one endpoint's sockets and paths."""

    def __init__(
        self,
        monitor: NetworkMonitor,
        sock: MagicSock,
        timers: Timers,
        state: Watchable[NetworkState],
        *,
        reset_resolver: Callable[[], None],
        ask_report: Callable[[bool], None],
        tell_paths: Callable[[bool], None],
    ) -> None:
        """ask_report(major) and tell_paths(major) are called for each change, or for several."""
        self.state = state
        """The network, for all who watch it."""
        self._monitor = monitor
        self._sock = sock
        self._timers = timers
        self._reset_resolver = reset_resolver
        self._ask_report = ask_report
        self._tell_paths = tell_paths
        self._closed = False
        self._retry: TimerHandle | None = None
        self._wait: TimerHandle | None = None
        self._wait_until = 0.0
        self._major = False
        self._refresh(monitor.state)
        self._unsubscribe = monitor.subscribe(self._on_change)

    def close(self) -> None:
        """Care no more. Idempotent."""
        self._closed = True
        self._unsubscribe()
        for timer in (self._retry, self._wait):
            if timer is not None:
                timer.cancel()

    def _on_change(self, change: NetworkChange) -> None:
        if self._closed:
            return
        if change.major:
            self._rebind(FIRST_RETRY)
            if self._sock.relay is not None:
                self._sock.relay.check_connections(change.state.local_addresses)
            self._reset_resolver()
        self._refresh(change.state)
        self.state.set(change.state)
        self._ask_report(change.major)
        self._major = self._major or change.major
        self._tell_paths_when_usable(change.state)

    def _refresh(self, state: NetworkState) -> None:
        local = self._sock.ip.direct_addresses(state.regular_addresses)
        if self._sock.direct.set_local(local):
            self._sock.direct_changed()

    # -- sockets -------------------------------------------------------------------------------

    def _rebind(self, retry: float) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if not self._sock.ip.rebind() and not self._closed:
            logger.debug("a UDP socket could not be bound anew; again in %g s", retry)
            self._retry = self._timers.call_later(retry, lambda: self._rebind_again(retry))

    def _rebind_again(self, retry: float) -> None:
        self._rebind(min(2 * retry, LONGEST_RETRY))
        self._refresh(self._monitor.state)

    # -- paths ---------------------------------------------------------------------------------

    def _tell_paths_when_usable(self, state: NetworkState) -> None:
        if state.is_usable:
            self._tell_paths_now()
        elif self._wait is None:
            self._wait_until = self._timers.time() + PATIENCE
            self._wait_for(FIRST_WAIT)

    def _wait_for(self, delay: float) -> None:
        self._wait = self._timers.call_later(
            delay, lambda: self._look(min(2 * delay, LONGEST_WAIT))
        )

    def _look(self, next_delay: float) -> None:
        waiting = self._wait
        state = self._monitor.rescan()  # tells us of a change, too
        if self._wait is not waiting or self._closed:
            return
        if state.is_usable or self._timers.time() >= self._wait_until:
            self._tell_paths_now()
        else:
            self._wait_for(next_delay)

    def _tell_paths_now(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        major, self._major = self._major, False
        self._tell_paths(major)


def is_recoverable(path: Path, local_addresses: Collection[str]) -> bool:
    """Say whether a path may work again as it is: relays find us, our address is still ours.

    Custom transports are assumed not to (iroh `is_path_recoverable`).
    """
    if isinstance(path.remote, SocketAddr):
        ip = local_ip(path.local)
        return ip is None or ip in local_addresses
    return isinstance(path.remote, RelayPathAddr)
