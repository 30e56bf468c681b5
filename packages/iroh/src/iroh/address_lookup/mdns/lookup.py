"""`MdnsAddressLookup`: endpoints of the local network (upstream crate iroh-mdns-address-lookup).

One task follows the machine's interfaces; a timer and the sockets drive the swarm:

    interfaces ---> links <===> multicast          publish(data) ---> the reply we give
                      |
                    swarm ---> table ---> resolve(id): what is known, then what changes, for 10 s
                                 `----> subscribe(): endpoints that nobody asked for; those gone
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from iroh.netmon import NetworkMonitor
from iroh.resolver import Clock, SystemClock, import_late, reap
from iroh_base import AddrFilter, EndpointData, EndpointInfo, PublicKey

from ..base import AddressLookup, LookupContext, LookupItem
from .links import MDNS_PORT, MulticastLinks, links_of
from .swarm import TAU, Ask, Family, Gone, Output, Say, Seen, Swarm
from .wire import CODEC_MODULES, MAX_MESSAGE, Announcement, MdnsWire

__all__ = [
    "Discovered",
    "DiscoveryEvent",
    "DiscoveryStream",
    "Expired",
    "MdnsAddressLookup",
    "MdnsStats",
]

logger: logging.Logger = logging.getLogger(__name__)

SERVICE_NAME: Final = "irohv1"
"""Upstream `N0_SERVICE_NAME`."""

MIN_LOOKUP_DURATION: Final = 10.0
"""Seconds of a lookup; upstream `MIN_LOOKUP_DURATION`."""

MAX_WAITING: Final = 20
"""Items and events that wait for their reader; further ones are dropped (upstream's channels)."""

MAX_SUBSCRIBERS: Final = 64
"""Ours; upstream has no bound."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """An endpoint of the local network is new, or says something new."""

    endpoint_info: EndpointInfo
    last_updated_us: int | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """An endpoint is not heard any more."""

    endpoint_id: PublicKey


DiscoveryEvent = Discovered | Expired


@dataclass(frozen=True, slots=True)
class MdnsStats:
    """Counters since the start."""

    queries_sent: int = 0
    replies_sent: int = 0
    queries_heard: int = 0
    replies_heard: int = 0
    dropped: int = 0
    """Messages of our service that were too long or unreadable, endpoints without room for them,
    and events without a reader quick enough."""


class DiscoveryStream:
    """The events of `MdnsAddressLookup.subscribe`, from when that was called; `async for`."""

    def __init__(self, forget: "Callable[[DiscoveryStream], None]") -> None:
        self._forget = forget
        self._events: asyncio.Queue[DiscoveryEvent | None] = asyncio.Queue(MAX_WAITING + 1)
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DiscoveryEvent:
        event = None if self._closed and self._events.empty() else await self._events.get()
        if event is None:
            self._closed = True
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Want no more; the loop over it ends. Idempotent."""
        self._forget(self)
        if not self._closed:
            self._closed = True
            self._events.put_nowait(None)  # the one place that _offer leaves

    def offer(self, event: DiscoveryEvent) -> bool:
        """Take an event in, unless too many wait already."""
        if self._closed or self._events.qsize() >= MAX_WAITING:
            return False
        self._events.put_nowait(event)
        return True


class MdnsAddressLookup(AddressLookup):
    """Finds the endpoints of the local network, and lets them find us; needs no server.

    advertise: whether to tell of ourselves. service_name: who is of our kind. addr_filter: which
    of our addresses to tell, default all of them and the first relay. cadence: seconds between
    two queries; longer ones make less traffic, and endpoints that left are noticed later.
    interfaces: names of those to use, default all that are up.

    It runs from when an endpoint is bound with it, or is given it, until that closes.
    """

    provenance: ClassVar[str] = "mdns"

    def __init__(
        self,
        *,
        advertise: bool = True,
        service_name: str = SERVICE_NAME,
        addr_filter: AddrFilter | None = None,
        cadence: float = TAU,
        interfaces: Collection[str] | None = None,
        monitor: NetworkMonitor | None = None,
        port: int = MDNS_PORT,
        rng: Callable[[], float] = random.random,
    ) -> None:
        if not cadence > 0:
            raise ValueError("the cadence must be more than 0 seconds")
        self._wire = MdnsWire(service_name)
        self._advertise = advertise
        self._filter = addr_filter or AddrFilter.unfiltered()
        self._cadence = cadence
        self._interfaces = None if interfaces is None else frozenset(interfaces)
        self._monitor = monitor
        self._random = rng
        self._clock: Clock = SystemClock()
        self._links = MulticastLinks(self._hear, port=port)
        self._id: PublicKey | None = None
        self._data: EndpointData | None = None
        self._swarm: Swarm | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._network_changed = asyncio.Event()
        self._waiting: dict[PublicKey, list[asyncio.Queue[LookupItem | None]]] = {}
        self._subscribers: list[DiscoveryStream] = []
        self._queries_sent = self._replies_sent = 0
        self._queries_heard = self._replies_heard = self._dropped = 0

    @property
    def stats(self) -> MdnsStats:
        """The counters now."""
        full = 0 if self._swarm is None else self._swarm.full
        return MdnsStats(
            queries_sent=self._queries_sent,
            replies_sent=self._replies_sent,
            queries_heard=self._queries_heard,
            replies_heard=self._replies_heard,
            dropped=self._dropped + full,
        )

    def bind(self, context: LookupContext) -> None:
        """Start, for the endpoint of the context's key."""
        self._id = context.secret_key.public()
        self._clock = context.clock
        self._monitor = self._monitor or context.monitor
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="iroh-mdns")

    def publish(self, data: EndpointData) -> None:
        """Tell these addresses whenever somebody asks, if we are to tell any."""
        if self._advertise:
            self._data = data.filtered(self._filter)

    async def resolve(self, endpoint_id: PublicKey) -> AsyncGenerator[LookupItem, None]:
        """What is known of an endpoint, and what changes, for 10 s (longer at a long cadence)."""
        queue: asyncio.Queue[LookupItem | None] = asyncio.Queue(MAX_WAITING + 1)
        known = None if self._swarm is None else self._swarm.get(endpoint_id)
        if known is not None:
            queue.put_nowait(self._item(endpoint_id, known))
        waiting = self._waiting.setdefault(endpoint_id, [])
        waiting.append(queue)
        timer = asyncio.create_task(self._end_later(queue))
        try:
            while (item := await queue.get()) is not None:
                yield item
        finally:
            waiting.remove(queue)
            if not waiting:
                self._waiting.pop(endpoint_id, None)
            await reap((timer,))

    def subscribe(self) -> DiscoveryStream:
        """The endpoints that appear and vanish from now on; without those being resolved.

        Raises `RuntimeError` when there are too many subscribers; close those not needed.
        """
        if len(self._subscribers) >= MAX_SUBSCRIBERS:
            raise RuntimeError(f"there are {MAX_SUBSCRIBERS} subscribers already")
        stream = DiscoveryStream(self._unsubscribe)
        self._subscribers.append(stream)
        return stream

    async def close(self) -> None:
        """Stop; streams of events end. Idempotent.

        Cancelling it may leave streams open: call it again.
        """
        if self._task is not None:
            await reap((self._task,))
        for stream in list(self._subscribers):
            stream.close()

    # -- driving --------------------------------------------------------------------------------

    async def _run(self) -> None:
        monitor = self._monitor or NetworkMonitor()
        unsubscribe = monitor.subscribe(lambda _: self._network_changed.set())
        try:
            await import_late(*CODEC_MODULES)
            if self._monitor is None:
                monitor.start()
            await self._links.follow(links_of(monitor.state, self._interfaces))
            self._swarm = Swarm(self._now(), self._random, tau=self._cadence)
            self._arm()
            while True:
                await self._network_changed.wait()
                self._network_changed.clear()
                await self._links.follow(links_of(monitor.state, self._interfaces))
        finally:
            unsubscribe()
            if self._monitor is None:
                await monitor.close()
            if self._timer is not None:
                self._timer.cancel()
            self._swarm = None
            self._links.close()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._swarm is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._swarm.next_timeout, self._tick)

    def _tick(self) -> None:
        if self._swarm is not None:
            # loops call a little early, by up to the resolution of their clock
            now = max(self._now(), self._swarm.next_timeout)
            self._do(self._swarm.handle_timeout(now))

    def _hear(self, data: bytes, family: Family) -> None:
        if self._swarm is None or not self._wire.concerns(data):
            return
        heard = self._wire.read(data) if len(data) <= MAX_MESSAGE else None
        if heard is None:
            self._dropped += 1
        elif heard.is_query:
            self._queries_heard += 1
            self._do(self._swarm.heard_query(family, self._now()))
        else:
            self._replies_heard += 1
            self._do(self._swarm.heard_peers(heard.peers, self._now()))

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Ask():
                    self._queries_sent += 1
                    self._links.send(self._wire.query(), None)
                case Say(family):
                    self._say(family)
                case Seen(endpoint_id, announcement):
                    self._seen(endpoint_id, announcement)
                case Gone(endpoint_id):
                    self._tell(Expired(endpoint_id))
        self._arm()

    def _say(self, family: Family | None) -> None:
        assert self._id is not None  # bind comes first
        reply = None if self._data is None else self._wire.reply(self._id, self._data)
        if reply is not None:
            self._replies_sent += 1
            self._links.send(reply, family)

    # -- telling --------------------------------------------------------------------------------

    def _item(self, endpoint_id: PublicKey, announcement: Announcement) -> LookupItem:
        return LookupItem(EndpointInfo(endpoint_id, announcement.data()), self.provenance)

    def _seen(self, endpoint_id: PublicKey, announcement: Announcement) -> None:
        if endpoint_id == self._id:
            return
        item = self._item(endpoint_id, announcement)
        queues = self._waiting.get(endpoint_id, ())
        for queue in queues:
            if queue.qsize() < MAX_WAITING:
                queue.put_nowait(item)
        if not queues:
            self._tell(Discovered(item.endpoint_info))

    def _tell(self, event: DiscoveryEvent) -> None:
        if isinstance(event, Expired) and event.endpoint_id == self._id:
            return
        for stream in self._subscribers:
            if not stream.offer(event):
                self._dropped += 1

    async def _end_later(self, queue: asyncio.Queue[LookupItem | None]) -> None:
        await self._clock.sleep(max(MIN_LOOKUP_DURATION, self._cadence * 1.2 + 5))
        queue.put_nowait(None)  # the one place that items leave

    def _unsubscribe(self, stream: DiscoveryStream) -> None:
        with contextlib.suppress(ValueError):
            self._subscribers.remove(stream)
