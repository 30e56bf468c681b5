"""ACK frequency of a connection, both ways (draft-ietf-quic-ack-frequency).

ours     confirmed, peer sent min_ack_delay, configured --> ACK_FREQUENCY once, again when lost
theirs   the newest ACK_FREQUENCY of the peer holds for every path, those opened later too
"""

from typing import Any

from iroh.quic.acks import AckTracker
from iroh.quic.config import AckFrequencyConfig
from iroh.quic.frames import AckFrequency, Frame
from iroh.quic.paths import PathTable

_US = 1_000_000


class AckFrequencyControl:
    """What we ask of the peer, and what it asked of us.

    peer_delay: how long the peer may keep an ACK back, seconds: what its parameter says, or what we
        asked for, whichever is longer, until it has heard of that.
    due: whether our request waits to be sent.
    """

    __slots__ = ("_asks", "_next_seq", "_paths", "_request", "due", "peer_delay")

    def __init__(self, asks: AckFrequencyConfig | None, paths: PathTable) -> None:
        self._asks = asks
        self._paths = paths
        self._request: AckFrequency | None = None  # the peer's newest
        self._next_seq = 0  # older requests of the peer's are stale
        self.due: bool = False
        self.peer_delay: float = 0.025

    # -- what the peer asks of us ----------------------------------------------------------------

    def on_frame(self, frame: AckFrequency) -> bool:
        """Take the peer's request; False when it is older than the last one."""
        if frame.seq < self._next_seq:
            return False
        self._next_seq = frame.seq + 1
        self._request = frame
        return True

    def apply(self, acks: AckTracker) -> None:
        """Let a path heed the request. Raises PeerError when it asks for the impossible."""
        frame = self._request
        if frame is not None:
            acks.set_frequency(
                frame.eliciting_threshold, frame.max_ack_delay, frame.reordering_threshold
            )

    # -- what we ask of the peer -----------------------------------------------------------------

    def begin(self, max_ack_delay: float, min_ack_delay: int | None) -> None:
        """The handshake is confirmed. The peer's parameters: seconds; microseconds, None without.

        Asks the peer, if it can be asked.
        """
        asks = self._asks
        if asks is None or min_ack_delay is None:
            return
        wanted = max_ack_delay if asks.max_ack_delay is None else asks.max_ack_delay
        delay = max(wanted, min_ack_delay / _US)
        self._asks = AckFrequencyConfig(
            ack_eliciting_threshold=asks.ack_eliciting_threshold,
            max_ack_delay=delay,
            reordering_threshold=asks.reordering_threshold,
        )
        self.set_peer_delay(max(max_ack_delay, delay))
        self.due = True

    def set_peer_delay(self, delay: float) -> None:
        """Let the probe timers of all paths know how long the peer keeps ACKs back."""
        self.peer_delay = delay
        for path in self._paths.all():
            path.recovery.path.peer_max_ack_delay = delay

    def take_frames(self, now: float, budget: int) -> list[tuple[Frame, Any]]:
        """Give the request when it is due."""
        asks = self._asks
        if not self.due or asks is None or asks.max_ack_delay is None or budget < _LARGEST:
            return []
        self.due = False
        delay = round(asks.max_ack_delay * _US)
        threshold, reordering = asks.ack_eliciting_threshold, asks.reordering_threshold
        return [(AckFrequency(0, threshold, delay, reordering), delay)]

    def on_acked(self, delay: int) -> None:
        """The peer heard it."""
        self.set_peer_delay(delay / _US)

    def on_lost(self, _delay: int) -> None:
        """Once more."""
        self.due = True


_LARGEST = 2 + 4 * 8
"""Bytes of the longest ACK_FREQUENCY frame."""
