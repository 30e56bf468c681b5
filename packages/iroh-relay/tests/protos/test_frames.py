"""Snapshots of the Rust tests, round trips, and every rule about lengths and versions."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iroh_relay.protos.errors import FrameError, FrameTooLargeError, UnknownFrameError
from iroh_relay.protos.frames import (
    MAX_PACKET_SIZE,
    ClientToRelayDatagrams,
    ClientToRelayFrame,
    Datagrams,
    EndpointGone,
    Health,
    Ping,
    Pong,
    RelayToClientDatagrams,
    RelayToClientFrame,
    Restarting,
    Status,
    decode_client_to_relay,
    decode_relay_to_client,
    minimal,
    split_frame,
)
from iroh_relay.protos.versions import ProtocolVersion

from .keys import KEY, NO_POINT, ids

V1, V2 = ProtocolVersion.V1, ProtocolVersion.V2
PK = KEY.to_bytes().hex()
DATA = b"\x2a" * 8
BATCH = Datagrams(b"Hello World!", ecn=3, segment_size=6)
SINGLE = Datagrams(b"Hello World!", ecn=3)

TO_CLIENT: list[tuple[RelayToClientFrame, str, ProtocolVersion]] = [
    (Ping(DATA), "09" + "2a" * 8, V2),
    (Pong(DATA), "0a" + "2a" * 8, V2),
    (EndpointGone(KEY), "08" + PK, V2),
    (
        Health("Hello? Yes this is dog."),
        "0b48656c6c6f3f20596573207468697320697320646f672e",
        V1,
    ),
    (
        RelayToClientDatagrams(KEY, BATCH),
        f"07{PK}03000648656c6c6f20576f726c6421",
        V2,
    ),
    (RelayToClientDatagrams(KEY, SINGLE), f"06{PK}0348656c6c6f20576f726c6421", V2),
    (Restarting(10, 20), "0c0000000a00000014", V2),
    (Status(Status.SAME_ENDPOINT_ID_CONNECTED), "0d01", V2),
    (Status(Status.RATE_LIMITED), "0d02", V2),
    (Status(99), "0d63", V2),
]
TO_RELAY: list[tuple[ClientToRelayFrame, str]] = [
    (Ping(DATA), "09" + "2a" * 8),
    (Pong(DATA), "0a" + "2a" * 8),
    (ClientToRelayDatagrams(KEY, BATCH), f"05{PK}03000648656c6c6f20576f726c6421"),
    (ClientToRelayDatagrams(KEY, SINGLE), f"04{PK}0348656c6c6f20576f726c6421"),
]


@pytest.mark.parametrize(("frame", "expected", "version"), TO_CLIENT)
def test_snapshots_from_the_relay(
    frame: RelayToClientFrame, expected: str, version: ProtocolVersion
) -> None:
    assert frame.encode().hex() == expected
    assert decode_relay_to_client(bytes.fromhex(expected), version) == frame


@pytest.mark.parametrize(("frame", "expected"), TO_RELAY)
def test_snapshots_from_the_client(frame: ClientToRelayFrame, expected: str) -> None:
    assert frame.encode().hex() == expected
    assert decode_client_to_relay(bytes.fromhex(expected)) == frame


datagrams = st.builds(
    Datagrams,
    st.binary(min_size=1, max_size=2000),
    st.integers(0, 3),
    st.none() | st.integers(1, 0xFFFF),
)
eight = st.binary(min_size=8, max_size=8)
to_relay = st.one_of(
    st.builds(Ping, eight),
    st.builds(Pong, eight),
    st.builds(ClientToRelayDatagrams, ids, datagrams),
)
u32 = st.integers(0, 0xFFFFFFFF)
to_client: st.SearchStrategy[RelayToClientFrame] = st.one_of(
    st.builds(Ping, eight),
    st.builds(Pong, eight),
    st.builds(RelayToClientDatagrams, ids, datagrams),
    st.builds(EndpointGone, ids),
    st.builds(Restarting, u32, u32),
)
in_v1 = to_client | st.builds(Health, st.text(max_size=500))
in_v2 = to_client | st.builds(Status, st.integers(0, 255))


@given(to_relay)
def test_round_trip_to_the_relay(frame: ClientToRelayFrame) -> None:
    assert decode_client_to_relay(frame.encode()) == frame


@given(in_v1)
def test_round_trip_to_a_client_of_version_1(frame: RelayToClientFrame) -> None:
    assert decode_relay_to_client(frame.encode(), V1) == frame


@given(in_v2)
def test_round_trip_to_a_client_of_version_2(frame: RelayToClientFrame) -> None:
    assert decode_relay_to_client(memoryview(frame.encode()), V2) == frame


@given(in_v2, st.sampled_from([2, 4, 8]))
def test_a_longer_varint_means_the_same(frame: RelayToClientFrame, size: int) -> None:
    encoded = frame.encode()
    prefix = {2: 1, 4: 2, 8: 3}[size] << (8 * size - 2)
    longer = (prefix | encoded[0]).to_bytes(size) + encoded[1:]
    assert minimal(longer) == encoded
    assert decode_relay_to_client(longer, V2) == frame


@pytest.mark.parametrize("frame_type", [4, 5])
def test_datagram_frames_of_only_a_type_are_refused(frame_type: int) -> None:
    with pytest.raises(FrameError):
        decode_client_to_relay(bytes((frame_type,)))
    with pytest.raises(FrameError):
        decode_relay_to_client(bytes((frame_type + 2,)), V2)


@pytest.mark.parametrize("size", range(0, 36))
def test_datagram_frames_that_end_early_are_refused(size: int) -> None:
    body = (KEY.to_bytes() + b"\x00\x00\x01\x01")[:size]
    for frame_type, needed in ((4, 33), (5, 35)):
        frame = bytes((frame_type,)) + body
        if size < needed:
            with pytest.raises(FrameError):
                decode_client_to_relay(frame)
        else:
            decode_client_to_relay(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x40",
        b"\xc0\x00\x00",
        b"\x09",
        b"\x09" + bytes(7),
        b"\x0a" + bytes(9),
        b"\x08" + bytes(31),
        b"\x08" + bytes(33),
        b"\x08" + NO_POINT,
        b"\x06" + NO_POINT + b"\x00x",
        b"\x0c" + bytes(7),
        b"\x0d",
    ],
)
def test_malformed_frames_from_the_relay(frame: bytes) -> None:
    with pytest.raises(FrameError):
        decode_relay_to_client(frame, V2)


def test_health_must_be_text() -> None:
    with pytest.raises(FrameError, match="UTF-8"):
        decode_relay_to_client(b"\x0b\xff", V1)


def test_health_is_refused_in_version_2_and_status_in_version_1() -> None:
    with pytest.raises(FrameError, match="not allowed in iroh-relay-v2"):
        decode_relay_to_client(Health("no").encode(), V2)
    with pytest.raises(FrameError, match="not allowed in iroh-relay-v1"):
        decode_relay_to_client(Status(0).encode(), V1)


@pytest.mark.parametrize("frame_type", [0, 1, 2, 3, 6, 7, 8, 11, 12, 13])
def test_what_a_client_must_not_send(frame_type: int) -> None:
    with pytest.raises(FrameError, match="must not send"):
        decode_client_to_relay(bytes((frame_type,)) + bytes(64))


@pytest.mark.parametrize("frame_type", [0, 1, 2, 3, 4, 5])
def test_what_a_relay_must_not_send(frame_type: int) -> None:
    with pytest.raises(FrameError, match="must not send"):
        decode_relay_to_client(bytes((frame_type,)) + bytes(64), V2)


@pytest.mark.parametrize("frame", [b"\x0e", b"\x3f", b"\x40\x0e", b"\xc0" + b"\xff" * 7])
def test_unknown_types_are_an_error_of_their_own(frame: bytes) -> None:
    with pytest.raises(UnknownFrameError):
        decode_client_to_relay(frame)
    with pytest.raises(UnknownFrameError):
        decode_relay_to_client(frame, V2)


def test_status_tolerates_more_bytes_and_unknown_codes() -> None:
    assert decode_relay_to_client(b"\x0d\x63junk", V2) == Status(99)
    assert str(Status(99)) == "Unsupported health message (99)"


def test_status_in_the_words_of_version_1() -> None:
    healthy = Status(Status.HEALTHY).as_health()
    assert healthy is not None
    assert healthy.problem.startswith("The connection is healthy")
    displaced = Status(Status.SAME_ENDPOINT_ID_CONNECTED).as_health()
    assert displaced is not None
    assert displaced.problem.endswith("No more messages will be received.")
    assert Status(Status.RATE_LIMITED).as_health() is None


def test_the_size_limit_counts_what_follows_the_type() -> None:
    head = KEY.to_bytes() + b"\x00"
    whole = b"\x04" + head + bytes(MAX_PACKET_SIZE - len(head))
    assert isinstance(decode_client_to_relay(whole), ClientToRelayDatagrams)
    with pytest.raises(FrameTooLargeError):
        decode_client_to_relay(whole + b"\x00")
    with pytest.raises(FrameTooLargeError):
        split_frame(b"\x0b" + bytes(MAX_PACKET_SIZE + 1))


@pytest.mark.parametrize("value", [-1, 1 << 32])
def test_durations_must_fit(value: int) -> None:
    with pytest.raises(FrameError):
        Restarting(value, 0)


@pytest.mark.parametrize("code", [-1, 256])
def test_codes_must_fit(code: int) -> None:
    with pytest.raises(FrameError):
        Status(code)


@pytest.mark.parametrize("data", [b"", bytes(7), bytes(9)])
def test_pings_have_eight_bytes(data: bytes) -> None:
    with pytest.raises(FrameError):
        Ping(data)
    with pytest.raises(FrameError):
        Pong(data)


def test_a_health_text_must_fit() -> None:
    with pytest.raises(FrameError):
        Health("x" * MAX_PACKET_SIZE).encode()


def mutated(frames: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Frames with one byte changed, cut short, or with more behind them."""

    @st.composite
    def one(draw: st.DrawFn) -> bytes:
        raw = bytearray(draw(frames))
        match draw(st.integers(0, 2)):
            case 0:
                raw[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del raw[draw(st.integers(0, len(raw))) :]
            case _:
                raw += draw(st.binary(max_size=40))
        return bytes(raw)

    return one()


encoded = st.one_of(to_relay, in_v1, in_v2).map(lambda frame: frame.encode())


@given(st.binary(max_size=200) | mutated(encoded))
def test_decoding_anything_raises_nothing_but_its_own_error(raw: bytes) -> None:
    for decode in (
        decode_client_to_relay,
        lambda frame: decode_relay_to_client(frame, V1),
        lambda frame: decode_relay_to_client(frame, V2),
    ):
        with contextlib.suppress(FrameError):
            decode(raw)
