"""What an attempt offers, read before it is answered: whole hellos, halves, and nonsense."""

from hypothesis import given
from hypothesis import strategies as st

from iroh.quic.endpoint import Endpoint
from iroh.quic.make import make_connection
from iroh.quic.offered import offered_alpns
from iroh.quic.strangers import FirstPacket, parse_first
from iroh_base import SecretKey, SocketAddr

SERVER = SocketAddr("198.51.100.1", 2000)


def first_flight(alpns: list[bytes]) -> list[bytes]:
    """What a client sends before it hears anything."""
    endpoint = Endpoint(make_connection, SecretKey.generate(), None)
    peer = SecretKey.generate().public().to_bytes()
    connection = endpoint.connect(SERVER, peer, alpns, 0.0)
    return [data for batch in connection.transmit(0.0) for data in batch]


FLIGHT = first_flight([b"a"])


def first_of(datagrams: list[bytes]) -> FirstPacket:
    first = parse_first(datagrams[0])
    assert first is not None
    return first


def test_a_hello_of_one_packet_and_of_many() -> None:
    for alpns in ([b"a"], [b"%03d" % number + bytes(250) for number in range(20)]):
        flight = first_flight(alpns)
        assert offered_alpns(first_of(flight), flight) == alpns
        assert offered_alpns(first_of(flight), [*flight, *flight]) == alpns
        assert offered_alpns(first_of(flight), flight[::-1]) == alpns
    assert len(flight) > 2
    assert offered_alpns(first_of(flight), flight[:2]) is None
    assert offered_alpns(first_of(flight), []) is None


@given(st.integers(0, 1199), st.integers(1, 255))
def test_a_damaged_packet_tells_nothing(at: int, flip: int) -> None:
    (data,) = FLIGHT
    damaged = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
    assert offered_alpns(first_of(FLIGHT), [damaged]) in (None, [b"a"])


@given(st.binary(max_size=1300))
def test_arbitrary_bytes(data: bytes) -> None:
    assert offered_alpns(first_of(FLIGHT), [data]) is None
