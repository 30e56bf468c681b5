"""When a net report is made, what becomes of it, and what happens between two of them.

    at the start, the relay map changed, the network changed majorly,
    5 minutes since the last one, UDP is dead behind a captive portal,
    the home relay is not connected                                        full report
    20 to 26 s since the last one (random), a minor change                 incremental report

One report at a time; who asks meanwhile gets another one afterwards. While no relay answers at all
the next one comes sooner: after 1 s, 2 s, 4 s and so on. With a single relay that offers no address
discovery, incremental reports have nothing to tell and are left out.

    QAD connections that stay open --a new address--> the report is amended, once a second at most

A map of one relay needs no measuring: that relay is home at once. Of several, the first report
chooses as soon as each has answered somehow; see home.py for the rest.

Source: iroh `socket.rs` (DirectAddrUpdateState, the actor's timers), `net_report.rs`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from iroh.metrics import NetReportMetrics
from iroh_base import RelayUrl, Watchable
from iroh_relay.client.clock import Clock, TimerHandle, deadline
from iroh_relay.relay_map import RelayConfig, RelayMap

from .config import NetReportConfig
from .draft import Draft
from .home import HomeChoice
from .report import Probe, Report
from .run import Probes, QadLink, Run

__all__ = ["NetReporter"]

logger: logging.Logger = logging.getLogger(__name__)

INTERVAL = (20.0, 26.0)  # iroh `socket.rs` new_re_stun_timer
FULL_INTERVAL = 300.0  # upstream FULL_REPORT_INTERVAL
OVERALL_TIMEOUT = 10.0  # iroh `socket.rs`, around a whole report
FIRST_RETRY = 1.0  # ours: nobody has answered yet, or nobody over UDP
AMEND_INTERVAL = 1.0
"""Seconds between two amendments: a relay that tells a hundred addresses a second causes one."""


class NetReporter:
    """Keeps reporting. `run` is the one coroutine; `close` ends the connections it kept.

    set_home: takes the home relay whenever it is chosen anew. on_report: takes every report.
    home_is_connected: asked before an incremental report. rng: uniform numbers of [0, 1).
    """

    def __init__(
        self,
        relay_map: RelayMap,
        probes: Probes,
        config: NetReportConfig,
        report: Watchable[Report | None],
        *,
        set_home: Callable[[RelayUrl | None], None],
        on_report: Callable[[Report | None], None],
        home_is_connected: Callable[[], bool],
        clock: Clock,
        rng: Callable[[], float],
        metrics: NetReportMetrics | None = None,
    ) -> None:
        self.report = report
        self.metrics: NetReportMetrics = metrics or NetReportMetrics()
        self._map = relay_map
        self._probes = probes
        self._config = config
        self._set_home = set_home
        self._on_report = on_report
        self._home_is_connected = home_is_connected
        self._clock = clock
        self._rng = rng
        self._choice = HomeChoice()
        self._home: RelayUrl | None = None
        self._kept: dict[Probe, QadLink] = {}
        self._wake = asyncio.Event()
        self._full_wanted = True
        self._last_full = self._last_amended = float("-inf")
        self._retry = FIRST_RETRY
        self._amending: TimerHandle | None = None

    def request(self, major: bool) -> None:
        """Ask for a report soon: a full one if the network is another one than before."""
        if major:
            self._choice.forget_latencies()
            self._full_wanted = True
        self._wake.set()

    async def run(self) -> None:
        """Report, wait for the next occasion, report again; until cancelled."""
        unsubscribe = self._map.subscribe(self._on_map)
        try:
            while True:
                self._wake.clear()
                await self._once()
                wait = self._next_wait()
                with suppress(TimeoutError):
                    async with deadline(self._clock, wait):
                        await self._wake.wait()
        finally:
            unsubscribe()
            self.close()

    def close(self) -> None:
        """End the connections that were kept. Idempotent."""
        self._drop_kept()
        if self._amending is not None:
            self._amending.cancel()
            self._amending = None

    # -- one report ----------------------------------------------------------------------------

    def _on_map(self) -> None:
        self._full_wanted = True
        self._wake.set()

    async def _once(self) -> None:
        """Make a report, unless there is nobody to ask."""
        relays = list(self._map)
        urls = [RelayUrl(relay.url) for relay in relays]
        if len(urls) == 1:
            self._choice.present = urls[0]
            self._move_home(urls[0])
        if not urls:
            self._drop_kept()
            self._choice.present = None
            self._move_home(None)
            self._publish(None)
            return
        full = self._is_full(self._clock.now())
        if full:
            self._full_wanted = False
            self._last_full = self._clock.now()
            self._drop_kept()
            self.metrics.reports_full += 1
        self.metrics.reports += 1
        run = Run(
            self._probes,
            relays,
            self._config,
            self._kept,
            self._clock,
            self._pick,
            Draft(full=full),
            lambda draft: self._choose_early(draft, urls),
        )
        try:
            async with deadline(self._clock, OVERALL_TIMEOUT):
                draft = await run.run()
        except TimeoutError:
            logger.warning("a net report took too long")
            return
        self._finish(draft, urls)

    def _is_full(self, now: float) -> bool:
        last = self.report.get()
        return (
            self._full_wanted
            or last is None
            or now - self._last_full > FULL_INTERVAL
            or (not last.has_udp() and last.captive_portal is True)
            or (self._home is not None and not self._home_is_connected())
        )

    def _choose_early(self, draft: Draft, urls: list[RelayUrl]) -> None:
        """Choose the first home as soon as everybody has answered; UDP may take longer."""
        if self._home is None and draft.covers(set(urls)):
            latencies = draft.latencies
            self._choice.present = min(latencies, key=lambda url: (latencies[url], url))
            self._move_home(self._choice.present)

    def _finish(self, draft: Draft, urls: list[RelayUrl]) -> None:
        relays = {RelayUrl(relay.url) for relay in self._map} & set(urls)
        home = self._choice.choose(
            self._clock.now(), draft.latencies, relays or set(urls), full=draft.full
        )
        for link in self._kept.values():
            link.on_change = self._amend_soon
        self._move_home(home)
        self._publish(self._with_kept(draft.report(home, self.report.get())))

    def _pick(self, urls: Sequence[RelayUrl]) -> RelayUrl:
        """Give a random relay, the home relay if it is among them."""
        if self._home is not None and self._home in urls:
            return self._home
        return urls[min(int(self._rng() * len(urls)), len(urls) - 1)]

    def _publish(self, report: Report | None) -> None:
        if self.report.set(report):
            logger.debug("net report: %s", report)
        self._on_report(report)

    def _move_home(self, home: RelayUrl | None) -> None:
        if home != self._home:
            self._home = home
            self._set_home(home)

    def _next_wait(self) -> float:
        relays = list(self._map)
        low, high = INTERVAL
        if not relays:
            return FULL_INTERVAL  # until the map changes, that is
        if self._home is None or self._lacks_udp(relays):
            wait = self._retry
            self._retry = min(2 * wait, low)
            return wait
        self._retry = FIRST_RETRY
        if len(relays) == 1 and relays[0].quic_port is None:
            return FULL_INTERVAL
        return low + (high - low) * self._rng()

    def _lacks_udp(self, relays: Sequence[RelayConfig]) -> bool:
        """Whether UDP was asked and has not answered.

        A few packets may have been lost, or the machine was busy: without an outside address
        nobody punches a hole to us, so it is asked again soon, and less and less often.
        """
        report = self.report.get()
        offered = any(relay.quic_port is not None for relay in relays)
        return offered and report is not None and not report.has_udp()

    # -- between two reports -------------------------------------------------------------------

    def _drop_kept(self) -> None:
        kept = list(self._kept.values())
        self._kept.clear()
        for link in kept:
            link.close()

    def _amend_soon(self) -> None:
        if self._amending is None:
            wait = max(0.0, self._last_amended + AMEND_INTERVAL - self._clock.now())
            self._amending = self._clock.call_later(wait, self._amend)

    def _amend(self) -> None:
        """A kept connection told of another address: the report says so."""
        self._amending = None
        self._last_amended = self._clock.now()
        report = self.report.get()
        if report is not None:
            self._publish(self._with_kept(report))

    def _with_kept(self, report: Report) -> Report:
        """Give the report with the addresses that the kept connections tell now."""
        v4, v6 = self._kept.get(Probe.QAD_IPV4), self._kept.get(Probe.QAD_IPV6)
        return replace(
            report,
            global_v4=report.global_v4 if v4 is None else v4.addr,
            global_v6=report.global_v6 if v6 is None else v6.addr,
        )
