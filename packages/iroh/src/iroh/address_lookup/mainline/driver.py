"""`Dht`: a node of the Mainline DHT on a UDP socket of its own."""

import asyncio
import contextlib
import ipaddress
import logging
import os
from collections.abc import Callable, Iterable
from typing import Final

from iroh.resolver import DnsError, DnsResolver
from iroh_base import IrohError, IrohErrorKind
from iroh_base.mainline import (
    DEFAULT_BOOTSTRAP,
    Addr,
    DhtNode,
    DhtStats,
    GetResult,
    MutableItem,
    PutResult,
    Result,
)

__all__ = ["Dht", "DhtError"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_ENTRANCE_ADDRESSES: Final = 4
"""Of one bootstrap host."""


class DhtError(IrohError):
    """The DHT cannot be used: no socket, no way in, too much at once, or closed."""

    default_kind = IrohErrorKind.CONNECT


class Dht:
    """A client of the DHT, or, with `server`, a node that answers others.

    bootstrap: "host:port" of nodes to begin at, asked for while we know few others. None is for the
    first node of a network of your own. A server must be reachable from where its network is; the
    public DHT needs no more of them behind a NAT.

    It starts at the first call, and belongs to the event loop of that. Methods may be cancelled.
    """

    def __init__(
        self,
        *,
        bootstrap: Iterable[str] = DEFAULT_BOOTSTRAP,
        server: bool = False,
        bind: Addr = ("0.0.0.0", 0),
        resolver: DnsResolver | None = None,
    ) -> None:
        self._bootstrap = [_split(host) for host in bootstrap]
        self._server = server
        self._bind = bind
        self.resolver = resolver
        """For the names of bootstrap nodes; None until one is needed."""
        self._node: DhtNode | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._starting = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._joined = self._closed = False

    @property
    def local_addr(self) -> Addr:
        """Where our socket is. Raises `DhtError` before `start`."""
        if self._transport is None:
            raise DhtError("the DHT has no socket yet")
        ip, port = self._transport.get_extra_info("sockname")[:2]
        return ip, port

    @property
    def known_nodes(self) -> int:
        """How many nodes we know."""
        return 0 if self._node is None else len(self._node.table)

    @property
    def stats(self) -> DhtStats:
        """Counters since the start."""
        return DhtStats() if self._node is None else self._node.stats

    async def start(self) -> None:
        """Bind the socket and join the network. Raises `DhtError`. Idempotent.

        Cancelling it leaves it to another call, or to `close`.
        """
        node = await self._started()
        if self._bootstrap and not self._joined:
            await self._run(node.find(node.id, self._now()))
            self._joined = True

    async def get(self, key: bytes, salt: bytes = b"") -> GetResult:
        """The newest item of a key that is found, verified. Takes a second or so; up to many.

        Raises `DhtError`. Cancelling it gives it up.
        """
        node = await self._started()
        return await self._begin_get(node, key, salt)

    async def put(self, item: MutableItem, *, cas: int | None = None) -> PutResult:
        """Store an item at the nodes nearest to it, unless there is a newer one.

        cas: only where the item stored now has this sequence number, or where there is none.

        Raises `DhtError`. Cancelling it gives it up; some nodes may have it.
        """
        node = await self._started()
        number = self._operation(lambda: node.put(item, self._now(), cas))
        result = await self._run(number)
        assert isinstance(result, PutResult)
        return result

    async def close(self) -> None:
        """Close the socket; what waits fails. Idempotent. Never waits."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(DhtError("the DHT was closed"))
        self._waiting.clear()

    # -- inside ---------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _started(self) -> DhtNode:
        async with self._starting:
            if self._closed:
                raise DhtError("the DHT was closed")
            if self._node is None:
                await self._bind_socket()
                self._node = DhtNode(self._now(), os.urandom, server=self._server)
            if len(self._node.table) == 0 and self._bootstrap:
                self._node.set_entrances(await self._entrances())
            return self._node

    async def _bind_socket(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Receiver(self._receive), local_addr=self._bind
            )
        except OSError as error:
            raise DhtError(f"no socket for the DHT: {error}") from error
        self._transport = transport

    async def _entrances(self) -> list[Addr]:
        """The addresses of the bootstrap nodes. Raises `DhtError` if there are none."""
        found = await asyncio.gather(*(self._resolve(host) for host, _ in self._bootstrap))
        entrances = [
            (ip, port)
            for (_, port), ips in zip(self._bootstrap, found, strict=True)
            for ip in ips[:MAX_ENTRANCE_ADDRESSES]
        ]
        if not entrances:
            raise DhtError("no bootstrap node of the DHT has an address")
        return entrances

    async def _resolve(self, host: str) -> list[str]:
        with contextlib.suppress(ValueError):
            return [str(ipaddress.IPv4Address(host))]
        self.resolver = self.resolver or DnsResolver()
        try:
            return await self.resolver.lookup_ipv4(host)
        except DnsError as error:
            logger.debug("DHT bootstrap node %s: %s", host, error)
            return []

    async def _begin_get(self, node: DhtNode, key: bytes, salt: bytes) -> GetResult:
        number = self._operation(lambda: node.get(key, self._now(), salt))
        result = await self._run(number)
        assert isinstance(result, GetResult)
        return result

    def _operation(self, begin: Callable[[], int]) -> int:
        try:
            return begin()
        except RuntimeError as error:
            raise DhtError(str(error)) from error

    async def _run(self, number: int) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._flush()
            return await future
        finally:
            self._waiting.pop(number, None)
            if self._node is not None:
                self._node.cancel(number)

    def _receive(self, data: bytes, addr: Addr) -> None:
        if self._node is not None:
            self._node.receive(data, addr, self._now())
            self._flush()

    def _tick(self) -> None:
        if self._node is not None:
            # loops call a little early, by up to the resolution of their clock
            self._node.handle_timeout(max(self._now(), self._node.next_timeout))
            self._flush()

    def _flush(self) -> None:
        """Send what is to be sent, tell who waits, and set the timer."""
        if self._node is None or self._transport is None or self._closed:
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
    def __init__(self, receive: Callable[[bytes, Addr], None]) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: Addr) -> None:
        self._receive(data, addr)

    def error_received(self, exc: Exception) -> None:
        logger.debug("DHT socket: %s", exc)  # a node that is not there; its question times out


def _split(host: str) -> Addr:
    name, colon, port = host.rpartition(":")
    if not (colon and name and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"a bootstrap node is host:port, not {host!r}")
    return name, int(port)
