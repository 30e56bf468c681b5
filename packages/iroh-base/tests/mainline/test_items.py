"""BEP 44's own test vectors, and pkarr packets as items."""

import pytest

from iroh_base import PkarrError, SecretKey, SignedPacket
from iroh_base.mainline import MutableItem, item_target

KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
VALUE = b"Hello World!"
PLAIN = bytes.fromhex(
    "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
    "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
)
SALTED = bytes.fromhex(
    "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
    "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
)


def test_the_vectors_of_bep_44() -> None:
    assert MutableItem(KEY, PLAIN, 1, VALUE).is_verified()
    assert MutableItem(KEY, SALTED, 1, VALUE, b"foobar").is_verified()
    assert item_target(KEY).hex() == "4a533d47ec9c7d95b1ad75f576cffc641853b750"
    assert item_target(KEY, b"foobar").hex() == "411eba73b6f087ca51a3795d9c8c938d365e32c1"


def test_every_field_is_signed() -> None:
    good = MutableItem(KEY, PLAIN, 1, VALUE)
    for bad in (
        good._replace(seq=2),
        good._replace(value=b"Hello World"),
        good._replace(salt=b"x"),
        good._replace(key=bytes(SecretKey(bytes(32)).public())),
        good._replace(signature=SALTED),
        good._replace(key=b"\xff" * 32),
        good._replace(value=b"x" * 1001),
        good._replace(salt=b"x" * 65),
    ):
        assert not bad.is_verified()


def test_signed_and_read_again() -> None:
    item = MutableItem.sign(SecretKey(bytes(32)), 7, b"value", b"salt")
    assert item.is_verified()
    assert MutableItem.read(item.fields(), b"salt") == item
    assert MutableItem.read(item.fields()) != item
    assert item.target == item_target(item.key, b"salt")


def test_a_pkarr_packet_is_an_item() -> None:
    secret = SecretKey(bytes(32))
    packet = SignedPacket.sign(secret, ["relay=https://relay.example/"], 1_700_000_000_000_000)
    item = MutableItem.sign(secret, packet.timestamp_us, packet.dns_packet)
    assert item.signature == bytes(packet.signature)
    assert MutableItem.from_packet(packet) == item
    assert item.to_packet() == packet
    with pytest.raises(PkarrError):
        MutableItem.sign(secret, 1, b"no DNS message").to_packet()
    with pytest.raises(ValueError, match="too large"):
        MutableItem.from_packet(SignedPacket.sign(secret, [], 1 << 63))


@pytest.mark.parametrize(
    "change",
    [{b"k": b"short"}, {b"sig": b""}, {b"seq": b"1"}, {b"seq": -1}, {b"seq": 1 << 63}, {b"v": 1}],
)
def test_what_is_no_item(change) -> None:
    assert MutableItem.read(MutableItem(KEY, PLAIN, 1, VALUE).fields() | change) is None


@pytest.mark.parametrize(
    ("seq", "value", "salt"), [(-1, b"", b""), (1, b"x" * 1001, b""), (1, b"", b"x" * 65)]
)
def test_what_no_node_would_store(seq: int, value: bytes, salt: bytes) -> None:
    with pytest.raises(ValueError, match="too large"):
        MutableItem.sign(SecretKey(bytes(32)), seq, value, salt)
