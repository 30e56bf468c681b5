"""Two ends, many streams, small windows, and a wire that loses, repeats and reorders."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from streams_kit import link

from iroh.quic.config import TransportConfig
from iroh.quic.errors import StreamReset
from iroh.quic.events import (
    StreamFinished,
    StreamOpened,
    StreamReadable,
    StreamsAvailable,
    StreamStoppedByPeer,
    StreamWritable,
)


class Writer:
    """What one end wants to send on one stream, and what became of it."""

    def __init__(self, rng, stream_id):
        self.stream_id = stream_id
        size = rng.choice((0, 1, 50, 700, 5000))
        self.data = bytes((n + stream_id) % 251 for n in range(size))
        self.at = 0
        self.fate = rng.choice(("finish",) * 4 + ("reset",))
        self.reset_at = rng.randint(0, size)
        self.state = "writing"

    def step(self, streams):
        if self.state != "writing":
            return
        goal = len(self.data) if self.fate == "finish" else self.reset_at
        if self.at < goal:
            taken = streams.write(self.stream_id, self.data[self.at : goal])
            self.at += taken
            if self.at < goal:
                self.state = "blocked"
        elif self.fate == "finish":
            streams.finish(self.stream_id)
            self.state = "finished"
        else:
            streams.reset(self.stream_id, self.stream_id)
            self.state = "reset"


class Reader:
    def __init__(self, rng, stream_id):
        self.stream_id = stream_id
        self.got = bytearray()
        self.stop_at = rng.choice((None, None, None, rng.randint(0, 1000)))
        self.end = None

    def step(self, rng, streams):
        """Read until there is nothing; the end is only to be told by an event."""
        while self.end is None:
            if self.stop_at is not None and len(self.got) >= self.stop_at:
                streams.stop(self.stream_id, self.stream_id)
                self.end = "stopped"
                return
            try:
                data = streams.read(self.stream_id, rng.randint(1, 900))
            except StreamReset as reset:
                self.end = "reset" if reset.code == self.stream_id else "wrong"
                return
            if data is None:
                self.end = "finished"
            elif data:
                self.got += data
            else:
                return


class Application:
    """One end's program: opens streams, writes, reads what it is told to be readable."""

    def __init__(self, rng, end, count):
        self.rng = rng
        self.end = end
        self.to_open = count
        self.waits = set()
        self.writers = {}
        self.readers = {}
        self.finished = []

    def step(self):
        self.take_events()
        streams = self.end.streams
        while self.to_open:
            bidirectional = self.rng.random() < 0.5
            if bidirectional in self.waits:
                break
            stream_id = streams.open_stream(bidirectional)
            if stream_id is None:
                self.waits.add(bidirectional)
                break
            self.to_open -= 1
            self.add(stream_id, mine=True)
        for writer in self.writers.values():
            writer.step(streams)

    def add(self, stream_id, mine):
        bidirectional = not stream_id & 2
        if mine or bidirectional:
            self.writers[stream_id] = Writer(self.rng, stream_id)
            if self.rng.random() < 0.2:
                self.end.streams.set_priority(stream_id, self.rng.randint(-1, 1))
        if not mine or bidirectional:
            self.readers[stream_id] = Reader(self.rng, stream_id)
            if self.readers[stream_id].stop_at == 0:
                self.readers[stream_id].step(self.rng, self.end.streams)

    def take_events(self):
        for event in self.end.take_events():
            if type(event) is StreamsAvailable:
                self.waits.discard(event.bidirectional)
                continue
            writer = self.writers.get(event.stream_id)
            if type(event) is StreamOpened:
                self.add(event.stream_id, mine=False)
            elif type(event) is StreamReadable:
                self.readers[event.stream_id].step(self.rng, self.end.streams)
            elif type(event) is StreamWritable:
                if writer.state == "blocked":
                    writer.state = "writing"
            elif type(event) is StreamFinished:
                assert writer.state == "finished"
                self.finished.append(event.stream_id)
            elif type(event) is StreamStoppedByPeer:
                assert event.code == event.stream_id
                writer.state = "stopped"

    def pack(self):
        """Send a little."""
        rng = self.rng
        packets = (
            self.end.pack(rng.randint(60, 1400), rng.randint(1, 3))
            for _ in range(rng.randint(1, 4))
        )
        return [packet for packet in packets if packet is not None]

    def is_done(self):
        return not self.to_open and len(self.end.streams) == 0


class Wire:
    """Packets in flight, and what becomes of them."""

    def __init__(self, rng):
        self.rng = rng
        self.loss = rng.choice((0.0, 0.1, 0.4))
        self.flying = []

    def step(self):
        rng = self.rng
        rng.shuffle(self.flying)
        keep = rng.randint(0, min(len(self.flying), 12))
        for packet in self.flying[keep:]:
            if rng.random() < self.loss:
                packet.lose()
                if rng.random() < 0.2:  # too early: it arrives after all
                    packet.deliver()
                continue
            packet.deliver()
            if rng.random() < 0.1:
                packet.deliver()
            if rng.random() < self.loss:  # it was thought lost
                packet.lose()
            packet.ack()
        del self.flying[keep:]


CONFIGS = (
    TransportConfig(
        max_concurrent_bidi_streams=2,
        max_concurrent_uni_streams=1,
        stream_receive_window=300,
        receive_window=700,
        send_window=900,
    ),
    TransportConfig(stream_receive_window=1000, receive_window=10_000, send_window=4000),
    TransportConfig(),
)


@given(st.integers(0, 2**32), st.sampled_from(CONFIGS), st.sampled_from(CONFIGS))
@settings(max_examples=60, deadline=None)
def test_every_stream_comes_to_its_end(seed, client_config, server_config):
    rng = random.Random(seed)
    ends = link(client_config, server_config)
    applications = [Application(rng, end, rng.randint(1, 12)) for end in ends]
    wire = Wire(rng)
    for _ in range(5000):
        for application in applications:
            application.step()
            wire.flying += application.pack()
        wire.step()
        for end in ends:
            check(end)
        if not wire.flying and all(application.is_done() for application in applications):
            break
    else:
        raise AssertionError([(a.to_open, a.end.streams._senders) for a in applications])
    for application in applications:
        application.take_events()
    for application, other in (applications, applications[::-1]):
        compare(application, other)


def check(end):
    streams = end.streams
    outlet, intake = streams.outlet, streams._intake
    assert outlet.held == sum(half.held() for half in streams._senders.values())
    assert 0 <= outlet.held <= outlet.window
    assert outlet.used <= outlet.limit
    assert intake.consumed <= intake.received <= intake.announced
    assert intake.announced <= intake.consumed + intake.window
    unread = sum(half.highest - half.read_offset for half in streams._receivers.values())
    assert intake.received - intake.consumed == unread


def compare(application, other):
    """What was written is what was read, to the end that the writer or the reader chose."""
    for stream_id, writer in application.writers.items():
        reader = other.readers[stream_id]
        assert writer.data.startswith(bytes(reader.got))
        assert reader.end is not None
        if reader.end == "finished":
            assert writer.state == "finished"
            assert bytes(reader.got) == writer.data
        if reader.end == "reset":
            assert writer.state == "reset"
        if writer.state == "finished":
            assert stream_id in application.finished
    assert len(application.finished) == len(set(application.finished))
