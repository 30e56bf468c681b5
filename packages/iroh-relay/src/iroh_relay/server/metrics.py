"""What a relay counts, under the names of the Rust relay.

Plain integers in slots: a count costs one addition, nothing is shared between two servers, and
whoever wants a format (Prometheus, a log line, a test) takes `as_dict()`.

Source of the names: iroh-relay `server/metrics.rs` (group `relayserver`). Where ours say more:
`other_packets_*` and `unknown_frames` exist upstream but are never counted there, and the
counters of the last group do not exist upstream at all.
"""

from typing import Final

__all__ = ["METRICS_GROUP", "RelayMetrics"]

METRICS_GROUP: Final = "relayserver"
"""Prefix of every name in a metrics text."""


class RelayMetrics:
    """The counters of one relay server; every one only ever grows. Units are in the help texts."""

    HELP: Final = {
        "bytes_sent": "Number of bytes sent.",
        "bytes_recv": "Number of bytes received.",
        "send_packets_sent": "Number of 'send' packets relayed.",
        "send_packets_recv": "Number of 'send' packets received.",
        "send_packets_dropped": "Number of 'send' packets dropped.",
        "other_packets_sent": "Number of packets sent that were not 'send' packets",
        "other_packets_recv": "Number of packets received that were not 'send' packets",
        "other_packets_dropped": "Number of times, non-send packet was dropped.",
        "got_ping": "Number of times the server has received a Ping from a client.",
        "sent_pong": "Number of times the server has sent a Pong to a client.",
        "unknown_frames": "Number of unknown frames sent to this server.",
        "bytes_rx_ratelimited_total": "Number of bytes read from clients while rate-limited.",
        "conns_rx_ratelimited_total": "Number of connections that were ever rate-limited.",
        "accepts": "Number of client connections accepted.",
        "disconnects": "Number of clients that have then disconnected.",
        "unique_client_keys": "Number of unique client keys per day.",
        "clients_inactive_added": "Number of connections displaced by a newer one of the same id.",
        "clients_inactive_removed": "Number of displaced connections that ended or came back.",
        "qad_incoming": "Number of incoming QAD connections.",
        "qad_incoming_error": "Number of QAD connections that failed in the handshake.",
        "qad_connections": "Number of accepted QAD connections.",
        "qad_connections_closed": "Number of QAD connections that ended.",
        "qad_connections_errored": "Number of QAD connections that ended with an error.",
        "http_connections": "Number of accepted HTTP(S) connections.",
        "http_connections_closed": "Number of terminated HTTP(S) connections.",
        "http_connections_errored": "Number of HTTP(S) connections that ended with an error.",
        # Ours:
        "send_packets_dropped_full": "Number of packets dropped at a full queue of the recipient.",
        "send_packets_dropped_invalid": "Number of packets refused: empty or too large.",
        "handshakes_errored": "Number of upgraded connections whose handshake failed.",
        "handshakes_timed_out": "Number of upgraded connections that stayed silent.",
        "handshakes_by_key_material": "Number of clients that needed no challenge, thanks to TLS.",
        "handshakes_denied": "Number of clients that access control refused.",
        "write_timeouts": "Number of clients dropped because they did not take what was sent.",
        "ping_timeouts": "Number of clients dropped because they did not answer a ping.",
        "http_connections_refused": "Number of connections dropped by the limit of new ones.",
        "inactive_evicted": "Number of displaced connections closed because there were too many.",
    }
    """Every counter and its help text, in the order of output."""

    __slots__ = tuple(HELP)

    bytes_sent: int
    bytes_recv: int
    send_packets_sent: int
    send_packets_recv: int
    send_packets_dropped: int
    other_packets_sent: int
    other_packets_recv: int
    other_packets_dropped: int
    got_ping: int
    sent_pong: int
    unknown_frames: int
    bytes_rx_ratelimited_total: int
    conns_rx_ratelimited_total: int
    accepts: int
    disconnects: int
    unique_client_keys: int
    clients_inactive_added: int
    clients_inactive_removed: int
    qad_incoming: int
    qad_incoming_error: int
    qad_connections: int
    qad_connections_closed: int
    qad_connections_errored: int
    http_connections: int
    http_connections_closed: int
    http_connections_errored: int
    send_packets_dropped_full: int
    send_packets_dropped_invalid: int
    handshakes_errored: int
    handshakes_timed_out: int
    handshakes_by_key_material: int
    handshakes_denied: int
    write_timeouts: int
    ping_timeouts: int
    http_connections_refused: int
    inactive_evicted: int

    def __init__(self) -> None:
        for name in self.HELP:
            setattr(self, name, 0)

    def as_dict(self) -> dict[str, int]:
        """All counters now, by name."""
        return {name: getattr(self, name) for name in self.HELP}
