"""Batches of received packets: key updates, garbage, reordering across phases and paths."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.errors import PeerError
from iroh.quic.key_phase import DataKeys
from iroh.quic.keys import AES_256_GCM_SHA384, seal_packet, seal_run
from iroh.quic.opening import open_run
from iroh.quic.packet import short_header

SUITE = AES_256_GCM_SHA384
CID = b"8 bytes."


def pair() -> tuple[DataKeys, DataKeys]:
    client, server = b"c" * 48, b"s" * 48
    return DataKeys(SUITE, client, server), DataKeys(SUITE, server, client)


def run(sender: DataKeys, first_pn: int, payloads: list[bytes], path_id: int = 0) -> bytes:
    sender.on_sent(path_id, first_pn, len(payloads))
    first = 0x40 | sender.send_bit
    return seal_run(sender.send, sender.send_hp, first, CID, first_pn, payloads, path_id)


def receive(receiver: DataKeys, data: bytes, count: int, largest=-1, path_id=0, now=0.0):
    segment = -(-len(data) // count)
    return open_run(receiver, path_id, largest, data, segment, 8, now, lambda: 0.1)


def test_a_batch() -> None:
    a, b = pair()
    payloads = [bytes([i]) * 100 for i in range(10)]
    opened, failed = receive(b, run(a, 5, payloads), 10)
    assert opened == list(zip(itertools.count(5), payloads, strict=False))
    assert failed == 0


def test_what_does_not_authenticate_is_left_out() -> None:
    a, b = pair()
    data = bytearray(run(a, 0, [b"x" * 50] * 3))
    data[len(data) // 3 + 30] ^= 1
    opened, failed = receive(b, bytes(data), 3)
    assert [pn for pn, _ in opened] == [0, 2]
    assert failed == 1


def test_key_updates_back_and_forth_with_late_packets() -> None:
    a, b = pair()
    late = run(a, 0, [b"late" * 5])
    assert receive(b, run(a, 1, [b"old " * 5]), 1)[0]
    assert a.update()
    assert not a.update()  # not before the peer acknowledged the new phase
    opened, _ = receive(b, run(a, 2, [b"new " * 5]), 1, largest=1, now=1.0)
    assert opened == [(2, b"new " * 5)]
    assert b.send_bit == a.send_bit  # the peer follows
    assert receive(b, late, 1, largest=2, now=1.1)[0] == [(0, b"late" * 5)]
    assert receive(b, late, 1, largest=2, now=9.9) == ([], 1)  # previous keys are gone
    assert receive(a, run(b, 0, [b"back" * 5]), 1)[0] == [(0, b"back" * 5)]
    a.on_acked(0, 2)
    assert a.update()


def test_one_batch_may_hold_both_phases() -> None:
    a, b = pair()
    data = run(a, 0, [b"a" * 40] * 2)
    a.update()
    data += run(a, 2, [b"b" * 40] * 2)
    opened, failed = receive(b, data, 4)
    assert [pn for pn, _ in opened] == [0, 1, 2, 3]
    assert failed == 0


def test_paths_share_phases_but_not_numbers() -> None:
    a, b = pair()
    old_on_1 = run(a, 7, [b"path 1, old phase..."], path_id=1)
    a.update()
    assert receive(b, run(a, 3, [b"path 0, new phase..."]), 1)[0]
    assert receive(b, old_on_1, 1, path_id=1)[0] == [(7, b"path 1, old phase...")]


def test_reserved_bits_break_the_protocol() -> None:
    a, b = pair()
    header = short_header(0x18, CID, 0, 4)
    packet = seal_packet(a.send, a.send_hp, header, 0, b"payload payload payload")
    with pytest.raises(PeerError):
        receive(b, packet, 1)


@given(data=st.binary(max_size=400), count=st.integers(1, 5))
def test_garbage_opens_nothing(data: bytes, count: int) -> None:
    _, b = pair()
    if data:
        opened, failed = receive(b, data, count)
        assert not opened
        assert failed >= 1
