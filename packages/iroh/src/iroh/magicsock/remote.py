"""What is known of each remote endpoint: its addresses, where they came from, who waits for one.

    RemoteMap   EndpointId -> RemoteState; kept while a dial or a connection holds it, and for
                60 s after (iroh `ACTOR_MAX_IDLE_TIMEOUT`), in a bounded number
    RemoteState TransportAddr -> Source set, the path in use, the lookup that runs for it

Plain synchronous objects on one event loop: no lock and no inbox that could overflow (upstream's
per-remote actor loses datagrams when its inbox is full).
"""

import asyncio
import enum
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from iroh.address_lookup import LookupItem
from iroh.errors import EndpointClosedError, LookupFailedError
from iroh_base import PublicKey, SocketAddr, TransportAddr

logger = logging.getLogger(__name__)

IDLE_TIMEOUT = 60.0  # iroh ACTOR_MAX_IDLE_TIMEOUT
MAX_ADDRESSES = 30  # iroh path_state.rs: known addresses of a remote before pruning
MAX_IDLE_REMOTES = 16_384

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

    def __init__(self, endpoint_id: PublicKey, lookup: Lookup) -> None:
        self.endpoint_id = endpoint_id
        self.addresses: dict[TransportAddr, set[Source]] = {}
        self.users = 0
        """Dials and connections that hold it. Kept by the RemoteMap."""
        self.idle_since = 0.0
        self._in_use: dict[object, TransportAddr] = {}
        self._lookup = lookup
        self._lookup_task: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def selected(self) -> TransportAddr | None:
        """The address that carries the data of a live connection, the latest to choose one."""
        return next(reversed(self._in_use.values()), None)

    def select(self, connection: object, address: TransportAddr | None) -> None:
        """Note which address a connection is on; None when it has ended."""
        self._in_use.pop(connection, None)
        if address is not None:
            address = _canonical(address)
            self._in_use[connection] = address
            self.add((address,), Source.PEER)

    def add(self, addresses: Iterable[TransportAddr], source: Source) -> None:
        """Learn addresses. At the bound the oldest found by lookup make room."""
        for address in map(_canonical, addresses):
            self.addresses.setdefault(address, set()).add(source)
        selected = self.selected
        for address in list(self.addresses):
            if len(self.addresses) <= MAX_ADDRESSES:
                break
            if address != selected and Source.APP not in self.addresses[address]:
                del self.addresses[address]
        while len(self.addresses) > MAX_ADDRESSES:  # all from the application: newest stay
            del self.addresses[next(iter(self.addresses))]

    def targets(self, own: Iterable[TransportAddr]) -> Sequence[TransportAddr]:
        """Where a datagram for "this endpoint, any path" goes.

        The path in use when there is one, else every known address but our own: a peer on another
        machine may have the same private address as we have.
        """
        selected = self.selected
        if selected is not None:
            return (selected,)
        mine = set(own)
        return [address for address in self.addresses if address not in mine]

    async def resolve(self) -> None:
        """Return when some address is known; start a lookup unless a path is in use.

        Late results join the addresses a running dial is fanned out to. Raises LookupFailedError
        if the lookup ends with nothing, EndpointClosedError if the endpoint ends it. Cancelling
        leaves the lookup running for other dials.
        """
        if self.selected is None and self._lookup_task is None:
            self._lookup_task = asyncio.create_task(
                self._run_lookup(), name=f"iroh-lookup-{self.endpoint_id.fmt_short()}"
            )
            self._lookup_task.add_done_callback(self._lookup_done)
        task = self._lookup_task
        while not self.addresses and task is not None:
            if task.done():
                raise self._why_nothing(task)
            found = asyncio.get_running_loop().create_future()
            self._waiters.add(found)
            try:
                await asyncio.wait((task, found), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._waiters.discard(found)

    def _why_nothing(self, task: "asyncio.Task[None]") -> BaseException:
        if task.cancelled():
            return EndpointClosedError("the endpoint was closed while it looked up an address")
        return task.exception() or LookupFailedError(
            f"the lookup found endpoint {self.endpoint_id.fmt_short()}, but no address of it"
        )

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

    def cancel_lookup(self) -> "asyncio.Task[None] | None":
        """Cancel a running lookup; gives its task, for somebody to wait for its end."""
        if self._lookup_task is not None:
            self._lookup_task.cancel()
        return self._lookup_task


class RemoteMap:
    """All remote endpoints an endpoint knows."""

    def __init__(self, lookup: Lookup, clock: Callable[[], float]) -> None:
        self._lookup = lookup
        self._clock = clock
        self._held: dict[PublicKey, RemoteState] = {}
        self._idle: dict[PublicKey, RemoteState] = {}  # the longest idle is first
        self._ending: set[asyncio.Task[None]] = set()

    def hold(self, endpoint_id: PublicKey) -> RemoteState:
        """Return the remote's state, new when it was unknown or forgotten; `release` must follow.

        Who dials it or has a connection to it holds it: nothing that is held is forgotten.
        """
        remote = self._held.get(endpoint_id)
        if remote is None:
            self._forget_idle()
            remote = self._idle.pop(endpoint_id, None) or RemoteState(endpoint_id, self._lookup)
            self._held[endpoint_id] = remote
        remote.users += 1
        return remote

    def release(self, remote: RemoteState) -> None:
        """Take back one `hold`."""
        remote.users -= 1
        if remote.users or self._held.get(remote.endpoint_id) is not remote:
            return
        remote.idle_since = self._clock()
        self._idle[remote.endpoint_id] = self._held.pop(remote.endpoint_id)
        self._forget_idle()

    def find(self, endpoint_id: PublicKey) -> RemoteState | None:
        """Return the remote's state if it is known."""
        remote = self._held.get(endpoint_id)
        if remote is None:
            remote = self._idle.get(endpoint_id)
            if remote is not None and self._is_old(remote):
                return None
        return remote

    def _is_old(self, remote: RemoteState) -> bool:
        return self._clock() - remote.idle_since > IDLE_TIMEOUT

    def _forget_idle(self) -> None:
        """Drop what has been idle for too long, and the longest idle beyond the bound."""
        while self._idle:
            remote = next(iter(self._idle.values()))
            if len(self._idle) <= MAX_IDLE_REMOTES and not self._is_old(remote):
                return
            del self._idle[remote.endpoint_id]
            self._end_lookup(remote)

    def _end_lookup(self, remote: RemoteState) -> None:
        task = remote.cancel_lookup()
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Forget everything, cancel every running lookup and wait for their ends."""
        remotes = [*self._held.values(), *self._idle.values()]
        self._held, self._idle = {}, {}
        for remote in remotes:
            self._end_lookup(remote)
        while self._ending:
            await asyncio.wait(self._ending)

    def __len__(self) -> int:
        return len(self._held) + len(self._idle)


def _canonical(address: TransportAddr) -> TransportAddr:
    """Write an IPv4 address in IPv6 clothes (RFC 4291 2.5.5.2) as what it is, as iroh does."""
    if isinstance(address, SocketAddr) and address.ip.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(address.ip.partition("%")[0]).ipv4_mapped
        if mapped is not None:
            return SocketAddr(str(mapped), address.port)
    return address
