"""Which of the open paths to a remote carries the data (iroh `PathSelector` and its default).

    kind of address   tier      bias
    ---------------   -------   --------------------------------------------------
    IPv4              PRIMARY   0
    IPv6              PRIMARY   3 ms better than measured (IPV6_RTT_ADVANTAGE)
    relay             BACKUP    0
    custom            PRIMARY   0

The smallest (tier, RTT + bias) is best. A path of another tier than the present one's is switched
to at once, both ways; one of the same tier only when it is at least 5 ms better
(RTT_SWITCHING_MIN), so that jitter moves nothing. One choice holds for all connections to a remote.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from iroh_base import CustomAddr, RelayUrl, TransportAddr

IPV6_RTT_ADVANTAGE = 0.003
"""Seconds that IPv6 is taken to be better (iroh)."""
RTT_SWITCHING_MIN = 0.005
"""Seconds that another path of the same tier must be better by (iroh)."""


class Way(NamedTuple):
    """What a path runs over. local: our own address on it, opaque, None while unknown."""

    remote: TransportAddr
    local: object | None = None

    def is_same(self, other: "Way") -> bool:
        """Say whether it is the same way; an unknown local address is taken for the same one."""
        if self.remote != other.remote:
            return False
        return self.local is None or other.local is None or self.local == other.local


class PathCandidate(NamedTuple):
    """A path that may be chosen. rtt: smoothed, seconds."""

    way: Way
    rtt: float


@dataclass(frozen=True, slots=True)
class PathSelectionContext:
    """What a selector chooses from.

    current: the path in use, None at first. It may be gone from `paths`.
    paths: the open paths of all connections to the remote; one way may be there several times.
    """

    current: Way | None
    paths: Sequence[PathCandidate]


class PathSelector(ABC):
    """Chooses the path of a remote. Called whenever paths come or go; must not block."""

    @abstractmethod
    def select(self, context: PathSelectionContext) -> Way | None:
        """Return the way to use from now on, one of those in `context`; None keeps what is."""


class Tier(IntEnum):
    """PRIMARY is used whenever there is one, BACKUP only where there is nothing else."""

    PRIMARY = 0
    BACKUP = 1


@dataclass(frozen=True, slots=True)
class TransportBias:
    """How a kind of address is judged. rtt_bias: seconds added to the RTT; negative is better."""

    tier: Tier = Tier.PRIMARY
    rtt_bias: float = 0.0


class AddrKind(IntEnum):
    """What biases are kept by."""

    IPV4 = 0
    IPV6 = 1
    RELAY = 2
    CUSTOM = 3


DEFAULT_BIASES: Mapping[AddrKind, TransportBias] = {
    AddrKind.IPV4: TransportBias(),
    AddrKind.IPV6: TransportBias(rtt_bias=-IPV6_RTT_ADVANTAGE),
    AddrKind.RELAY: TransportBias(Tier.BACKUP),
    AddrKind.CUSTOM: TransportBias(),
}


def addr_kind(addr: TransportAddr) -> AddrKind:
    """Return the kind of an address."""
    if isinstance(addr, RelayUrl):
        return AddrKind.RELAY
    if isinstance(addr, CustomAddr):
        return AddrKind.CUSTOM
    return AddrKind.IPV4 if addr.is_ipv4 else AddrKind.IPV6


class BiasedRttPathSelector(PathSelector):
    """The default.

    biases: of the kinds that are to be judged otherwise than in the table above.
    custom: the same of single custom transports, by transport id: Tor is no Bluetooth.
    """

    def __init__(
        self,
        biases: Mapping[AddrKind, TransportBias] | None = None,
        custom: Mapping[int, TransportBias] | None = None,
    ) -> None:
        self._biases = {**DEFAULT_BIASES, **(biases or {})}
        self._custom = dict(custom or {})

    def bias(self, addr: TransportAddr) -> TransportBias:
        """Return how an address is judged."""
        if isinstance(addr, CustomAddr) and addr.id in self._custom:
            return self._custom[addr.id]
        return self._biases[addr_kind(addr)]

    def select(self, context: PathSelectionContext) -> Way | None:
        """Return the best way if it is worth a change."""
        best: tuple[tuple[Tier, float], Way] | None = None
        current: tuple[Tier, float] | None = None
        for way, rtt in context.paths:
            bias = self.bias(way.remote)
            key = (bias.tier, rtt + bias.rtt_bias)
            if context.current is not None and way.is_same(context.current):
                current = key if current is None else min(current, key)
            if best is None or key < best[0]:
                best = (key, way)
        if best is None:
            return None
        (tier, biased), way = best
        if current is None or current[0] != tier:
            return way
        return way if biased + RTT_SWITCHING_MIN <= current[1] else None
