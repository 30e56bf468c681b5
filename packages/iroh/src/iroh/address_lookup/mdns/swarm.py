"""When to ask, when to answer, and when an endpoint is gone (swarm-discovery's algorithm).

Of all endpoints on a network one asks, and as many answer as it takes, so that the traffic does
not grow with their number. tau: seconds of a round. phi: answers per second that are wanted.
cutoff = ceil(tau * phi). S: endpoints heard of, ourselves among them, at least 1. r: in [0, 1).

    state      input                                  what is done               next state
    waiting    tau + r * tau * S / 10 are over        ask                        answering
               a query is heard                       -                          answering
    answering  r * 0.1 s * S / cutoff + extra over    answer                     waiting
               cutoff endpoints have answered         -                          waiting

extra: after a round in which we answered, 0.1 s * min(S // cutoff, 10), so that others get their
turn; 0.1 s less after each round in which we did not.
An endpoint is gone when 3 / (its share of the answers) seconds passed without one. That is looked
after every 1.2346 tau.

The table of endpoints is bounded: new ones are not heard of while it is full.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from iroh_base import PublicKey

from .wire import Announcement

__all__ = ["MAX_PEERS", "Ask", "Gone", "Output", "Say", "Seen", "Swarm"]

MAX_PEERS: Final = 1024
"""Endpoints that are remembered. Ours; upstream has no bound."""

TAU: Final = 0.7
PHI: Final = 2.5
"""swarm-discovery `new_interactive`, which iroh-mdns-address-lookup uses."""

RESPONSE_DELAY: Final = 0.1
GC_ROUNDS: Final = 12345 / 9999
GRACE: Final = 3.0
"""Of the intervals between answers that one endpoint may miss."""

Family = Literal[4, 6]


@dataclass(frozen=True, slots=True)
class Ask:
    """Send the query."""


@dataclass(frozen=True, slots=True)
class Say:
    """Send our answer; over the family of the query, or, if we asked, over any."""

    family: Family | None


@dataclass(frozen=True, slots=True)
class Seen:
    """An endpoint is new or says something new."""

    endpoint_id: PublicKey
    announcement: Announcement


@dataclass(frozen=True, slots=True)
class Gone:
    """An endpoint is not heard any more."""

    endpoint_id: PublicKey


Output = Ask | Say | Seen | Gone


class Swarm:
    """The state machine. Every input gives what is to be done, in order.

    `random` gives a number of [0, 1); times are seconds of one monotonic clock.
    """

    def __init__(
        self, now: float, random: Callable[[], float], *, tau: float = TAU, phi: float = PHI
    ) -> None:
        if not tau > 0:
            raise ValueError("the cadence must be more than 0 seconds")
        self._tau = tau
        self._random = random
        self._cutoff = math.ceil(tau * phi)
        self._peers: dict[PublicKey, tuple[Announcement, float]] = {}
        self._extra = 0.0
        self._answered = False
        self._answers = 0
        self._gc_at = now + tau * GC_ROUNDS
        self.full: int = 0
        """How many announcements were dropped for want of room."""
        self._wait(now)

    @property
    def next_timeout(self) -> float:
        """When to call `handle_timeout`."""
        return min(self._at, self._gc_at)

    def get(self, endpoint_id: PublicKey) -> Announcement | None:
        """What an endpoint said last."""
        known = self._peers.get(endpoint_id)
        return None if known is None else known[0]

    def heard_query(self, family: Family, now: float) -> list[Output]:
        """Somebody asked."""
        if self._waiting:
            self._answer_soon(family, now)
        return []

    def heard_peers(self, peers: Mapping[PublicKey, Announcement], now: float) -> list[Output]:
        """Somebody answered; our own answers are heard, too."""
        outputs: list[Output] = []
        for endpoint_id, announcement in peers.items():
            known = self._peers.get(endpoint_id)
            if known is None and len(self._peers) >= MAX_PEERS:
                self.full += 1
                continue
            self._peers[endpoint_id] = announcement, now
            if known is None or known[0] != announcement:
                outputs.append(Seen(endpoint_id, announcement))
        if not self._waiting:
            self._answers += len(peers)
            if self._answers >= self._cutoff:
                self._wait(now)
        return outputs

    def handle_timeout(self, now: float) -> list[Output]:
        """Do what is due."""
        outputs: list[Output] = []
        if now >= self._gc_at:
            outputs += self._forget(now)
            self._gc_at = now + self._tau * GC_ROUNDS
        if now >= self._at:
            if self._waiting:
                outputs.append(Ask())
                self._answer_soon(None, now)
            else:
                outputs.append(Say(self._family))
                self._answered = True
                self._wait(now)
        return outputs

    # -- the states -----------------------------------------------------------------------------

    @property
    def _size(self) -> int:
        return max(1, len(self._peers))

    def _wait(self, now: float) -> None:
        self._waiting = True
        self._at = now + self._tau + self._tau * self._size / 10 * self._random()

    def _answer_soon(self, family: Family | None, now: float) -> None:
        if self._answered:
            self._extra = RESPONSE_DELAY * min(self._size // self._cutoff, 10)
        else:
            self._extra = max(0.0, self._extra - RESPONSE_DELAY)
        self._waiting = self._answered = False
        self._answers = 0
        self._family = family
        delay = RESPONSE_DELAY * self._size / self._cutoff * self._random()
        self._at = now + delay + self._extra

    def _forget(self, now: float) -> list[Output]:
        count = len(self._peers)
        if not count:
            return []
        per_second = min(self._cutoff, count) / self._tau / count
        oldest = now - GRACE / per_second
        gone = [each for each, (_, seen) in self._peers.items() if seen <= oldest]
        for endpoint_id in gone:
            del self._peers[endpoint_id]
        return [Gone(endpoint_id) for endpoint_id in gone]
