"""Path MTU discovery by probe packets (RFC 8899), and detection of MTU black holes.

A search is a binary one between what is known to pass and the upper bound:

    1200 ... 1326 ... 1389 ... 1420 ... 1452          (the sizes sent when every probe arrives)

    state      | what happens             | next
    -----------+--------------------------+------------------------------------------------
    DUE        | `next_probe`             | SEARCHING, or WAITING when nothing is to be found
    SEARCHING  | probe acked              | SEARCHING above it
    SEARCHING  | probe lost 3 times       | SEARCHING below it
    SEARCHING  | step too small           | WAITING for `interval`
    any        | black hole               | WAITING for `cooldown`, MTU back at the minimum
    WAITING    | the time is over         | SEARCHING

Sizes are those of UDP payloads, bytes. Probes are always one packet of their own (`SentRun` with
`mtu_probe`); `Recovery` reports what became of them and of all other packets.
"""

BASE_MTU = 1200
"""The size every QUIC path carries (RFC 9000 section 14)."""
UPPER_BOUND = 1452
"""Ethernet less IPv6 and UDP headers (noq `MtuDiscoveryConfig::upper_bound`)."""
MIN_STEP = 20
"""A search ends when it would gain less (noq `minimum_change`)."""
MAX_TRIES = 3
"""MAX_PROBES of RFC 8899 section 5.1.2."""
INTERVAL = 600.0
"""Seconds between searches: PMTU_RAISE_TIMER of RFC 8899 section 5.1.1."""
COOLDOWN = 60.0
"""Seconds without probes after a black hole (noq `black_hole_cooldown`)."""
BLACK_HOLE_BURSTS = 3
"""More suspicious bursts of loss than this mean a black hole (noq BLACK_HOLE_THRESHOLD)."""

DUE, SEARCHING, WAITING = 0, 1, 2


class MtuDiscovery:
    """The MTU of one path.

    mtu: the largest UDP payload known to pass.
    black_holes: how many were detected.
    """

    __slots__ = (
        "_cooldown",
        "_high",
        "_in_flight",
        "_interval",
        "_low",
        "_minimum",
        "_probe",
        "_resume",
        "_state",
        "_step",
        "_suspect",
        "_tries",
        "_upper_bound",
        "black_holes",
        "mtu",
    )

    def __init__(
        self,
        initial: int = BASE_MTU,
        upper_bound: int = UPPER_BOUND,
        *,
        minimum: int = BASE_MTU,
        step: int = MIN_STEP,
        interval: float = INTERVAL,
        cooldown: float = COOLDOWN,
    ) -> None:
        self.mtu: int = max(initial, minimum)
        self.black_holes: int = 0
        self._minimum = minimum
        self._step, self._interval, self._cooldown = step, interval, cooldown
        self._upper_bound = upper_bound
        self._state = DUE
        self._resume = 0.0
        self._low = self._high = self._probe = self.mtu
        self._tries = 0  # losses at the size of `_probe`
        self._in_flight = False
        self._suspect = BlackHoleDetector(self._minimum)

    def limit(self, max_udp_payload_size: int) -> None:
        """Heed the peer's max_udp_payload_size, before the first probe."""
        self._upper_bound = min(self._upper_bound, max_udp_payload_size)
        if self._minimum > max_udp_payload_size:
            self._minimum = max_udp_payload_size
            self._suspect = BlackHoleDetector(max_udp_payload_size)
        self.mtu = min(self.mtu, max_udp_payload_size)

    # -- probes ----------------------------------------------------------------------------------

    def next_probe(self, now: float) -> int:
        """Give the size of the probe to send now, 0 for none. Ask again: nothing changes yet."""
        if self._in_flight:
            return 0
        if self._state != SEARCHING:
            if self._state == WAITING and now < self._resume:
                return 0
            self._start_search()
        if self._tries == 0 or self._tries >= MAX_TRIES:
            self._choose(now)
        return self._probe if self._state == SEARCHING else 0

    def on_probe_sent(self) -> None:
        """Note that the probe `next_probe` asked for was sent."""
        self._in_flight = True

    def on_probe_acked(self, pn: int) -> None:
        """Take the probed size for the MTU."""
        if not self._in_flight:
            return  # sent before a black hole
        self._in_flight = False
        self._tries = 0
        self.mtu = self._low = self._probe
        self._suspect.on_probe_acked(pn, self.mtu)
        self._probe = 0

    def on_probe_lost(self) -> None:
        """Count a lost probe. It says nothing about congestion."""
        if self._in_flight:
            self._in_flight = False
            self._tries += 1

    def _start_search(self) -> None:
        self._state = SEARCHING
        self._low, self._high = self.mtu, max(self._upper_bound, self.mtu)
        self._tries = 0
        self._probe = 0

    def _choose(self, now: float) -> None:
        """Pick the next size of the search, or end it."""
        if self._probe and self._tries == 0:
            return  # chosen already, not sent yet
        last = self._low
        if self._tries:
            last = self._probe
            self._high = last - 1
            self._tries = 0
        size = (self._low + self._high) // 2
        if abs(size - last) < self._step:
            # The bound itself would never be reached by halving.
            size = self._high if self._high - last >= self._step else 0
        self._probe = size
        if not size:
            self._state = WAITING
            self._resume = now + self._interval

    # -- black holes -----------------------------------------------------------------------------

    def on_acked(self, pn: int, size: int) -> None:
        """Note that a packet of this size arrived; for a run: its largest, the last of them."""
        self._suspect.on_acked(pn, size)

    def on_lost(self, first: int, last: int, size: int) -> None:
        """Note that packets first..last, none smaller than `size`, are lost; ascending."""
        self._suspect.on_lost(first, last, size)

    def check_black_hole(self, now: float) -> bool:
        """Judge after a report of losses; True when `mtu` fell back to the minimum."""
        if not self._suspect.detected() or self.mtu <= self._minimum:
            return False
        self.mtu = self._minimum
        self.black_holes += 1
        self._state = WAITING
        self._resume = now + self._cooldown
        self._in_flight = False
        self._tries = self._probe = 0
        return True


class BlackHoleDetector:
    """Judges whether losses look like a path that stopped passing large packets.

    Losses of consecutive packets are one burst. A burst is suspicious unless a smaller MTU cannot
    explain it: it held a packet of the minimum size, or a packet at least as large arrived that
    was sent later (noq `BlackHoleDetector`).
    """

    __slots__ = ("_acked_pn", "_acked_size", "_burst_last", "_burst_size", "_minimum", "_sizes")

    def __init__(self, minimum: int) -> None:
        self._minimum = minimum
        self._sizes: list[int] = []  # smallest packet of each suspicious burst; bounded
        self._burst_last = -1  # last packet of the burst that is being gathered, -1 none
        self._burst_size = 0
        self._acked_pn = 0  # the newest packet of `_acked_size` that arrived
        self._acked_size = minimum  # the largest size that arrived since the newest burst

    def on_probe_acked(self, pn: int, size: int) -> None:
        """Forget every suspicion: a packet larger than all before arrived."""
        self._sizes.clear()
        self._acked_size = size
        self._acked_pn = pn

    def on_acked(self, pn: int, size: int) -> None:
        """Take a delivered packet as proof for its size."""
        if size < self._acked_size:
            return
        if size == self._acked_size:
            if pn > self._acked_pn:
                self._acked_pn = pn
            return
        self._acked_size = size
        self._acked_pn = pn
        if self._sizes:
            self._sizes = [lost for lost in self._sizes if lost > size]

    def on_lost(self, first: int, last: int, size: int) -> None:
        """Gather lost packets into bursts."""
        if self._burst_last >= 0 and first != self._burst_last + 1:
            self._finish()
        if self._burst_last < 0 or size < self._burst_size:
            self._burst_size = size
        self._burst_last = last

    def detected(self) -> bool:
        """End the burst, and say whether there are too many suspicious ones."""
        self._finish()
        if len(self._sizes) <= BLACK_HOLE_BURSTS:
            return False
        self._sizes.clear()
        return True

    def _finish(self) -> None:
        last, size = self._burst_last, self._burst_size
        self._burst_last = -1
        if last < 0 or size <= self._minimum:
            return
        if last < self._acked_pn and size <= self._acked_size:
            return
        if last > self._acked_pn:
            self._acked_size = self._minimum
        if len(self._sizes) <= BLACK_HOLE_BURSTS:
            self._sizes.append(size)
