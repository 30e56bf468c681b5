"""Loss recovery: aioquic's, with what it lacks (spec/reliability.md B3).

- An ACK of a packet that was never sent is a PROTOCOL_VIOLATION (RFC 9000 section 13.1), and so is
  one of a number that was skipped on purpose, which catches optimistic ACKs (section 21.4).
- The probe timeout grows by at most a second a time, as noq's does, so that a connection recovers
  soon after an outage.
- Losses are counted.
"""

from collections.abc import Callable, Iterable
from typing import Any

from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.recovery import QuicPacketRecovery, QuicPacketSpace

from aioquic_engine.ranges import Ranges

PTO_GROWTH = 1.0
"""Seconds a probe timeout grows at most; a Rust peer's Initials are 1, 2, 3.1, 4, 5 s apart."""
ROUNDING = 1e-6
"""Seconds: aioquic announces a loss at t + d but finds it when t <= now - d, which may be later."""
MAX_BACKOFF = 64
"""Probe timeouts in a row that are told apart; the idle timeout comes long before."""


class Recovery(QuicPacketRecovery):
    """The recovery of one connection."""

    def __init__(
        self,
        *,
        initial_rtt: float,
        is_client: bool,
        max_datagram_size: int,
        send_probe: Callable[[], None],
        logger: Any,
    ) -> None:
        super().__init__(
            congestion_control_algorithm="cubic",
            initial_rtt=initial_rtt,
            max_datagram_size=max_datagram_size,
            peer_completed_address_validation=not is_client,
            send_probe=send_probe,
            logger=logger,
        )
        self.lost_packets = 0
        self.lost_bytes = 0
        self.congestion_events = 0
        self._sent: dict[QuicPacketSpace, Ranges] = {}

    @property
    def rtt(self) -> float:
        """The smoothed round-trip time in seconds; the initial guess before the first sample."""
        return self._rtt_smoothed if self._rtt_initialized else self._rtt_initial

    def on_packet_sent(self, *, packet: QuicSentPacket, space: QuicPacketSpace) -> None:
        """Remember that this number was used, for `on_ack_received`."""
        number = packet.packet_number
        self._sent.setdefault(space, Ranges()).add(number, number + 1)
        super().on_packet_sent(packet=packet, space=space)

    def on_ack_received(
        self, *, ack_rangeset: RangeSet, ack_delay: float, now: float, space: QuicPacketSpace
    ) -> None:
        """Take an ACK. Raises QuicConnectionError when it names a packet that was never sent."""
        sent = self._sent.get(space)
        if sent is None or not all(sent.covers(r.start, r.stop) for r in ack_rangeset):
            raise QuicConnectionError(
                error_code=QuicErrorCode.PROTOCOL_VIOLATION,
                frame_type=QuicFrameType.ACK,
                reason_phrase="acknowledged a packet that was never sent",
            )
        super().on_ack_received(
            ack_rangeset=ack_rangeset, ack_delay=ack_delay, now=now, space=space
        )

    def get_loss_detection_time(self, *, amplification_limited: bool) -> float | None:
        """Give the time of the loss timer, as aioquic does but with the capped growth."""
        backoff = self._pto_count
        overtaken = self._get_loss_space()
        if overtaken is not None and overtaken.loss_time is not None:
            return overtaken.loss_time + ROUNDING
        if not backoff:
            return super().get_loss_detection_time(amplification_limited=amplification_limited)
        # aioquic multiplies by 2 ** _pto_count: let it compute the first timeout, and stretch it.
        self._pto_count = 0
        try:
            at = super().get_loss_detection_time(amplification_limited=amplification_limited)
        finally:
            self._pto_count = backoff
        if at is None:
            return at
        first = timeout = self.get_probe_timeout(include_max_ack_delay=self.handshake_confirmed)
        for _ in range(min(backoff, MAX_BACKOFF)):
            timeout += min(timeout, PTO_GROWTH)
        return at - first + timeout

    def _on_packets_lost(
        self,
        *,
        congestion_event: bool = True,
        now: float,
        packets: Iterable[QuicSentPacket],
        persistent_congestion: bool = False,
        space: QuicPacketSpace,
    ) -> None:
        lost = list(packets)
        window = self.congestion_window
        super()._on_packets_lost(
            congestion_event=congestion_event,
            now=now,
            packets=lost,
            persistent_congestion=persistent_congestion,
            space=space,
        )
        if congestion_event:  # a probe timeout declares packets lost that may well arrive
            self.lost_packets += len(lost)
            self.lost_bytes += sum(packet.sent_bytes for packet in lost)
            self.congestion_events += self.congestion_window < window
