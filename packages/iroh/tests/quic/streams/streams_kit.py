"""Two `Streams` and what is in flight between them: no packets, no time, no keys."""

from collections.abc import Callable

from iroh.quic.config import TransportConfig
from iroh.quic.events import Event
from iroh.quic.frames import (
    ONE_RTT,
    DataBlocked,
    Frame,
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    StopSending,
    Stream,
    StreamDataBlocked,
    StreamsBlocked,
    decode_payload,
)
from iroh.quic.streams import Streams

ROUTES: dict[type[Frame], str] = {
    ResetStream: "on_reset_stream",
    StopSending: "on_stop_sending",
    MaxData: "on_max_data",
    MaxStreamData: "on_max_stream_data",
    MaxStreams: "on_max_streams",
    DataBlocked: "on_data_blocked",
    StreamDataBlocked: "on_stream_data_blocked",
    StreamsBlocked: "on_streams_blocked",
}


def feed(streams: Streams, payload: bytes) -> None:
    """Let a side take the frames of a payload."""
    for frame in decode_payload(payload, ONE_RTT):
        if isinstance(frame, Stream):
            streams.on_stream(frame.stream_id, frame.offset, frame.data, frame.fin)
        else:
            getattr(streams, ROUTES[type(frame)])(frame)


class Packet:
    """What one end has sent in one go, and how to tell it of the fate."""

    def __init__(self, to: "End") -> None:
        self.to = to
        self.frames: list[Frame] = []
        self.fates: list[tuple[Callable[..., None], Callable[..., None], tuple]] = []

    def deliver(self) -> None:
        feed(self.to.streams, b"".join(frame.encode() for frame in self.frames))

    def ack(self) -> None:
        for acked, _, arguments in self.fates:
            acked(*arguments)

    def lose(self) -> None:
        for _, lost, arguments in self.fates:
            lost(*arguments)


class End:
    """One side."""

    def __init__(self, is_client: bool, config: TransportConfig) -> None:
        self.config = config
        self.events: list[Event] = []
        self.streams = Streams(is_client, config, self.events)
        self.peer = self

    def take_events(self) -> list[Event]:
        events = list(self.events)
        self.events.clear()
        return events

    def got(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if type(event) is kind]

    def learn(self, config: TransportConfig) -> None:
        """Take the peer's limits."""
        window = config.stream_receive_window
        self.streams.set_peer_params(
            config.receive_window,
            *(window, window, window),
            *(config.max_concurrent_bidi_streams, config.max_concurrent_uni_streams),
        )

    def pack(self, room: int = 1200, run: int = 1) -> Packet | None:
        """Put together what wants to be sent; None when there is nothing."""
        packet = Packet(self.peer)
        streams = self.streams
        while streams.has_data() and room > 30:
            half = streams.next_sender()
            offset, pieces, fin = half.take_run(run, room - 30)
            assert pieces
            at = offset
            for piece in pieces:
                is_last = fin and piece is pieces[-1]
                packet.frames.append(Stream(half.stream_id, at, bytes(piece), is_last))
                at += len(piece)
            packet.fates.append((half.on_acked, half.on_lost, (offset, at - offset, fin)))
            room -= at - offset + 30
        for frame, token in streams.take_control(max(room, 30)):
            packet.frames.append(frame)
            packet.fates.append((streams.on_acked, streams.on_lost, (token,)))
        return packet if packet.frames else None


def link(
    client: TransportConfig | None = None, server: TransportConfig | None = None
) -> tuple[End, End]:
    """Make two ends that know each other's limits."""
    ends = (
        End(True, client or TransportConfig()),
        End(False, server or TransportConfig()),
    )
    for end, peer in (ends, ends[::-1]):
        end.peer = peer
        end.learn(peer.config)
    return ends


def flush(end: End) -> list[Frame]:
    """Let everything that an end has to send arrive and be acknowledged; give the frames."""
    frames: list[Frame] = []
    while (packet := end.pack()) is not None:
        packet.deliver()
        packet.ack()
        frames += packet.frames
    return frames


def settle(one: End, other: End) -> list[Frame]:
    """The same both ways until nothing is left."""
    frames: list[Frame] = []
    while new := flush(one) + flush(other):
        frames += new
    return frames


def read_all(end: End, stream_id: int) -> tuple[bytes, bool]:
    """Read what is there: the bytes, and whether the end came."""
    got = b""
    while True:
        data = end.streams.read(stream_id, 50_000)
        if not data:
            return got, data is None
        got += data
