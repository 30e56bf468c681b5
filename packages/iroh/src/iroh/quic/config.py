"""Transport settings. Defaults are iroh's own (iroh `endpoint/quic.rs`, noq `TransportConfig`).

Names are those of the setters of Rust's `QuicTransportConfig`, but for these:

    upstream                           here
    ack_frequency_config               ack_frequency
    mtu_discovery_config               mtu_upper_bound, mtu_interval, mtu_minimum_change and
                                       mtu_black_hole_cooldown
    congestion_controller_factory      congestion, a name: no BBR, and none of a program's own
    qlog_factory, _from_env, _path     the environment's QLOGDIR, for every connection
    a value that upstream ignores      ValueError
    or clamps, with a warning
"""

from collections.abc import Mapping
from dataclasses import dataclass

MIN_MTU = 1200
"""What every QUIC path carries (RFC 9000 section 14)."""
MAX_MTU = 16_384
"""The largest MTU that may be looked for: lengths of packets and frames have two bytes here."""
CONTROLLERS = ("cubic", "newreno")
MAX_NEW_TOKENS = 8
"""More of them one client has no use for."""
_MAX_VARINT = 2**62 - 1
_MAX_TIME = 86_400 * 365 * 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AckFrequencyConfig:
    """What a peer is asked for when it knows ACK_FREQUENCY (noq `AckFrequencyConfig`)."""

    ack_eliciting_threshold: int = 9
    """Packets that may wait for an ACK; one more sets it off."""
    max_ack_delay: float | None = None
    """Seconds that they may wait; None: what the peer does by itself."""
    reordering_threshold: int = 2
    """An ACK is due at once when a packet is missing behind which so many came; 0: never."""

    def __post_init__(self) -> None:
        _check(self, _ACK_RANGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """How connections of an endpoint behave. Times are seconds, windows are bytes.

    Raises ValueError for a setting that cannot be, and says what can; TypeError for one that is no
    number where one belongs.
    """

    max_idle_timeout: float | None = 30.0
    """Give up after this long without a word from the peer; None never, unless the peer's own
    timeout says so (noq)."""
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
    send_fairness: bool = True
    """Streams of one priority take turns; False sends each to its end before the next, in the order
    in which they were written to (noq)."""
    datagram_receive_buffer_size: int = 1_250_000
    """Bytes of received datagrams that wait to be read; 0 takes none."""
    datagram_send_buffer_size: int = 1_048_576
    """Bytes of datagrams that wait to be sent; the oldest are dropped above it."""
    initial_rtt: float = 0.333
    """The guess before the first sample (RFC 9002 section 6.2.2)."""
    congestion: str = "cubic"
    """The congestion controller of each path: "cubic" (RFC 9438) or "newreno" (RFC 9002)."""
    packet_threshold: int = 3
    """A packet is lost when so many sent after it arrived (RFC 9002 section 6.1.1; noq). At least
    3. It grows on a path that reorders, as noq's does not."""
    time_threshold: float = 9 / 8
    """Or when one sent after it arrived, and so many RTTs passed since (section 6.1.2; noq). At
    least 1."""
    persistent_congestion_threshold: int = 3
    """Probe timeouts in which everything is lost, after which the congestion window starts over
    (section 7.6.1; noq)."""
    initial_mtu: int = MIN_MTU
    """UDP payload sent before anything larger is known to pass (noq initial_mtu)."""
    min_mtu: int = MIN_MTU
    """UDP payload that the network is known to carry: `initial_mtu` is raised to it, and nothing
    makes the MTU fall below (noq). For networks of one's own."""
    mtu_upper_bound: int = 1452
    """Up to where MTU discovery looks, and what we receive; `initial_mtu` switches it off (noq)."""
    mtu_interval: float = 600.0
    """Until MTU discovery looks again (RFC 8899 section 5.1.1; noq `MtuDiscoveryConfig`)."""
    mtu_minimum_change: int = 20
    """Bytes for which MTU discovery goes on looking (noq `MtuDiscoveryConfig`)."""
    mtu_black_hole_cooldown: float = 60.0
    """Until it looks again after large datagrams stopped to pass (noq `MtuDiscoveryConfig`)."""
    pad_to_mtu: bool = False
    """Pad every 1-RTT datagram to the MTU, but for probes: observers see no lengths (noq)."""
    enable_segmentation_offload: bool = True
    """Hand many datagrams to the kernel or a relay in one piece; False: one by one (noq)."""
    crypto_buffer_size: int = 16_384
    """Bytes of the handshake that may come out of order (noq). At least 4096 (RFC 9000 7.5)."""
    allow_spin: bool = True
    """Show observers the RTT by the spin bit, on 7 of 8 connections (RFC 9000 section 17.4)."""
    max_concurrent_multipath_paths: int = 8
    """Paths that a connection may have at once (iroh MAX_MULTIPATH_PATHS). 8..64: each costs
    connection ids on both sides."""
    default_path_max_idle_timeout: float = 15.0
    """Give up a path, unless it is the last, after this long without a word on it (iroh
    PATH_MAX_IDLE_TIMEOUT). At most that; paths over relays have 30 s."""
    default_path_keep_alive_interval: float = 5.0
    """Ping a path after this long without traffic on it (iroh HEARTBEAT_INTERVAL). At most that."""
    max_remote_nat_traversal_addresses: int = 32
    """Addresses that a peer may tell us to punch holes to (iroh MAX_QNT_ADDRESSES). 8..255."""
    send_observed_address_reports: bool = False
    """Tell a peer that wants it from which address its packets come
    (draft-ietf-quic-address-discovery; noq)."""
    receive_observed_address_reports: bool = False
    """Take such reports from peers that give them (noq)."""
    ack_frequency: AckFrequencyConfig | None = None
    """What to ask of peers that know ACK_FREQUENCY; None leaves it to them (noq, iroh: None)."""
    new_tokens: int = 0
    """NEW_TOKENs a server gives to a client, to skip a later Retry (noq `sent`; iroh: 0)."""
    post_quantum: bool = False
    """Prefer X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) for the keys, where the peer has it too.

    ValueError when `cryptography` has no ML-KEM. The ClientHello then takes two datagrams.
    """

    def __post_init__(self) -> None:
        _check(self, _RANGES)
        if self.congestion not in CONTROLLERS:
            raise ValueError(f"congestion is one of {', '.join(CONTROLLERS)}")
        if not MIN_MTU <= self.initial_mtu <= self.mtu_upper_bound <= MAX_MTU:
            raise ValueError(f"MTUs lie in {MIN_MTU}..{MAX_MTU}, the first below the bound")
        if not MIN_MTU <= self.min_mtu <= self.mtu_upper_bound:
            raise ValueError(f"min_mtu lies in {MIN_MTU}..mtu_upper_bound: raise that, too")
        if self.post_quantum:
            from iroh.quic.tls.groups import has_hybrid  # late: TLS knows this class

            if not has_hybrid():
                raise ValueError("post_quantum: this cryptography has no ML-KEM-768")


_Range = tuple[float, float, str]
_ACK_RANGES: dict[str, _Range] = {
    "ack_eliciting_threshold": (0, _MAX_VARINT, ""),
    "max_ack_delay": (0.0, 16.383, "the peer takes less than 2**14 ms"),
    "reordering_threshold": (0, _MAX_VARINT, ""),
}
_RANGES: dict[str, _Range] = {
    "max_idle_timeout": (0.0, _MAX_TIME, "None, or 0, is for ever"),
    "keep_alive_interval": (0.001, _MAX_TIME, "None is never"),
    "max_concurrent_bidi_streams": (0, 2**60, "RFC 9000 section 4.6"),
    "max_concurrent_uni_streams": (0, 2**60, "RFC 9000 section 4.6"),
    "stream_receive_window": (0, _MAX_VARINT, ""),
    "receive_window": (0, _MAX_VARINT, ""),
    "send_window": (1, _MAX_VARINT, ""),
    "datagram_receive_buffer_size": (0, _MAX_VARINT, "0 takes none"),
    "datagram_send_buffer_size": (0, _MAX_VARINT, ""),
    "initial_rtt": (0.001, 60.0, "seconds"),
    "packet_threshold": (3, _MAX_VARINT, "fewer takes reordering for loss"),
    "time_threshold": (1.0, 1000.0, "less takes any delay for loss"),
    "persistent_congestion_threshold": (1, _MAX_VARINT, ""),
    "mtu_interval": (1.0, _MAX_TIME, "seconds; mtu_upper_bound=initial_mtu never looks"),
    "mtu_minimum_change": (1, MAX_MTU, "bytes"),
    "mtu_black_hole_cooldown": (0.0, _MAX_TIME, "seconds"),
    "crypto_buffer_size": (4096, _MAX_VARINT, "RFC 9000 section 7.5"),
    "max_concurrent_multipath_paths": (8, 64, "a direct path and relays need some"),
    "default_path_max_idle_timeout": (0.001, 15.0, "seconds; longer keeps dead paths"),
    "default_path_keep_alive_interval": (0.001, 5.0, "seconds; longer loses NAT mappings"),
    "max_remote_nat_traversal_addresses": (8, 255, "fewer punch no holes"),
    "new_tokens": (0, MAX_NEW_TOKENS, ""),
}
"""Of every number: the least, the most (integers where it is one), and a word for the error."""


def _check(config: object, ranges: Mapping[str, _Range]) -> None:
    """Raise TypeError or ValueError for a number that is none, or out of its range."""
    for name, (least, most, why) in ranges.items():
        value = getattr(config, name)
        if value is None and name in _MAY_BE_NONE:
            continue
        kinds = (int,) if isinstance(least, int) else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool):
            kind = "an integer" if isinstance(least, int) else "a number"
            raise TypeError(f"{name} is {kind}, not {value!r}")
        if not least <= value <= most:
            limits = f"{least} or more" if most in (_MAX_VARINT, _MAX_TIME) else f"{least}..{most}"
            raise ValueError(f"{name} is {limits}, not {value}" + (f": {why}" if why else ""))


_MAY_BE_NONE = ("max_idle_timeout", "keep_alive_interval", "max_ack_delay")
