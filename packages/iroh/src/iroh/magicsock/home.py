"""Which relay is home: the one that answers fastest, changed only for a clear gain.

A map of one needs no measuring. With several, every relay's `/ping` is timed, at the start and
then every 20 to 26 s (iroh `net_report`), and home moves only when another relay is at least a
third faster (`net_report.rs`: keep unless best <= 2/3 of the present one). A relay that does not
answer is never chosen.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from iroh_base import IrohError, RelayUrl
from iroh_relay.relay_map import RelayMap

logger = logging.getLogger(__name__)

Probe = Callable[[RelayUrl], Awaitable[float]]
"""Measures the seconds a relay takes to answer; raises IrohError or OSError."""

INTERVAL = (20.0, 26.0)  # iroh net_report: random between reports
FIRST_RETRY = 1.0  # nothing answered yet: doubled up to the interval
MAX_PROBES = 5  # iroh net_report: relays probed in one report


class HomeRelay:
    """Keeps choosing. `run` is the one coroutine."""

    def __init__(
        self,
        relay_map: RelayMap,
        probe: Probe,
        set_home: Callable[[RelayUrl | None], None],
        rng: Callable[[], float],
    ) -> None:
        """rng gives uniform numbers of [0, 1)."""
        self._map = relay_map
        self._probe = probe
        self._set_home = set_home
        self._rng = rng
        self._home: RelayUrl | None = None

    async def run(self) -> None:
        """Choose, wait for the next occasion, choose again; until cancelled."""
        changed = asyncio.Event()
        unsubscribe = self._map.subscribe(changed.set)
        retry = FIRST_RETRY
        try:
            while True:
                changed.clear()
                self._choose(await self._measure())
                wait = self._next_wait(retry)
                retry = FIRST_RETRY if self._home is not None else min(2 * retry, INTERVAL[0])
                try:
                    async with asyncio.timeout(wait):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            unsubscribe()

    def _next_wait(self, retry: float) -> float | None:
        if len(self._map) <= 1:
            return None  # nothing to compare: until the map changes
        if self._home is None:
            return retry
        low, high = INTERVAL
        return low + (high - low) * self._rng()

    async def _measure(self) -> dict[RelayUrl, float]:
        urls = [RelayUrl(url) for url in self._map.urls()]
        if len(urls) <= 1:
            return dict.fromkeys(urls, 0.0)
        urls = urls[:MAX_PROBES]
        answers = await asyncio.gather(*map(self._probe, urls), return_exceptions=True)
        latencies = {}
        for url, answer in zip(urls, answers, strict=True):
            if isinstance(answer, float | int):
                latencies[url] = answer
            elif isinstance(answer, IrohError | OSError):
                logger.debug("relay %s does not answer: %s", url, answer)
            else:  # a bug, or a resolver of the application's: the other relays still count
                logger.error("measuring relay %s failed", url, exc_info=answer)
        return latencies

    def _choose(self, latencies: dict[RelayUrl, float]) -> None:
        if not latencies:
            if self._home is not None and not self._map.contains(str(self._home)):
                self._home = None
                self._set_home(None)
            return
        best = min(latencies, key=latencies.__getitem__)
        present = latencies.get(self._home) if self._home is not None else None
        if present is not None and latencies[best] > present * 2 / 3:
            return
        self._home = best
        self._set_home(best)
