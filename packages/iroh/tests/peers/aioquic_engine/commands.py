"""The commands of a connection: streams, datagrams, and what can be asked about it.

Every command raises ConnectionGone once the connection is closing, with one exception: `read` first
gives what had arrived before, so that a peer that sends, finishes and closes is heard to the end.
"""

from abc import abstractmethod

from aioquic.buffer import UINT_VAR_MAX

from aioquic_engine.core import Core
from aioquic_engine.sending import SendHalf
from aioquic_engine.signals import Signals
from aioquic_engine.streams import Stream
from iroh.quic.api import Connection
from iroh.quic.errors import (
    ConnectionGone,
    DatagramTooLarge,
    DatagramUnsupported,
    QuicError,
    StreamGone,
    StreamStopped,
)


class ConnectionCommands(Connection):
    """The part of `AioquicConnection` that needs neither packets nor time."""

    _core: Core
    _signals: Signals

    @abstractmethod
    def _touch(self) -> None:
        """Something may want to be sent."""

    # -- streams -------------------------------------------------------------------------------

    def open_stream(self, bidirectional: bool) -> int | None:
        """Open a stream; None at the peer's limit and before the handshake is complete."""
        self._check_open()
        return self._core.open_stream(bidirectional)

    def write(self, stream_id: int, data: bytes) -> int:
        """Queue bytes up to the high-water mark. Raises StreamStopped, StreamGone."""
        self._check_open()
        stream = self._find_writable(stream_id)
        taken = self._core.write_stream(stream, data)
        self._touch()
        return taken

    def finish(self, stream_id: int) -> None:
        """Send the end of the stream. Raises StreamGone, StreamStopped."""
        self._check_open()
        self._find_writable(stream_id).sender.write(b"", end_stream=True)
        self._touch()

    def reset(self, stream_id: int, code: int) -> None:
        """Abandon the sending half. Raises StreamGone; ValueError for a code beyond 2**62 - 1."""
        self._check_open()
        check_code(code)
        sender = self._find_sender(stream_id)
        if sender.is_reset:
            raise StreamGone(f"stream {stream_id}: sending is over")
        sender.reset(code)
        self._touch()

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Streams of a higher priority are sent first. Raises StreamGone."""
        self._check_open()
        self._find_sender(stream_id)
        self._core.set_priority(self._find(stream_id), priority)

    def read(self, stream_id: int, limit: int) -> bytes | None:
        """Take bytes: b"" for none yet, None at the end. Raises StreamReset, StreamGone."""
        try:
            stream = self._find(stream_id)
            data = stream.receiver.read(limit)
        except StreamGone:
            self._check_open()
            raise
        if data:
            stream.advance_window()
        elif data is not None:
            self._check_open()
        self._touch()
        return data

    def stop(self, stream_id: int, code: int) -> None:
        """Send STOP_SENDING. Raises StreamGone; ValueError for a code beyond 2**62 - 1."""
        self._check_open()
        check_code(code)
        self._find(stream_id).receiver.stop(code)
        self._touch()

    def set_max_concurrent_streams(self, bidirectional: bool, count: int) -> None:
        """Let the peer hold this many streams open at once."""
        self._check_open()
        self._core.set_stream_count(bidirectional, count)
        self._touch()

    def set_receive_window(self, size: int) -> None:
        """Change the connection's receive window."""
        self._check_open()
        self._core.set_receive_window(size)
        self._touch()

    # -- datagrams -----------------------------------------------------------------------------

    def max_datagram_size(self) -> int | None:
        """Largest payload for send_datagram; None when the peer takes none, or not yet."""
        return self._core.max_datagram_payload()

    def datagram_send_buffer_space(self) -> int:
        """Bytes that can be queued before old ones would be dropped."""
        return self._core.datagram_room

    def send_datagram(self, data: bytes) -> None:
        """Queue a datagram. Raises DatagramUnsupported, DatagramTooLarge."""
        self._check_open()
        limit = self._core.max_datagram_payload()
        if limit is None:
            raise DatagramUnsupported("datagrams not supported by peer")
        if len(data) > limit:
            raise DatagramTooLarge("datagram too large")
        self._core.queue_datagram(bytes(data))
        self._touch()

    # -- the connection ------------------------------------------------------------------------

    def ping(self) -> None:
        """Make the peer answer soon."""
        self._check_open()
        self._core.request_ping()
        self._touch()

    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Derive exporter bytes. Raises QuicError before Connected, ValueError for the length."""
        if not self._core.is_established:
            raise QuicError("keying material can be exported once the handshake is complete")
        return self._core.export(length, label, context)

    # -- inside --------------------------------------------------------------------------------

    def _check_open(self) -> None:
        reason = self._signals.reason
        if reason is not None:
            raise ConnectionGone(reason)

    def _find(self, stream_id: int) -> Stream:
        stream = self._core.find_stream(stream_id)
        if stream is None:
            raise StreamGone(f"stream {stream_id} is not known, or over")
        return stream

    def _find_sender(self, stream_id: int) -> SendHalf:
        sender = self._find(stream_id).sender
        if sender.is_finished:
            raise StreamGone(f"stream {stream_id}: sending is over")
        return sender

    def _find_writable(self, stream_id: int) -> Stream:
        code = self._core.stopped_code(stream_id)
        if code is not None:
            raise StreamStopped(code)
        stream = self._find(stream_id)
        if not stream.sender.is_open:
            raise StreamGone(f"stream {stream_id}: sending is over")
        return stream


def check_code(code: int) -> None:
    """Raise ValueError for what is no varint (RFC 9000 section 16)."""
    if not 0 <= code <= UINT_VAR_MAX:
        raise ValueError("an error code has 62 bits")
