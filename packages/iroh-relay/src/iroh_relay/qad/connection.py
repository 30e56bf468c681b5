"""aioquic's connection with address discovery in it, and with tighter bounds.

The subclass hooks into five methods of aioquic 1.7 that are not public; `test_qad_connection.py`
notices when one of them changes its meaning.
"""

import logging
from typing import Any, Final

from aioquic import tls
from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionError
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, QuicPacketType
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder

from .observed import (
    MAX_FRAME,
    SENDS,
    Address,
    canonical,
    client_receives,
    encode_address,
    encode_role,
)

__all__ = ["QadConnection"]

_logger: Any = logging.getLogger(__name__)
_logger.setLevel(logging.WARNING)

MAX_CRYPTO: Final = 16_384
"""Bytes of TLS that one client may make us hold, out of order or ahead (noq's crypto buffer);
aioquic would hold 512 KiB."""
_TLS_EPOCHS: Final = (tls.Epoch.INITIAL, tls.Epoch.HANDSHAKE, tls.Epoch.ONE_RTT)
_LATE_TLS: Final = 256
"""Bytes for TLS messages after the handshake; a server without tickets has none to send."""
MAX_REPORTS: Final = 1024
"""Reports on one connection. A client whose address changes this often is closed: every change
makes us send, to wherever it pretends to be."""


class QadConnection(QuicConnection):
    """The relay's end of one QAD connection."""

    def __init__(
        self, configuration: QuicConfiguration, original: bytes, retry_source: bytes | None
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original,
            retry_source_connection_id=retry_source,
        )
        # aioquic tells of every connection that ends at level INFO: too much for operators.
        self._logger = _logger
        self._local_max_streams_bidi.value = self._local_max_streams_uni.value = 0
        self._wanted = False
        self._reported: Address | None = None
        self._next_seq = 0

    @property
    def reports(self) -> int:
        """How many OBSERVED_ADDRESS frames were sent."""
        return self._next_seq

    def settle(self) -> None:
        """Let go of what only the handshake needed: aioquic's three TLS buffers of 16 KiB."""
        self._crypto_buffers = {epoch: Buffer(capacity=_LATE_TLS) for epoch in _TLS_EPOCHS}

    def _serialize_transport_parameters(self) -> bytes:
        return super()._serialize_transport_parameters() + encode_role(SENDS)

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        try:
            self._wanted = client_receives(data)
        except ValueError as error:
            raise QuicConnectionError(
                error_code=QuicErrorCode.TRANSPORT_PARAMETER_ERROR,
                frame_type=QuicFrameType.CRYPTO,
                reason_phrase=str(error),
            ) from error

    def _handle_crypto_frame(self, context: Any, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        if end - self._crypto_streams[context.epoch].receiver.starting_offset() > MAX_CRYPTO:
            raise QuicConnectionError(
                error_code=QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
                frame_type=frame_type,
                reason_phrase="too much crypto buffering",
            )
        super()._handle_crypto_frame(context, frame_type, buf)

    def _write_application(self, builder: QuicPacketBuilder, network_path: Any, now: float) -> None:
        crypto = self._cryptos[tls.Epoch.ONE_RTT]
        addr = canonical(network_path.addr)
        if self._wanted and addr != self._reported and crypto.send.is_valid():
            builder.start_packet(QuicPacketType.ONE_RTT, crypto)
            self._write_report(builder, addr)
        super()._write_application(builder, network_path, now)

    def _write_report(self, builder: QuicPacketBuilder, addr: Address) -> None:
        """Say what the client's address is. It travels on the path that it is about."""
        kind, rest = encode_address(self._next_seq, addr)
        buf = builder.start_frame(kind, MAX_FRAME, self._on_report_delivery, (addr,))
        buf.push_bytes(rest)
        self._reported = addr
        self._next_seq += 1
        if self._next_seq >= MAX_REPORTS:
            self.close(QuicErrorCode.INTERNAL_ERROR, reason_phrase="too many changes of address")

    def _on_report_delivery(self, delivery: QuicDeliveryState, addr: Address) -> None:
        if delivery != QuicDeliveryState.ACKED and addr == self._reported:
            self._reported = None  # lost: once more
