"""The part of the transmitter that the handshake needs: long headers, 0-RTT, and what all share.

    order    what                                       held back by
    -----    ----------------------------------------   ------------------------------------
    1        Initial and Handshake, coalesced           3x limit of the server
    2        0-RTT, until there are 1-RTT keys          congestion window

What follows is in transmit.py.
"""

from typing import TYPE_CHECKING, Any

from iroh.quic import build
from iroh.quic import packet as pk
from iroh.quic import stage as st
from iroh.quic.acks import AckTracker
from iroh.quic.datagrams import Datagrams
from iroh.quic.frames import HANDSHAKE, INITIAL, Ack, Crypto, Datagram, Ping
from iroh.quic.levels import Level
from iroh.quic.sent import Part

if TYPE_CHECKING:
    from iroh.quic.parts import Parts
    from iroh.quic.path import Path

MIN_DATAGRAM = 1200  # RFC 9000 sections 14.1, 8.2.1
MIN_LONG = 128
"""Less than this is not worth a packet with a long header: 46 bytes of it, tag, an ACK, the start
of a CRYPTO frame."""
_MIN_STREAM_ROOM = 32
_ECT0 = 2


class LongSender:
    """Sends what has a long header; Transmitter is the whole."""

    def __init__(self, parts: "Parts") -> None:
        self._p = parts
        self.next_send: float = 0.0
        """When the pacer lets more go; 0 when it holds nothing back."""

    # -- handshake -------------------------------------------------------------------------------

    def _send_handshake(self, out: list[Datagrams], now: float) -> None:
        """Send Initial and Handshake packets, coalesced into datagrams."""
        p = self._p
        path = p.paths.get(0)
        assert path is not None
        while True:
            if not path.can_send(MIN_DATAGRAM):
                p.recovery.blocked = True
                return
            datagram, has_initial, eliciting = b"", False, False
            for epoch in (INITIAL, HANDSHAKE):
                level = p.levels.get(epoch)
                if level is None or level.send_keys is None:
                    continue
                room = MIN_DATAGRAM - len(datagram)
                packet = self._fill_level(level, room, now) if room >= MIN_LONG else None
                if packet is None:
                    continue
                pad = 0
                later = p.levels.get(HANDSHAKE) if epoch == INITIAL else None
                more = later is not None and later.send_keys is not None and self._wants(later, now)
                if epoch == INITIAL:  # the server need not pad those that only acknowledge
                    has_initial = p.is_client or packet.eliciting
                if has_initial and not (more and packet.room >= MIN_LONG):
                    pad = MIN_DATAGRAM - len(datagram)
                datagram += self._seal_level(level, packet, now, pad)
                eliciting = eliciting or packet.eliciting
                if p.is_client and epoch == HANDSHAKE:
                    p.drop_level(INITIAL)
            if not datagram:
                return
            self._emit(out, path, datagram, len(datagram), 1, now, eliciting=eliciting)

    def _wants(self, level: Level, now: float) -> bool:
        return level.crypto.wants_to_send or level.recovery.probes > 0 or level.acks.ack_due(now)

    def _fill_level(self, level: Level, room: int, now: float) -> build.Packet | None:
        p = self._p
        if not self._wants(level, now):
            return None
        cids = self._cids()
        token = p.token if level.epoch == INITIAL else b""
        packet = build.Packet(room - pk.long_overhead(level.kind, *cids, token))
        self._add_ack(packet, level.acks, None, now)
        if level.recovery.probes > 0:
            level.recovery.probes -= 1
            if not level.crypto.wants_to_send:
                level.crypto.resend()
            if not level.crypto.wants_to_send:
                packet.add(Ping().encode())
        while (frame := level.crypto.take_frame(packet.room)) is not None:
            offset, data = frame
            packet.add(Crypto(offset, data).encode(), level.crypto, (offset, len(data)))
        return packet if packet.used else None

    def _seal_level(self, level: Level, packet: build.Packet, now: float, size: int) -> bytes:
        assert level.send_keys is not None
        token = self._p.token if level.epoch == INITIAL else b""
        return build.seal_long(
            *(level.send_keys, level.recovery, level.kind, self._cids(), packet, now),
            token=token,
            size=size,
        )

    def _cids(self) -> tuple[bytes, bytes]:
        active = self._p.mp.remote_cids.active(0)
        assert active is not None
        return active, self._p.source_cid

    def _send_early(self, out: list[Datagrams], now: float) -> None:
        """Send stream data and datagrams in 0-RTT packets, each in a datagram of its own."""
        p = self._p
        path, keys = p.paths.get(0), p.early.keys
        if path is None or keys is None or not p.is_client:
            return
        while self._room(path, now) >= MIN_DATAGRAM:
            packet = build.Packet(early_room(p))
            streams = p.streams.has_data()
            control = p.streams.take_control(packet.room) if p.streams.has_control() else []
            if control or streams or p.datagrams:
                self._fill(packet, [(frame.encode(), p.streams, info) for frame, info in control])
            if not packet.eliciting:
                return
            args = (keys, path.recovery, pk.ZERO_RTT, self._cids(), packet, now)
            data = build.seal_long(*args)
            self._emit(out, path, data, len(data), 1, now, eliciting=True)

    # -- for all packets -------------------------------------------------------------------------

    def _room(self, path: "Path", now: float) -> int:
        """How many bytes congestion window and pacer let go; notes when the pacer is the reason."""
        shared = path.recovery.path
        window = shared.room()
        if window <= 0 or not path.can_send(path.mtud.mtu):
            return 0
        if self._p.stage == st.HANDSHAKING:
            return window  # no RTT to pace by: a first window may be a burst (RFC 9002 7.7)
        mtu = path.mtud.mtu
        paced = path.pacer.available(now, shared.congestion.window, shared.rtt.smoothed, mtu)
        if paced < mtu <= window:
            self.next_send = path.pacer.next(now)
            return 0
        return min(window, paced)

    def _fill(
        self, packet: build.Packet, control: list[tuple[bytes, Part, Any]], short: int = 0
    ) -> None:
        """Add control frames, then datagrams and stream data as they fit. short: see _add_probe."""
        p = self._p
        largest = packet.room + packet.used + short
        for encoded, part, token in control:
            if not packet.add(encoded, part, token) and part is not None:
                part.on_lost(token)  # an ACK took its room: the next packet
        if p.datagrams.outgoing:
            while (payload := p.datagrams.take(packet.room, largest)) is not None:
                packet.add(Datagram(payload).encode())
        outlet = p.streams.outlet
        while packet.room > _MIN_STREAM_ROOM:
            half = outlet.next_sender()
            piece = half.take(packet.stream_room(half.stream_id)) if half is not None else None
            if half is None or piece is None:
                break
            packet.add_stream(half, half.stream_id, *piece)

    def _add_ack(
        self, packet: build.Packet, acks: AckTracker, path_id: int | None, now: float
    ) -> None:
        """Add what is to be acknowledged, in the form that the connection speaks."""
        told = acks.take(now)
        if told is None:
            return
        ranges, delay, ecn = told
        p = self._p
        if path_id is not None and not p.paths.ids.enabled:
            path_id = None
        exponent = 3 if path_id is not None or p.keys is not None else 0
        part: AckTracker | None = acks
        encoded = Ack(ranges, delay >> exponent, path_id, ecn).encode()
        while len(encoded) > packet.room and len(ranges) > 1:  # the 3x limit leaves little room
            ranges = ranges[: len(ranges) // 2]
            part = None  # that it arrives does not mean that all was told
            encoded = Ack(ranges, delay >> exponent, path_id, ecn).encode()
        if not packet.add(encoded, part, ranges[0][1], eliciting=False):
            acks.want_ack(now)

    def _emit(
        self,
        out: list[Datagrams],
        path: "Path",
        data: bytes,
        size: int,
        count: int,
        now: float,
        *,
        eliciting: bool,
        ecn: bool = False,
    ) -> None:
        """Account for datagrams of a path and put them out."""
        path.stats.tx_datagrams += count
        path.stats.tx_bytes += len(data)
        path.pacer.sent(len(data), now)
        self._p.mp.timers.on_sent(path, len(data), eliciting, now)
        self._p.on_sent(eliciting, now)
        mark = _ECT0 if ecn else 0
        out.append(Datagrams(path.remote, data, size, mark, path.local))


def early_room(p: "Parts") -> int:
    """Give the bytes of payload that a 0-RTT packet holds."""
    dest_cid = p.mp.remote_cids.active(0) or b""
    return MIN_DATAGRAM - pk.long_overhead(pk.ZERO_RTT, dest_cid, p.source_cid)
