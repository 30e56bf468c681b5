"""A connection to a remote endpoint: streams, datagrams, and what is known about it.

Names and the sync/async split are the bindings'. A Connection is a handle: when the last reference
to it and to all of its streams is gone, the connection is closed with code 0, as in Rust.
`async with conn:` closes it explicitly, which does not depend on the garbage collector.
"""

import enum
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from iroh.errors import (
    DatagramError,
    InvalidInputError,
    connection_error,
    rust_debug,
)
from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.mapped import MappedAddr, MixedAddr, RelayPathAddr
from iroh.quic import errors as quic
from iroh.quic.api import ConnectionStats, PathInfo
from iroh.quic.datagrams import Address
from iroh.streams import BiStream, RecvStream, SendStream, check_code
from iroh_base import PublicKey, RelayUrl, SocketAddr

__all__ = [
    "Closed",
    "Connection",
    "ConnectionStats",
    "PathSnapshot",
    "PathStatsRecord",
    "Side",
]


class Side(enum.Enum):
    """Who dialled."""

    CLIENT = 0
    SERVER = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStatsRecord:
    """Totals and state of one path. rtt_ms in milliseconds, the rest in bytes or counts."""

    rtt_ms: int
    udp_tx_datagrams: int
    udp_tx_bytes: int
    udp_rx_datagrams: int
    udp_rx_bytes: int
    cwnd: int
    congestion_events: int
    lost_packets: int
    lost_bytes: int
    current_mtu: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSnapshot:
    """One open path of a connection, as it was when asked.

    remote_addr: "ip:port", or the relay's URL.
    is_selected: it carries the data.
    """

    id: str
    is_selected: bool
    remote_addr: str
    is_ip: bool
    is_relay: bool
    rtt_ms: int
    stats: PathStatsRecord


class Closed(str):
    """Why a connection ended: the bindings' text, with the facts as attributes."""

    reason: quic.CloseReason

    def __new__(cls, reason: quic.CloseReason) -> Self:
        """Make the text of a close reason."""
        text = super().__new__(cls, str(reason))
        text.reason = reason
        return text

    @property
    def kind(self) -> str:
        """The variant, like "ApplicationClosed" or "TimedOut"."""
        return self.reason.kind

    @property
    def code(self) -> int | None:
        """The error code, None for endings without one."""
        return getattr(self.reason, "code", None)


def path_text(remote: Address) -> str:
    """Write the remote end of a path: "ip:port" or a relay URL."""
    if isinstance(remote, RelayPathAddr):
        return str(remote.url)
    if isinstance(remote, MappedAddr):
        return "mixed" if isinstance(remote, MixedAddr) else "unknown"
    return str(remote)


class Connection:
    """An established connection. Create it with `Endpoint.connect`, or accept an Incoming."""

    def __init__(self, driver: ConnectionDriver) -> None:
        assert driver.connection.alpn is not None
        assert driver.connection.peer is not None
        self._driver = driver
        self._quic = driver.connection
        self._alpn = driver.connection.alpn
        self._remote_id = PublicKey.from_bytes(driver.connection.peer)

    # -- facts ---------------------------------------------------------------------------------

    def alpn(self) -> bytes:
        """Return the application protocol that was agreed on."""
        return self._alpn

    def remote_id(self) -> PublicKey:
        """Return the peer's proven EndpointId."""
        return self._remote_id

    def side(self) -> Side:
        """Say whether we dialled (CLIENT) or accepted (SERVER)."""
        return Side.CLIENT if self._quic.is_client else Side.SERVER

    def stable_id(self) -> int:
        """Return a number that no other connection alive in this process has."""
        return id(self._driver)

    def stats(self) -> ConnectionStats:
        """Return totals since the start."""
        return self._quic.stats()

    def paths(self) -> list[PathSnapshot]:
        """Return the open paths; exactly one is selected."""
        return [_snapshot(path) for path in self._quic.paths()]

    def rtt(self) -> int | None:
        """Return the selected path's round trip time in milliseconds, at least 1."""
        for path in self._quic.paths():
            if path.is_selected:
                return max(1, round(path.stats.rtt * 1000))
        return None

    def relay_url(self) -> RelayUrl | None:
        """Return the relay that carries the data; None when the path is direct."""
        remote = self._driver.remote
        return remote.url if isinstance(remote, RelayPathAddr) else None

    def export_keying_material(self, length: int, label: bytes, context: bytes = b"") -> bytes:
        """Derive bytes that both ends and nobody else can compute (RFC 8446 section 7.5)."""
        return self._quic.export_keying_material(length, label, context)

    # -- streams -------------------------------------------------------------------------------

    async def open_bi(self) -> BiStream:
        """Open a bidirectional stream, waiting for the peer to allow one more.

        Nothing is sent yet: the peer accepts the stream with its first byte or its end.
        Raises ConnectionLostError. Cancelling it is harmless.
        """
        return BiStream(self, await self._open(bidirectional=True))

    async def open_uni(self) -> SendStream:
        """Open a stream that only we send on. See `open_bi`."""
        return SendStream(self, await self._open(bidirectional=False))

    async def accept_bi(self) -> BiStream:
        """Take the next bidirectional stream that the peer opened.

        Raises ConnectionLostError when the connection ends. Cancelling it loses no stream.
        """
        return BiStream(self, await self._accept(bidirectional=True))

    async def accept_uni(self) -> RecvStream:
        """Take the next stream that only the peer sends on. See `accept_bi`."""
        return RecvStream(self, await self._accept(bidirectional=False))

    async def _open(self, bidirectional: bool) -> int:
        try:
            return await self._driver.open_stream(bidirectional)
        except quic.ConnectionGone as error:
            raise connection_error(error.reason) from None

    async def _accept(self, bidirectional: bool) -> int:
        try:
            return await self._driver.accept_stream(bidirectional)
        except quic.ConnectionGone as error:
            raise connection_error(error.reason) from None

    def set_max_concurrent_bi_streams(self, count: int) -> None:
        """Let the peer hold this many bidirectional streams open at once."""
        self._set_max_streams(True, count)

    def set_max_concurrent_uni_streams(self, count: int) -> None:
        """Let the peer hold this many unidirectional streams open at once."""
        self._set_max_streams(False, count)

    def _set_max_streams(self, bidirectional: bool, count: int) -> None:
        if not 0 <= count <= 2**60:  # RFC 9000 section 4.6
            raise InvalidInputError("a stream count lies between 0 and 2**60")
        self._quic.set_max_concurrent_streams(bidirectional, count)
        self._driver.schedule()

    def set_receive_window(self, count: int) -> None:
        """Change how many bytes the peer may send ahead of our reading, over all streams."""
        if not 0 <= count < 2**62:
            raise InvalidInputError("a window lies between 0 and 2**62 - 1 bytes")
        self._quic.set_receive_window(count)
        self._driver.schedule()

    # -- datagrams -----------------------------------------------------------------------------

    def send_datagram(self, data: bytes) -> None:
        """Send unreliably; never waits, and drops the oldest queued when the buffer is full.

        Raises DatagramError: the peer takes none, it is too large, or the connection ended.
        """
        try:
            self._quic.send_datagram(data)
        except quic.DatagramTooLarge as error:
            raise DatagramError(str(error), "TooLarge") from None
        except quic.DatagramUnsupported as error:
            raise DatagramError(str(error), "UnsupportedByPeer") from None
        except quic.ConnectionGone as error:
            message = f"ConnectionLost({rust_debug(error.reason)})"
            raise DatagramError(str(error.reason), message) from None
        self._driver.schedule()

    async def send_datagram_wait(self, data: bytes) -> None:
        """Send unreliably, waiting for buffer space instead of dropping older datagrams.

        Raises as send_datagram. Cancelling it sends nothing.
        """
        while self._quic.datagram_send_buffer_space() < len(data):
            if self._driver.close_reason is not None:
                break
            self._driver.schedule()
            await self._driver.waiters.wait("sent")
        self.send_datagram(data)

    async def read_datagram(self) -> bytes:
        """Take the next datagram. Raises ConnectionLostError. Cancelling it loses none."""
        try:
            return await self._driver.read_datagram()
        except quic.ConnectionGone as error:
            raise connection_error(error.reason) from None

    def max_datagram_size(self) -> int | None:
        """Return the largest datagram that fits now; None when the peer takes none."""
        return self._quic.max_datagram_size()

    def datagram_send_buffer_space(self) -> int:
        """Return how many bytes can be queued before older datagrams would be dropped."""
        return self._quic.datagram_send_buffer_space()

    # -- the end -------------------------------------------------------------------------------

    def close(self, error_code: int = 0, reason: bytes = b"") -> None:
        """Close at once: the peer sees the code and the reason, unacknowledged data is lost.

        The reason is cut to what fits one packet. Closing again does nothing.
        """
        check_code(error_code)
        self._driver.close(error_code, reason)

    async def closed(self) -> Closed:
        """Wait for the end and say why. Cancelling it is harmless."""
        return Closed(await self._driver.wait_closed())

    def close_reason(self) -> Closed | None:
        """Say why it ended; None while it is open."""
        reason = self._driver.close_reason
        return None if reason is None else Closed(reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "open" if self._driver.close_reason is None else str(self._driver.close_reason)
        return f"<Connection to {self._remote_id.fmt_short()} over {self._alpn!r}: {state}>"

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)
        if driver is not None and driver.close_reason is None:
            driver.release(None, driver.close_dropped)


def _snapshot(path: PathInfo) -> PathSnapshot:
    remote = path.remote
    s = path.stats
    rtt_ms = max(1, round(s.rtt * 1000))
    return PathSnapshot(
        id=str(path.path_id),
        is_selected=path.is_selected,
        remote_addr=path_text(remote),
        is_ip=isinstance(remote, SocketAddr),
        is_relay=isinstance(remote, RelayPathAddr),
        rtt_ms=rtt_ms,
        stats=PathStatsRecord(
            rtt_ms=rtt_ms,
            udp_tx_datagrams=s.udp_tx_datagrams,
            udp_tx_bytes=s.udp_tx_bytes,
            udp_rx_datagrams=s.udp_rx_datagrams,
            udp_rx_bytes=s.udp_rx_bytes,
            cwnd=s.cwnd,
            congestion_events=s.congestion_events,
            lost_packets=s.lost_packets,
            lost_bytes=s.lost_bytes,
            current_mtu=s.current_mtu,
        ),
    )
