"""Packet protection against the vectors of RFC 9001 appendix A, and runs against single packets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.keys import (
    AES_128_GCM_SHA256,
    AES_256_GCM_SHA384,
    CHACHA20_POLY1305_SHA256,
    HeaderKey,
    InvalidTag,
    PacketKey,
    initial_secrets,
    next_secret,
    seal_packet,
    seal_run,
    unmask_long,
    unmask_run,
)

SUITES = (AES_128_GCM_SHA256, AES_256_GCM_SHA384, CHACHA20_POLY1305_SHA256)
DCID = bytes.fromhex("8394c8f03e515708")


def keys(suite: int, secret: bytes = b"s" * 32) -> tuple[PacketKey, HeaderKey]:
    return PacketKey(suite, secret), HeaderKey(suite, secret)


def test_initial_secrets_of_appendix_a1() -> None:
    client, server = initial_secrets(DCID)
    assert client.hex() == "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea"
    assert server.hex() == "3c199828fd139efd216c155ad844cc81fb82fa8d7446fa7d78be803acdda951b"


def test_server_initial_of_appendix_a3() -> None:
    header = bytes.fromhex("c1000000010008f067a5502a4262b50040750001")
    payload = bytes.fromhex(
        "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739"
        "88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94"
        "0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00"
        "020304"
    )
    key, hp = keys(AES_128_GCM_SHA256, initial_secrets(DCID)[1])
    packet = seal_packet(key, hp, header, 1, payload)
    assert packet.hex().startswith("cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac40")
    assert packet.hex().endswith("3d20398c276456cbc42158407dd074ee")
    assert unmask_long(hp, packet, 0, len(header) - 2) == (0xC1, b"\x00\x01")
    assert key.decrypt(key.nonce(0, 1), packet[len(header) :], header) == payload


def test_chacha20_short_header_of_appendix_a5() -> None:
    secret = bytes.fromhex("9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b")
    key, hp = keys(CHACHA20_POLY1305_SHA256, secret)
    packet = seal_packet(key, hp, bytes.fromhex("4200bff4"), 654360564, b"\x01")
    assert packet.hex() == "4cfe4189655e5cd55c41f69080575d7999c25a5bfb"
    assert next_secret(CHACHA20_POLY1305_SHA256, secret).hex() == (
        "1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9"
    )


@pytest.mark.parametrize("suite", SUITES)
@given(
    sizes=st.tuples(st.integers(4, 1300), st.integers(1, 44), st.integers(4, 1300)),
    first_pn=st.integers(0, 2**40),
    path_id=st.integers(0, 2**32 - 1),
    dcid=st.binary(max_size=20),
)
def test_a_run_is_its_packets(suite, sizes, first_pn, path_id, dcid) -> None:
    key, hp = keys(suite)
    size, count, last = sizes
    payloads = [bytes([i]) * size for i in range(count - 1)] + [b"l" * min(last, size)]
    run = seal_run(key, hp, 0x44, dcid, first_pn, payloads, path_id)
    singles = [
        seal_packet(
            key,
            hp,
            b"\x47" + dcid + ((first_pn + i) & 0xFFFFFFFF).to_bytes(4, "big"),
            first_pn + i,
            payload,
            path_id,
        )
        for i, payload in enumerate(payloads)
    ]
    assert run == b"".join(singles)
    segment = len(singles[0])
    opened = unmask_run(hp, run, segment, len(dcid))
    assert len(opened) == count
    for i, (first, number, start, end) in enumerate(opened):
        pn = first_pn + i
        assert (first, number) == (0x47, (pn & 0xFFFFFFFF).to_bytes(4, "big"))
        at = start + 1 + len(dcid) + len(number)
        header = bytes((first,)) + dcid + number
        assert key.decrypt(key.nonce(path_id, pn), run[at:end], header) == payloads[i]


@given(data=st.binary(max_size=300), segment=st.integers(1, 100), dcid=st.integers(0, 20))
def test_arbitrary_bytes_never_raise(data: bytes, segment: int, dcid: int) -> None:
    _, hp = keys(AES_256_GCM_SHA384)
    for _first, number, start, end in unmask_run(hp, data, segment, dcid):
        assert 1 <= len(number) <= 4
        assert 0 <= start < end <= len(data)


def test_another_path_or_number_does_not_open() -> None:
    key, hp = keys(AES_256_GCM_SHA384)
    header = b"\x43" + bytes(8) + bytes(4)
    sealed = seal_packet(key, hp, header, 0, b"payload", path_id=1)[len(header) :]
    for path_id, pn in ((0, 0), (1, 1), (2, 0)):
        with pytest.raises(InvalidTag):
            key.decrypt(key.nonce(path_id, pn), sealed, header)
