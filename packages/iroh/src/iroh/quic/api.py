"""The seam: what a QUIC engine looks like from above.

Everything above `iroh.quic` knows these types and nothing of the engine behind them. An engine is
sans-IO: it opens no socket, reads no clock, starts no task. Five verbs move it:

    receive(datagrams, now)   packets in
    transmit(now)             packets out, all that may leave now
    next_timeout()            when handle_timeout wants to be called, in the clock of `now`
    handle_timeout(now)       loss detection, idle, keep-alive, close
    events()                  what happened, for the application

After any call to a verb or a command: drain events(), send transmit(now), re-arm next_timeout().
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh.quic.errors import CloseReason
from iroh.quic.events import Event

if TYPE_CHECKING:
    from iroh.quic.path_commands import PathCommands
    from iroh.quic.tls.web_trust import WebTrust

Rng = Callable[[int], bytes]
"""n -> n unpredictable bytes; injected, so that tests can repeat a run."""


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Totals of one connection since its start, paths that are gone included."""

    udp_tx_datagrams: int = 0
    """UDP datagrams sent, those that were lost on the way too."""
    udp_tx_bytes: int = 0
    """Bytes of UDP payload sent: headers, tags, padding, ACKs and what was sent again count."""
    udp_rx_datagrams: int = 0
    """UDP datagrams received that held a packet of this connection."""
    udp_rx_bytes: int = 0
    """Bytes of UDP payload received in them."""
    lost_packets: int = 0
    """Packets declared lost (RFC 9002 section 6.1), MTU probes among them; a few may be late."""
    lost_bytes: int = 0
    """Bytes of those packets, as they were on the wire."""


@dataclass(frozen=True, slots=True)
class PathStats(ConnectionStats):
    """Totals and present state of one path."""

    rtt: float = 0.0
    """Smoothed round-trip time, seconds (RFC 9002 section 5.3); a guess before the first sample."""
    cwnd: int = 0
    """Congestion window: bytes that may be in flight."""
    congestion_events: int = 0
    """How often the window was cut, for losses or ECN marks: at most once per round trip."""
    current_mtu: int = 1200
    """The largest UDP payload known to pass, bytes."""


@dataclass(frozen=True, slots=True)
class PathInfo:
    """One path of a connection."""

    path_id: int
    remote: Address
    is_selected: bool
    stats: PathStats
    local: Address | None = None
    """Our own address on it, None while unknown."""


class Connection(ABC):
    """One QUIC connection. Commands raise ConnectionGone once it is closing."""

    is_client: bool
    alpn: bytes | None
    """The settled ALPN; None before HandshakeDataReady."""
    peer: bytes | None
    """The peer's proven Ed25519 key; None before Connected, b"" of a server dialled by name."""
    close_reason: CloseReason | None
    is_early: bool = False
    """The handshake goes on, and 0-RTT data may be sent (client), or is taken (server)."""
    early_data_accepted: bool | None = None
    """Whether the server took 0-RTT; None when none was offered or that is not known yet. Of
    rejected data, what was written to streams is sent again after the handshake; datagrams are
    lost."""
    path_commands: "PathCommands | None" = None
    """Opening, closing and choosing paths; None in an engine of one path."""

    # -- the five verbs ------------------------------------------------------------------------

    @abstractmethod
    def receive(self, datagrams: Datagrams, now: float) -> None:
        """Take datagrams of this connection. What does not authenticate is dropped and counted."""

    @abstractmethod
    def transmit(self, now: float) -> list[Datagrams]:
        """Give all that may be sent now; an empty list when nothing may."""

    def is_pressing(self, now: float) -> bool:
        """Whether something should leave before the application has its turn: data, a due ACK."""
        return True

    @abstractmethod
    def next_timeout(self) -> float | None:
        """Give the time at which handle_timeout is due, None for never."""

    @abstractmethod
    def handle_timeout(self, now: float) -> None:
        """Do what time demands. Calling it early is harmless."""

    @abstractmethod
    def events(self) -> list[Event]:
        """Give and forget what happened since the last call."""

    # -- streams -------------------------------------------------------------------------------

    @abstractmethod
    def open_stream(self, bidirectional: bool) -> int | None:
        """Open a stream; None when the peer's limit is reached (StreamsAvailable follows)."""

    @abstractmethod
    def write(self, stream_id: int, data: bytes) -> int:
        """Queue bytes, and say how many were taken: fewer, or 0, at the high-water mark.

        StreamWritable follows when there is room. Raises StreamStopped, StreamGone.
        """

    @abstractmethod
    def finish(self, stream_id: int) -> None:
        """Send the end of the stream behind what was written. Raises StreamGone, StreamStopped."""

    @abstractmethod
    def reset(self, stream_id: int, code: int) -> None:
        """Abandon the sending half: what was not acknowledged may be lost. Raises StreamGone."""

    @abstractmethod
    def set_priority(self, stream_id: int, priority: int) -> None:
        """Streams of a higher priority are sent first; the default is 0. Raises StreamGone."""

    @abstractmethod
    def read(self, stream_id: int, limit: int) -> bytes | None:
        """Take up to `limit` bytes in order: b"" when there are none yet, None at the end.

        Raises StreamReset once the peer reset it, StreamGone when it is unknown, stopped, or its
        end was already given.
        """

    def take(self, stream_id: int, limit: int) -> tuple[bytes, bool, bool]:
        """Read, and have the end told with the last bytes: (bytes, end, credit). Raises as `read`.

        end: there is nothing more to read, as None of `read` says. credit: reading made room that
        the peer should hear of: transmit soon.
        """
        data = self.read(stream_id, limit)
        return data or b"", data is None, True

    @abstractmethod
    def stop(self, stream_id: int, code: int) -> None:
        """Send STOP_SENDING and forget what arrives. Raises StreamGone."""

    @abstractmethod
    def set_max_concurrent_streams(self, bidirectional: bool, count: int) -> None:
        """Let the peer hold this many streams open at once (never takes back what was granted)."""

    @abstractmethod
    def set_receive_window(self, size: int) -> None:
        """Change the connection's receive window, bytes (never takes back what was granted)."""

    # -- datagrams -----------------------------------------------------------------------------

    @abstractmethod
    def max_datagram_size(self) -> int | None:
        """Largest payload for send_datagram now; None when the peer takes none."""

    @abstractmethod
    def datagram_send_buffer_space(self) -> int:
        """Bytes that can be queued before old ones would be dropped."""

    @abstractmethod
    def send_datagram(self, data: bytes) -> None:
        """Queue one; drops the oldest queued when full. Raises Datagram{Unsupported,TooLarge}."""

    # -- the connection ------------------------------------------------------------------------

    @abstractmethod
    def close(self, code: int, reason: bytes, now: float) -> None:
        """Close with an application code (< 2**62) and reason. Later calls do nothing."""

    @abstractmethod
    def ping(self) -> None:
        """Make the peer answer soon: shows a path is alive after the network changed."""

    @abstractmethod
    def stats(self) -> ConnectionStats:
        """Totals since the start."""

    @abstractmethod
    def paths(self) -> list[PathInfo]:
        """The open paths."""

    @abstractmethod
    def path_stats(self, path_id: int) -> PathStats | None:
        """Totals of a path, open, given up or of a closed connection; None once it is forgotten."""

    @abstractmethod
    def export_keying_material(self, length: int, label: bytes, context: bytes) -> bytes:
        """Bytes both ends can derive and nobody else (RFC 8446 section 7.5)."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How incoming connections are answered. alpns in order of preference."""

    alpns: Sequence[bytes]
    transport: TransportConfig = field(default_factory=TransportConfig)


class Incoming(ABC):
    """A connection attempt that nobody decided on yet. Exactly one of the four verbs ends it."""

    remote: Address
    local: Address | None
    remote_validated: bool
    """True when the address answered a Retry."""

    @abstractmethod
    def accept(self, config: ServerConfig, now: float) -> Connection:
        """Start the server side of the handshake. Its packets are answered on `remote`."""

    @abstractmethod
    def refuse(self, now: float) -> None:
        """Answer CONNECTION_REFUSED."""

    @abstractmethod
    def retry(self, now: float) -> None:
        """Ask the peer to prove its address (RFC 9000 8.1.2). ValueError when it already has."""

    @abstractmethod
    def ignore(self) -> None:
        """Forget it without an answer."""

    def offered_alpns(self) -> list[bytes] | None:
        """Read which ALPNs it offers; None when that cannot be told yet."""
        return None


class WebServer(NamedTuple):
    """A server that is known by name: a host name or an IP address, and who vouches for it."""

    name: str
    trust: "WebTrust"


@dataclass(slots=True)
class Received:
    """What one call of `QuicEndpoint.receive` touched.

    connections: those that took packets, each once: drain, transmit and re-arm them.
    incoming: new attempts.
    """

    connections: list[Connection]
    incoming: list[Incoming]


class QuicEndpoint(ABC):
    """The state that connections share: who owns which connection id, tickets, reset keys.

    Counted drops are in `dropped`: reason -> datagrams.
    """

    dropped: dict[str, int]

    @abstractmethod
    def connect(
        self,
        remote: Address,
        peer: bytes,
        alpns: Sequence[bytes],
        now: float,
        transport: TransportConfig | None = None,
        early_data: bool = False,
    ) -> Connection:
        """Start a handshake with the holder of the Ed25519 key `peer`.

        early_data: use 0-RTT when an earlier connection left a ticket (see Connection.is_early).
        Streams and datagrams may then be used at once. Who records such packets can send them to
        the server again, so they should ask for nothing that may not happen twice; a server
        that remembers its tickets, as ours does, reads them once.

        The server may answer from any address until the handshake is confirmed (iroh's
        `server_handshake_migration`): `remote` may stand for several.
        """

    def connect_web(
        self,
        remote: Address,
        server: WebServer,
        alpns: Sequence[bytes],
        now: float,
        transport: TransportConfig,
    ) -> Connection:
        """Start a handshake with a server that has an X.509 certificate, to learn our address.

        We show no certificate, and ask to be told how our address looks from there
        (ObservedAddressChanged); multipath and NAT traversal stay off. Not every engine can.
        """
        raise NotImplementedError("this engine dials public keys only")

    @abstractmethod
    def receive(self, batches: Sequence[Datagrams], now: float) -> Received:
        """Sort datagrams by connection id and feed them to their connections."""

    @abstractmethod
    def transmit(self) -> list[Datagrams]:
        """Give packets of no connection: Retry, version negotiation, stateless reset, refusals."""

    @abstractmethod
    def set_accepting(self, accepting: bool) -> None:
        """False refuses new attempts at once (an endpoint without ALPNs, or closing)."""

    @abstractmethod
    def forget(self, connection: Connection) -> None:
        """Drop a connection and its ids, after Drained."""
