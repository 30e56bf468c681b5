"""The engine of one endpoint on the event loop: sorts what arrives, holds what waits for accept.

It owns the ConnectionDrivers. Everything runs on one event loop, in one thread, which is checked
where it is cheap; `call_from_anywhere` is the one door for other threads.
"""

import asyncio
import contextlib
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from iroh.errors import EndpointClosedError
from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.waiters import Waiters
from iroh.quic.api import Connection, Incoming, QuicEndpoint, ServerConfig, WebServer
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh_base import SocketAddr

logger: logging.Logger = logging.getLogger(__name__)

Send = Callable[[Sequence[Datagrams]], None]
MAX_INCOMING = 1024
"""Attempts that wait for accept_next; beyond it the oldest is refused."""


class EngineDriver:
    """The engine of one endpoint on the event loop."""

    def __init__(self, engine: QuicEndpoint, send: Send) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.engine = engine
        self.send = send
        self.now: Callable[[], float] = self.loop.time
        self.incoming_refused: int = 0
        """Attempts refused because too many waited for accept_next."""
        self.failures: int = 0
        """Receptions that a bug in the engine spoilt."""
        self.candidate_filter: Callable[[SocketAddr], bool] | None = None
        """Which of a peer's candidates may be probed; None for any."""
        self._thread = threading.get_ident()
        self._drivers: dict[Connection, ConnectionDriver] = {}
        self._incoming: deque[Incoming] = deque()
        self._given: weakref.WeakSet[Incoming] = (
            weakref.WeakSet()
        )  # by accept_next, maybe undecided
        self._waiters = Waiters()
        self._closed = False

    def on_batches(self, batches: Sequence[Datagrams]) -> None:
        """Take what a transport received in one wake-up. Never raises."""
        if self._closed and not self._drivers:
            return
        try:
            self._take(batches)
        except Exception:  # the root of whatever comes from outside: transports must go on
            self.failures += 1
            logger.exception("datagrams were lost by a bug in the engine")

    def _take(self, batches: Sequence[Datagrams]) -> None:
        now = self.now()
        received = self.engine.receive(batches, now)
        for incoming in received.incoming:
            self._enqueue(incoming, now)
        self.flush()
        for connection in received.connections:
            driver = self._drivers.get(connection)
            if driver is not None:
                driver.arrived(now)

    def connect(
        self,
        remote: Address,
        peer: bytes,
        alpns: Sequence[bytes],
        transport: TransportConfig | None = None,
        early_data: bool = False,
    ) -> ConnectionDriver:
        """Start a dial; its first packets leave at once. early_data: with 0-RTT, if it can.

        Raises EndpointClosedError.
        """
        self.check_thread()
        self._check_open()
        transport = transport or TransportConfig()
        connection = self.engine.connect(remote, peer, alpns, self.now(), transport, early_data)
        return self._adopt(connection, transport)

    def connect_web(
        self,
        remote: Address,
        server: WebServer,
        alpns: Sequence[bytes],
        transport: TransportConfig,
    ) -> ConnectionDriver:
        """Dial a server that has a certificate. Raises EndpointClosedError."""
        self.check_thread()
        self._check_open()
        connection = self.engine.connect_web(remote, server, alpns, self.now(), transport)
        return self._adopt(connection, transport)

    def accept(self, incoming: Incoming, config: ServerConfig) -> ConnectionDriver:
        """Start the server's side of a handshake. Raises EndpointClosedError."""
        self.check_thread()
        self._check_open()
        connection = incoming.accept(config, self.now())
        return self._adopt(connection, config.transport, incoming.remote)

    def refuse(self, incoming: Incoming) -> None:
        """Answer an attempt with CONNECTION_REFUSED. After `shut` it was refused already."""
        if not self._closed:
            incoming.refuse(self.now())
            self.flush()

    def flush(self) -> None:
        """Send what belongs to no connection: refusals and retries."""
        answers = self.engine.transmit()
        if answers:
            self.send(answers)

    async def next_incoming(self) -> Incoming | None:
        """Take the next attempt; None once closed."""
        while not self._incoming:
            if self._closed:
                return None
            await self._waiters.wait("incoming")
        incoming = self._incoming.popleft()
        self._given.add(incoming)
        return incoming

    def _check_open(self) -> None:
        if self._closed:
            raise EndpointClosedError("the endpoint is closed")

    @property
    def closed(self) -> bool:
        """Whether `shut` was called."""
        return self._closed

    def check_thread(self) -> None:
        """Raise RuntimeError in any thread but the loop's: nothing here is locked."""
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "an endpoint and its connections belong to the thread of their event loop: "
                "use loop.call_soon_threadsafe or asyncio.run_coroutine_threadsafe"
            )

    def call_from_anywhere(self, act: Callable[..., object], *args: object) -> None:
        """Call `act` soon, from any thread; never, if the loop is closed. For finalizers."""
        call = self.loop.call_soon_threadsafe
        if threading.get_ident() == self._thread:
            call = self.loop.call_soon  # nobody has to be woken for it
        with contextlib.suppress(RuntimeError):  # the loop is closed: it is all over
            call(act, *args)

    def shut(self) -> None:
        """Take no new attempts, and close every connection with code 0 (iroh `close`)."""
        self._closed = True
        self.engine.set_accepting(False)
        now = self.now()
        for incoming in (*self._incoming, *self._given):
            with contextlib.suppress(ValueError):  # it was decided on
                incoming.refuse(now)
        self._incoming.clear()
        self.flush()
        self._waiters.close()
        for driver in list(self._drivers.values()):
            driver.close(0, b"")

    def abandon(self) -> None:
        """Drop what is still draining: the sockets are closed."""
        for driver in list(self._drivers.values()):
            driver.abandon()

    def drivers(self) -> list[ConnectionDriver]:
        """The connections alive or draining."""
        return list(self._drivers.values())

    def retire(self, driver: ConnectionDriver) -> None:
        """Forget a drained connection."""
        if self._drivers.pop(driver.connection, None) is not None:
            self.engine.forget(driver.connection)

    def _adopt(
        self, connection: Connection, transport: TransportConfig, remote: Address | None = None
    ) -> ConnectionDriver:
        """Drive a new connection. remote: where it comes from, None for a dial."""
        driver = ConnectionDriver(connection, self, transport)
        driver.inbox.remote = remote
        self._drivers[connection] = driver
        if self.candidate_filter is not None and connection.path_commands is not None:
            connection.path_commands.filter_candidates(self.candidate_filter)
        driver.pump()
        return driver

    def _enqueue(self, incoming: Incoming, now: float) -> None:
        if self._closed:
            incoming.refuse(now)
            return
        if len(self._incoming) >= MAX_INCOMING:
            self._incoming.popleft().refuse(now)
            self.incoming_refused += 1
        self._incoming.append(incoming)
        self._waiters.wake("incoming", 1)
