"""One net report: which probes are made, and when what they say is enough.

    t = 0        QAD, IPv4 and IPv6, to the first 5 relays that offer it      3 s each
                 HTTPS to relays without QAD, or without TLS                  3 s each
    t = 0.2 s    HTTPS to the others: when UDP works, it has answered by then
                 captive portal, if no relay has answered                     2 s
    enough       by UDP: done, unless a relay without QAD may still answer
                 by HTTPS: done, unless UDP may still answer
                 then the others get GRACE; but UDP, as long as it has not answered at all, its 3 s
    t = 5 s      done, whatever is missing

Unlike upstream, which awaits all QAD probes first (3 s where UDP is blocked), everything runs side
by side. A full report asks everybody; an incremental one asks the QAD connections that are kept
open, which takes no packet, and probes only families in which none is.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from iroh.resolver.stagger import reap
from iroh_base import RelayUrl, SocketAddr
from iroh_relay.client.clock import Clock, deadline, sleep
from iroh_relay.relay_map import RelayConfig

from .config import NetReportConfig
from .draft import QAD_PROBES, Draft
from .report import Probe

__all__ = ["ProbeFailed", "Probes", "QadLink", "Run"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_QAD_RELAYS = 5  # upstream MAX_RELAYS
MAX_HTTPS_RELAYS = 32  # ours; upstream asks all
PROBE_TIMEOUT = 3.0  # upstream PROBES_TIMEOUT
HTTPS_OFFSET = 0.2  # upstream HTTPS_OFFSET
CAPTIVE_PORTAL_DELAY, CAPTIVE_PORTAL_TIMEOUT = 0.2, 2.0  # upstream's names
GRACE = 0.5
"""Seconds that the slower kind of probe gets when the other kind has told enough: a lost first
packet is sent again within 0.333 s."""
REPORT_TIMEOUT = 5.0  # upstream OVERALL_REPORT_TIMEOUT
_PLAIN = ("http", "ws")


class ProbeFailed(Exception):
    """A relay did not answer a probe; the text says why."""


class QadLink(Protocol):
    """An open QAD connection. `addr` and `latency` are live."""

    addr: SocketAddr
    on_change: Callable[[], None] | None

    @property
    def relay(self) -> RelayUrl:
        """Whose it is."""

    @property
    def latency(self) -> float:
        """Smoothed round trip, seconds."""

    @property
    def is_open(self) -> bool:
        """Whether it still tells us of changes."""

    def close(self) -> None:
        """End it with code 1 "finished"."""


class Probes(Protocol):
    """What a report asks. The three probes raise ProbeFailed, and nothing else."""

    def families(self) -> tuple[bool, bool]:
        """Whether this machine has IPv4, and IPv6, and a socket for it."""

    async def ready(self, probe: Probe) -> None:
        """Wait until such probes can be made: their modules are loaded when first needed."""

    async def qad(self, relay: RelayConfig, probe: Probe) -> QadLink:
        """Connect to a relay's address discovery, and wait for the first answer."""

    async def https(self, relay: RelayUrl) -> float:
        """Seconds until a relay answers an HTTP request."""

    async def captive_portal(self, relay: RelayUrl) -> bool:
        """Whether something else than the relay answers for it."""


@dataclass(slots=True)
class Run:
    """One report. kept: the QAD connections that stay open afterwards, by probe; changed by `run`.

    on_progress: called after every answer.
    """

    probes: Probes
    relays: Sequence[RelayConfig]
    config: NetReportConfig
    kept: dict[Probe, QadLink]
    clock: Clock
    choose: Callable[[Sequence[RelayUrl]], RelayUrl]
    draft: Draft
    on_progress: Callable[[Draft], None]

    async def run(self) -> Draft:
        """Make the report. Cancelling it ends all probes and keeps what `kept` has."""
        self._start_from_kept()
        tasks = self._start()
        captive = self._start_captive()
        grace: asyncio.Task[None] | None = None
        limit = asyncio.create_task(sleep(self.clock, REPORT_TIMEOUT))
        try:
            while not self._done(captive, over=grace is not None and grace.done()):
                if grace is None and self._half_done():
                    grace = asyncio.create_task(sleep(self.clock, GRACE))
                awaited = {*tasks, limit, *(t for t in (captive, grace) if t is not None)}
                await asyncio.wait(
                    [task for task in awaited if not task.done()],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                tasks = {task for task in tasks if not task.done()}
                self.on_progress(self.draft)
                if limit.done():
                    break
        finally:
            await reap(t for t in (*tasks, limit, captive, grace) if t is not None)
        if captive is not None and not captive.cancelled():
            self.draft.captive_portal = captive.result()
        return self.draft

    # -- when it is enough ---------------------------------------------------------------------

    def _half_done(self) -> bool:
        """Whether the slower kind of probe gets no more than GRACE from now on.

        HTTPS alone never cuts UDP off: without an outside address nobody punches a hole to us, for
        the whole interval to the next report. Probes of UDP have a limit of their own.
        """
        draft = self.draft
        if draft.udp_is_enough():
            return True
        asking = any(draft.pending(probe) for probe in QAD_PROBES)
        return draft.https_is_enough() and (draft.has_udp or not asking)

    def _done(self, captive: "asyncio.Task[bool | None] | None", *, over: bool) -> bool:
        draft = self.draft
        if draft.all_done:
            return draft.anything or captive is None or captive.done()
        if not self._half_done():
            return False
        if over:
            return True
        if draft.udp_is_enough():
            return not any(_qad_port(r) is None and _url(r) in self._https() for r in self.relays)
        return not any(draft.pending(probe) for probe in QAD_PROBES)

    def _https(self) -> set[RelayUrl]:
        return self.draft.pending(Probe.HTTPS)

    # -- probes --------------------------------------------------------------------------------

    def _start_from_kept(self) -> None:
        for probe, link in list(self.kept.items()):
            if link.is_open:
                self.draft.answered(probe, link.relay, link.latency, link.addr)
            else:
                del self.kept[probe]

    def _start(self) -> set["asyncio.Task[None]"]:
        tasks = set()
        families = dict(zip(QAD_PROBES, self.probes.families(), strict=True))
        offering = [relay for relay in self.relays if _qad_port(relay) is not None]
        for relay in offering[:MAX_QAD_RELAYS]:
            for probe in QAD_PROBES:
                if families[probe] and probe not in self.kept:
                    self.draft.started(probe, _url(relay))
                    tasks.add(self._task(self._qad(relay, probe), probe, relay))
        if self.config.https_probes and (self.draft.full or not self.draft.has_udp):
            for relay in self.relays[:MAX_HTTPS_RELAYS]:
                self.draft.started(Probe.HTTPS, _url(relay))
                tasks.add(self._task(self._measure(relay), Probe.HTTPS, relay))
        return tasks

    def _task(
        self, work: Coroutine[Any, Any, None], probe: Probe, relay: RelayConfig
    ) -> "asyncio.Task[None]":
        return asyncio.create_task(
            self._contain(work, probe, relay), name=f"iroh-net-report {probe.value}"
        )

    async def _contain(
        self, work: Coroutine[Any, Any, None], probe: Probe, relay: RelayConfig
    ) -> None:
        """See to it that a bug in a probe is a failure of that probe."""
        try:
            await work
        except Exception:
            logger.exception("a probe of relay %s failed by a bug", relay.url)
            self.draft.failed(probe, _url(relay))

    async def _qad(self, relay: RelayConfig, probe: Probe) -> None:
        await self.probes.ready(probe)  # on a busy machine it can take longer than a probe may
        try:
            async with deadline(self.clock, PROBE_TIMEOUT):
                link = await self.probes.qad(relay, probe)
        except (ProbeFailed, TimeoutError):
            self.draft.failed(probe, _url(relay))
            return
        self.draft.answered(probe, _url(relay), link.latency, link.addr)
        if probe in self.kept:
            link.close()
        else:
            self.kept[probe] = link

    async def _measure(self, relay: RelayConfig) -> None:
        url = _url(relay)
        if _qad_port(relay) is not None and url.scheme not in _PLAIN:
            await sleep(self.clock, HTTPS_OFFSET)
        await self.probes.ready(Probe.HTTPS)
        try:
            async with deadline(self.clock, PROBE_TIMEOUT):
                latency = await self.probes.https(url)
        except (ProbeFailed, TimeoutError):
            self.draft.failed(Probe.HTTPS, url)
            return
        self.draft.answered(Probe.HTTPS, url, latency)

    def _start_captive(self) -> "asyncio.Task[bool | None] | None":
        if not (self.draft.full and self.config.captive_portal_check and self.relays):
            return None
        return asyncio.create_task(self._captive(), name="iroh-net-report captive portal")

    async def _captive(self) -> bool | None:
        await sleep(self.clock, CAPTIVE_PORTAL_DELAY)
        if self.draft.anything:
            return None
        relay = self.choose([_url(relay) for relay in self.relays])
        try:
            async with deadline(self.clock, CAPTIVE_PORTAL_TIMEOUT):
                return await self.probes.captive_portal(relay)
        except (ProbeFailed, TimeoutError):
            return None


def _url(relay: RelayConfig) -> RelayUrl:
    return RelayUrl(relay.url)


def _qad_port(relay: RelayConfig) -> int | None:
    return relay.quic_port
