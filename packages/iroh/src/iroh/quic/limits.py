"""What strangers may cost an endpoint."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What strangers may cost.

    half_open_soft: from here on a Retry comes first. half_open_hard: from here on attempts are
    dropped. waiting_bytes: datagrams held for all attempts that wait for a decision.

    The soft limit is what a flood gets done before it has to prove its addresses: a quarter of a
    second of handshakes, so that an honest peer is served within one. The hard limit is bounded by
    memory: about 60 kB each.
    """

    half_open_soft: int = 128
    half_open_hard: int = 2048
    waiting_bytes: int = 8 << 20
