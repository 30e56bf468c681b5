"""Transport settings. Defaults are iroh's own (iroh `endpoint/quic.rs`, noq `TransportConfig`)."""

from dataclasses import dataclass

MIN_MTU = 1200
"""What every QUIC path carries (RFC 9000 section 14)."""
MAX_MTU = 16_384
"""The largest MTU that may be looked for: lengths of packets and frames have two bytes here."""
CONTROLLERS = ("cubic", "newreno")


@dataclass(frozen=True, slots=True, kw_only=True)
class AckFrequencyConfig:
    """What a peer is asked for when it knows ACK_FREQUENCY (noq `AckFrequencyConfig`)."""

    ack_eliciting_threshold: int = 9
    """Packets that may wait for an ACK; one more sets it off."""
    max_ack_delay: float | None = None
    """Seconds that they may wait; None: what the peer does by itself."""
    reordering_threshold: int = 2
    """An ACK is due at once when a packet is missing behind which so many came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """How connections of an endpoint behave. Times are seconds, windows are bytes.

    Raises ValueError for a setting that cannot be.
    """

    max_idle_timeout: float = 30.0
    """Give up after this long without a word from the peer (noq max_idle_timeout)."""
    keep_alive_interval: float | None = 5.0
    """Ping after this long without traffic; None never (iroh HEARTBEAT_INTERVAL)."""
    max_concurrent_bidi_streams: int = 100
    """Bidirectional streams that a peer may hold open at once, beside as many whose answer is
    finished and only has to be sent and acknowledged."""
    max_concurrent_uni_streams: int = 100
    """Unidirectional streams that a peer may hold open at once."""
    stream_receive_window: int = 1_250_000
    """What a peer may send on one stream ahead of our reading (noq STREAM_RWND)."""
    receive_window: int = 2**62 - 1
    """The same for all streams together (noq: unlimited)."""
    send_window: int = 10_000_000
    """Unacknowledged bytes held for all streams together; `write` takes no more (noq)."""
    datagram_receive_buffer_size: int = 1_250_000
    """Bytes of received datagrams that wait to be read; 0 takes none."""
    datagram_send_buffer_size: int = 1_048_576
    """Bytes of datagrams that wait to be sent; the oldest are dropped above it."""
    initial_rtt: float = 0.333
    """The guess before the first sample (RFC 9002 section 6.2.2)."""
    congestion: str = "cubic"
    """The congestion controller of each path: "cubic" (RFC 9438) or "newreno" (RFC 9002)."""
    initial_mtu: int = MIN_MTU
    """UDP payload sent before anything larger is known to pass (noq initial_mtu)."""
    mtu_upper_bound: int = 1452
    """Up to where MTU discovery looks, and what we receive; `initial_mtu` switches it off (noq)."""
    allow_spin: bool = True
    """Show observers the RTT by the spin bit, on 7 of 8 connections (RFC 9000 section 17.4)."""
    ack_frequency: AckFrequencyConfig | None = None
    """What to ask of peers that know ACK_FREQUENCY; None leaves it to them (noq, iroh: None)."""
    new_tokens: int = 0
    """NEW_TOKENs a server gives to a client, to skip a later Retry (noq `sent`; iroh: 0)."""
    post_quantum: bool = False
    """Prefer X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) for the keys, where the peer has it too.

    ValueError when `cryptography` has no ML-KEM. The ClientHello then takes two datagrams.
    """

    def __post_init__(self) -> None:
        if self.congestion not in CONTROLLERS:
            raise ValueError(f"congestion is one of {', '.join(CONTROLLERS)}")
        if not MIN_MTU <= self.initial_mtu <= self.mtu_upper_bound <= MAX_MTU:
            raise ValueError(f"MTUs lie in {MIN_MTU}..{MAX_MTU}, the first below the bound")
        if not 0 <= self.new_tokens <= MAX_NEW_TOKENS:
            raise ValueError(f"new_tokens is one of 0..{MAX_NEW_TOKENS}")
        if self.post_quantum:
            from iroh.quic.tls.groups import has_hybrid  # late: TLS knows this class

            if not has_hybrid():
                raise ValueError("post_quantum: this cryptography has no ML-KEM-768")


MAX_NEW_TOKENS = 8
"""More of them one client has no use for."""
