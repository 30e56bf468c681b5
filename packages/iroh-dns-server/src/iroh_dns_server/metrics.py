"""Counters of the server, with the names of the Rust server (`iroh-dns-server/src/metrics.rs`).

An exporter adds the prefix `dns_server_` and, for counters, the suffix `_total`. The counters are
plain integers that only the event loop touches; the store's numbers are added when a write is
answered. The group at the end has no counterpart in the Rust server.
"""

import dataclasses

__all__ = ["Metrics"]


@dataclasses.dataclass(slots=True)
class Metrics:
    """What the server has done since it was started; every field counts up but the gauge."""

    pkarr_publish_update: int = 0
    """PUTs that changed what is stored."""
    pkarr_publish_noop: int = 0
    """Valid PUTs that lost against a newer stored packet."""
    dns_requests: int = 0
    """DNS requests over all transports that were answered."""
    dns_requests_udp: int = 0
    """DNS requests over UDP that were answered."""
    dns_requests_https: int = 0
    """DNS requests over HTTPS; 0 until this server speaks DoH."""
    dns_lookup_success: int = 0
    """Answers with at least one record."""
    dns_lookup_notfound: int = 0
    """NXDOMAIN, and NOERROR without a record."""
    dns_lookup_error: int = 0
    """Answers with any other response code."""
    http_requests: int = 0
    """HTTP requests to a known route."""
    http_requests_success: int = 0
    """HTTP requests answered with a 2xx status."""
    http_requests_error: int = 0
    """HTTP requests answered with another status."""
    http_requests_duration_ms: int = 0
    """Sum of the time spent on HTTP requests, in whole milliseconds per request."""
    store_packets_inserted: int = 0
    """Packets stored for a key that had none."""
    store_packets_removed: int = 0
    """Packets removed by request; always 0, as upstream."""
    store_packets_updated: int = 0
    """Packets that replaced an older one."""
    store_packets_expired: int = 0
    """Packets removed because of their age."""
    cache_zones: int = 0
    """Gauge: decoded zones in memory."""
    cache_zones_dht: int = 0
    """Gauge: zones from the mainline DHT; always 0 in this version."""

    dns_requests_tcp: int = 0
    """DNS requests over TCP that were answered."""
    dns_dropped: int = 0
    """Datagrams and TCP messages that deserve no answer: too short, a response, port 0."""
    dns_malformed: int = 0
    """DNS requests answered with FORMERR."""
    dns_truncated: int = 0
    """UDP answers cut to TC because they were too large for the asker."""
    dns_overload: int = 0
    """Datagrams dropped because too many lookups were under way."""
    dns_tcp_connections: int = 0
    """TCP connections accepted."""
    dns_tcp_refused: int = 0
    """TCP connections closed at once because a connection limit was reached."""
    http_connections_refused: int = 0
    """HTTP connections closed at once because the connection limit was reached."""
    http_rate_limited: int = 0
    """PUTs answered with 429."""
    store_errors: int = 0
    """Reads and writes that the packet store failed to do."""

    def as_dict(self) -> dict[str, int]:
        """All values by name, in the order of their declaration."""
        return dataclasses.asdict(self)
