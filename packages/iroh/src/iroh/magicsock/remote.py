"""What is known of each remote endpoint, and what is done about it.

    RemoteMap    EndpointId -> RemoteState; kept while a dial or a connection holds it, and for
                 60 s after (iroh `ACTOR_MAX_IDLE_TIMEOUT`), in a bounded number
    RemoteState  one remote, put together:
                   addrs     (remote_addrs.py)  its addresses, and what became of them
                   paths     (remote_paths.py)  its connections' paths; which one carries the data
                   punch     (holepunch.py)     when to punch holes
                   liveness  (liveness.py)      paths that do not answer
                   lookup    (remote_lookup.py) the search for addresses

Plain synchronous objects on one event loop: no lock and no inbox that could overflow (upstream's
per-remote actor loses datagrams when its inbox is full).
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from iroh.magicsock import why
from iroh.magicsock.alarm import Alarm
from iroh.magicsock.holepunch import HolePuncher
from iroh.magicsock.liveness import RESCUE_INTERVAL, Liveness, ping_all
from iroh.magicsock.remote_addrs import RemoteAddrs, Source
from iroh.magicsock.remote_lookup import Lookup, RemoteLookup
from iroh.magicsock.remote_paths import Driver, RemoteConnection, RemotePaths, Surroundings
from iroh.quic import events as ev
from iroh.quic import path_events as pe
from iroh.quic.path import Path
from iroh_base import PublicKey, RelayUrl, TransportAddr

if TYPE_CHECKING:
    from iroh.net_report.report import Report

__all__ = ["Lookup", "RemoteMap", "RemoteState", "Source"]

logger: logging.Logger = logging.getLogger(__name__)

IDLE_TIMEOUT = 60.0  # iroh ACTOR_MAX_IDLE_TIMEOUT
MAX_IDLE_REMOTES = 16_384
RELAYED_NOTE = 10.0
"""Seconds after which a connection that is still relayed is worth a line in the log: two rounds."""


class RemoteState:
    """One remote endpoint."""

    def __init__(self, endpoint_id: PublicKey, around: Surroundings, lookup: Lookup) -> None:
        self.endpoint_id = endpoint_id
        self.around = around
        self.addrs: RemoteAddrs = RemoteAddrs(around.metrics)
        self.paths: RemotePaths = RemotePaths(endpoint_id, self.addrs, around)
        self.punch: HolePuncher = HolePuncher(self.paths)
        self.liveness: Liveness = Liveness(self.paths, self._rescue)
        self.lookup: RemoteLookup = RemoteLookup(endpoint_id, lookup, self._found)
        self.users = 0
        """Dials and connections that hold it. Kept by the RemoteMap."""
        self.idle_since: float = 0.0
        self.paths.on_direct = self.punch.direct
        self.paths.on_lost = self._lost
        self._note = Alarm(around.clock, self._note_relayed)

    # -- addresses -------------------------------------------------------------------------------

    @property
    def selected(self) -> TransportAddr | None:
        """The address that carries the data; None without a connection."""
        return self.paths.selected.remote if self.paths.selected is not None else None

    def add(self, addresses: Iterable[TransportAddr], source: Source) -> None:
        """Learn addresses. A connection without a relay path gets one when there is a relay."""
        if self.addrs.add(addresses, source, self.around.clock.time()):
            for connection in self.paths.connections.values():
                self.paths.open_backups(connection)

    def targets(self, own: Iterable[TransportAddr]) -> Sequence[TransportAddr]:
        """Where a datagram for "this endpoint, any path" goes.

        The path in use when there is one that works, else every known address but our own (a peer
        on another machine may have the same private address as we have), relays last: the first
        copy that arrives decides on the path.
        """
        selected = self.selected
        if selected is not None and not self.paths.is_suspect:
            return (selected,)
        mine = set(own)
        found = [address for address in self.addrs if address not in mine]
        return sorted(found, key=lambda address: isinstance(address, RelayUrl))

    async def resolve(self) -> None:
        """Return when some address is known; start a lookup unless a path is in use.

        Late results join the addresses a running dial is fanned out to. Raises LookupFailedError
        if the lookup ends with nothing, EndpointClosedError if the endpoint ends it. Cancelling
        leaves the lookup running for other dials.
        """
        if self.selected is None or self.paths.is_suspect:
            self.lookup.start()
        await self.lookup.wait(lambda: len(self.addrs) > 0)

    def _found(self, addrs: Iterable[TransportAddr]) -> None:
        self.add(addrs, Source.LOOKUP)

    # -- connections -----------------------------------------------------------------------------

    def attach(self, driver: Driver, number: int) -> RemoteConnection:
        """Manage the paths of an established connection from now on. `detach` it at its end."""
        now = self.around.clock.time()
        connection = RemoteConnection(driver, number, now)
        driver.inbox.on_path_event = partial(self._on_event, connection)
        self._tell_candidates(connection)
        self.paths.attach(connection)
        self.punch.trigger()
        if connection.is_relayed:
            self._note.set_before(now + RELAYED_NOTE)
        return connection

    def detach(self, connection: RemoteConnection) -> None:
        """Forget a connection that ended."""
        connection.driver.inbox.on_path_event = None
        self.paths.detach(connection)
        if not self.paths.connections:
            self.stop()

    def direct_changed(self) -> None:
        """Our own direct addresses are others now."""
        for connection in self.paths.connections.values():
            self._tell_candidates(connection)
        self.punch.trigger()

    def network_changed(self, major: bool, is_recoverable: Callable[[Path], bool]) -> None:
        """Nudge every path, replace those that cannot work any more, and punch when it is major."""
        now = self.around.clock.time()
        for connection in list(self.paths.connections.values()):
            if connection.commands is not None:
                connection.commands.on_network_change(is_recoverable, now)
            ping_all(connection)
        if major:
            self.punch.trigger()

    def _tell_candidates(self, connection: RemoteConnection) -> None:
        commands = connection.commands
        if commands is None or not commands.is_nat_traversing:
            return
        left = commands.set_candidates(self.around.direct.get())
        if left:
            logger.debug("%s takes no more candidates: %s", self.endpoint_id.fmt_short(), left)
        connection.driver.schedule()

    def _on_event(self, connection: RemoteConnection, event: ev.Event) -> None:
        if isinstance(event, pe.PathEstablished):
            self.paths.established(connection, event.path_id)
        elif isinstance(event, pe.PathAbandoned):
            self.paths.abandoned(connection, event.path_id)
        elif isinstance(event, pe.PathMoved):
            self.paths.moved(connection, event.path_id, event.remote)
        elif isinstance(event, pe.PathSilent):
            self.liveness.silent(connection, event.path_id)
        elif isinstance(event, pe.PathStatusChanged):
            self.liveness.doubted(connection)
        elif isinstance(event, pe.RemoteCandidateAdded | pe.RemoteCandidateRemoved):
            self.punch.trigger()
        elif isinstance(event, ev.PathChanged) and connection.commands is None:
            self.paths.moved(connection, 0, event.remote)

    def _lost(self, connection: RemoteConnection) -> None:
        self.punch.lost()
        connection.noted = False
        self._note.set_before(self.around.clock.time() + RELAYED_NOTE)

    def _rescue(self, _connection: RemoteConnection) -> None:
        self.punch.urgent(RESCUE_INTERVAL)
        self.lookup.start()

    # -- why it is not direct --------------------------------------------------------------------

    def why_not_direct(
        self, connection: RemoteConnection, udp: bool, report: "Report | None"
    ) -> str | None:
        """Say in words why a connection is relayed; None when it is not. See why.py."""
        return why.why_not_direct(why.gather(self, connection, udp, report))

    def _note_relayed(self) -> None:
        now = self.around.clock.time()
        for connection in self.paths.connections.values():
            if connection.noted or not connection.is_relayed:
                continue
            if now - connection.since < RELAYED_NOTE - 0.5:
                self._note.set_before(connection.since + RELAYED_NOTE)
                continue
            connection.noted = True
            reason = self.around.explain(self, connection)
            if reason is not None:
                logger.info("%s: still relayed: %s", self.endpoint_id.fmt_short(), reason)

    def stop(self) -> None:
        """Let no timer fire any more."""
        self._note.cancel()
        self.paths.close()
        self.punch.close()
        self.liveness.close()


class RemoteMap:
    """All remote endpoints an endpoint knows."""

    def __init__(self, lookup: Lookup, around: Surroundings) -> None:
        self._lookup = lookup
        self._around = around
        self._held: dict[PublicKey, RemoteState] = {}
        self._idle: dict[PublicKey, RemoteState] = {}  # the longest idle is first
        self._ending: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()

    def __iter__(self) -> Iterator[RemoteState]:
        return iter([*self._held.values()])

    def hold(self, endpoint_id: PublicKey) -> RemoteState:
        """Return the remote's state, new when it was unknown or forgotten; `release` must follow.

        Who dials it or has a connection to it holds it: nothing that is held is forgotten.
        """
        remote = self._held.get(endpoint_id)
        if remote is None:
            self._forget_idle()
            remote = self._idle.pop(endpoint_id, None)
            remote = remote or RemoteState(endpoint_id, self._around, self._lookup)
            self._held[endpoint_id] = remote
        remote.users += 1
        return remote

    def release(self, remote: RemoteState) -> None:
        """Take back one `hold`."""
        remote.users -= 1
        if remote.users or self._held.get(remote.endpoint_id) is not remote:
            return
        remote.idle_since = self._around.clock.time()
        self._idle[remote.endpoint_id] = self._held.pop(remote.endpoint_id)
        self._forget_idle()

    def number(self) -> int:
        """Return a number for a connection, higher than all before."""
        return next(self._numbers)

    def find(self, endpoint_id: PublicKey) -> RemoteState | None:
        """Return the remote's state if it is known."""
        remote = self._held.get(endpoint_id)
        if remote is None:
            remote = self._idle.get(endpoint_id)
            if remote is not None and self._is_old(remote):
                return None
        return remote

    def _is_old(self, remote: RemoteState) -> bool:
        return self._around.clock.time() - remote.idle_since > IDLE_TIMEOUT

    def _forget_idle(self) -> None:
        """Drop what has been idle for too long, and the longest idle beyond the bound."""
        while self._idle:
            remote = next(iter(self._idle.values()))
            if len(self._idle) <= MAX_IDLE_REMOTES and not self._is_old(remote):
                return
            del self._idle[remote.endpoint_id]
            self._end(remote)

    def _end(self, remote: RemoteState) -> None:
        remote.stop()
        task = remote.lookup.cancel()
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Forget everything, cancel every running lookup and wait for their ends."""
        remotes = [*self._held.values(), *self._idle.values()]
        self._held, self._idle = {}, {}
        for remote in remotes:
            self._end(remote)
        while self._ending:
            await asyncio.wait(self._ending)

    def __len__(self) -> int:
        return len(self._held) + len(self._idle)
