"""CONNECTION_CLOSE, byte by byte (RFC 9000 section 19.19)."""

import pytest
from frames_kit import both_ways, cut, refused

from iroh.quic.frames import (
    HANDSHAKE,
    INITIAL,
    ONE_RTT,
    ZERO_RTT,
    ConnectionClose,
    is_allowed_close,
)


def test_of_the_transport():
    both_ways("1c 0a [type] 06 [length] 03 627965", ConnectionClose(0xA, b"bye", 6))
    both_ways("1c 4128 00 00", ConnectionClose(0x128, b"", 0))


def test_of_an_application():
    both_ways("1d 2a 03 627965", ConnectionClose(42, b"bye", None))


@pytest.mark.parametrize("space", [INITIAL, HANDSHAKE, ZERO_RTT, ONE_RTT])
def test_where_it_may_stand(space):
    assert is_allowed_close(ConnectionClose(1, b"", 0), space)
    assert is_allowed_close(ConnectionClose(1, b"", None), space) == (space in (ZERO_RTT, ONE_RTT))


def test_what_is_refused():
    refused("1d 2a 04 627965")
    cut("1c 0a 06 03 627965")
    cut("1d 2a 03 627965")
