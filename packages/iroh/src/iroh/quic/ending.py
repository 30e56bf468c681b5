"""How a connection ends (RFC 9000 section 10): close, drain, idle, keep-alive.

we close      CONNECTION_CLOSE is sent, and again for the 1st, 2nd, 4th ... packet that comes; not
              for those that were on their way when it left
peer closes   nothing is sent any more
both          forgotten after 3 PTO: Drained
idle          nothing came for the idle timeout: forgotten at once, without a word
half-open     the same, when a client does not end its handshake
"""

from typing import TYPE_CHECKING

from iroh.quic import build
from iroh.quic import packet as pk
from iroh.quic import stage as st
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.errors import (
    APPLICATION_ERROR,
    ApplicationClosed,
    CloseReason,
    ConnectionClosed,
    LocallyClosed,
    PeerError,
    TimedOut,
    TransportError,
)
from iroh.quic.events import Closed, Drained
from iroh.quic.frames import HANDSHAKE, INITIAL, ConnectionClose

if TYPE_CHECKING:
    from iroh.quic.parts import Parts

MAX_REASON = 1000
"""Bytes of a reason phrase that are sent: the frame must fit one packet."""
MAX_HANDSHAKE_REASON = 200
DRAIN_PTOS = 3  # RFC 9000 section 10.2
NEVER = float("inf")
HANDSHAKE_TIMEOUT = 30.0
"""Seconds that a server waits for the end of a handshake, as iroh's relay does: a peer that only
sends PINGs would never be idle, and keep its place among the half-open for ever."""


class Ending:
    """The end of one connection, from the first thought of it."""

    def __init__(self, parts: "Parts") -> None:
        self._p = parts
        self.reason: CloseReason | None = None
        self._frame: ConnectionClose | None = None
        self._drained_at: float | None = None
        self._handshake_until = parts.last_received + HANDSHAKE_TIMEOUT
        self._close_due = False
        self._late = 0
        self._deaf_until = 0.0  # until then comes what the peer sent before it could know

    # -- beginning to end ------------------------------------------------------------------------

    def close(self, code: int, reason: bytes, now: float) -> None:
        """The application closes."""
        frame = ConnectionClose(code, reason[:MAX_REASON], None)
        self._begin(LocallyClosed(code, reason), frame, now)

    def fail(self, error: PeerError, now: float) -> None:
        """The peer broke the protocol, or TLS failed."""
        reason = TransportError(error.code, error.reason)
        text = error.reason.encode()[:MAX_REASON]
        self._begin(reason, ConnectionClose(error.code, text, error.frame_type or 0), now)

    def _begin(self, reason: CloseReason, frame: ConnectionClose, now: float) -> None:
        if self._p.is_over:
            return
        self._end(reason, st.CLOSE, now)
        self._frame = frame
        self._close_due = True

    def on_close(self, frame: ConnectionClose, now: float) -> None:
        """CONNECTION_CLOSE came."""
        if frame.frame_type is None:
            reason: CloseReason = ApplicationClosed(frame.code, frame.reason)
        else:
            reason = ConnectionClosed(frame.code, frame.reason, frame.frame_type)
        self._end(reason, st.PEER_CLOSED, now)
        self._close_due = False

    def vanish(self, reason: CloseReason, now: float) -> None:
        """The peer is gone: idle timeout, stateless reset, no version in common."""
        self._end(reason, st.VANISH, now)

    def _end(self, reason: CloseReason, what: int, now: float) -> None:
        p = self._p
        if p.stage == st.DRAINED:
            return  # a second stateless reset in one batch
        p.stage = st.step(p.stage, what)
        if self.reason is None:
            self.reason = reason
            p.events += p.mp.take_events()  # nothing but Drained comes after Closed
            if p.qlog is not None:
                p.qlog.now = now
                p.qlog.closed(reason)
            p.events.append(Closed(reason))
        if p.stage == st.DRAINED:
            self._drain()
        elif self._drained_at is None:
            self._drained_at = now + DRAIN_PTOS * p.recovery.pto()

    def _drain(self) -> None:
        self._drained_at = None
        self._p.events.append(Drained())

    # -- while it ends ---------------------------------------------------------------------------

    def on_late_datagram(self, remote: Address, nbytes: int, now: float) -> None:
        """Something came for a closing connection: say it again, ever more rarely."""
        if self._p.stage == st.CLOSING:
            path = self._p.paths.get(0)
            if path is not None and path.remote == remote:
                path.bytes_received += nbytes
            if now < self._deaf_until:
                return
            self._late += 1
            self._close_due = self._close_due or not self._late & (self._late - 1)

    def transmit(self, now: float) -> list[Datagrams]:
        """Give CONNECTION_CLOSE when it is due."""
        p, frame = self._p, self._frame
        if not self._close_due or frame is None or p.stage != st.CLOSING:
            return []
        path = p.choice.best_for_close() or p.paths.get(0)
        if path is None or not path.can_send(self._close_size(frame)):
            return []
        self._close_due = False
        self._deaf_until = now + path.recovery.path.pto()
        data = b"" if p.confirmed else self._seal_levels(frame, now)
        datagrams: list[bytes] = []
        cid = p.mp.remote_cids.active(path.path_id)
        if p.keys is not None and cid is not None:
            packet = build.Packet(pk.MIN_INITIAL - build.short_overhead(cid))
            packet.add(frame.encode(), eliciting=False)
            args = (p.keys, path.recovery, path.path_id, cid, packet, now)
            last = build.seal_short(*args, track=False)
            if data and len(data) + len(last) <= pk.MIN_INITIAL:
                data += last
            else:
                datagrams.append(last)
        datagrams.insert(0, data)
        out = [Datagrams(path.remote, data, 0, 0, path.local) for data in datagrams if data]
        for batch in out:
            path.stats.tx_datagrams += 1
            path.stats.tx_bytes += len(batch.data)
            path.bytes_sent += len(batch.data)
        return out

    def _close_size(self, frame: ConnectionClose) -> int:
        """How much goes out at the most: a datagram of the handshake, one of 1-RTT."""
        p = self._p
        size = pk.MIN_INITIAL if p.levels else 0
        return size + (len(frame.encode()) + 64 if p.keys is not None else 0)

    def _seal_levels(self, frame: ConnectionClose, now: float) -> bytes:
        """Close in every level whose keys there are: the peer may lack those of later ones."""
        p = self._p
        cid = p.mp.remote_cids.active(0)
        if frame.frame_type is None:  # never shown before the handshake (RFC 9000 section 10.2.3)
            frame = ConnectionClose(APPLICATION_ERROR, b"", 0)
        elif len(frame.reason) > MAX_HANDSHAKE_REASON:  # it comes twice in one datagram
            reason = frame.reason[:MAX_HANDSHAKE_REASON]
            frame = ConnectionClose(frame.code, reason, frame.frame_type)
        data = b""
        for epoch in (INITIAL, HANDSHAKE):
            level = p.levels.get(epoch)
            if level is None or level.send_keys is None or cid is None:
                continue
            token = p.token if epoch == INITIAL else b""
            packet = build.Packet(pk.MIN_INITIAL)
            packet.add(frame.encode(), eliciting=False)
            last = epoch == HANDSHAKE or p.levels[HANDSHAKE].send_keys is None
            size = pk.MIN_INITIAL - len(data) if INITIAL in p.levels and last else 0
            data += build.seal_long(
                *(level.send_keys, level.recovery, level.kind),
                *((cid, p.source_cid), packet, now),
                token=token,
                size=size,
            )
        return data

    # -- time ------------------------------------------------------------------------------------

    def next_timeout(self) -> float:
        """When handle_timeout is due; infinity for never."""
        if self._p.stage >= st.CLOSING:
            return NEVER if self._drained_at is None else self._drained_at
        idle = self._idle_at()
        keep_alive = self._keep_alive_at()
        return idle if idle < keep_alive else keep_alive

    def handle_timeout(self, now: float) -> None:
        """Do what time demands."""
        p = self._p
        if p.is_over:
            if self._drained_at is not None and now >= self._drained_at:
                p.stage = st.step(p.stage, st.ELAPSED)
                self._drain()
            return
        if now >= self._idle_at():
            self.vanish(TimedOut(), now)
            return
        if now >= self._keep_alive_at():
            p.last_ping = now
            for path in p.paths:
                path.wants_ping = True

    def _idle_at(self) -> float:
        """Never shorter than 3 PTO of the slowest path (RFC 9000 section 10.1)."""
        p = self._p
        until = NEVER
        if p.stage == st.HANDSHAKING and not p.is_client:
            until = self._handshake_until
        if p.idle_timeout is None:
            return until
        wait = p.idle_timeout / 3
        for path in p.paths.known:
            shared = path.recovery.path
            if shared.rtt.timeout + shared.peer_max_ack_delay > wait and path.is_live():
                wait = shared.pto()
        since = p.last_received if p.last_received > p.idle_restart else p.idle_restart
        idle = since + 3 * wait
        return idle if idle < until else until

    def _keep_alive_at(self) -> float:
        p = self._p
        interval = p.config.keep_alive_interval
        if interval is None or p.stage != st.ESTABLISHED:
            return NEVER
        return interval + (p.last_received if p.last_received > p.last_ping else p.last_ping)
