"""Opening received packets: from protected bytes to packet numbers and payloads.

`open_run` is the receiver's hot loop: one pass over a batch of short-header packets of one path.
"""

from collections.abc import Callable

from cryptography.exceptions import InvalidTag

from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.key_phase import DataKeys
from iroh.quic.keys import (
    SAMPLE_LENGTH,
    SHORT_BITS,
    HeaderKey,
    PacketKey,
    unmask_long,
    unmask_run,
)
from iroh.quic.packet import FIXED_BIT, KEY_PHASE, LongHeader, expand_pn

RESERVED_SHORT, RESERVED_LONG = 0x18, 0x0C  # RFC 9000 sections 17.3.1, 17.2

_PN_MASK = (0, 0xFF, 0xFFFF, 0xFFFFFF, 0xFFFFFFFF)

Opened = list[tuple[int, bytes]]
"""(packet number, payload) of packets that authenticated, in the order of the batch."""


def open_run(
    keys: DataKeys,
    path_id: int,
    largest: int,
    data: bytes,
    segment: int,
    cid_length: int,
    now: float,
    pto: Callable[[], float],
) -> tuple[Opened, int]:
    """Open a batch of short-header packets that arrived on one path, all with the same id.

    largest: the largest packet number received on the path so far, -1 for none. pto: the probe
    timeout, asked for when the peer has updated its keys. Gives what opened and how many packets
    did not. Duplicates are the caller's matter. Raises PeerError when a packet that authenticates
    breaks the protocol.
    """
    if len(data) <= segment:
        one = _open_one(keys, path_id, largest, data, 1 + cid_length, now, pto)
        return ([], 1) if one is None else ([one], 0)
    opened: Opened = []
    failed = -(-len(data) // segment)
    view = memoryview(data)
    key = keys.recv
    decrypt, iv, phase = key.decrypt, key.iv ^ (path_id << 64), keys.recv_bit
    after_cid = 1 + cid_length
    cid = data[1:after_cid]
    starts: dict[int, bytes] = {}  # first byte -> header up to the packet number
    for first, number, start, end in unmask_run(keys.recv_hp, data, segment, cid_length):
        if not first & FIXED_BIT:
            continue
        length = len(number)
        pn = largest + 1
        truncated = int.from_bytes(number, "big")
        if pn & _PN_MASK[length] != truncated:  # else it is the expected one, as it mostly is
            pn = expand_pn(truncated, length, largest)
        at = start + after_cid + length
        header = starts.get(first)
        if header is None:
            header = starts[first] = bytes((first,)) + cid
        header += number
        try:
            if first & KEY_PHASE == phase:
                plain = decrypt((iv ^ pn).to_bytes(12, "big"), view[at:end], header)
            else:
                plain = keys.open_other_phase(path_id, pn, view[at:end], header, now, pto())
                key = keys.recv
                decrypt, iv, phase = key.decrypt, key.iv ^ (path_id << 64), keys.recv_bit
        except InvalidTag:
            continue
        if first & RESERVED_SHORT:
            raise PeerError(PROTOCOL_VIOLATION, "reserved bits are set")
        opened.append((pn, plain))
        if pn > largest:
            largest = pn
    if opened:
        keys.note_first(path_id, opened[0][0])
    return opened, failed - len(opened)


def _open_one(
    keys: DataKeys,
    path_id: int,
    largest: int,
    data: bytes,
    at: int,
    now: float,
    pto: Callable[[], float],
) -> tuple[int, bytes] | None:
    """Open a packet that came alone: what `open_run` does without what only pays for several."""
    sample = data[at + 4 : at + 4 + SAMPLE_LENGTH]
    if len(sample) < SAMPLE_LENGTH:
        return None
    mask = keys.recv_hp.masks(sample)
    first = data[0] ^ (mask[0] & SHORT_BITS)
    if not first & FIXED_BIT:
        return None
    length = (first & 3) + 1
    stop = at + length
    truncated = int.from_bytes(data[at:stop], "big") ^ int.from_bytes(mask[1 : 1 + length], "big")
    pn = largest + 1
    if pn & _PN_MASK[length] != truncated:
        pn = expand_pn(truncated, length, largest)
    header = b"%c%b%b" % (first, data[1:at], truncated.to_bytes(length, "big"))
    key = keys.recv
    try:
        if first & KEY_PHASE == keys.recv_bit:
            nonce = (key.iv ^ (path_id << 64 | pn)).to_bytes(12, "big")
            plain = key.decrypt(nonce, data[stop:], header)
        else:
            plain = keys.open_other_phase(path_id, pn, data[stop:], header, now, pto())
    except InvalidTag:
        return None
    if first & RESERVED_SHORT:
        raise PeerError(PROTOCOL_VIOLATION, "reserved bits are set")
    keys.note_first(path_id, pn)
    return pn, plain


def open_long(
    key: PacketKey, hp: HeaderKey, data: bytes, header: LongHeader, largest: int
) -> tuple[int, bytes] | None:
    """Open an Initial, 0-RTT or Handshake packet: its number and payload; None if it does not.

    Raises PeerError as `open_run`.
    """
    unmasked = unmask_long(hp, data, header.start, header.pn_at)
    if unmasked is None:
        return None
    first, number = unmasked
    pn = expand_pn(int.from_bytes(number, "big"), len(number), largest)
    body = header.pn_at + len(number)
    clear = bytes((first,)) + data[header.start + 1 : header.pn_at] + number
    try:
        plain = key.decrypt(key.nonce(0, pn), data[body : header.end], clear)
    except InvalidTag:
        return None
    if first & RESERVED_LONG:
        raise PeerError(PROTOCOL_VIOLATION, "reserved bits are set")
    return pn, plain
