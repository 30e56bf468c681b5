"""What is known of each remote endpoint: its addresses, where they came from, who waits for one.

    RemoteMap   EndpointId -> RemoteState, bounded; a remote without connections is forgotten
                after 60 s (iroh `ACTOR_MAX_IDLE_TIMEOUT`)
    RemoteState TransportAddr -> Source set, the path in use, the lookup that runs for it

Plain synchronous objects on one event loop: no lock and no inbox that could overflow (upstream's
per-remote actor loses datagrams when its inbox is full).
"""

import asyncio
import enum
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from iroh.address_lookup import LookupItem
from iroh_base import PublicKey, TransportAddr

logger = logging.getLogger(__name__)

IDLE_TIMEOUT = 60.0  # iroh ACTOR_MAX_IDLE_TIMEOUT
MAX_ADDRESSES = 30  # iroh path_state.rs: known addresses of a remote before pruning
MAX_REMOTES = 16_384

Lookup = Callable[[PublicKey], AsyncIterator[LookupItem]]
"""Starts a lookup. The iterator raises LookupFailedError when nothing is found."""


class Source(enum.Enum):
    """Where an address came from."""

    APP = "app"
    """Given to connect."""
    LOOKUP = "lookup"
    """Found by an address lookup service."""
    PEER = "peer"
    """Seen as the source of an authenticated packet."""


class RemoteState:
    """One remote endpoint."""

    def __init__(self, endpoint_id: PublicKey, lookup: Lookup, now: float) -> None:
        self.endpoint_id = endpoint_id
        self.addresses: dict[TransportAddr, set[Source]] = {}
        self.selected: TransportAddr | None = None
        """The address that carries the data of a live connection."""
        self.connections = 0
        self.last_used = now
        self._lookup = lookup
        self._lookup_task: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    def add(self, addresses: Iterable[TransportAddr], source: Source) -> None:
        """Learn addresses. At the bound the oldest found by lookup make room."""
        for address in addresses:
            self.addresses.setdefault(address, set()).add(source)
        for address in list(self.addresses):
            if len(self.addresses) <= MAX_ADDRESSES:
                break
            if address != self.selected and Source.APP not in self.addresses[address]:
                del self.addresses[address]
        while len(self.addresses) > MAX_ADDRESSES:  # all from the application: newest stay
            del self.addresses[next(iter(self.addresses))]

    def targets(self, own: Iterable[TransportAddr]) -> Sequence[TransportAddr]:
        """Where a datagram for "this endpoint, any path" goes.

        The path in use when there is one, else every known address but our own: a peer on another
        machine may have the same private address as we have.
        """
        if self.selected is not None:
            return (self.selected,)
        mine = set(own)
        return [address for address in self.addresses if address not in mine]

    async def resolve(self) -> None:
        """Return when some address is known; start a lookup unless a path is in use.

        Late results join the addresses a running dial is fanned out to. Raises what the lookup
        raises if it ends with nothing. Cancelling leaves the lookup running for other dials.
        """
        if self.selected is None and self._lookup_task is None:
            self._lookup_task = asyncio.create_task(
                self._run_lookup(), name=f"iroh-lookup-{self.endpoint_id.fmt_short()}"
            )
            self._lookup_task.add_done_callback(self._lookup_done)
        task = self._lookup_task
        while not self.addresses and task is not None:
            found = asyncio.get_running_loop().create_future()
            self._waiters.add(found)
            try:
                await asyncio.wait((task, found), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._waiters.discard(found)
            if task.done() and not self.addresses:
                task.result()  # raises why nothing was found
                return

    async def _run_lookup(self) -> None:
        async for item in self._lookup(self.endpoint_id):
            self.add(item.endpoint_info.data.addrs, Source.LOOKUP)
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _lookup_done(self, task: asyncio.Task[None]) -> None:
        self._lookup_task = None
        if not task.cancelled() and task.exception() is not None:
            logger.debug("lookup of %s: %s", self.endpoint_id.fmt_short(), task.exception())

    async def close(self) -> None:
        """Cancel a running lookup and wait for its end."""
        task = self._lookup_task
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))


class RemoteMap:
    """All remote endpoints an endpoint knows."""

    def __init__(self, lookup: Lookup, clock: Callable[[], float]) -> None:
        self._lookup = lookup
        self._clock = clock
        self._remotes: dict[PublicKey, RemoteState] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, endpoint_id: PublicKey) -> RemoteState:
        """Return the remote's state, new when it was unknown or forgotten."""
        now = self._clock()
        remote = self._remotes.pop(endpoint_id, None)
        if remote is None:
            self._forget_idle(now)
            remote = RemoteState(endpoint_id, self._lookup, now)
        remote.last_used = now
        self._remotes[endpoint_id] = remote  # the most recently used is last
        return remote

    def find(self, endpoint_id: PublicKey) -> RemoteState | None:
        """Return the remote's state if it is known."""
        remote = self._remotes.get(endpoint_id)
        if remote is not None and self._is_idle(remote, self._clock()):
            return None
        return remote

    def _is_idle(self, remote: RemoteState, now: float) -> bool:
        return not remote.connections and now - remote.last_used > IDLE_TIMEOUT

    def _forget_idle(self, now: float) -> None:
        """Drop idle remotes from the least recently used end, and more at the bound."""
        for endpoint_id, remote in list(self._remotes.items()):
            full = len(self._remotes) >= MAX_REMOTES and not remote.connections
            if not (full or self._is_idle(remote, now)):
                break
            del self._remotes[endpoint_id]
            task = asyncio.create_task(remote.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Cancel every running lookup."""
        remotes, self._remotes = list(self._remotes.values()), {}
        for remote in remotes:
            await remote.close()
        while self._closing:
            await asyncio.wait(self._closing)

    def __len__(self) -> int:
        return len(self._remotes)
