"""One direction of the way between two addresses, and what it does to datagrams.

    datagram -> is_up? -> mtu? -> loss, bursts -> corrupt, mark -> duplicate -> rate, queue
             -> delay + jitter (order kept) + reorder (order broken) -> arrival times

Each fate is counted in `Link.fates`; every draw comes from the network's one random generator.
"""

import random
from collections import Counter
from dataclasses import dataclass

MAX_UDP_PAYLOAD = 65_527  # RFC 768: a 16-bit length, 8 bytes of it the header
ECT = (1, 2)  # RFC 3168 section 5: ECN-capable transport
CE = 3


@dataclass(slots=True)
class Conditions:
    """How a link is at present. Probabilities are per datagram, times in seconds, sizes in bytes.

    jitter: up to so much is added to the delay; order is kept.
    loss_run: mean length, in datagrams, of a run of losses whose share is `loss` in the long run
        (Gilbert's model, as quic-interop-runner has it); 0 for losses that know nothing of others.
    burst: probability that a burst of losses begins; burst_length: its mean duration. (Not a number
        of datagrams: a sender that backs off would never see the end of it.)
    reorder: probability of arriving `reorder_by` later, overtaken by others.
    corrupt: probability that one bit is flipped. mark: that ECN-capable becomes CE.
    drop_marked: ECN-capable datagrams vanish, as at some old routers.
    mtu: larger UDP payloads vanish without a word.
    rate: bytes per second; None without end. queue: bytes that wait for the rate, more are dropped.
    """

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    loss_run: float = 0.0
    burst: float = 0.0
    burst_length: float = 0.05
    reorder: float = 0.0
    reorder_by: float = 0.02
    duplicate: float = 0.0
    corrupt: float = 0.0
    mark: float = 0.0
    drop_marked: bool = False
    mtu: int = MAX_UDP_PAYLOAD
    rate: float | None = None
    queue: int = 100_000
    is_up: bool = True


@dataclass(slots=True)
class Orders:
    """How many of the next datagrams meet a certain fate, whatever the conditions say."""

    drop: int = 0
    hold: int = 0
    hold_for: float = 0.03
    duplicate: int = 0
    corrupt: int = 0


class Link:
    """A direction between two addresses. `conditions` may be shared with other links."""

    def __init__(self, conditions: Conditions, rng: random.Random) -> None:
        self.conditions = conditions
        self.orders = Orders()
        self.fates: Counter[str] = Counter()
        self.busy_until = 0.0
        self._rng = rng
        self._losing = False
        self._burst_until = 0.0
        self._last_arrival = 0.0

    def carry(self, data: bytes, ecn: int, now: float) -> list[tuple[float, bytes, int]]:
        """Give (arrival, bytes, ECN bits) of each copy that arrives; none when it is lost."""
        lost = self._why_lost(data, now)
        if self.conditions.drop_marked and ecn in ECT:
            lost = "marked, dropped"
        if lost is not None:
            self.fates[lost] += 1
            return []
        conditions, orders = self.conditions, self.orders
        if orders.corrupt or self._chance(conditions.corrupt):
            orders.corrupt = max(0, orders.corrupt - 1)
            self.fates["corrupted"] += 1
            data = self._flip(data)
        if ecn in ECT and self._chance(conditions.mark):
            self.fates["marked"] += 1
            ecn = CE
        copies = 1
        if orders.duplicate or self._chance(conditions.duplicate):
            orders.duplicate = max(0, orders.duplicate - 1)
            self.fates["duplicated"] += 1
            copies = 2
        arrivals = [self._arrival(len(data), now) for _ in range(copies)]
        return [(at, data, ecn) for at in arrivals if at is not None]

    def _chance(self, probability: float) -> bool:
        return probability > 0.0 and self._rng.random() < probability

    def _why_lost(self, data: bytes, now: float) -> str | None:
        conditions, orders = self.conditions, self.orders
        if not conditions.is_up:
            return "link down"
        if len(data) > conditions.mtu:
            return "too big"
        if orders.drop:
            orders.drop -= 1
            return "dropped"
        if self._chance(conditions.burst):
            duration = self._rng.expovariate(1.0 / conditions.burst_length)
            self._burst_until = max(self._burst_until, now + duration)
            return "burst"
        if now < self._burst_until:
            return "burst"
        return "lost" if self._is_lost(conditions) else None

    def _is_lost(self, conditions: Conditions) -> bool:
        if not conditions.loss_run:
            return self._chance(conditions.loss)
        leave = 1.0 / conditions.loss_run
        enter = leave * conditions.loss / (1.0 - conditions.loss)
        self._losing = not self._chance(leave) if self._losing else self._chance(enter)
        return self._losing

    def _flip(self, data: bytes) -> bytes:
        bit = self._rng.randrange(len(data) * 8)
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        return bytes(flipped)

    def _arrival(self, size: int, now: float) -> float | None:
        conditions, orders = self.conditions, self.orders
        leaves = now
        if conditions.rate is not None:
            waiting = max(0.0, self.busy_until - now) * conditions.rate
            if waiting + size > conditions.queue:
                self.fates["queue full"] += 1
                return None
            leaves = self.busy_until = max(now, self.busy_until) + size / conditions.rate
        at = leaves + conditions.delay
        if conditions.jitter:
            at += self._rng.random() * conditions.jitter
        self.fates["carried"] += 1
        if orders.hold:
            orders.hold -= 1
            return at + orders.hold_for
        if self._chance(conditions.reorder):
            self.fates["reordered"] += 1
            return at + conditions.reorder_by
        self._last_arrival = max(at, self._last_arrival)
        return self._last_arrival
