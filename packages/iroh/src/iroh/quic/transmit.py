"""What goes out: frames and stream data -> packets -> batches of datagrams.

    order    what                                       held back by
    -----    ----------------------------------------   ------------------------------------
    1        Initial and Handshake, coalesced           3x limit of the server
    2        probes and answers away from the path      the path they belong to
    3        per path: ACK, challenge, answer, ping     3x limit
    4        on the best path: control frames,          congestion window, pacing
             datagrams, the start of stream data
    5        runs of stream data on the best path       the same
    6        MTU probes                                 the same

A batch has one destination and equal datagrams, the last may be shorter. The table's first line,
and what all lines share, is in transmit_long.py.
"""

from typing import TYPE_CHECKING, Any

from iroh.quic import build
from iroh.quic import stage as st
from iroh.quic.datagrams import Datagrams
from iroh.quic.frames import Crypto, HandshakeDone, ImmediateAck, Ping
from iroh.quic.keys import TAG_LENGTH
from iroh.quic.path import AMPLIFICATION
from iroh.quic.probes import Probe
from iroh.quic.sent import Part
from iroh.quic.streams.send import SendHalf
from iroh.quic.transmit_long import MIN_DATAGRAM, LongSender

if TYPE_CHECKING:
    from iroh.quic.parts import Parts
    from iroh.quic.path import Path

MAX_BATCH_BYTES = 64_000
"""Of one Datagrams: what one UDP send and one relay frame carry."""
_ACK_ROOM = 300
"""Left free for an ACK of 32 ranges when control frames are gathered."""
_NOT_FULL = _ACK_ROOM + 100
"""A packet with so much room left has taken all control frames and stream data there were."""
MIN_PACKET = 48
"""Less than this is not worth a packet: header, tag, and a short ACK or PING."""
NEVER = float("inf")


class Transmitter(LongSender):
    """The sending side of one connection."""

    next_send: float

    def __init__(self, parts: "Parts") -> None:
        super().__init__(parts)
        self._max_run = build.MAX_RUN if parts.config.enable_segmentation_offload else 1
        self._pads = parts.config.pad_to_mtu
        self.asked: float = NEVER
        """When transmit was last called: what was due then and did not leave is held back."""

    def transmit(self, now: float) -> list[Datagrams]:
        """Give everything that may leave now. Raises PeerError when the keys are worn out."""
        p = self._p
        self.next_send = 0.0
        self.asked = now
        out: list[Datagrams] = []
        paths = p.paths.known
        for path in paths:
            path.recovery.path.blocked = not path.validated and _allowed(path) < MIN_PACKET
        if p.levels:
            self._send_handshake(out, now)
        if p.keys is None:
            self._send_early(out, now)
        else:
            if p.keys.sent >= p.update_after and p.confirmed and not p.keys.update():
                p.keys.check_limit()
            for probe in p.mp.prober.take(now):
                self._send_probe(probe, out, now)
            best = p.choice.best()  # before Connected only a server that answers early data
            for path in paths:
                due = now >= path.acks.deadline
                if due and path is best and self._has_control():
                    due = False  # the control frames take the ACK along
                if due or path.wants_ping or path.recovery.probes > 0:
                    self._send_path(path, out, now)
            if best is not None:
                self._send_data(best, out, now)
                if now >= best.acks.deadline:  # they did not
                    self._send_path(best, out, now)
        return out

    # -- what belongs to one path ----------------------------------------------------------------

    def _send_probe(self, probe: Probe, out: list[Datagrams], now: float) -> None:
        """Send a challenge or an answer to where it must go."""
        path, p = probe.path, self._p
        assert p.keys is not None
        packet = build.Packet(MIN_DATAGRAM - build.short_overhead(probe.cid))
        if probe.on_path:
            self._add_ack(packet, path.acks, path.path_id, now)
        for frame, token in probe.frames:
            part, info = token or (None, None)
            packet.add(frame.encode(), part, info, frame.ACK_ELICITING)
        data = build.seal_short(
            *(p.keys, path.recovery, path.path_id, probe.cid, packet, now),
            size=MIN_DATAGRAM if probe.pad else 0,
            track=probe.on_path,
        )
        if probe.on_path:
            self._emit(out, path, data, len(data), 1, now, eliciting=True)
        else:
            path.stats.tx_datagrams += 1
            path.stats.tx_bytes += len(data)
            out.append(Datagrams(probe.remote, data, 0, 0, probe.local))

    def _send_path(self, path: "Path", out: list[Datagrams], now: float) -> None:
        """Send what a path owes: ACKs of its packets, pings, probes of its probe timeout."""
        p = self._p
        if path.acks.ack_due(now):
            carrier = p.choice.best_for_acks(path)
            if carrier is not None and carrier is not path:
                self._send_packet(carrier, out, now, acks_of=path)
        due = path.acks.ack_due(now)
        if path.is_live() and (due or path.wants_ping or path.recovery.probes > 0):
            while self._send_packet(path, out, now, acks_of=path) and path.recovery.probes > 0:
                pass

    def _send_packet(self, path: "Path", out: list[Datagrams], now: float, acks_of: "Path") -> bool:
        """Send one packet over a path, whatever its window says: ACKs and probes do not wait."""
        p = self._p
        cid = p.mp.remote_cids.active(path.path_id)
        allowed = _allowed(path)
        if cid is None or allowed < MIN_PACKET:
            path.recovery.path.blocked = True
            return False
        size = mtu = path.mtud.mtu
        if path.recovery.probes > 0:
            size = MIN_DATAGRAM  # it must get through where larger ones no longer do (noq)
        size = min(size, mtu, allowed)
        packet = build.Packet(size - build.short_overhead(cid))
        self._add_ack(packet, acks_of.acks, acks_of.path_id, now)
        for frame, token in p.mp.observed.take_frames(path, packet.room):
            packet.add(frame.encode(), p.mp.observed, token)
        if path.wants_ping or path.recovery.probes > 0:
            self._add_probe(path, packet, now, mtu - size)
        elif acks_of.acks.crowded():
            packet.add(Ping().encode())
        if not packet.used:
            return False
        self._seal_out(path, cid, packet, out, now, size=size if self._pads else 0)
        return True

    def _add_probe(self, path: "Path", packet: build.Packet, now: float, short: int) -> None:
        """Make the packet elicit an ACK: with lost data if there is any, else a PING.

        On a path that does not carry the data it is always a PING: what is lost there goes over
        the best path, and new data has no business on one that gives no answer.
        short: bytes that it is smaller than packets of this path may be.
        """
        path.wants_ping = False
        recovery = path.recovery
        if recovery.probes > 0:
            recovery.probes -= 1
            recovery.requeue_oldest()
            if self._p.stage == st.ESTABLISHED and path is self._p.choice.best():
                self._fill(packet, self._take_control(packet.room, now), short)
            params = self._p.peer_params
            if params is not None and params.min_ack_delay is not None:
                packet.add(ImmediateAck().encode())
        if not packet.eliciting:
            packet.add(Ping().encode())

    # -- data ------------------------------------------------------------------------------------

    def _send_data(self, path: "Path", out: list[Datagrams], now: float) -> None:
        """Send control frames, datagrams and stream data over the chosen path."""
        p = self._p
        cid = p.mp.remote_cids.active(path.path_id)
        if cid is None:
            return
        shared, mtu = path.recovery.path, path.mtud.mtu
        full = mtu - 1 - len(cid) - build.RUN_PN - TAG_LENGTH
        outlet, datagrams = p.streams.outlet, p.datagrams.outgoing
        while True:
            half = outlet.peek()  # first: it may find that a limit blocks us, and say so
            has_control = self._has_control()
            if not (half or has_control or datagrams):
                shared.app_limited = shared.room() >= mtu
                break
            room = self._room(path, now)
            if room < mtu and (shared.bytes_in_flight or not room):
                shared.app_limited = False
                break
            if half is not None:
                alone = not (has_control or datagrams) and (half.has_lost() or half.pending() > mtu)
                if alone and self._send_run(path, cid, half, room, out, now):
                    continue
            elif len(datagrams) > 1:
                alone = not (has_control or path.acks.is_owed())
                if alone and self._send_run(path, cid, None, room, out, now):
                    continue
            control = self._take_control(full - _ACK_ROOM, now) if has_control else []
            packet = build.Packet(full)
            self._add_ack(packet, path.acks, path.path_id, now)
            self._fill(packet, control)
            if not packet.eliciting and not packet.used:
                break
            self._seal_out(path, cid, packet, out, now, size=mtu if self._pads else 0)
            if packet.room > _NOT_FULL and not datagrams:
                shared.app_limited = shared.room() >= mtu
                break
        if p.confirmed and path.recovery.largest_acked >= 0:
            self._send_mtu_probe(path, cid, out, now)

    def _send_run(
        self,
        path: "Path",
        cid: bytes,
        half: SendHalf | None,
        room: int,
        out: list[Datagrams],
        now: float,
    ) -> bool:
        """Send a run of a stream's data, or of datagrams (no half); False: not two packets full."""
        p, mtu = self._p, path.mtud.mtu
        count = min(room // mtu, self._max_run, MAX_BATCH_BYTES // mtu)
        if p.keys is None or count < 2:
            return False
        ecn = path.recovery.path.ecn
        way = (p.keys, path.recovery, path.path_id, cid)
        if half is None:
            if self._pads:
                return False
            payloads = p.datagrams.take_run(count, mtu - build.short_overhead(cid))
            if not payloads:
                return False
            count = len(payloads)
            data, size = build.build_plain_run(*way, payloads, now, ecn)
        else:
            chunk = build.run_chunk(mtu, cid, half.stream_id)
            if not half.has_lost() and half.pending() < 2 * chunk:
                return False
            if self._pads:  # no packet of a run is padded, so they all have to be full
                count = 0 if half.has_lost() else min(count, half.pending() // chunk)
                if not count:
                    return False
            p.streams.next_sender()
            run = half.take_run(count, chunk)
            count = len(run[1])
            if not count:
                return False
            data, size = build.build_run(*way, (half, half.stream_id), run, now, ecn)
        self._emit(out, path, data, size, count, now, eliciting=True, ecn=ecn)
        return True

    def _has_control(self) -> bool:
        """Whether `_take_control` may give something."""
        p = self._p
        return bool(
            p.streams.control.order
            or p.mp.has_frames()
            or (p.data_crypto.out and p.data_crypto.wants_to_send)
            or p.establish.done_pending
        )

    def _take_control(self, room: int, now: float) -> list[tuple[bytes, Part, Any]]:
        """Take control frames of up to `room` bytes: (encoded, part, token)."""
        p = self._p
        taken: list[tuple[bytes, Part, Any]] = []
        if p.establish.done_pending:
            p.establish.done_pending = False
            taken.append((HandshakeDone().encode(), p.establish, None))
        if p.data_crypto.wants_to_send:
            while room > 3 and (found := p.data_crypto.take_frame(room)) is not None:
                encoded = Crypto(*found).encode()
                room -= len(encoded)
                taken.append((encoded, p.data_crypto, (found[0], len(found[1]))))
        for piece in p.mp.take_frames(now, room):
            room -= len(piece[0])
            taken.append(piece)
        if p.streams.has_control():
            for frame, token in p.streams.take_control(room):
                taken.append((frame.encode(), p.streams, token))
        return taken

    def _send_mtu_probe(self, path: "Path", cid: bytes, out: list[Datagrams], now: float) -> None:
        """Try whether larger datagrams pass.

        One at a time, whatever window and pacer say: a sender that has always more to send would
        never find out. Not before an acknowledgement: many a connection ends as soon as it began.
        """
        p = self._p
        size = path.mtud.next_probe(now)
        if not size or not path.can_send(size) or p.keys is None:
            return
        packet = build.Packet(size - build.short_overhead(cid))
        packet.add(Ping().encode())
        if p.peer_params is not None and p.peer_params.min_ack_delay is not None:
            packet.add(ImmediateAck().encode())  # so that its loss is known soon (noq)
        data = build.seal_short(
            *(p.keys, path.recovery, path.path_id, cid, packet, now), size=size, mtu_probe=True
        )
        path.mtud.on_probe_sent()
        self._emit(out, path, data, len(data), 1, now, eliciting=True)

    def _seal_out(
        self,
        path: "Path",
        cid: bytes,
        packet: build.Packet,
        out: list[Datagrams],
        now: float,
        *,
        size: int = 0,
    ) -> None:
        p = self._p
        assert p.keys is not None
        data = build.seal_short(*(p.keys, path.recovery, path.path_id, cid, packet, now), size=size)
        self._emit(out, path, data, len(data), 1, now, eliciting=packet.eliciting)


def _allowed(path: "Path") -> int:
    """How many bytes the 3x limit of an address that is not proven lets go (RFC 9000 section 8)."""
    if path.validated or not path.limited:
        return MAX_BATCH_BYTES
    return AMPLIFICATION * path.bytes_received - path.bytes_sent
