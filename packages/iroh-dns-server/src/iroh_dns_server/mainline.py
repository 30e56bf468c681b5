"""Where a key is looked up that has no packet here: the BitTorrent Mainline DHT.

    store has it -> that          found -> remembered for 5 minutes
    else remembered -> that       not there -> remembered for 1 minute
    else ask the DHT, once for all who ask for the key meanwhile

Who asks is not kept waiting for more than 4 seconds: resolvers give up at about 5, ask again, and
get what was found since. The server only reads; it publishes nothing and answers no other node.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from iroh_base.errors import PkarrError
from iroh_base.mainline import Addr, DhtNode, GetResult, Result
from iroh_dns_server.errors import DhtUnavailableError

__all__ = ["DHT_CACHE_TTL", "MainlineFallback"]

logger: logging.Logger = logging.getLogger(__name__)

DHT_CACHE_TTL: Final = 300.0
"""Seconds; upstream's cache of the DHT."""
MISSING_TTL: Final = 60.0
PATIENCE: Final = 4.0
MAX_REMEMBERED: Final = 10_000
"""Packets and misses, at most about 20 MB."""
MAX_RUNNING: Final = 48
"""Lookups at a time, of about 20 datagrams each."""


class MainlineFallback:
    """Finds packets in the DHT. `bootstrap`: "host:port" of nodes to begin at."""

    def __init__(self, bootstrap: Iterable[str]) -> None:
        self._bootstrap = tuple(bootstrap)
        self._node: DhtNode | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._running: dict[bytes, asyncio.Task[bytes | None]] = {}
        self._known: OrderedDict[bytes, tuple[float, bytes | None]] = OrderedDict()

    def __len__(self) -> int:
        """How many packets are remembered."""
        return sum(message is not None for _, message in self._known.values())

    async def start(self) -> None:
        """Bind the socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Receiver(self), local_addr=("0.0.0.0", 0)
        )
        self._node = DhtNode(loop.time(), os.urandom)

    async def close(self) -> None:
        """Close the socket and end what runs. Idempotent."""
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values())
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._node = self._transport = None

    async def find(self, public_key: bytes) -> bytes | None:
        """The DNS message of a key's packet, None if there is none. Safe to cancel.

        Raises `DhtUnavailableError` when nothing is known yet.
        """
        now = asyncio.get_running_loop().time()
        expires, message = self._known.get(public_key, (now, None))
        if now < expires:
            return message
        task = self._running.get(public_key)
        if task is None:
            if len(self._running) >= MAX_RUNNING:
                raise DhtUnavailableError("too many lookups in the DHT")
            task = asyncio.create_task(self._look(public_key), name="iroh-dns-mainline")
            self._running[public_key] = task
            task.add_done_callback(lambda task: self._ended(public_key, task))
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        if not done or task.cancelled():
            raise DhtUnavailableError("no answer from the DHT in time")
        return task.result()

    def receive(self, data: bytes, addr: Addr) -> None:
        """A datagram came."""
        if self._node is not None:
            self._node.receive(data, addr, asyncio.get_running_loop().time())
            self._flush()

    # -- inside ---------------------------------------------------------------------------------

    def _ended(self, public_key: bytes, task: "asyncio.Task[bytes | None]") -> None:
        self._running.pop(public_key, None)
        if not task.cancelled():
            task.exception()  # whoever asked may have given up, and nobody looks at it then

    async def _look(self, public_key: bytes) -> bytes | None:
        """Ask the DHT and remember what it says."""
        message = None
        result = await self._get(public_key)
        if result.item is not None:
            try:
                message = result.item.to_packet().dns_packet
            except PkarrError as error:
                logger.debug("an item of the DHT is no packet: %s", error)
        elif not result.answered:
            raise DhtUnavailableError("no node of the DHT answers")
        ttl = MISSING_TTL if message is None else DHT_CACHE_TTL
        self._known[public_key] = asyncio.get_running_loop().time() + ttl, message
        self._known.move_to_end(public_key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return message

    async def _get(self, public_key: bytes) -> GetResult:
        if self._node is not None and len(self._node.table) == 0:
            self._node.set_entrances(await _entrances(self._bootstrap))
        node = self._node
        if node is None:
            raise DhtUnavailableError("closed")
        loop = asyncio.get_running_loop()
        number = node.get(public_key, loop.time())
        future = self._waiting[number] = loop.create_future()
        try:
            self._flush()
            result = await future
        finally:
            self._waiting.pop(number, None)
            node.cancel(number)
        assert isinstance(result, GetResult)
        return result

    def _tick(self) -> None:
        if self._node is not None:
            now = asyncio.get_running_loop().time()
            self._node.handle_timeout(max(now, self._node.next_timeout))
            self._flush()

    def _flush(self) -> None:
        if self._node is None or self._transport is None:
            return
        for data, addr in self._node.take_datagrams():
            self._transport.sendto(data, addr)
        for number, result in self._node.take_results():
            future = self._waiting.get(number)
            if future is not None and not future.done():
                future.set_result(result)
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(self._node.next_timeout, self._tick)


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, fallback: MainlineFallback) -> None:
        self._fallback = fallback

    def datagram_received(self, data: bytes, addr: Addr) -> None:
        self._fallback.receive(data, addr)

    def error_received(self, exc: Exception) -> None:
        logger.debug("DHT socket: %s", exc)  # a node that is not there; its question times out


async def _entrances(bootstrap: Iterable[str]) -> list[Addr]:
    """The addresses of the bootstrap nodes, of those that have one."""
    loop = asyncio.get_running_loop()
    found: list[Addr] = []
    for host in bootstrap:
        name, _, port = host.rpartition(":")
        with contextlib.suppress(ValueError):
            found.append((str(ipaddress.IPv4Address(name)), int(port)))
            continue
        with contextlib.suppress(OSError):
            infos = await loop.getaddrinfo(name, int(port), family=socket.AF_INET)
            found += [(str(info[4][0]), int(port)) for info in infos]
    return found
