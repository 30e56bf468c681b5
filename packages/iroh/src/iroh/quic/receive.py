"""What comes in: datagrams -> packets -> frames -> the part that owns the state.

    long header     receive_long   one datagram, coalesced packets one by one
    short header    receive_run    a batch of one path, opened in one pass

Acknowledgement state, timers and wake-ups are touched once per batch. STREAM, ACK and DATAGRAM, the
frames of all usual packets, are read where they stand, without the general frame decoder.
"""

from typing import TYPE_CHECKING

from iroh.quic import packet as pk
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.early import Held
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError, VersionMismatch
from iroh.quic.frames import (
    HANDSHAKE,
    INITIAL,
    ONE_RTT,
    ZERO_RTT,
    Ack,
    Datagram,
    Frame,
    decode_payload,
)
from iroh.quic.frames.datagram import read_datagram
from iroh.quic.handlers import FrameHandlers
from iroh.quic.levels import Level
from iroh.quic.local_cids import CID_LENGTH
from iroh.quic.opening import open_long, open_run
from iroh.quic.stage import CLOSING
from iroh.quic.stream_run import STREAM, StreamRun

if TYPE_CHECKING:
    from iroh.quic.parts import Parts
    from iroh.quic.path import Path

_ACKS = frozenset(Ack.TYPES)
_DATAGRAMS = frozenset(Datagram.TYPES)
_EPOCH = {pk.INITIAL: INITIAL, pk.HANDSHAKE: HANDSHAKE}
Origin = tuple[Address, Address | None, int]
"""Where a datagram came from, to which of our addresses, and its ECN bits."""
MAX_HELD = 8
"""Handshake packets that wait for their keys, which an Initial brings: more than a server's flight
has. Dropping them would cost a probe timeout wherever the network changes the order."""


class Receiver:
    """The receiving side of one connection."""

    def __init__(self, parts: "Parts", handlers: FrameHandlers) -> None:
        self._p = parts
        self._handlers = handlers
        self._held: list[tuple[bytes, Origin]] = []

    # -- long headers ----------------------------------------------------------------------------

    def receive_long(
        self, data: bytes, remote: Address, local: Address | None, ecn: int, now: float
    ) -> None:
        """Take a datagram that starts with a long header. Raises PeerError."""
        p = self._p
        path = p.paths.get(0)
        if path is None:
            return
        if remote == path.remote:
            path.bytes_received += len(data)
        path.stats.rx_datagrams += 1
        path.stats.rx_bytes += len(data)
        self._receive_coalesced(data, (remote, local, ecn), now)
        level = p.levels.get(HANDSHAKE)
        if self._held and (level is None or level.recv_keys is not None):
            held, self._held = self._held, []
            for packet, origin in held:
                if not p.is_over:
                    self._receive_coalesced(packet, origin, now)

    def _receive_coalesced(self, data: bytes, origin: Origin, now: float) -> None:
        """Take the packets of a datagram."""
        p = self._p
        remote, local, ecn = origin
        at = 0
        while at < len(data) and not p.is_over:
            if not data[at] & pk.LONG:
                self.receive_run(0, Datagrams(remote, data[at:], 0, ecn, local), now, counted=True)
                return
            try:
                header = pk.parse_long(data, at)
            except pk.PacketError:
                p.drop("malformed header")
                return
            if header.kind == pk.RETRY:
                self._receive_retry(header, data, remote, local, now)
                return
            if header.kind == pk.VERSION_NEGOTIATION:
                self._receive_versions(header, data, now)
                return
            if header.kind == pk.ZERO_RTT:
                packet = data[header.start : header.end]
                self.receive_held(Held(packet, remote, local, ecn), now)
                at = header.end
                continue
            level = p.levels.get(_EPOCH.get(header.kind, ZERO_RTT))
            if header.dcid in p.own_handshake_cids and level is not None:
                self._receive_packet(level, header, data, origin, now)
            else:
                p.drop("no keys for the packet")
            at = header.end

    def _receive_packet(
        self,
        level: Level,
        header: pk.LongHeader,
        data: bytes,
        origin: Origin,
        now: float,
    ) -> None:
        p = self._p
        if level.recv_keys is None:
            self._hold(level, data[header.start : header.end], origin)
            return
        if p.peer_source_cid and header.scid != p.peer_source_cid:
            p.drop("unexpected connection id")  # RFC 9000 section 7.2
            return
        if header.kind == pk.INITIAL:
            if p.is_client and header.token:
                raise PeerError(PROTOCOL_VIOLATION, "a server's Initial with a token")
            if not p.is_client and len(data) < pk.MIN_INITIAL:
                p.drop("short Initial")  # RFC 9000 section 14.1
                return
        largest = level.acks.ranges.largest()
        opened = open_long(*level.recv_keys, data, header, largest)
        if opened is None:
            p.drop("not authentic")
            return
        pn, payload = opened
        if level.acks.is_duplicate(pn):
            p.drop("duplicate")
            return
        remote, local, ecn = origin
        if not p.on_handshake_packet(header, remote, local, now):
            p.drop("unexpected remote")
            return
        if level.recovery.log is not None:
            level.recovery.log.received([opened], now)
        frames = decode_payload(payload, level.epoch)
        eliciting = any(frame.ACK_ELICITING for frame in frames)
        level.acks.received(pn, pn, eliciting, now, ecn)
        p.last_received = now
        for frame in frames:
            self._handlers.on_level(frame, level, now)
            if p.is_over:
                return

    def _hold(self, level: Level, packet: bytes, origin: Origin) -> None:
        """Keep a packet that came before its keys, if they will come, and few are kept."""
        if self._p.is_client and level.epoch == HANDSHAKE and len(self._held) < MAX_HELD:
            self._held.append((packet, origin))
        else:
            self._p.drop("no keys for the packet")

    def receive_held(self, held: Held, now: float) -> None:
        """Take a 0-RTT packet, or let it wait for its keys. Raises PeerError."""
        p = self._p
        data, remote, local, ecn = held
        path, header = p.paths.get(0), pk.parse_long(data)
        keys = p.early.keys
        if header.dcid not in p.own_handshake_cids or path is None or p.is_client:
            p.drop("no keys for the packet")
            return
        if keys is None:
            if not p.early.hold(held):
                p.drop("no keys for the packet")
            return
        if header.scid != p.peer_source_cid or remote != path.remote:
            p.drop("unexpected remote")
            return
        opened = open_long(*keys, data, header, path.acks.ranges.largest())
        if opened is None:
            p.drop("not authentic")
            return
        pn, payload = opened
        if path.acks.is_duplicate(pn):
            p.drop("duplicate")
            return
        if path.recovery.log is not None:
            path.recovery.log.received([opened], now, ZERO_RTT)
        frames = decode_payload(payload, ZERO_RTT)
        path.acks.received(pn, pn, any(frame.ACK_ELICITING for frame in frames), now, ecn)
        p.last_received = now
        where = Datagrams(remote, data, 0, ecn, local)
        for frame in frames:
            self._handlers.handle(frame, path, where, now)
            if p.is_over:
                return

    # -- short headers ---------------------------------------------------------------------------

    def receive_run(
        self, path_id: int, datagrams: Datagrams, now: float, *, counted: bool = False
    ) -> None:
        """Take a batch of short-header packets whose ids belong to one path. Raises PeerError."""
        p = self._p
        keys, data = p.keys, datagrams.data
        if keys is None or not p.reads_data:
            p.keep_early(path_id, datagrams)
            return
        path = p.paths.get(path_id)
        if path is None or datagrams.remote != path.remote or datagrams.local != path.local:
            path = self._path_elsewhere(path_id, datagrams)
            if path is None:
                return
        lasts = path.acks.ranges.lasts
        opened, failed = open_run(
            *(keys, path_id, lasts[-1] if lasts else -1, data, datagrams.segment_size),
            *(CID_LENGTH, now, p.recovery.pto),
        )
        if failed:
            p.drop("not authentic", failed)
            keys.on_failed(failed)
        if not opened:
            return
        p.paths.admit(path, now)
        if path.recovery.log is not None:
            path.recovery.log.received(opened, now)
        if not counted:
            path.stats.rx_datagrams += len(opened) + failed
            path.stats.rx_bytes += len(data)
        self._take_run(path, opened, datagrams, now)

    def _path_elsewhere(self, path_id: int, datagrams: Datagrams) -> "Path | None":
        """Give the path of packets that come over other addresses than it, or open it."""
        p, remote, local = self._p, datagrams.remote, datagrams.local
        if not p.mp.migration.accepts(path_id, remote, local):
            p.drop("unexpected remote", len(datagrams))
            return None
        path = p.paths.get(path_id) or p.paths.prospect(path_id, remote, local)
        if path is None:
            p.drop("a path that may not be opened")
        return path

    def _take_run(
        self, path: "Path", opened: list[tuple[int, bytes]], datagrams: Datagrams, now: float
    ) -> None:
        """Hand out the frames of a batch, then account for its packets, run by run."""
        acks, ecn = path.acks, datagrams.ecn
        lasts = acks.ranges.lasts
        before = lasts[-1] if lasts else -1
        first = last = -2
        eliciting = 0
        probing_only = True
        fresh = False
        streams = StreamRun(self._p.streams.on_stream)
        for pn, payload in opened:
            if pn != last + 1 or pn <= before:
                if last >= 0:
                    acks.received(first, last, eliciting, now, ecn)
                    eliciting = 0
                    first = last = -2
                if acks.is_duplicate(pn):
                    self._p.drop("duplicate")
                    continue
                first = pn
                fresh = True
            last = pn
            wants_ack, probing = self._take_payload(path, payload, streams, datagrams, now)
            if self._p.stage >= CLOSING:
                return
            eliciting += wants_ack
            probing_only = probing_only and probing
        streams.flush()
        if last >= 0:
            acks.received(first, last, eliciting, now, ecn)
        if not fresh:
            return
        p = self._p
        p.last_received = now
        remote, local = datagrams.remote, datagrams.local
        newest = acks.ranges.lasts[-1] > before
        if newest and p.keys is not None and len(opened) == len(datagrams):
            data, size = datagrams.data, datagrams.segment_size
            p.keys.on_spin(data[(len(data) - 1) // size * size])
        if remote != path.remote or local != path.local:
            p.mp.migration.on_packet(path, remote, local, probing_only, newest, now)
        p.mp.timers.on_received(path, remote, len(datagrams.data), now)

    def _take_payload(
        self, path: "Path", payload: bytes, streams: StreamRun, datagrams: Datagrams, now: float
    ) -> tuple[bool, bool]:
        """Handle a packet's frames: whether it wants an ACK, and whether it only probes.

        The frames of all usual packets are handled as they are parsed; from the first other one
        on the decoder makes objects.
        """
        at, end = 0, len(payload)
        wants_ack = False
        while at < end:
            kind = payload[at]
            if kind & 0xF8 == STREAM:
                at = streams.add(payload, at, end)
                wants_ack = True
            elif kind in _ACKS:
                frame, at = Ack.decode(kind, payload, at + 1, end)
                self._handlers.on_ack(frame, path, now)
            elif kind in _DATAGRAMS:
                data, at = read_datagram(kind, payload, at + 1, end)
                self._p.datagrams.receive(data)
                wants_ack = True
            else:
                streams.flush()
                others_want, probing = self._take_frames(path, payload, at, datagrams, now)
                return wants_ack or others_want, probing and not at
        if not end:
            raise PeerError(PROTOCOL_VIOLATION, "a packet without frames")
        return wants_ack, False

    def _take_frames(
        self, path: "Path", payload: bytes, at: int, datagrams: Datagrams, now: float
    ) -> tuple[bool, bool]:
        """Handle frames of any kind: whether they want an ACK, and whether they only probe."""
        wants_ack, probing = False, True
        frames: list[Frame] = decode_payload(payload, ONE_RTT, at)
        handle = self._handlers.handle
        for frame in frames:
            if not isinstance(frame, Ack):
                wants_ack = wants_ack or frame.ACK_ELICITING
            probing = probing and frame.PROBING
            handle(frame, path, datagrams, now)
            if self._p.is_over:
                break
        return wants_ack, probing

    # -- packets without protection --------------------------------------------------------------

    def _receive_retry(
        self,
        header: pk.LongHeader,
        data: bytes,
        remote: Address,
        local: Address | None,
        now: float,
    ) -> None:
        """The server wants our address proven first: start again with its token and id."""
        p = self._p
        level = p.levels.get(INITIAL)
        if (
            not p.is_client
            or level is None
            or p.peer_source_cid
            or p.retry_source_cid is not None
            or header.dcid != p.source_cid
            or header.scid == p.original_dcid  # RFC 9000 section 17.2.5.1: it has to be another
            or not pk.is_retry_authentic(p.original_dcid, data[header.start :])
        ):
            p.drop("unexpected Retry")
            return
        p.retry_source_cid = header.scid
        p.token = header.token
        p.mp.remote_cids.set_initial(header.scid)
        level.recovery.requeue_all()
        path = p.paths.get(0)
        if path is not None:
            path.recovery.requeue_all()  # 0-RTT packets: the server has not kept them
        p.establish.start(header.scid)

    def _receive_versions(self, header: pk.LongHeader, data: bytes, now: float) -> None:
        """The server speaks other versions. Believed only if it really cannot be ours."""
        p = self._p
        try:
            versions = pk.offered_versions(data, header.pn_at)
        except pk.PacketError:
            versions = [pk.VERSION_1]
        ours = header.dcid == p.source_cid and header.scid == p.original_dcid
        if not p.is_client or p.peer_source_cid or not ours or pk.VERSION_1 in versions:
            p.drop("unexpected version negotiation")
            return
        p.ending.vanish(VersionMismatch(), now)
