"""Transport settings. Defaults are iroh's own (iroh `endpoint/quic.rs`, noq `TransportConfig`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """How connections of an endpoint behave. Times are seconds, windows are bytes."""

    max_idle_timeout: float = 30.0
    """Give up after this long without a word from the peer (noq max_idle_timeout)."""
    keep_alive_interval: float | None = 5.0
    """Ping after this long without traffic; None never (iroh HEARTBEAT_INTERVAL)."""
    max_concurrent_bidi_streams: int = 100
    max_concurrent_uni_streams: int = 100
    stream_receive_window: int = 1_250_000
    """What a peer may send on one stream ahead of our reading (noq STREAM_RWND)."""
    receive_window: int = 2**62 - 1
    """The same for all streams together (noq: unlimited)."""
    send_window: int = 10_000_000
    """Unacknowledged bytes held for all streams together; `write` takes no more (noq)."""
    datagram_receive_buffer_size: int = 1_250_000
    datagram_send_buffer_size: int = 1_048_576
    initial_rtt: float = 0.333
