"""Applications that talk, and check every byte: in order, once, from the right stream.

The content of a stream follows from its key, so that no side has to keep what was sent: byte i is
byte i % PERIOD of the key's noise. PERIOD is a prime, so pieces that change places are seen.
"""

import functools
import random
from collections.abc import Callable

from iroh.quic import events as ev

from .host import End

PERIOD = 8191
_SPAN = 1 << 17
CHUNK = 1 << 16


@functools.lru_cache(maxsize=64)
def _noise(key: object) -> bytes:
    noise = random.Random(str(key)).randbytes(PERIOD)
    return (noise * (_SPAN // PERIOD + 2))[: _SPAN + PERIOD]


def content(key: object, offset: int, size: int) -> bytes:
    """Give what stands at this place of the stream with this key; at most 128 KiB."""
    assert size <= _SPAN
    start = offset % PERIOD
    return _noise(key)[start : start + size]


class Flow:
    """One direction of one stream: `size` bytes from the sender to the receiver, then the end."""

    def __init__(self, sender: End, receiver: End, stream_id: int, size: int) -> None:
        self.sender = sender
        self.receiver = receiver
        self.stream_id = stream_id
        self.size = size
        self.key = (stream_id, sender.connection.is_client)
        self.sent = self.received = 0
        self.finished = self.ended = self.acknowledged = False

    @property
    def is_done(self) -> bool:
        """Whether the receiver has it all, and the sender knows."""
        return self.ended and self.acknowledged

    def send(self) -> None:
        """Write until the engine takes no more, then the end."""
        while self.sent < self.size:
            piece = content(self.key, self.sent, min(CHUNK, self.size - self.sent))
            taken = self.sender.write(self.stream_id, piece)
            self.sent += taken
            if taken < len(piece):
                return
        if not self.finished:
            self.finished = True
            self.sender.finish(self.stream_id)

    def receive(self, limit: int = CHUNK) -> None:
        """Read what there is, and compare."""
        while not self.ended:
            data = self.receiver.read(self.stream_id, limit)
            if data is None:
                assert self.received == self.size, f"{self.stream_id}: {self.received} bytes"
                self.ended = True
            elif data:
                assert data == content(self.key, self.received, len(data)), (
                    f"stream {self.stream_id} differs within {len(data)} bytes at {self.received}"
                )
                self.received += len(data)
            else:
                return


class Traffic:
    """All that two connected ends have to say to each other."""

    def __init__(self, client: End, server: End) -> None:
        self.ends = (client, server)
        self.flows: dict[tuple[int, bool], Flow] = {}
        self._waiting: dict[tuple[int, bool], list[tuple[int, int | None]]] = {}
        for side, end in enumerate(self.ends):
            end.listeners.append(functools.partial(self._on_event, side))

    @property
    def is_done(self) -> bool:
        """Whether everything arrived and was acknowledged."""
        return not any(self._waiting.values()) and all(f.is_done for f in self.flows.values())

    @property
    def received(self) -> int:
        """Bytes that were read so far."""
        return sum(flow.received for flow in self.flows.values())

    def send(self, side: int, size: int, answer: int | None = None, streams: int = 1) -> None:
        """Let a side (0 client, 1 server) open streams as soon as it may, and send on them.

        answer: bytes that come back on a bidirectional stream; None opens a unidirectional one.
        """
        self._waiting.setdefault((side, answer is not None), []).extend([(size, answer)] * streams)
        self._open(side, answer is not None)

    def _open(self, side: int, bidirectional: bool) -> None:
        waiting = self._waiting.get((side, bidirectional), [])
        while waiting:
            stream_id = self.ends[side].open_stream(bidirectional)
            if stream_id is None:
                return
            size, answer = waiting.pop(0)
            self._add(stream_id, side, size).send()
            if answer is not None:
                self._add(stream_id, 1 - side, answer)  # sent once the stream is seen there

    def _add(self, stream_id: int, side: int, size: int) -> Flow:
        flow = Flow(self.ends[side], self.ends[1 - side], stream_id, size)
        self.flows[stream_id, bool(side)] = flow
        return flow

    def _on_event(self, side: int, event: ev.Event) -> None:
        action = _ACTIONS.get(type(event))
        if action is not None:
            self.ends[side].soon(functools.partial(self._act, action, side, event))

    def _act(self, action: Callable[..., None], side: int, event: ev.Event) -> None:
        if self.ends[side].closed is None:
            action(self, side, event)

    def _on_opened(self, side: int, event: ev.StreamOpened) -> None:
        if not event.stream_id & 2:
            self.flows[event.stream_id, bool(side)].send()
        self.flows[event.stream_id, not side].receive()

    def _on_readable(self, side: int, event: ev.StreamReadable) -> None:
        self.flows[event.stream_id, not side].receive()

    def _on_writable(self, side: int, event: ev.StreamWritable) -> None:
        self.flows[event.stream_id, bool(side)].send()

    def _on_finished(self, side: int, event: ev.StreamFinished) -> None:
        flow = self.flows[event.stream_id, bool(side)]
        assert flow.finished, f"{event} before the end was sent"
        assert not flow.acknowledged, f"{event} comes twice"
        flow.acknowledged = True

    def _on_streams(self, side: int, event: ev.StreamsAvailable) -> None:
        self._open(side, event.bidirectional)


_ACTIONS: dict[type[ev.Event], Callable[..., None]] = {
    ev.StreamOpened: Traffic._on_opened,
    ev.StreamReadable: Traffic._on_readable,
    ev.StreamWritable: Traffic._on_writable,
    ev.StreamFinished: Traffic._on_finished,
    ev.StreamsAvailable: Traffic._on_streams,
}
