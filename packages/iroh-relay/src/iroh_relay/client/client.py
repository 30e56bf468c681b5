"""`RelayClient`: one relay, kept connected (Rust calls it the ActiveRelayActor).

One task dials, shakes hands and serves the connection, again and again, as the table in `status`
says. Everything else is a synchronous call from the loop, so there is nothing to lock.

    dial + handshake       10 s at most                                    CONNECT_TIMEOUT
    after a failure        backoff 10 ms ... 16 s with jitter              `backoff`
    established, then lost dial again at once, backoff from the start      (established: saw a pong)
    while not connected    datagrams wait, and are dropped every 3 s       UNDELIVERABLE_TIMEOUT
    not the home relay     closed 60 s after the last `send`, also while   INACTIVITY_TIMEOUT
                           dialling (Rust dials an unreachable one for ever)

A relay that denies us is asked again like one that does not answer: its mind may change.
Sources: iroh `socket/transports/relay/actor.rs`, iroh-relay `client.rs`.
"""

import asyncio
import importlib
import logging
import random
import ssl
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol, Self

from iroh_base.errors import InvalidInputError
from iroh_base.keys import SecretKey
from iroh_base.watch import Watchable

from ..protos.errors import AuthDeniedError, FrameError, RelayProtocolError
from ..protos.handshake import ClientHandshake
from .backoff import Backoff
from .clock import Clock, LoopClock, TimerHandle, deadline, sleep
from .connection import Connection, Handlers
from .errors import ClientClosedError, RelayClientError, RelayDialError
from .outbox import Outbox, encode
from .status import Event, RelayState, RelayStats, RelayStatus, next_state
from .stream import Dialer, DialRequest, RelayStream, Resolver

__all__ = ["RelayClient", "RelayConfigLike"]

_logger = logging.getLogger(__name__)

#: Seconds for DNS, TCP, TLS, upgrade and handshake together (iroh `actor.rs` CONNECT_TIMEOUT).
CONNECT_TIMEOUT = 10.0
#: Seconds between two flushes of the queue while there is no connection (iroh `actor.rs`).
UNDELIVERABLE_TIMEOUT = 3.0
#: Seconds without a `send` after which a relay that is not our home is left (iroh `actor.rs`).
INACTIVITY_TIMEOUT = 60.0
_ID_LENGTH = 32


class RelayConfigLike(Protocol):
    """What a client needs to know of a relay; `RelayConfig` is one. Read before each attempt."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    @property
    def auth_token(self) -> str | None:
        """What to show it, if anything."""
        ...


async def _dial(request: DialRequest) -> RelayStream:
    """Dial with aiohttp. Its import takes 0.1 s or more, so it waits for the first dial, and is
    done in a thread: peers drop us when our loop stands still for half a second.
    """
    name = f"{__package__}.ws"
    if name not in sys.modules:
        await asyncio.to_thread(importlib.import_module, name)
    from .ws import dial

    return await dial(request)


class RelayClient:
    """A relay that is dialled until it answers, and dialled again when it is lost.

    The callbacks run in the loop, must be quick and must not raise. `on_lost` says that a
    connection is over, however it ended: who was there may leave unheard. `on_idle` says that the
    client has ended by itself and takes no more datagrams.

    Use as `async with`, or `start` and `close`.
    """

    def __init__(
        self,
        config: RelayConfigLike,
        secret_key: SecretKey,
        *,
        on_datagrams: Callable[[bytes, bytes, int, int], None],
        on_endpoint_gone: Callable[[bytes], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        on_idle: Callable[[], None] | None = None,
        home: bool = False,
        clock: Clock | None = None,
        rng: Callable[[], float] = random.random,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        prefer_ipv6: Callable[[], bool] = lambda: False,
        resolver: Resolver | None = None,
        dialer: Dialer = _dial,
    ) -> None:
        self._config = config
        self._secret_key = secret_key
        self._handlers = Handlers(on_datagrams, on_endpoint_gone)
        self._on_lost = on_lost
        self._on_idle = on_idle
        self._home = home
        self._given_clock = clock
        self._backoff = Backoff(rng)
        self._proxy = proxy
        self._ssl_context = ssl_context
        self._prefer_ipv6 = prefer_ipv6
        self._resolver = resolver
        self._dialer = dialer
        self._outbox = Outbox()
        self._stats = RelayStats()
        self._connection: Connection | None = None
        self._dialling: asyncio.Timeout | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._timers: dict[str, TimerHandle] = {}
        self._wake = asyncio.Event()
        #: How things stand, to read and to watch. Ends (no more changes) when the client has ended.
        self.status: Watchable[RelayStatus] = Watchable(
            RelayStatus(config.url), lambda: asyncio.get_running_loop().create_future()
        )

    # Life

    def start(self) -> None:
        """Begin to dial. Needs a running loop; a second call does nothing."""
        if self._task is not None or self._closing:
            return
        self._clock: Clock = self._given_clock or LoopClock(asyncio.get_running_loop())
        self._last_sent = self._clock.now()
        self._task = asyncio.create_task(self._run(), name=f"relay client {self.url}")
        self._task.add_done_callback(self._ended)
        self._watch_idle()

    async def close(self) -> None:
        """Leave the relay: what waits is sent if it can be, within 3 s. Idempotent.

        Cancelling only stops the waiting; the client ends all the same.
        """
        self._stop()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # What callers do

    @property
    def url(self) -> str:
        """The URL of the relay."""
        return self._config.url

    @property
    def is_connected(self) -> bool:
        """Whether the relay is there for us."""
        return self._connection is not None

    @property
    def closed(self) -> bool:
        """Whether the client was closed, or has ended for want of use."""
        return self._closing

    @property
    def is_home(self) -> bool:
        """Whether this is the relay where others look for us."""
        return self._home

    @property
    def stats(self) -> RelayStats:
        """A copy of the counters as they are now."""
        return replace(self._stats)

    async def connected(self) -> None:
        """Wait until the relay is connected. Raises `ClientClosedError` if it never will be.

        Cancel-safe. Waits for ever if `start` was not called.
        """
        async for status in self.status.watch():
            if status.is_connected:
                return
        raise ClientClosedError(f"the client of relay {self.url} is closed")

    def send(self, dest: bytes, data: bytes, segment_size: int = 0, ecn: int = 0) -> bool:
        """Send a datagram, or a batch of `segment_size` bytes each, to the endpoint `dest`.

        Never waits: it leaves at once if the connection takes it, else it queues. False means that
        (part of) it was dropped, and counted, because it is empty or too large for the protocol,
        the queue is full, or the client is closed. Raises `InvalidInputError` if `dest` has not 32
        bytes.
        """
        if len(dest) != _ID_LENGTH:
            raise InvalidInputError(f"an endpoint id has {_ID_LENGTH} bytes, not {len(dest)}")
        try:
            frames = encode(dest, data, segment_size, ecn)
        except FrameError as error:
            _logger.debug("relay %s: not sent: %s", self.url, error)
            self._stats.frames_dropped += 1
            return False
        if self._closing:
            dropped = len(frames)
        elif self._connection is not None:
            self._last_sent = self._clock.now()
            dropped = self._connection.send(frames)
        else:
            if self._task is not None:
                self._last_sent = self._clock.now()
            dropped = 0 if self._outbox.push(frames) else len(frames)
        self._stats.frames_dropped += dropped
        return not dropped

    def set_home(self, home: bool) -> None:
        """Say whether this is our home relay: the one that is kept although nothing is sent."""
        if home == self._home:
            return
        self._home = home
        if not home and self._task is not None:
            self._last_sent = self._clock.now()
        self._watch_idle()

    def check_connection(self, local_ips: Collection[str] | None = None) -> None:
        """The network has changed: see whether the connection still works.

        If `local_ips` (without scopes) is given and lacks our own address, the connection is
        dropped and made anew; else the relay is pinged. A client that waits for its next attempt
        makes it now; with `local_ips`, an attempt that is under way is begun again.
        """
        self._wake.set()
        connection = self._connection
        if connection is None:
            if self._dialling is not None and local_ips is not None:
                # Its packets may come from an address that is gone, and would for 10 s.
                self._dialling.reschedule(asyncio.get_running_loop().time())
            return
        local = connection.local_ip
        if local_ips is not None and local is not None and local.partition("%")[0] not in local_ips:
            connection.fail(f"local address {local} is gone")
        else:
            connection.check()

    # The task

    async def _run(self) -> None:
        try:
            while not self._closing:
                await self._attempt()
        except Exception as error:  # the task's root: a callback raised, or we have a bug
            _logger.exception("relay client %s failed", self.url)
            self._happened(Event.STOPPED, f"internal error: {error}")

    def _ended(self, _task: asyncio.Task[None]) -> None:
        """Clean up after the task, which may have been cancelled before its first step."""
        self._closing = True
        for timer in self._timers.values():
            timer.cancel()
        self._stats.frames_dropped += self._outbox.clear()
        self._happened(Event.STOPPED, self.status.get().last_error)
        self.status.close()

    async def _attempt(self) -> None:
        """Dial once, serve what comes of it, and then wait as long as needs be."""
        self._wake.clear()
        before = self.status.get()
        self._happened(Event.DIALLING, before.last_error, before.auth_denied_reason)
        try:
            stream = await self._dial_once()
        except TimeoutError:  # `check_connection`
            self._happened(Event.FAILED, "the network changed meanwhile")
            self._backoff.reset()
            return
        except RelayDialError as error:
            cause = error.__cause__
            denied = cause.reason if isinstance(cause, AuthDeniedError) else None
            self._log_failure(error, denied is not None)
            self._happened(Event.FAILED, str(error), denied)
            await self._pause()
            return
        if await self._serve(stream):
            self._backoff.reset()
        else:
            await self._pause()

    async def _dial_once(self) -> RelayStream:
        """Connect; TimeoutError says that it has to begin again."""
        try:
            async with asyncio.timeout(None) as self._dialling:
                return await self._connect()
        finally:
            self._dialling = None

    def _log_failure(self, error: RelayDialError, denied: bool) -> None:
        # A denial is for people to act on, but saying it once is enough.
        news = str(error) != self.status.get().last_error
        level = logging.WARNING if denied and news else logging.DEBUG
        _logger.log(level, "relay %s: %s", self.url, error)

    async def _pause(self) -> None:
        """Back off, unless the network changes."""
        if self._wake.is_set():
            self._backoff.reset()
        await sleep(self._clock, self._backoff.next_delay(), self._wake)

    async def _connect(self) -> RelayStream:
        """Dial and shake hands. Raises `RelayDialError`."""
        request = DialRequest(
            url=self._config.url,
            auth_token=self._config.auth_token,
            proxy=self._proxy,
            ssl_context=self._ssl_context,
            prefer_ipv6=self._prefer_ipv6(),
            resolver=self._resolver,
            secret_key=self._secret_key,
        )
        try:
            async with deadline(self._clock, CONNECT_TIMEOUT):
                stream = await self._dialer(request)
                try:
                    await self._shake_hands(stream)
                except BaseException:  # whatever it is: nothing may stay open
                    await stream.close(0.0)
                    raise
        except TimeoutError as error:
            raise RelayDialError(f"not connected within {CONNECT_TIMEOUT:g} s") from error
        return stream

    async def _shake_hands(self, stream: RelayStream) -> None:
        handshake = ClientHandshake(self._secret_key)
        try:
            while not handshake.done:
                answer = handshake.receive(await stream.receive())
                if answer is not None:
                    stream.write(answer)
        except RelayProtocolError as error:  # a denial too; its text is that of Rust
            raise RelayDialError(str(error)) from error
        except RelayClientError as error:
            raise RelayDialError(f"handshake: {error}") from error

    async def _serve(self, stream: RelayStream) -> bool:
        """Run a connection to its end; whether a pong was seen on it."""
        connection = Connection(
            stream, self._handlers, self._outbox, self._stats, self._clock, self.url
        )
        self._connection = connection
        self._happened(Event.UP, None)
        event, reason = Event.STOPPED, None  # unless the connection ends before we do
        try:
            reason = await connection.run()
            event = Event.LOST
            _logger.debug("relay %s: connection over: %s", self.url, reason)
        finally:
            self._connection = None
            self._happened(event, reason)
            await connection.close(graceful=event is Event.STOPPED)
        return connection.established

    # State and timers

    def _happened(self, event: Event, error: str | None, denied: str | None = None) -> None:
        status = self.status.get()
        state = next_state(status.state, event)
        match event:
            case Event.DIALLING:
                self._watch_queue()
            case Event.UP:
                self._stats.conns_success += 1
                self._cancel_timer("flush")
            case Event.FAILED:
                self._stats.conns_failed += 1
        if status.is_connected and state is not RelayState.CONNECTED:
            self._stats.conns_closed += 1
            if self._on_lost is not None:
                self._on_lost()
        self.status.set(RelayStatus(status.url, state, error, denied))

    def _stop(self) -> None:
        self._closing = True
        if self._task is None:
            self.status.close()
        else:
            self._task.cancel()

    def _cancel_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _watch_queue(self) -> None:
        """While there is no connection: drop every 3 s what waits for it."""
        if "flush" not in self._timers:
            self._timers["flush"] = self._clock.call_later(UNDELIVERABLE_TIMEOUT, self._flush)

    def _flush(self) -> None:
        self._stats.frames_dropped += self._outbox.clear()
        self._cancel_timer("flush")
        self._watch_queue()

    def _watch_idle(self) -> None:
        """Look after the last `send`, unless this is the home relay; ends the client when idle."""
        self._cancel_timer("idle")
        if self._home or self._closing or self._task is None:
            return
        left = self._last_sent + INACTIVITY_TIMEOUT - self._clock.now()
        if left > 0:
            self._timers["idle"] = self._clock.call_later(left, self._watch_idle)
            return
        _logger.debug("relay %s: nothing sent for a while, leaving it", self.url)
        self._stop()
        if self._on_idle is not None:
            self._on_idle()
