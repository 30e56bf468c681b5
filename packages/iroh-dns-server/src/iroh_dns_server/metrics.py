"""What the server counts, with the names of the Rust server (`iroh-dns-server/src/metrics.rs`).

Plain integers in slots that only the event loop touches; the store's numbers are added when a
write is answered. `metrics_page` shows them to Prometheus.
"""

from typing import Final

__all__ = ["GAUGES", "METRICS_GROUP", "Metrics"]

METRICS_GROUP: Final = "dns_server"
"""Prefix of every name in a metrics text."""
GAUGES: Final = frozenset({"cache_zones", "cache_zones_dht"})
"""What may go down again; everything else only ever grows."""


class Metrics:
    """What the server has done since it was started."""

    HELP: Final = {
        "pkarr_publish_update": "PUTs that changed what is stored.",
        "pkarr_publish_noop": "Valid PUTs that lost against a newer stored packet.",
        "dns_requests": "DNS requests over all transports that were answered.",
        "dns_requests_udp": "DNS requests over UDP that were answered.",
        "dns_requests_https": "DNS requests over HTTPS that were answered.",
        "dns_lookup_success": "Answers with at least one record.",
        "dns_lookup_notfound": "NXDOMAIN, and NOERROR without a record.",
        "dns_lookup_error": "Answers with any other response code.",
        "http_requests": "HTTP requests to a known route.",
        "http_requests_success": "HTTP requests answered with a 2xx status.",
        "http_requests_error": "HTTP requests answered with another status.",
        "http_requests_duration_ms": "Sum of the time spent on HTTP requests, in milliseconds.",
        "store_packets_inserted": "Packets stored for a key that had none.",
        "store_packets_removed": "Packets removed by request; always 0, as upstream.",
        "store_packets_updated": "Packets that replaced an older one.",
        "store_packets_expired": "Packets removed because of their age.",
        "cache_zones": "Decoded zones in memory.",
        "cache_zones_dht": "Packets from the mainline DHT in memory.",
        # Ours:
        "dns_requests_tcp": "DNS requests over TCP that were answered.",
        "dns_dropped": "Requests that deserve no answer: too short, a response, port 0.",
        "dns_malformed": "DNS requests answered with FORMERR.",
        "dns_truncated": "UDP answers cut to TC because they were too large for the asker.",
        "dns_overload": "Datagrams dropped because too many lookups were under way.",
        "dns_tcp_connections": "TCP connections accepted.",
        "dns_tcp_refused": "TCP connections closed at once because a connection limit was reached.",
        "http_connections_refused": "HTTP connections closed at once because a limit was reached.",
        "http2_connections": "HTTP/2 connections accepted.",
        "http2_refused": "HTTP/2 connections ended because they broke the protocol or a limit.",
        "http_rate_limited": "PUTs answered with 429.",
        "store_errors": "Reads and writes that the packet store failed to do.",
    }
    """Every metric and its help text, in the order of output."""

    __slots__ = tuple(HELP)

    pkarr_publish_update: int
    pkarr_publish_noop: int
    dns_requests: int
    dns_requests_udp: int
    dns_requests_https: int
    dns_lookup_success: int
    dns_lookup_notfound: int
    dns_lookup_error: int
    http_requests: int
    http_requests_success: int
    http_requests_error: int
    http_requests_duration_ms: int
    store_packets_inserted: int
    store_packets_removed: int
    store_packets_updated: int
    store_packets_expired: int
    cache_zones: int
    cache_zones_dht: int
    dns_requests_tcp: int
    dns_dropped: int
    dns_malformed: int
    dns_truncated: int
    dns_overload: int
    dns_tcp_connections: int
    dns_tcp_refused: int
    http_connections_refused: int
    http2_connections: int
    http2_refused: int
    http_rate_limited: int
    store_errors: int

    def __init__(self) -> None:
        for name in self.HELP:
            setattr(self, name, 0)

    def as_dict(self) -> dict[str, int]:
        """All values now, by name."""
        return {name: getattr(self, name) for name in self.HELP}
