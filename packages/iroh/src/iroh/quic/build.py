"""Putting packets together: single ones from frames, and runs from stream data.

A run is the sender's hot loop: up to 40 packets of one stream, sealed in one go and noted as one
`SentRun`, so that building, acknowledging and losing them costs per run.

    STREAM frame in a run    0x0e | stream id | offset, 8 bytes | length, 2 bytes | data
                             (0x0f with the last packet's FIN)
"""

from iroh.quic import varint
from iroh.quic.frames.stream import stream_header
from iroh.quic.key_phase import DataKeys
from iroh.quic.keys import TAG_LENGTH, LevelKeys, seal_one, seal_packet, seal_run
from iroh.quic.packet import (
    FIXED_BIT,
    ZERO_RTT,
    long_header,
    long_overhead,
    pn_length,
)
from iroh.quic.recovery import Recovery
from iroh.quic.sent import Part, SentRun, Slice, StreamSink, Token

MAX_RUN = 40
"""Packets of one run: what one UDP_SEGMENT call takes at 1452 bytes, with some room."""
RUN_PN = 4
MIN_PAYLOAD = 4
"""A payload and its packet number must hold a sample (RFC 9001 section 5.4.2)."""
_OFFSET_8 = 3 << 62
_LENGTH_2 = 0x4000


class Packet:
    """A packet in the making. room: bytes of payload that still fit."""

    __slots__ = ("eliciting", "parts", "room", "slices", "tokens", "used")

    def __init__(self, room: int) -> None:
        self.room: int = room
        self.used: int = 0
        self.eliciting: bool = False
        self.parts: list[bytes | memoryview] = []
        self.tokens: list[Token] = []
        self.slices: list[Slice] = []

    def add(
        self, data: bytes, part: Part | None = None, info: object = None, eliciting: bool = True
    ) -> bool:
        """Add a frame if it fits. part is told with `info` whether it arrived."""
        if len(data) > self.room:
            return False
        self.room -= len(data)
        self.used += len(data)
        self.parts.append(data)
        if part is not None:
            self.tokens.append((part, info))
        self.eliciting = self.eliciting or eliciting
        return True

    def add_stream(
        self, sink: StreamSink, stream_id: int, offset: int, data: bytes | memoryview, fin: bool
    ) -> None:
        """Add a STREAM frame; the caller made sure that it fits (`stream_room`)."""
        header = stream_header(stream_id, offset, len(data), fin)
        size = len(header) + len(data)
        self.room -= size
        self.used += size
        self.parts += (header, data)
        self.slices.append((sink, offset, len(data), fin))
        self.eliciting = True

    def stream_room(self, stream_id: int) -> int:
        """How many bytes of a stream still fit, whatever their offset."""
        return self.room - 1 - varint.size(stream_id) - 8 - 2

    def payload(self, minimum: int = 0) -> bytes:
        """Return the frames, padded to at least `minimum` bytes."""
        padding = (minimum if minimum > MIN_PAYLOAD else MIN_PAYLOAD) - self.used
        if padding > 0:
            self.parts.append(bytes(padding))
            self.used += padding
        return b"".join(self.parts)

    def record(self, pn: int, now: float, size: int) -> SentRun:
        """Return what recovery has to know."""
        sink: StreamSink | None = None
        offset = length = 0
        fin = False
        if self.slices:
            sink, offset, length, fin = self.slices[0]
        tokens, more = tuple(self.tokens), tuple(self.slices[1:])
        return SentRun(
            *(pn, pn, now, size, size, sink, offset, length, length, fin),
            *(tokens, self.eliciting, False, False, more),
        )


def short_overhead(cid: bytes) -> int:
    """Bytes around the payload of a short-header packet at the most."""
    return 1 + len(cid) + 4 + TAG_LENGTH


def seal_short(
    keys: DataKeys,
    recovery: Recovery,
    path_id: int,
    cid: bytes,
    packet: Packet,
    now: float,
    *,
    size: int = 0,
    track: bool = True,
    mtu_probe: bool = False,
) -> bytes:
    """Seal a 1-RTT packet and note it as sent.

    size: pad the datagram to this many bytes. track: False for off-path probes, which are not
    tracked for loss and not congestion controlled (spec/quic.md section 4).
    """
    pn = recovery.next_pn()
    length = pn_length(pn, recovery.largest_acked)
    payload = packet.payload(size - 1 - len(cid) - length - TAG_LENGTH if size else 0)
    first_byte = FIXED_BIT | keys.send_bit | keys.spin
    sealed = seal_one(keys.send, keys.send_hp, first_byte, cid, pn, length, payload, path_id)
    keys.on_sent(path_id, pn, 1)
    if recovery.log is not None:
        recovery.log.sent(pn, [payload], len(sealed) - len(payload), now)
    if track:
        run = packet.record(pn, now, len(sealed))
        run.mtu_probe = mtu_probe
        recovery.on_sent(run)
    return sealed


def seal_long(
    keys: LevelKeys,
    recovery: Recovery,
    kind: int,
    cids: tuple[bytes, bytes],
    packet: Packet,
    now: float,
    *,
    token: bytes = b"",
    size: int = 0,
) -> bytes:
    """Seal an Initial, 0-RTT or Handshake packet and note it as sent.

    cids: (destination, source). size: pad the packet to this many bytes.
    """
    pn = recovery.next_pn()
    payload = packet.payload()
    if size:
        bare = long_overhead(kind, *cids, token)
        if len(payload) + bare < size:
            payload += bytes(size - bare - len(payload))
    header = long_header(kind, *cids, pn, 4, len(payload), token)
    sealed = seal_packet(*keys, header, pn, payload)
    if recovery.log is not None:
        note = recovery.log.sent_early if kind == ZERO_RTT else recovery.log.sent
        note(pn, [payload], len(sealed) - len(payload), now)
    recovery.on_sent(packet.record(pn, now, len(sealed)))
    return sealed


def build_plain_run(
    keys: DataKeys,
    recovery: Recovery,
    path_id: int,
    cid: bytes,
    payloads: list[bytes],
    now: float,
    ecn: bool,
) -> tuple[bytes, int]:
    """Seal a run of payloads that nobody owns: the datagrams joined, and their size.

    payloads: of equal size, the last may be smaller; ack-eliciting, and never sent again.
    """
    first, sealed, size, last_size = _seal_run(keys, recovery, path_id, cid, payloads, now)
    last = first + len(payloads) - 1
    recovery.on_sent(SentRun(first, last, now, size, last_size, ecn=ecn))
    return sealed, size


def run_chunk(mtu: int, cid: bytes, stream_id: int) -> int:
    """How many bytes of a stream each packet of a run carries."""
    return mtu - 1 - len(cid) - RUN_PN - TAG_LENGTH - 1 - varint.size(stream_id) - 8 - 2


def build_run(
    keys: DataKeys,
    recovery: Recovery,
    path_id: int,
    cid: bytes,
    stream: tuple[StreamSink, int],
    data: tuple[int, list[bytes | memoryview], bool],
    now: float,
    ecn: bool,
) -> tuple[bytes, int]:
    """Seal a run of stream data and note it as sent: the datagrams joined, and their size.

    stream: (sink, stream id). data: (offset, slices of equal size but the last, FIN behind it).
    """
    sink, stream_id = stream
    offset, slices, fin = data
    count = len(slices)
    chunk = len(slices[0])
    start = b"\x0e" + varint.encode(stream_id)
    full = (chunk | _LENGTH_2).to_bytes(2, "big")
    at = offset
    payloads = []
    for piece in slices:
        size = len(piece)
        tail = full if size == chunk else (size | _LENGTH_2).to_bytes(2, "big")
        payloads.append(b"".join((start, (at | _OFFSET_8).to_bytes(8, "big"), tail, piece)))
        at += size
    if fin:
        payloads[-1] = b"\x0f" + payloads[-1][1:]
    pn, sealed, size, last_size = _seal_run(keys, recovery, path_id, cid, payloads, now)
    recovery.on_sent(
        SentRun(
            *(pn, pn + count - 1, now, size, last_size),
            stream=sink,
            offset=offset,
            chunk=chunk,
            length=at - offset,
            fin=fin,
            ecn=ecn,
        )
    )
    return sealed, size


def _seal_run(
    keys: DataKeys,
    recovery: Recovery,
    path_id: int,
    cid: bytes,
    payloads: list[bytes],
    now: float,
) -> tuple[int, bytes, int, int]:
    """Seal payloads: the first packet number, the datagrams joined, their size, the last one's."""
    count = len(payloads)
    pn = recovery.next_pn(count)
    first_byte = FIXED_BIT | keys.send_bit | keys.spin
    sealed = seal_run(keys.send, keys.send_hp, first_byte, cid, pn, payloads, path_id)
    keys.on_sent(path_id, pn, count)
    overhead = 1 + len(cid) + RUN_PN + TAG_LENGTH
    if recovery.log is not None:
        recovery.log.sent(pn, payloads, overhead, now)
    return pn, sealed, len(payloads[0]) + overhead, len(payloads[-1]) + overhead
