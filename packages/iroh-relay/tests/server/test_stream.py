"""Frames to one client: at once when there is one, together when there are many."""

import asyncio
from typing import cast

import pytest
from aiohttp import web

from iroh_relay.server import stream as module
from iroh_relay.server.stream import WebSocketStream


class FakeTransport:
    """Keeps what is written, one entry for each write."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0
        self.closing = False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def get_extra_info(self, _: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written.append(data)

    def close(self) -> None:
        self.closing = True


@pytest.fixture
async def transport(monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    """A clock that stands still, so that every frame but the first belongs to a burst."""
    monkeypatch.setattr(module, "monotonic", lambda: 100.0)
    return FakeTransport()


def stream_over(transport: FakeTransport) -> WebSocketStream:
    return WebSocketStream(
        cast(web.WebSocketResponse, None), cast(asyncio.Transport, transport), grace=1.0
    )


async def test_one_is_written_at_once_and_a_burst_together(transport: FakeTransport) -> None:
    stream = stream_over(transport)
    for number in range(5):
        assert stream.write_now(bytes((number,)))
    assert transport.written == [b"\x82\x01\x00"]
    await asyncio.sleep(0)
    together = b"".join(bytes((0x82, 1, number)) for number in range(1, 5))
    assert transport.written[1:] == [together]


async def test_a_large_burst_is_written_in_parts(transport: FakeTransport) -> None:
    stream = stream_over(transport)
    frame = bytes(10_000)
    for _ in range(9):
        assert stream.write_now(frame)
    assert [len(data) for data in transport.written] == [10_004, 40_016, 40_016]
    await asyncio.sleep(0)
    assert len(transport.written) == 3


async def test_frames_after_quiet_are_not_held(
    transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_over(transport)
    for now in (1.0, 2.0, 3.0):
        monkeypatch.setattr(module, "monotonic", lambda now=now: now)
        assert stream.write_now(b"x")
    assert len(transport.written) == 3


async def test_what_is_held_counts_as_waiting(transport: FakeTransport) -> None:
    stream = stream_over(transport)
    assert stream.write_now(b"x")
    transport.waiting = 64 * 1024
    assert stream.write_now(b"x")
    assert not stream.write_now(b"x")
    transport.waiting = 0
    await asyncio.sleep(0)
    assert len(transport.written) == 2


async def test_closing_writes_what_is_held(transport: FakeTransport) -> None:
    stream = stream_over(transport)
    for _ in range(3):
        stream.write_now(b"x")
    stream.close()
    assert transport.written == [b"\x82\x01x", b"\x82\x01x" * 2]
    await asyncio.sleep(0)
    assert not stream.write_now(b"x")


async def test_a_lost_connection_forgets_what_is_held(transport: FakeTransport) -> None:
    stream = stream_over(transport)
    for _ in range(3):
        stream.write_now(b"x")
    transport.closing = True
    await asyncio.sleep(0)
    assert len(transport.written) == 1
