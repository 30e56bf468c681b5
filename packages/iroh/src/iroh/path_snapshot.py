"""What a path of a connection is at one moment, in the words of the bindings and in ours."""

from dataclasses import dataclass

from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.mapped import transport_addr
from iroh.magicsock.udp import local_ip
from iroh.quic.api import PathInfo, PathStats
from iroh_base import CustomAddr, RelayUrl, SocketAddr, TransportAddr

__all__ = ["PathSnapshot", "PathStatsRecord"]

UNKNOWN = "unknown"
"""An address that nobody told us (the bindings' word)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStatsRecord:
    """Totals and state of one path, by the bindings' names."""

    rtt_ms: int
    """Smoothed round-trip time, milliseconds."""
    udp_tx_datagrams: int
    """UDP datagrams sent."""
    udp_tx_bytes: int
    """Bytes of UDP payload sent."""
    udp_rx_datagrams: int
    """UDP datagrams received."""
    udp_rx_bytes: int
    """Bytes of UDP payload received."""
    cwnd: int
    """Congestion window: bytes that may be in flight."""
    congestion_events: int
    """How often the window was cut."""
    lost_packets: int
    """Packets declared lost."""
    lost_bytes: int
    """Bytes of those packets."""
    current_mtu: int
    """The largest UDP payload known to pass, bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSnapshot:
    """One open path of a connection, as it was when asked.

    remote_addr: "ip:port", the relay's URL, or the text of the CustomAddr.
    is_selected: it carries the data.

    These are ours, the bindings do not have them:
    remote: the remote end as an address; None while a dial is on every known address.
    local_addr: our own end: the IP, the relay's URL, or the text of the CustomAddr; "unknown" where
        the system or the transport does not tell.
    is_custom: it runs over a custom transport.
    """

    id: str
    is_selected: bool
    remote_addr: str
    is_ip: bool
    is_relay: bool
    rtt_ms: int
    stats: PathStatsRecord
    remote: TransportAddr | None = None
    local_addr: str = UNKNOWN
    is_custom: bool = False


def snapshots(driver: ConnectionDriver) -> list[PathSnapshot]:
    """Return the open paths of a connection, none once it has ended."""
    if driver.inbox.close_reason is not None:
        return []
    return [_snapshot(path) for path in driver.connection.paths()]


def _snapshot(path: PathInfo) -> PathSnapshot:
    remote = transport_addr(path.remote)
    stats = stats_record(path.stats)
    return PathSnapshot(
        id=str(path.path_id),
        is_selected=path.is_selected,
        remote_addr=UNKNOWN if remote is None else str(remote),
        is_ip=isinstance(remote, SocketAddr),
        is_relay=isinstance(remote, RelayUrl),
        rtt_ms=stats.rtt_ms,
        stats=stats,
        remote=remote,
        local_addr=_local_text(path, remote),
        is_custom=isinstance(remote, CustomAddr),
    )


def _local_text(path: PathInfo, remote: TransportAddr | None) -> str:
    if isinstance(remote, RelayUrl):
        return str(remote)
    if isinstance(path.local, CustomAddr):
        return str(path.local)
    return local_ip(path.local) or UNKNOWN


def stats_record(stats: PathStats) -> PathStatsRecord:
    """Put the engine's figures in the bindings' form; a round trip takes at least 1 ms."""
    return PathStatsRecord(
        rtt_ms=max(1, round(stats.rtt * 1000)),
        udp_tx_datagrams=stats.udp_tx_datagrams,
        udp_tx_bytes=stats.udp_tx_bytes,
        udp_rx_datagrams=stats.udp_rx_datagrams,
        udp_rx_bytes=stats.udp_rx_bytes,
        cwnd=stats.cwnd,
        congestion_events=stats.congestion_events,
        lost_packets=stats.lost_packets,
        lost_bytes=stats.lost_bytes,
        current_mtu=stats.current_mtu,
    )
