"""What each codec's test does: bytes written by hand, both ways, and bytes that are refused."""

import pytest

from iroh.quic import frames as f
from iroh.quic.errors import FRAME_ENCODING_ERROR, PeerError


def written(text: str) -> bytes:
    """Hexadecimal digits, with spaces and words in brackets between them."""
    return bytes.fromhex("".join(part for part in text.split() if not part.startswith("[")))


def both_ways(text: str, frame: f.Frame) -> None:
    """These bytes are this frame, and it is written so."""
    read_as(text, frame)
    assert frame.encode() == written(text)


def read_as(text: str, *frames: f.Frame) -> None:
    """These bytes are these frames, however they would be written."""
    assert f.decode_payload(written(text), f.ONE_RTT) == list(frames)


def refused(text: str, code: int = FRAME_ENCODING_ERROR) -> None:
    """These bytes are no frame."""
    with pytest.raises(PeerError) as caught:
        f.decode_payload(written(text), f.ONE_RTT)
    assert caught.value.code == code


def cut(text: str) -> None:
    """Every beginning of these bytes but the whole is refused."""
    data = written(text)
    for length in range(1, len(data)):
        refused(data[:length].hex())
