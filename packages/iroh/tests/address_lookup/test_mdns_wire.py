"""The messages of multicast DNS, those of the real Rust service among them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh.address_lookup.mdns.wire import MAX_MESSAGE, Announcement, MdnsWire
from iroh_base import EndpointData, RelayUrl, SecretKey, SocketAddr, UserData

# What iroh-mdns-address-lookup 0.6.1 (swarm-discovery 0.6.5) sent for the secret key 02..02
RUST_QUERY = bytes.fromhex(
    "000000000001000000000000075f69726f687631045f756470056c6f63616c00000c0001"
)
RUST_REPLY = bytes.fromhex(
    "000084000000000400000003075f69726f687631045f756470056c6f63616c00000c0001000000780037347165"
    "34786f64766970756c76367676646b72746d677464367a746679336375727774786470697335367968767864366a"
    "776f6b61c00cc02a002100010000007800470000000008ae39716534786f64766970756c76367676646b72746d67"
    "7464367a746679336375727774786470697335367968767864366a776f6b612d32323232056c6f63616c00c02a00"
    "2100010000007800470000000008af39716534786f64766970756c76367676646b72746d677464367a7466793363"
    "75727774786470697335367968767864366a776f6b612d32323233056c6f63616c00c02a0010000100000078002b"
    "1872656c61793d68747470733a2f2f722e6578616d706c652f11757365722d646174613d727573743d6869c07300"
    "0100010000007800040a090002c073001c0001000000780010fd000000000000000000000000000002c0c6000100"
    "010000007800040a090002"
)
RUST = SecretKey(bytes([2]) * 32).public()
OURS = SecretKey(bytes([1]) * 32).public()
DATA = EndpointData(
    [
        SocketAddr("10.9.0.2", 2222),
        SocketAddr("10.9.0.2", 2223),
        SocketAddr("fd00::2", 2222),
        RelayUrl("https://r.example/"),
    ],
    UserData("rust=hi"),
)
WIRE = MdnsWire("irohv1")


def told(reply: bytes | None) -> dict[object, Announcement]:
    assert reply is not None
    heard = WIRE.read(reply)
    assert heard is not None
    assert not heard.is_query
    return dict(heard.peers)


def test_the_query_is_rusts() -> None:
    assert WIRE.query() == RUST_QUERY
    heard = WIRE.read(RUST_QUERY)
    assert heard is not None
    assert heard.is_query


def test_a_reply_of_rust() -> None:
    assert {key: value.data() for key, value in told(RUST_REPLY).items()} == {RUST: DATA}


def test_our_reply_says_the_same() -> None:
    assert told(WIRE.reply(RUST, DATA)) == told(RUST_REPLY)


def test_nothing_to_tell_without_an_address() -> None:
    data = EndpointData([RelayUrl("https://r.example/")], UserData("text"))
    assert WIRE.reply(OURS, data) is None


def test_addresses_that_do_not_fit_are_left_out() -> None:
    many = [SocketAddr.from_parts(f"fd00::{n:x}", 1000 + n) for n in range(1, 100)]
    reply = WIRE.reply(OURS, EndpointData(many))
    assert len(reply or b"") <= MAX_MESSAGE
    (announcement,) = told(reply).values()
    assert announcement.addrs == tuple(many[: len(announcement.addrs)])
    assert len(announcement.addrs) > 5


def test_only_the_first_relay_and_only_what_fits_a_string() -> None:
    here = SocketAddr("10.0.0.1", 1)
    long = RelayUrl(f"https://r.example/{'x' * 240}")
    data = EndpointData([here, RelayUrl("https://a.example/"), RelayUrl("https://b.example/")])
    assert told(WIRE.reply(OURS, data))[OURS].txt == (("relay", "https://a.example/"),)
    assert told(WIRE.reply(OURS, EndpointData([here, long])))[OURS].txt == ()
    full = EndpointData([here], UserData("u" * UserData.MAX_LENGTH))
    assert told(WIRE.reply(OURS, full))[OURS].data() == full


def test_bad_values_leave_the_address_good() -> None:
    here = SocketAddr("10.0.0.1", 1)
    for txt in ((("relay", "no url"),), (("user-data", "x" * 250),), (("other", "x"),)):
        assert Announcement((here,), txt).data() == EndpointData([here])


def test_other_services_are_not_ours() -> None:
    other = MdnsWire("other")
    assert WIRE.read(other.query()) is None
    assert WIRE.read(other.reply(OURS, DATA) or b"") is None
    heard = WIRE.read(RUST_REPLY.replace(b"\x04_udp", b"\x04_tcp"))
    assert heard is not None
    assert heard.peers == {}


def test_a_peer_without_a_valid_id_is_nobody() -> None:
    assert told(RUST_REPLY.replace(b"qe4xodvipulv", b"!!!!!!!!!!!!")) == {}


@pytest.mark.parametrize("name", ["", "x" * 63])
def test_a_service_name_that_is_no_label(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 62 bytes"):
        MdnsWire(name)


@given(st.binary(max_size=300))
def test_arbitrary_bytes(data: bytes) -> None:
    WIRE.read(data)
    WIRE.read(data + RUST_QUERY)


@given(st.data())
def test_mutated_replies(data: st.DataObject) -> None:
    damaged = bytearray(RUST_REPLY)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    heard = WIRE.read(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    for announcement in () if heard is None else heard.peers.values():
        announcement.data()
