"""What strangers may cost an endpoint."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What strangers may cost.

    half_open_soft: from here on a Retry comes first. half_open_hard: from here on attempts are
    dropped. waiting_bytes: datagrams held for all attempts that wait for a decision.
    """

    half_open_soft: int = 1024
    half_open_hard: int = 4096
    waiting_bytes: int = 8 << 20
