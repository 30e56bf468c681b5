"""Which part takes which frame: the routing table of a connection.

    Initial, Handshake    on_level    CRYPTO, ACK, CONNECTION_CLOSE; PADDING and PING want nothing
    0-RTT, 1-RTT          handle      by a table; what is not in it is Multipath's

`decode_payload` lets no other frames through to a level (RFC 9000 section 12.4).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from iroh.quic import frames as f
from iroh.quic.datagrams import Datagrams
from iroh.quic.errors import PROTOCOL_VIOLATION, PeerError
from iroh.quic.levels import Level

if TYPE_CHECKING:
    from iroh.quic.parts import Parts
    from iroh.quic.path import Path


class FrameHandlers:
    """Routes frames to the parts of one connection."""

    __slots__ = ("_p",)

    def __init__(self, parts: "Parts") -> None:
        self._p = parts

    def on_level(self, frame: f.Frame, level: Level, now: float) -> None:
        """Route a frame of an Initial or Handshake packet. Raises PeerError."""
        p = self._p
        if isinstance(frame, f.Crypto):
            p.establish.on_crypto(level.epoch, frame.offset, frame.data, now)
        elif isinstance(frame, f.Ack):
            p.on_level_acked(level)
            level.recovery.on_ack(frame.ranges, 0.0, now, frame.ecn)
        elif isinstance(frame, f.ConnectionClose):
            p.ending.on_close(frame, now)

    def handle(self, frame: f.Frame, path: "Path", datagrams: Datagrams, now: float) -> None:
        """Route a frame of a packet of `path`, which came in `datagrams`. Raises PeerError."""
        handler = self._TABLE.get(type(frame))
        if handler is not None:
            handler(self, frame, path, datagrams, now)
        else:
            self._p.mp.handle(frame, path, datagrams, now)

    def _on_ack(self, frame: f.Ack, path: "Path", _datagrams: Datagrams, now: float) -> None:
        self.on_ack(frame, path, now)

    def on_ack(self, frame: f.Ack, came_on: "Path", now: float) -> None:
        """Take an ACK of 1-RTT packets that came on a path. Raises PeerError."""
        p = self._p
        if frame.path_id == came_on.path_id and p.paths.ids.enabled:
            self._settle(frame, came_on, now)
            return
        kind = frame.TYPES[0] if frame.path_id is None else frame.TYPES[2]
        path = p.paths.for_ack(frame.path_id, kind)
        if path is not None:  # else one that is gone
            self._settle(frame, path, now)

    def _settle(self, frame: f.Ack, path: "Path", now: float) -> None:
        p = self._p
        assert p.peer_params is not None
        assert p.keys is not None
        delay = (frame.delay << p.peer_params.ack_delay_exponent) / 1e6
        path.recovery.on_ack(frame.ranges, delay, now, frame.ecn)
        p.keys.on_acked(path.path_id, frame.ranges[0][1])

    def _on_crypto(self, frame: f.Crypto, _path: "Path", _datagrams: Datagrams, now: float) -> None:
        self._p.establish.on_crypto(f.ONE_RTT, frame.offset, frame.data, now)

    def _on_close(
        self, frame: f.ConnectionClose, _path: "Path", _datagrams: Datagrams, now: float
    ) -> None:
        self._p.ending.on_close(frame, now)

    def _on_new_token(self, frame: f.NewToken, *_: object) -> None:
        if not self._p.is_client:
            raise PeerError(PROTOCOL_VIOLATION, "NEW_TOKEN from a client", frame.TYPES[0])
        if self._p.on_new_token is not None:
            self._p.on_new_token(frame.token)

    def _on_immediate_ack(
        self, _frame: f.Frame, _path: "Path", _datagrams: Datagrams, now: float
    ) -> None:
        for path in self._p.paths.all():
            path.acks.want_ack(now)

    def _on_ack_frequency(self, frame: f.AckFrequency, *_: object) -> None:
        control = self._p.mp.ack_frequency
        if control.on_frame(frame):
            for path in self._p.paths:
                control.apply(path.acks)

    def _on_done(self, _frame: f.Frame, _path: "Path", _datagrams: Datagrams, now: float) -> None:
        self._p.establish.on_handshake_done(now)

    def _on_stream(self, frame: f.Stream, *_: object) -> None:
        self._p.streams.on_stream(frame.stream_id, frame.offset, frame.data, frame.fin)

    def _on_datagram(self, frame: f.Datagram, *_: object) -> None:
        self._p.datagrams.receive(frame.data)

    def _ignore(self, *_: object) -> None:
        """Frames that only want to be acknowledged, or not even that."""

    _TABLE: ClassVar[dict[type[f.Frame], Callable[..., None]]] = {
        f.Padding: _ignore,
        f.Ping: _ignore,
        f.Ack: _on_ack,
        f.Crypto: _on_crypto,
        f.ConnectionClose: _on_close,
        f.HandshakeDone: _on_done,
        f.NewToken: _on_new_token,
        f.Stream: _on_stream,
        f.ResetStream: lambda self, frame, *_: self._p.streams.on_reset_stream(frame),
        f.StopSending: lambda self, frame, *_: self._p.streams.on_stop_sending(frame),
        f.MaxData: lambda self, frame, *_: self._p.streams.on_max_data(frame),
        f.MaxStreamData: lambda self, frame, *_: self._p.streams.on_max_stream_data(frame),
        f.MaxStreams: lambda self, frame, *_: self._p.streams.on_max_streams(frame),
        f.DataBlocked: lambda self, frame, *_: self._p.streams.on_data_blocked(frame),
        f.StreamDataBlocked: lambda self, frame, *_: self._p.streams.on_stream_data_blocked(frame),
        f.StreamsBlocked: lambda self, frame, *_: self._p.streams.on_streams_blocked(frame),
        f.Datagram: _on_datagram,
        f.ImmediateAck: _on_immediate_ack,
        f.AckFrequency: _on_ack_frequency,
    }
    """One for all connections."""
