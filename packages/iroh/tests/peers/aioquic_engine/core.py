"""aioquic's connection as the engine drives it: verbs, close and error handling.

    FIRSTFLIGHT --> CONNECTED --close--> CLOSING ----3 PTO----\\
                        |                                      +--> TERMINATED
                        \\---CONNECTION_CLOSE--> DRAINING ------/

The states are aioquic's. What this class changes:

- A frame that fails closes with the right code; a bug of aioquic closes the connection with
  INTERNAL_ERROR instead of raising into the caller (`take`, `produce`).
- Close reasons are bytes, cut to what fits.
"""

import logging
from typing import Any

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic import events as aioquic_events
from aioquic.quic.connection import (
    END_STATES,
    NetworkAddress,
    QuicConnectionState,
    QuicNetworkPath,
    QuicReceiveContext,
)
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
)
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicPacketBuilderStop

from aioquic_engine.handshake_core import MAX_DATAGRAM_SIZE, HandshakeCore
from aioquic_engine.log import QUIET
from aioquic_engine.recovery import Recovery
from aioquic_engine.shared import Shared
from iroh.quic.api import PathStats
from iroh.quic.config import TransportConfig
from iroh.quic.errors import (
    ApplicationClosed,
    ConnectionClosed,
    Reset,
    TimedOut,
    TransportError,
)
from iroh.quic.tls.opaque import OpaqueText

logger = logging.getLogger(__name__)

CLOSE_OVERHEAD = 1 + 3 * 8
"""CONNECTION_CLOSE without its reason: type and three varints (RFC 9000 section 19.19)."""
NO_FRAME = 0
"""The frame type of an error that no frame caused (RFC 9000 section 19.19)."""
_FIRST_SKIP = 64
"""A packet number below this is the first to be skipped (noq PacketNumberFilter)."""

ENGINE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    QuicPacketBuilderStop,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a bug in aioquic may raise on hostile input; it must not reach the caller."""


class Core(HandshakeCore):
    """One connection, driven by `AioquicConnection`. The other arguments: `HandshakeCore`."""

    def __init__(self, *, shared: Shared, transport: TransportConfig, **arguments: Any) -> None:
        super().__init__(shared=shared, transport=transport, **arguments)
        quiet: Any = QUIET
        self._logger = quiet
        self._skip_at = int.from_bytes(shared.rng(1), "big") % _FIRST_SKIP
        self.recovery = Recovery(
            initial_rtt=transport.initial_rtt,
            is_client=self._is_client,
            max_datagram_size=MAX_DATAGRAM_SIZE,
            send_probe=self._send_probe,
            logger=quiet,
        )
        self._loss = self.recovery

    # -- state ---------------------------------------------------------------------------------

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete: the peer's key is proven."""
        return self._handshake_complete

    @property
    def is_closing(self) -> bool:
        """Whether our CONNECTION_CLOSE is out and the peer's packets are answered with it."""
        return self._state == QuicConnectionState.CLOSING

    @property
    def is_terminated(self) -> bool:
        """Whether closing or draining is over."""
        return self._state == QuicConnectionState.TERMINATED

    def measure_path(self, **counters: int) -> PathStats:
        """Give what recovery knows about the path; the datagram counters are the caller's."""
        return PathStats(
            **counters,
            lost_packets=self.recovery.lost_packets,
            lost_bytes=self.recovery.lost_bytes,
            rtt=self.recovery.rtt,
            cwnd=self.recovery.congestion_window,
            congestion_events=self.recovery.congestion_events,
            current_mtu=self._max_datagram_size,
        )

    # -- verbs ---------------------------------------------------------------------------------

    def start_server(self, remote: NetworkAddress, validated: bool) -> None:
        """Say where the first datagram came from, and whether a Retry has proven the address."""
        self._network_paths = [QuicNetworkPath(remote, is_validated=validated)]

    def take(self, data: bytes, addr: NetworkAddress, now: float) -> bool:
        """Take a datagram. False when nothing in it authenticated."""
        before = self.authenticated
        try:
            self.receive_datagram(data, addr, now)
        except ENGINE_ERRORS:
            self._on_bug("receive")
        return self.authenticated > before

    def produce(self, now: float) -> list[tuple[bytes, NetworkAddress]]:
        """Give datagrams to send."""
        if self._packet_number >= self._skip_at:
            self._skip_packet_number()
        try:
            return self.datagrams_to_send(now)
        except ENGINE_ERRORS:
            self._on_bug("send")
            self._close_end()
            return []

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.is_terminated or self._close_at is None:
            return
        self.get_timer()  # computes what handle_timer compares with
        self.handle_timer(now)

    def drain(self) -> list[aioquic_events.QuicEvent]:
        """Give and forget aioquic's own events."""
        events = list(self._events)
        self._events.clear()
        return events

    def request_ping(self) -> None:
        """Send a PING soon."""
        if not self._ping_pending:
            self._ping_pending.append(0)

    def update_keys(self) -> None:
        """Start a key update (RFC 9001 section 6)."""
        self.request_key_update()

    def _skip_packet_number(self) -> None:
        """Leave a number out: who acknowledges it lies (RFC 9000 section 21.4)."""
        self._packet_number += 1
        step = max(self._packet_number, _FIRST_SKIP)
        self._skip_at = self._packet_number + step + int.from_bytes(self._shared.rng(4)) % step

    def _on_bug(self, doing: str) -> None:
        logger.debug("aioquic failed to %s", doing, exc_info=True)
        self._shared.dropped["internal error"] += 1
        self.close(QuicErrorCode.INTERNAL_ERROR, NO_FRAME, "internal error")

    # -- the end -------------------------------------------------------------------------------

    def _idle_timeout(self) -> float:
        idle = self._configuration.idle_timeout
        if self._remote_max_idle_timeout:  # 0 means none (RFC 9000 section 18.2)
            idle = min(idle, self._remote_max_idle_timeout)
        return max(idle, 3 * self._loss.get_probe_timeout())

    def close_application(self, code: int, reason: bytes) -> None:
        """Close as the application asked."""
        super().close(error_code=code, frame_type=None, reason_phrase=OpaqueText(reason))

    def close(
        self, error_code: int = 0, frame_type: int | None = None, reason_phrase: str = ""
    ) -> None:
        """Close because the peer broke the protocol: aioquic calls this."""
        self.signals.close(TransportError(int(error_code), reason_phrase))
        # Without a frame type aioquic would send an application close.
        super().close(error_code, NO_FRAME if frame_type is None else frame_type, reason_phrase)

    def on_stateless_reset(self, now: float) -> None:
        """The peer has lost our state (RFC 9000 section 10.3): drain."""
        if self._state not in END_STATES:
            self.signals.close(Reset())
            self._close_event = aioquic_events.ConnectionTerminated(0, NO_FRAME, "stateless reset")
            self._close_begin(is_initiator=False, now=now)

    def _close_end(self) -> None:
        event = self._close_event
        if event is None or event.error_code != QuicErrorCode.NO_VIABLE_PATH:
            self.signals.close(TimedOut())
        else:
            self.signals.close(TransportError(int(event.error_code), event.reason_phrase))
        super()._close_end()

    def _handle_connection_close_frame(
        self, context: QuicReceiveContext, frame_type: int, buf: Buffer
    ) -> None:
        code = buf.pull_uint_var()
        is_application = frame_type == QuicFrameType.APPLICATION_CLOSE
        cause = None if is_application else buf.pull_uint_var()
        reason = buf.pull_bytes(buf.pull_uint_var())
        if self._close_event is not None:
            return
        if is_application:
            self.signals.close(ApplicationClosed(code, reason))
        else:
            self.signals.close(ConnectionClosed(code, reason, cause))
        self._close_event = aioquic_events.ConnectionTerminated(code, cause, OpaqueText(reason))
        self._close_begin(is_initiator=False, now=context.time)

    def _write_connection_close_frame(
        self,
        builder: QuicPacketBuilder,
        epoch: tls.Epoch,
        error_code: int,
        frame_type: int | None,
        reason_phrase: str,
    ) -> None:
        room = builder.remaining_buffer_space - CLOSE_OVERHEAD
        reason = reason_phrase.encode("utf-8")[: max(0, room)]
        super()._write_connection_close_frame(
            builder, epoch, error_code, frame_type, OpaqueText(reason)
        )
