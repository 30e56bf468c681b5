"""Probes of one round of NAT traversal (noq `n0_nat_traversal.rs`, `retry_delay`).

    sent at     0   33   67   133   267   533   1067   2133   4133 ms
                 (with an initial RTT of 333 ms)
    interval      1    1    2     4     8     16     32    cap             times initial_rtt / 10

All addresses of a round share this clock: an address that joins late gets what is left of it, in
the rhythm the round has reached. A probe is a PATH_CHALLENGE with data of its own; only the probed
address can answer it, and only in the same round.

The peer names the addresses and decides how often it starts a round, so a budget bounds what we
send to addresses that may be somebody else's: BURST probes, then RATE a second, per connection.
What it holds back is not sent later; the rhythm goes on.
"""

from collections.abc import Callable

from iroh.quic.challenges import CHALLENGE_LENGTH, NEVER
from iroh_base import SocketAddr

MAX_SENDS = 9
"""Probes per address and round (noq MAX_NAT_PROBE_ATTEMPTS)."""
MAX_INTERVAL = 2.0
"""Most seconds between two probes of an address (noq `retry_delay`)."""
MAX_DOUBLINGS = 8  # noq, there
BASE_DIVISOR = 10  # the first interval is this part of the initial RTT
MAX_OUTSTANDING = 512
"""Probes whose answer is still taken; a round of 32 addresses makes 288. The oldest go first."""
BURST = 288.0
"""Probes at once: a round of 32 addresses, all nine times."""
RATE = 32.0
"""Probes per second in the long run; an honest peer with 10 addresses takes 18 at most."""


class Probes:
    """Which addresses to probe, and when.

    held_back: probes that the budget did not allow.
    """

    __slots__ = (
        "_base",
        "_budget",
        "_challenges",
        "_due",
        "_left",
        "_retries",
        "_rng",
        "_since",
        "deadline",
        "held_back",
    )

    def __init__(self, rng: Callable[[int], bytes], initial_rtt: float) -> None:
        self._rng = rng
        self._base = initial_rtt / BASE_DIVISOR
        self._left: dict[SocketAddr, int] = {}
        self._due: dict[SocketAddr, None] = {}
        self._challenges: dict[bytes, SocketAddr] = {}
        self._retries = 0
        self._budget = BURST
        self._since = 0.0  # when the budget was counted
        self.held_back: int = 0
        self.deadline: float = NEVER

    def __len__(self) -> int:
        return len(self._left)

    def __contains__(self, addr: SocketAddr) -> bool:
        return addr in self._left

    def addresses(self) -> list[SocketAddr]:
        """The addresses of this round."""
        return list(self._left)

    def restart(self) -> None:
        """Start a round without addresses: answers of the last one count no more."""
        self._left.clear()
        self._due.clear()
        self._challenges.clear()
        self._retries = 0
        self.deadline = NEVER

    def add(self, addr: SocketAddr, now: float) -> None:
        """Probe an address at once and then in the rhythm of the round."""
        self._left[addr] = MAX_SENDS - 1
        self._due[addr] = None
        self._arm(now)

    def join(self, addr: SocketAddr) -> None:
        """Probe an address from the next tick of the round on, if there is one."""
        self._left.setdefault(addr, MAX_SENDS)

    def remove(self, addr: SocketAddr) -> None:
        """Probe an address no more; an answer on its way still counts."""
        self._left.pop(addr, None)
        self._due.pop(addr, None)

    def has_due(self) -> bool:
        """Say whether `take` would give something."""
        return bool(self._due)

    def take(self, now: float) -> list[tuple[SocketAddr, bytes]]:
        """Give the probes that are due: where to, and the data of the PATH_CHALLENGE."""
        self._budget = min(BURST, self._budget + (now - self._since) * RATE)
        self._since = now
        allowed = min(len(self._due), int(self._budget))
        self._budget -= allowed
        self.held_back += len(self._due) - allowed
        due = [(addr, self.challenge(addr)) for addr in list(self._due)[:allowed]]
        self._due.clear()
        return due

    def challenge(self, addr: SocketAddr) -> bytes:
        """Give fresh data whose answer from this address counts."""
        while len(self._challenges) >= MAX_OUTSTANDING:
            del self._challenges[next(iter(self._challenges))]
        data = self._rng(CHALLENGE_LENGTH)
        self._challenges[data] = addr
        return data

    def answered(self, data: bytes, addr: SocketAddr | None) -> bool:
        """Take a response; True when it answers a probe of this address, which then ends."""
        if addr is None or self._challenges.get(data) != addr:
            return False
        del self._challenges[data]
        if addr in self._left:
            self._left[addr] = 0
        self._due.pop(addr, None)
        return True

    def handle_timeout(self, now: float) -> None:
        """Make the next probes due."""
        if now < self.deadline:
            return
        self.deadline = NEVER
        self._retries += 1
        for addr, left in self._left.items():
            if left:
                self._left[addr] = left - 1
                self._due[addr] = None
        self._arm(now)

    def _arm(self, now: float) -> None:
        if self.deadline == NEVER and any(self._left.values()):
            power = min(self._retries, MAX_DOUBLINGS)
            factor = 2 ** (power - 1) if power else 1
            self.deadline = now + min(factor * self._base, MAX_INTERVAL)
