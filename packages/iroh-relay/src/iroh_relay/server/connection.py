"""One admitted client: its frames are read here, and everything it gets goes through its outbox.

    frame                                 what happens
    datagrams, destination connected      readdressed and handed to that client's outbox
    datagrams, destination unknown        dropped, counted; the id must at least be a key
    datagrams, empty or too large         dropped, counted: they would harm the recipient
    Ping                                  Pong, at once
    Pong                                  settles the ping that we sent
    anything else, or unreadable          this connection ends, no other notices
    more bytes than the rate limit        this one is read from more slowly, and told so once

The reader never waits for another client: what a slow one cannot take is dropped.
Source: iroh-relay `server/client.rs` (`Actor`).
"""

import asyncio
import logging
from collections.abc import Callable

from iroh_base.keys import PublicKey

from ..protos.errors import FrameError, UnknownFrameError
from ..protos.forward import FORWARD, NOT_DATAGRAM, Readdresser, contents_len, inspect
from ..protos.frames import Ping, Pong, Status, decode_client_to_relay, minimal
from ..protos.frames.types import parse_id
from ..protos.versions import ProtocolVersion
from .bucket import Bucket, RxLimit, wire_size
from .clients import Clients
from .config import RelayServerConfig
from .keepalive import Clock, Keepalive, Timer, default_jitter
from .metrics import RelayMetrics
from .outbox import Outbox
from .stream import Stream

__all__ = ["ClientConnection"]

logger: logging.Logger = logging.getLogger(__name__)


class ClientConnection:
    """A registered connection; `run` is its life. It is a `clients.Client` to the registry."""

    def __init__(
        self,
        stream: Stream,
        *,
        endpoint_id: PublicKey,
        connection_id: int,
        version: ProtocolVersion,
        clients: Clients,
        metrics: RelayMetrics,
        config: RelayServerConfig,
        rx_limit: RxLimit | None = None,
        clock: Clock | None = None,
        jitter: Callable[[], float] = default_jitter,
    ) -> None:
        self.endpoint_id = endpoint_id
        self.connection_id = connection_id
        self._stream = stream
        self._version = version
        self._clients = clients
        self._metrics = metrics
        self._clock: Clock = clock or asyncio.get_running_loop()
        self._keepalive = Keepalive(self._clock.time(), config.ping_interval, jitter)
        self._timer: Timer | None = None
        self._bucket: Bucket | None = None
        self._told_limited = False
        self._limit_changed = asyncio.Event()
        self.set_rx_limit(rx_limit)
        self._max_point_checks = config.max_point_checks
        self._point_checks = 0
        self.readdress: Callable[[bytes], bytes] = Readdresser(endpoint_id.to_bytes()).readdress
        self._outbox = Outbox(
            stream,
            metrics,
            depth=config.queue_depth,
            write_timeout=config.write_timeout,
            on_broken=stream.abort,
        )
        self.send_packet: Callable[[bytes, int], bool] = self._outbox.send_packet
        self.send_control: Callable[[bytes], bool] = self._outbox.send_control

    async def run(self) -> None:
        """Register, serve until the client goes or errs, and clean up. Cancelling ends it too."""
        self._metrics.accepts += 1
        self._clients.register(self)
        self._schedule()
        try:
            await self._receive()
        except UnknownFrameError as error:
            self._metrics.unknown_frames += 1
            self._log_end(error)
        except FrameError as error:
            self._log_end(error)
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._clients.unregister(self)
            self._metrics.disconnects += 1
            self._stream.close()
            await self._outbox.close()

    def send_status(self, code: int) -> None:
        """Tell the client about its connection; version 1 gets words, and not all of them."""
        status = Status(code)
        message = status if self._version >= ProtocolVersion.V2 else status.as_health()
        if message is not None:
            self.send_control(message.encode())

    def set_rx_limit(self, limit: RxLimit | None) -> None:
        """Limit what is read from this client from now on; a wait for the old limit ends."""
        self._bucket = None if limit is None else Bucket(limit, self._clock.time())
        self._limit_changed.set()

    def start_shutdown(self) -> None:
        """Drop the connection after what was written is out; `run` ends soon then."""
        self._stream.close()

    async def _receive(self) -> None:
        read, clock, keepalive = self._stream.read, self._clock.time, self._keepalive
        while (frame := await read()) is not None:
            keepalive.last_received = now = clock()
            self._handle(frame)
            bucket = self._bucket
            if bucket is not None:
                size = wire_size(len(frame))
                resume = bucket.consume(size, now)
                if resume is not None:
                    await self._throttle(size, resume)

    async def _throttle(self, size: int, resume: float) -> None:
        """Read nothing until `resume`, or until there is another limit."""
        metrics = self._metrics
        metrics.bytes_rx_ratelimited_total += size
        if not self._told_limited:
            self._told_limited = True
            metrics.conns_rx_ratelimited_total += 1
            self.send_status(Status.RATE_LIMITED)  # for which version 1 has no words
        self._keepalive.not_reading(resume)
        self._limit_changed.clear()
        timer = self._clock.call_at(resume, self._limit_changed.set)
        try:
            await self._limit_changed.wait()
        finally:
            timer.cancel()

    def _handle(self, frame: bytes) -> None:
        """Act on one message. Raises `FrameError` if it must end the connection."""
        verdict = inspect(frame)
        if verdict == NOT_DATAGRAM:
            self._handle_other(frame)
            return
        metrics = self._metrics
        metrics.send_packets_recv += 1
        metrics.bytes_recv += contents_len(frame)
        if verdict != FORWARD:
            metrics.send_packets_dropped_invalid += 1
        elif not self._clients.forward(self, frame):
            metrics.send_packets_dropped += 1
            self._check_destination(frame[1:33])

    def _handle_other(self, frame: bytes) -> None:
        if frame and frame[0] >= 0x40:  # the type in a longer form than needed: legal
            self._handle(minimal(frame))
            return
        message = decode_client_to_relay(frame)
        self._metrics.other_packets_recv += 1
        if isinstance(message, Ping):
            self._metrics.got_ping += 1
            if self.send_control(Pong(message.data).encode()):
                self._metrics.sent_pong += 1
        elif isinstance(message, Pong):
            self._keepalive.pong_received(message.data, self._clock.time())

    def _check_destination(self, destination: bytes) -> None:
        """A client that sends to what is no key is broken: end it, as Rust does.

        A connected id is known to be a key, so only misses come here; their number is limited.
        """
        if self._point_checks < self._max_point_checks:
            self._point_checks += 1
            parse_id(destination)

    def _schedule(self) -> None:
        self._timer = self._clock.call_at(self._keepalive.next_wake(), self._on_timer)

    def _on_timer(self) -> None:
        self._point_checks = 0
        data = self._keepalive.poll(self._clock.time())
        if self._keepalive.dead:
            self._metrics.ping_timeouts += 1
            logger.debug("%s did not answer a ping, dropping it", self.endpoint_id.fmt_short())
            self._stream.abort()
            return
        if data is not None:
            self.send_control(Ping(data).encode())
        self._schedule()

    def _log_end(self, error: FrameError) -> None:
        logger.debug("%s broke the protocol: %s", self.endpoint_id.fmt_short(), error)
