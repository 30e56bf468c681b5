"""Relays that answer as they are told, and a clock that stands still until it is told to go."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from iroh.net_report import NetReportConfig, Probe, Report
from iroh.net_report.draft import Draft
from iroh.net_report.reporter import NetReporter
from iroh.net_report.run import ProbeFailed, QadLink, Run
from iroh_base import RelayUrl, SocketAddr, Watchable
from iroh_relay.relay_map import RelayConfig, RelayMap

A, B, C = (RelayUrl(f"https://{name}.example/") for name in "abc")
V4, V6 = Probe.QAD_IPV4, Probe.QAD_IPV6
HERE, HERE6 = SocketAddr("203.0.113.7", 7000), SocketAddr("2001:db8::7", 7000)
ELSEWHERE = SocketAddr("203.0.113.7", 7001)
TURNS = 40


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Virtual time; only the number of loop turns is real."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _Timer]] = []

    def now(self) -> float:
        return self._now

    def call_later(self, delay: float, callback: Callable[[], object]) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._order), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Let time pass, one timer after the other, with all that follows from each."""
        await settle()
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
                await settle()
        self._now = end
        await settle()


async def settle() -> None:
    """Let everything happen that needs no more than turns of the loop."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class FakeLink:
    """A QAD connection."""

    def __init__(self, relay: RelayUrl, latency: float, addr: SocketAddr) -> None:
        self.relay = relay
        self.latency = latency
        self.addr = addr
        self.on_change: Callable[[], None] | None = None
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def moves(self, addr: SocketAddr) -> None:
        """The relay sees another address."""
        self.addr = addr
        if self.on_change is not None:
            self.on_change()


Answer = tuple[float, SocketAddr] | None
"""Seconds until the answer, and what it is; None never answers."""


@dataclass
class FakeProbes:
    """What relays answer: a missing relay fails at once."""

    clock: ManualClock
    v4: dict[RelayUrl, Answer] = field(default_factory=dict)
    v6: dict[RelayUrl, Answer] = field(default_factory=dict)
    http: dict[RelayUrl, float | None] = field(default_factory=dict)
    captive: tuple[float, bool] | None = None
    has: tuple[bool, bool] = (True, True)
    asked: list[tuple[str, RelayUrl]] = field(default_factory=list)
    links: list[FakeLink] = field(default_factory=list)

    def families(self) -> tuple[bool, bool]:
        return self.has

    async def ready(self, probe: Probe) -> None:
        pass

    async def qad(self, relay: RelayConfig, probe: Probe) -> QadLink:
        url = RelayUrl(relay.url)
        self.asked.append((probe.value, url))
        answers = self.v4 if probe is V4 else self.v6
        if url not in answers:
            raise ProbeFailed("no such address")
        answer = answers[url]
        await self._wait(None if answer is None else answer[0])
        assert answer is not None
        link = FakeLink(url, *answer)
        self.links.append(link)
        return link

    async def https(self, relay: RelayUrl) -> float:
        self.asked.append(("https", relay))
        if relay not in self.http:
            raise ProbeFailed("refused")
        latency = self.http[relay]
        await self._wait(latency)
        assert latency is not None
        return latency

    async def captive_portal(self, relay: RelayUrl) -> bool:
        self.asked.append(("captive", relay))
        if self.captive is None:
            raise ProbeFailed("refused")
        await self._wait(self.captive[0])
        return self.captive[1]

    async def _wait(self, seconds: float | None) -> None:
        done = asyncio.Event()
        if seconds is not None:
            self.clock.call_later(seconds, done.set)
        await done.wait()

    def kinds(self) -> list[str]:
        """What was asked, without whom."""
        return [kind for kind, _ in self.asked]


def relay_map(*urls: RelayUrl, quic_port: int | None = 7842) -> RelayMap:
    return RelayMap(RelayConfig(url=str(url), quic_port=quic_port) for url in urls)


@dataclass
class OneReport:
    """A report that runs, and when it was done."""

    task: "asyncio.Task[Draft]"
    kept: dict[Probe, QadLink]
    started: float
    done_at: float | None = None

    def report(self) -> Report:
        return self.task.result().report(None, None)

    @property
    def seconds(self) -> float:
        assert self.done_at is not None, "not done"
        return round(self.done_at - self.started, 3)


def start(
    probes: FakeProbes,
    relays: Sequence[RelayConfig],
    *,
    full: bool = True,
    config: NetReportConfig | None = None,
    kept: dict[Probe, QadLink] | None = None,
) -> OneReport:
    kept = {} if kept is None else kept
    run = Run(
        probes,
        relays,
        config or NetReportConfig(),
        kept,
        probes.clock,
        lambda urls: urls[0],
        Draft(full=full),
        lambda draft: None,
    )
    one = OneReport(asyncio.create_task(run.run()), kept, probes.clock.now())

    def done(_task: object) -> None:
        one.done_at = probes.clock.now()

    one.task.add_done_callback(done)
    return one


class Lab:
    """A NetReporter, and what it tells."""

    def __init__(self, relays: RelayMap, config: NetReportConfig | None = None) -> None:
        self.clock = ManualClock()
        self.map = relays
        self.probes = FakeProbes(self.clock)
        self.homes: list[RelayUrl | None] = []
        self.reports: list[Report | None] = []
        self.connected = True
        create = asyncio.get_running_loop().create_future
        self.reporter = NetReporter(
            relays,
            self.probes,
            config or NetReportConfig(),
            Watchable(None, create),
            set_home=self.homes.append,
            on_report=self.reports.append,
            home_is_connected=lambda: self.connected,
            clock=self.clock,
            rng=lambda: 0.5,
        )
        self.task: asyncio.Task[None] | None = None

    @property
    def report(self) -> Report:
        report = self.reporter.report.get()
        assert report is not None
        return report

    async def __aenter__(self) -> "Lab":
        self.task = asyncio.create_task(self.reporter.run())
        await settle()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait((self.task,))
        assert not any(link.is_open for link in self.probes.links)
