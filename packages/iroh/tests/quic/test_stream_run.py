"""Joined STREAM frames against the frame decoder: the same bytes, in the same order."""

from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.errors import PeerError
from iroh.quic.frames import ONE_RTT, Ping, Stream, decode_payload
from iroh.quic.stream_run import STREAM, StreamRun

frame = st.builds(
    Stream,
    st.sampled_from((0, 4, 100, 70_000)),
    st.sampled_from((0, 5, 10, 2**20, 2**40)),
    st.binary(max_size=20),
    st.booleans(),
)


def replay(payloads: list[bytes]) -> list[tuple[int, int, bytes, bool]]:
    """What a receiver tells its streams."""
    calls: list = []
    run = StreamRun(lambda *call: calls.append((*call[:2], bytes(call[2]), call[3])))
    for payload in payloads:
        at = 0
        while at < len(payload) and payload[at] & 0xF8 == STREAM:
            at = run.add(payload, at, len(payload))
    run.flush()
    return calls


def decoded(payload: bytes) -> list | None:
    """What the frame decoder makes of it; None when that is an error."""
    try:
        frames = decode_payload(payload, ONE_RTT)
    except PeerError:
        return None
    return [(one.stream_id, one.offset, bytes(one.data), one.fin) for one in frames]


def by_byte(calls) -> list[tuple[int, int, int]]:
    return [(i, offset + n, byte) for i, offset, data, _ in calls for n, byte in enumerate(data)]


@given(frames=st.lists(frame, min_size=1, max_size=10))
def test_every_byte_and_end_arrives_in_order(frames: list[Stream]) -> None:
    calls = replay([one.encode() for one in frames])
    plain = [(one.stream_id, one.offset, bytes(one.data), one.fin) for one in frames]
    assert by_byte(calls) == by_byte(plain)
    ends = [(i, offset + len(data)) for i, offset, data, fin in calls if fin]
    assert ends == [(i, offset + len(data)) for i, offset, data, fin in plain if fin]


def test_neighbours_are_told_at_once() -> None:
    frames = [Stream(4, 100 * i, bytes([i]) * 100, i == 9) for i in range(10)]
    calls = replay([one.encode() for one in frames])
    assert calls == [(4, 0, b"".join(bytes([i]) * 100 for i in range(10)), True)]


def test_frames_without_length_and_with_company() -> None:
    bare = b"\x0c\x04" + (0x4000 | 300).to_bytes(2, "big") + b"to the end"
    company = Stream(4, 310, b"more", False).encode() + Ping().encode()
    assert replay([bare, company]) == [(4, 300, b"to the endmore", False)]


@given(kind=st.integers(0x08, 0x0F), rest=st.binary(max_size=30))
def test_arbitrary_bytes_are_what_the_decoder_says_they_are(kind: int, rest: bytes) -> None:
    size = len(rest) + 1
    payload = bytes((kind,)) + rest
    calls: list = []
    try:
        at = StreamRun(print).add(payload, 0, size)
    except PeerError:
        assert decoded(payload) is None
    else:
        run = StreamRun(lambda *call: calls.append((*call[:2], bytes(call[2]), call[3])))
        assert run.add(payload, 0, size) == at
        run.flush()
        assert calls == decoded(payload[:at])
