"""Custom transports: datagrams over whatever a program likes (Tor, Bluetooth, a serial line).

    engine --Datagrams--> CustomTransports --send()--> CustomTransport --> the medium
    engine <--Datagrams-- bounded queue <--deliver()-- CustomTransport <-- the medium

An address of such a transport is a `CustomAddr`: the transport's id and bytes that only the
transport understands. Ids below 0x20 are reserved, 0x20 is the in-memory transport of tests,
0x544F52 ("TOR") and 0x424C45 ("BLE") are taken (iroh `TRANSPORTS.md`); choose any other u64.

A transport may be foreign code: whatever it raises is counted, logged once per kind, and a lost
datagram to everybody else.
"""

import asyncio
import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import ClassVar, Protocol

from iroh.errors import BindError
from iroh.magicsock.mapped import CustomPathAddr, MappedAddrs
from iroh.metrics import SocketMetrics
from iroh.quic.datagrams import Datagrams
from iroh_base import CustomAddr, Watchable

logger: logging.Logger = logging.getLogger(__name__)

MAX_DATAGRAM = 65_535
"""Bytes of a datagram (RFC 768 has no room for more, and no QUIC of iroh's sends more)."""
MAX_RUN = 65_535
"""Bytes that the engine is handed as one run, as much as a UDP socket gives at once."""
MAX_QUEUED = 1024
"""Deliveries that wait for the end of the loop's turn; then the newest are dropped."""
MAX_QUEUED_BYTES = 4 << 20
CLOSE_TIMEOUT = 3.0
"""Seconds a transport gets to close (iroh gives its relays as much)."""
CANCEL_TIMEOUT = 0.5
"""Seconds it then gets to notice that it was cancelled."""
_FAILURES = (Exception, asyncio.CancelledError)
"""What foreign code may raise at us. CancelledError: by `result()` of a future of its own."""


class Deliver(Protocol):
    """How a transport hands over what it received; given to `CustomTransport.start`."""

    def __call__(
        self,
        remote: CustomAddr,
        data: bytes,
        *,
        segment_size: int = 0,
        local: CustomAddr | None = None,
    ) -> None:
        """Take one datagram, or a run of them: it is read after this turn of the loop.

        remote: the sender, in the form in which `send` reaches it.
        segment_size: bytes of each datagram of a run but the last; 0 for a single datagram.
        local: which of our own addresses it was sent to, if the transport knows.

        Only on the endpoint's loop: RuntimeError in another thread, which has to use
        `loop.call_soon_threadsafe(deliver, ...)`. TypeError for what is no CustomAddr or no bytes.
        Never blocks. When the queue is full, or the endpoint is closed, the datagrams are dropped.
        """


class CustomTransport(ABC):
    """Carries the datagrams of one endpoint over a medium of its own. Derive from it.

    It promises as much as UDP does: a datagram arrives whole, once, or not at all, in any order;
    everything that passes is sealed by QUIC, and whoever answers has to prove its EndpointId.
    It must carry datagrams of 1200 bytes (RFC 9000 section 14). Bigger ones, up to 1472 bytes, are
    tried, and what does not fit is best dropped: QUIC finds the limit.

    Every method is called on the endpoint's event loop, one at a time. One object serves one
    endpoint, once; `bound` says that one has taken it.
    """

    max_transmit_segments: ClassVar[int] = 1
    """Most datagrams that one call of `send` may carry (iroh's name; 1 unless you say more)."""
    bound: bool = False

    @cached_property
    def local_addrs(self) -> Watchable[tuple[CustomAddr, ...]]:
        """Where others reach us over this transport: set it when you know, or when it changes.

        `Endpoint.custom_addrs` shows it. It is not published (see `Endpoint.custom_addrs`).
        """
        return Watchable((), lambda: asyncio.get_running_loop().create_future())

    @abstractmethod
    async def start(self, deliver: Deliver) -> None:
        """Open the medium; from now on call `deliver` with what arrives.

        Binding the endpoint waits for it and fails with BindError when it raises. It may be
        cancelled. Tasks that it starts are the transport's own, and end in `close`.
        """

    @abstractmethod
    def is_valid_send_addr(self, addr: CustomAddr) -> bool:
        """Say whether this transport reaches such addresses: mostly by the id."""

    @abstractmethod
    def send(self, dst: CustomAddr, src: CustomAddr | None, data: bytes, segment_size: int) -> bool:
        """Send a datagram, or up to `max_transmit_segments` of them, without waiting.

        src: our own address that the path runs over (`local` of what arrived); None: choose.
        segment_size: bytes of each datagram but the last; len(data) of a single one.

        False: not taken, the next transport that reaches `dst` may try. True: sent, or queued (in a
        bounded queue), or dropped, which QUIC repairs. What it raises counts as False.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let what was taken leave, end every task, release the medium.

        Called once, also after a `start` that failed or was cancelled. It is cancelled after 3 s.
        """

    def abort(self) -> None:
        """Release the medium at once, from any thread: the loop is gone, `close` cannot run."""
        return


class CustomTransports:
    """The custom transports of one endpoint, in the order in which they are asked to send."""

    def __init__(
        self,
        transports: Sequence[CustomTransport],
        mapped: MappedAddrs,
        on_batches: Callable[[Sequence[Datagrams]], None],
        metrics: SocketMetrics | None = None,
    ) -> None:
        """Nothing is opened before `start`. Call it on the endpoint's loop."""
        self.dropped: int = 0
        """Datagrams that no transport took, or that came faster than they were read."""
        self._transports = tuple(transports)
        self._taken: list[CustomTransport] = []
        self._ready: tuple[CustomTransport, ...] = ()
        self._mapped = mapped
        self._on_batches = on_batches
        self._metrics = metrics or SocketMetrics()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._queue: deque[tuple[CustomAddr, CustomAddr | None, bytes, int]] = deque()
        self._queued_bytes = 0
        self._logged: set[tuple[str, type, type]] = set()
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._transports)

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open all of them, one after the other. Raises BindError; `close` must follow then."""
        for transport in self._transports:
            if transport.bound:
                raise BindError(f"{_name(transport)} serves another endpoint already")
            transport.bound = True
            self._taken.append(transport)
            try:
                await transport.start(self._deliver)
            except _FAILURES as error:
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise  # we are, not some future of its own
                raise BindError(f"{_name(transport)} cannot start: {error!r}") from error
            self._ready = (*self._ready, transport)

    async def close(self) -> None:
        """Close those that were started, all at once, within CLOSE_TIMEOUT or a bit more."""
        self._end()
        taken, self._taken = self._taken, []
        tasks = {
            asyncio.create_task(self._close(transport), name="iroh-custom-close"): transport
            for transport in taken
        }
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
        for task in late:
            logger.warning("%s takes too long to close; not waiting for it", _name(tasks[task]))
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CANCEL_TIMEOUT)

    async def _close(self, transport: CustomTransport) -> None:
        try:
            await transport.close()
        except Exception as error:  # noqa: BLE001 - foreign code: the others still close
            self._failed(transport, "close", error)

    def abort(self) -> None:
        """Release everything at once, because the loop is gone."""
        self._end()
        taken, self._taken = self._taken, []
        for transport in taken:
            try:
                transport.abort()
            except _FAILURES as error:  # foreign code, as above
                self._failed(transport, "abort", error)

    def _end(self) -> None:
        self._closed = True
        self._ready = ()
        self._queue.clear()
        self._queued_bytes = 0

    # -- sending --------------------------------------------------------------------------------

    def local_addrs(self) -> list[CustomAddr]:
        """Where others reach us, each address once."""
        found: dict[CustomAddr, None] = {}
        for transport in self._transports:
            try:
                found.update(dict.fromkeys(transport.local_addrs.get()))
            except _FAILURES as error:  # foreign code, as above
                self._failed(transport, "local_addrs", error)
        return list(found)

    def reaches(self, addr: CustomAddr) -> bool:
        """Say whether one of the transports sends to such addresses."""
        return any(self._reaches(transport, addr) for transport in self._ready)

    def _reaches(self, transport: CustomTransport, addr: CustomAddr) -> bool:
        try:
            return bool(transport.is_valid_send_addr(addr))
        except _FAILURES as error:  # foreign code, as above
            self._failed(transport, "is_valid_send_addr", error)
            return False

    def send(self, batch: Datagrams) -> bool:
        """Send by the first transport that reaches the address and takes it (iroh `poll_send`).

        Says False when none did.
        """
        remote = batch.remote
        assert isinstance(remote, CustomPathAddr)
        for transport in self._ready:
            if self._send(transport, remote.key, batch):
                return True
        self.dropped += len(batch)
        return False

    def _send(self, transport: CustomTransport, dst: CustomAddr, batch: Datagrams) -> bool:
        if not self._reaches(transport, dst):
            return False
        src = batch.local if isinstance(batch.local, CustomAddr) else None
        taken = 0
        try:
            for piece in _pieces(batch, transport.max_transmit_segments):
                if transport.send(dst, src, piece, min(batch.segment_size, len(piece))):
                    taken += len(piece)
        except _FAILURES as error:  # foreign code: the datagram is lost, no more
            self._failed(transport, "send", error)
        self._metrics.send_custom += taken
        return taken > 0

    # -- receiving ------------------------------------------------------------------------------

    def _deliver(
        self,
        remote: CustomAddr,
        data: bytes,
        *,
        segment_size: int = 0,
        local: CustomAddr | None = None,
    ) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "deliver belongs to the thread of the endpoint's loop: "
                "use loop.call_soon_threadsafe(deliver, ...)"
            )
        if not isinstance(remote, CustomAddr) or not isinstance(local, CustomAddr | None):
            raise TypeError("deliver takes CustomAddr objects as addresses")
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._closed or not data:
            return
        size = segment_size if 0 < segment_size < len(data) else len(data)
        count = -(-len(data) // size)
        if (
            size > MAX_DATAGRAM
            or len(self._queue) >= MAX_QUEUED
            or self._queued_bytes + len(data) > MAX_QUEUED_BYTES
        ):
            self.dropped += count
            return
        # Not at once: a transport may call us from within `send`, in the middle of the engine.
        if not self._queue:
            self._loop.call_soon(self._drain)
        self._queue.append((remote, local, data, size))
        self._queued_bytes += len(data)

    def _drain(self) -> None:
        queue, self._queue = self._queue, deque()
        self._queued_bytes = 0
        batches = list(self._join(queue))
        metrics = self._metrics
        for batch in batches:
            count = len(batch)
            metrics.recv_data_custom += len(batch.data)
            metrics.recv_datagrams += count
            metrics.recv_gro_datagrams += count > 1
        if batches:
            self._on_batches(batches)

    def _join(
        self, queue: deque[tuple[CustomAddr, CustomAddr | None, bytes, int]]
    ) -> Iterator[Datagrams]:
        """Make runs of equal datagrams: the engine is cheapest by the run."""
        get = self._mapped.custom.get
        while queue:
            remote, local, data, size = queue.popleft()
            run, total = [data], len(data)
            while queue and total % size == 0:
                next_remote, next_local, more, more_size = queue[0]
                total += len(more)
                # What follows are datagrams of this size, or a single smaller one, which ends it.
                fits = more_size == size or len(more) == more_size < size
                if not fits or next_remote != remote or next_local != local or total > MAX_RUN:
                    break
                queue.popleft()
                run.append(more)
            yield Datagrams(get(remote), b"".join(run), size, 0, local)

    # -- foreign code ---------------------------------------------------------------------------

    def _failed(self, transport: CustomTransport, what: str, error: BaseException) -> None:
        """Count a failure; log the first one of its kind."""
        self._metrics.custom_errors += 1
        kind = (what, type(transport), type(error))
        if kind not in self._logged:  # bounded: five names, and classes of the program
            self._logged.add(kind)
            logger.error("%s: %s failed", _name(transport), what, exc_info=error)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _name(transport: CustomTransport) -> str:
    return f"custom transport {type(transport).__name__}"


def _pieces(batch: Datagrams, count: int) -> Iterator[bytes]:
    """Cut a batch into runs of at most `count` datagrams."""
    data, step = batch.data, batch.segment_size * max(count, 1)
    if len(data) <= step:
        return iter((data,))
    return (data[at : at + step] for at in range(0, len(data), step))
