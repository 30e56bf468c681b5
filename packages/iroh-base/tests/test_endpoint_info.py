"""What endpoints publish: the TXT strings, strict and lenient where Rust is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_base.addr import EndpointAddr
from iroh_base.endpoint_info import AddrFilter, EndpointData, EndpointInfo, UserData
from iroh_base.errors import EndpointInfoError, PacketTooLargeError
from iroh_base.keys import EndpointId, SecretKey
from iroh_base.relay_url import RelayUrl
from iroh_base.transport_addr import CustomAddr, SocketAddr, TransportAddr

# the keys and addresses of upstream's own tests
SECRET = SecretKey.from_string("vpnk377obfvzlipnsfbqba7ywkkenc4xlpmovt5tsfujoa75zqia")
ID = SECRET.public()
RELAY = RelayUrl("https://example.com")
SOCKET = SocketAddr.parse("127.0.0.1:1234")
BLUETOOTH = CustomAddr(1, bytes.fromhex("a1b2c3d4e5f6"))
TOR = CustomAddr(42, b"\xab" * 32)
NOW = 1_700_000_000_000_000


def info(*addrs: TransportAddr, user_data: str | None = None) -> EndpointInfo:
    data = EndpointData(addrs, None if user_data is None else UserData(user_data))
    return EndpointInfo(ID, data)


@pytest.mark.parametrize(
    "value",
    [
        info(),
        info(RELAY, SOCKET, user_data="foobar"),
        info(RELAY, SOCKET, BLUETOOTH, TOR),
        info(RELAY, SOCKET, BLUETOOTH, TOR, user_data="foobar"),
        info(user_data=""),
    ],
)
def test_round_trips(value: EndpointInfo) -> None:
    assert EndpointInfo.from_txt_strings(ID, value.to_txt_strings()) == value
    packet = value.to_signed_packet(SECRET, NOW)
    assert EndpointInfo.from_signed_packet(packet) == value
    assert packet.timestamp_us == NOW


def test_strings_are_sorted_by_attribute_and_keep_the_order_of_the_addresses() -> None:
    other = RelayUrl("https://a.example")
    value = info(TOR, SOCKET, RELAY, other, SOCKET, user_data="é=x")
    assert value.to_txt_strings() == [
        "relay=https://example.com/",
        "relay=https://a.example/",
        "addr=2a_" + "ab" * 32,
        "addr=127.0.0.1:1234",
        "user-data=é=x",
    ]


@pytest.mark.parametrize(
    ("strings", "addrs", "user_data"),
    [
        (["addr=127.0.0.1:1234", "relay=https://example.com"], [RELAY, SOCKET], None),
        (["addr=junk", "addr=127.0.0.1:1234", "addr=", "relay=x"], [SOCKET], None),
        (["addr=127.0.0.1:1234=y"], [SOCKET], None),  # cut at the second "="
        (["user-data=a=b"], [], "a"),
        (["relay=https://example.com/?a=b"], [RelayUrl("https://example.com/?a")], None),
        (["addr=1.2.3.4:5 127.0.0.1:1234"], [], None),  # no lists in one record
        (["addr=127.0.0.1:1234"] * 3, [SOCKET], None),
        (["addr=1_a1b2c3d4e5f6"], [BLUETOOTH], None),
        (["addr=1_A1B2"], [], None),
        (["user-data=first", "user-data=second"], [], "first"),
        (["user-data=" + "x" * 246, "user-data=second"], [], None),
        (["user-data="], [], ""),
        ([], [], None),
    ],
)
def test_bad_values_are_skipped(
    strings: list[str], addrs: list[TransportAddr], user_data: str | None
) -> None:
    value = EndpointInfo.from_txt_strings(ID, strings)
    assert list(value.data.addrs) == addrs
    assert value.data.user_data == user_data


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("foo=bar", "Could not convert key to Attr"),
        ("ADDR=127.0.0.1:1", "Could not convert key to Attr"),
        ("user_data=x", "Could not convert key to Attr"),
        ("=x", "Could not convert key to Attr"),
        ("addr", "Expected format"),
        ("", "Expected format"),
    ],
)
def test_an_unknown_attribute_fails_the_whole(string: str, message: str) -> None:
    with pytest.raises(EndpointInfoError, match=message):
        EndpointInfo.from_txt_strings(ID, ["addr=127.0.0.1:1234", string])


def test_lookup_takes_the_id_from_the_name() -> None:
    strings = ["addr=127.0.0.1:1234"]
    for tail in ("", ".", ".dns.iroh.link.", ".x.y"):
        name = f"_iroh.{ID.to_z32()}{tail}"
        assert EndpointInfo.from_txt_lookup(name, strings) == info(SOCKET)


@pytest.mark.parametrize(
    "name", ["", "_iroh", "_iroh.", f"_IROH.{ID.to_z32()}", f"x.{ID.to_z32()}", f"_iroh.{ID}"]
)
def test_names_without_an_id(name: str) -> None:
    with pytest.raises(EndpointInfoError):
        EndpointInfo.from_txt_lookup(name, [])


def test_upstreams_lookup_with_several_addresses() -> None:
    name = "_iroh.dgjpkxyn3zyrk3zfads5duwdgbqpkwbjxfj4yt7rezidr3fijccy.dns.iroh.link."
    strings = ["addr=192.168.96.145:60165", "addr=213.208.157.87:60165", "user-data=x"]
    value = EndpointInfo.from_txt_lookup(name, strings)
    assert value.endpoint_id == EndpointId.from_z32(name.split(".")[1])
    assert [str(a) for a in value.data.ip_addrs] == ["192.168.96.145:60165", "213.208.157.87:60165"]


def test_user_data() -> None:
    assert UserData("é" * 122) == "é" * 122
    for bad in ("é" * 123, "x" * 246, "\ud800"):
        with pytest.raises(EndpointInfoError):
            UserData(bad)
    with pytest.raises(EndpointInfoError):
        EndpointData((), "x" * 246)  # type: ignore[arg-type]


def test_filters() -> None:
    data = EndpointData([SOCKET, RELAY, TOR], UserData("kept"))
    assert data.filtered(AddrFilter.unfiltered()) == data
    relay_only = data.filtered(AddrFilter.relay_only())
    assert list(relay_only.addrs) == [RELAY]
    assert relay_only.user_data == "kept"
    assert list(data.filtered(AddrFilter.ip_only()).addrs) == [SOCKET, TOR]
    backwards = AddrFilter(lambda addrs: addrs[::-1])
    assert backwards.apply(data.addrs) == [TOR, RELAY, SOCKET]
    assert list(data.filtered(backwards).addrs) == [TOR, RELAY, SOCKET]
    assert repr(AddrFilter.relay_only()) == "AddrFilter(relay_only)"
    assert repr(AddrFilter.unfiltered()) == "AddrFilter(unfiltered)"


def test_data_is_de_duplicated_in_order() -> None:
    data = EndpointData([SOCKET, RELAY, SOCKET, RelayUrl("https://example.com/")])
    assert list(data.addrs) == [SOCKET, RELAY]
    assert data.relay_urls == (RELAY,)
    assert data.ip_addrs == (SOCKET,)
    assert hash(data) == hash(EndpointData((SOCKET, RELAY)))


def test_from_and_to_an_endpoint_addr() -> None:
    addr = EndpointAddr(ID, RELAY, [SOCKET, TOR])
    value = EndpointInfo.from_endpoint_addr(addr)
    assert list(value.data.addrs) == [RELAY, SOCKET, TOR]
    assert value.to_endpoint_addr() == addr
    assert EndpointInfo(ID).to_endpoint_addr() == EndpointAddr(ID)


def test_too_much_to_publish_fails_as_a_whole() -> None:
    many = [SocketAddr("10.0.0.1", port) for port in range(1, 60)]
    with pytest.raises(PacketTooLargeError):
        info(*many).to_signed_packet(SECRET, NOW)


@given(
    st.lists(
        st.text(max_size=20)
        | st.builds("{}={}".format, st.sampled_from(["relay", "addr", "user-data"]), st.text()),
        max_size=5,
    )
)
def test_any_strings(strings: list[str]) -> None:
    try:
        value = EndpointInfo.from_txt_strings(ID, strings)
    except EndpointInfoError:
        return
    for string in value.to_txt_strings():
        assert string.partition("=")[0] in ("relay", "addr", "user-data")
