"""Which relay is home: the fastest of the last five minutes, changed only for a clear gain.

    nobody answered                      the present home stays, if it is still in the map
    no present home                      the fastest
    the present one was not asked        it stays (an incremental report asks one relay or two)
    the present one did not answer       the fastest of those that did
    it answered                          the fastest, if it is at least a third faster than the
                                         present one is now (upstream: best <= 2/3 of it)

Fastest is who has the best latency of the last five minutes, among those that answered now.
Unlike upstream, a full report every five minutes does not forget who is home. A major change of the
network forgets the latencies, since they were another network's. No I/O; source: iroh
`net_report.rs` (`add_report_history_and_set_preferred_relay`).
"""

from collections import deque
from collections.abc import Collection, Mapping

from iroh_base import RelayUrl

__all__ = ["HomeChoice"]

MAX_AGE = 300.0
"""Seconds that a latency counts (upstream MAX_AGE)."""
MAX_HISTORY = 64
"""Reports remembered: one every 20 s makes 15 in five minutes."""
CLEAR_GAIN = 2 / 3


class HomeChoice:
    """Remembers latencies, and chooses. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.present: RelayUrl | None = None
        self._history: deque[tuple[float, Mapping[RelayUrl, float]]] = deque(maxlen=MAX_HISTORY)

    def forget_latencies(self) -> None:
        """The network is another one."""
        self._history.clear()

    def choose(
        self,
        now: float,
        latencies: Mapping[RelayUrl, float],
        relays: Collection[RelayUrl],
        *,
        full: bool,
    ) -> RelayUrl | None:
        """Take what a report measured, and give the home relay. relays: all of the map."""
        while self._history and now - self._history[0][0] > MAX_AGE:
            self._history.popleft()
        measured = {url: latency for url, latency in latencies.items() if url in relays}
        if measured:
            self._history.append((now, measured))
        self.present = self._chosen(measured, relays, full)
        return self.present

    def _chosen(
        self, measured: Mapping[RelayUrl, float], relays: Collection[RelayUrl], full: bool
    ) -> RelayUrl | None:
        present = self.present if self.present in relays else None
        if not measured:
            return present
        recent = {
            url: min(past[url] for _, past in self._history if url in past) for url in measured
        }
        best = min(measured, key=lambda url: (recent[url], url))
        if present is None:
            return best
        if present not in measured:
            return best if full else present
        return best if recent[best] <= measured[present] * CLEAR_GAIN else present
