"""The port mapper in virtual time, with protocols that do what a test wants."""

import asyncio

import pytest

from iroh.portmap import Mapping, PortMapper, Router
from iroh.portmap.errors import NoAnswerError
from iroh_base import SocketAddr

from ..netmon.fakes import FakeTimers

HOME, OFFICE = Router("192.0.2.1", "192.0.2.7"), Router("198.51.100.1", "198.51.100.7")


class FakeProtocol:
    def __init__(self, bench: "Bench", name: str, router: Router) -> None:
        self.bench, self.name, self.router = bench, name, router

    def _speak(self, verb: str) -> None:
        self.bench.log.append(f"{self.name} {verb}")
        if self.name not in self.bench.speaks:
            raise NoAnswerError("silence")

    async def probe(self) -> None:
        await asyncio.sleep(0)
        self._speak("probe")

    async def map(self, internal_port: int, wanted: SocketAddr | None) -> Mapping:
        self._speak(f"map {internal_port} {'' if wanted is None else wanted.port}".strip())
        if self.name in self.bench.refuses:
            raise NoAnswerError("refused")
        port = self.bench.gives or (internal_port if wanted is None else wanted.port)
        return Mapping(self.name, internal_port, SocketAddr("203.0.113.1", port), 3600)

    async def check(self, mapping: Mapping) -> bool:
        self._speak("check")
        return not self.bench.lost

    async def release(self, mapping: Mapping) -> None:
        self.bench.log.append(f"{self.name} release {mapping.external.port}")
        if self.bench.stuck:
            await asyncio.get_running_loop().create_future()


class Bench:
    def __init__(self) -> None:
        self.timers = FakeTimers()
        self.router: Router | None = HOME
        self.speaks = {"PCP", "NAT-PMP", "UPnP"}
        self.refuses: set[str] = set()
        self.gives = 0
        self.lost = self.stuck = False
        self.log: list[str] = []
        self.mapper = PortMapper(lambda: self.router, self.protocols, self.timers)

    def protocols(self, router: Router) -> list[FakeProtocol]:
        return [FakeProtocol(self, name, router) for name in ("PCP", "NAT-PMP", "UPnP")]

    async def settle(self) -> list[str]:
        while self.mapper._task is not None:
            await asyncio.wait((self.mapper._task,))
        log, self.log = self.log, []
        return [line for line in log if not line.endswith("probe")]

    async def after(self, seconds: float) -> list[str]:
        """Let time pass, a minute at a time as a loop would: each job gets its turn."""
        lines: list[str] = []
        while seconds > 0:
            self.timers.advance(min(seconds, 60))
            lines += await self.settle()
            seconds -= 60
        return lines

    @property
    def external(self) -> SocketAddr | None:
        return self.mapper.external.get()


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    bench.stuck = False
    await bench.mapper.close()
    assert not bench.timers.pending()


async def test_the_preferred_protocol_is_used(bench) -> None:
    bench.mapper.update_local_port(4567)
    assert await bench.settle() == ["PCP map 4567"]
    assert bench.external == ("203.0.113.1", 4567)
    bench.mapper.update_local_port(4567)
    assert await bench.settle() == []


@pytest.mark.parametrize("silent", [{"PCP"}, {"PCP", "NAT-PMP"}])
async def test_the_next_one_where_it_does_not_answer(bench, silent: set[str]) -> None:
    bench.speaks -= silent
    bench.mapper.update_local_port(4567)
    (line,) = await bench.settle()
    assert line.split(" map")[0] == ("NAT-PMP" if len(silent) == 1 else "UPnP")


async def test_the_next_one_where_it_refuses(bench) -> None:
    bench.refuses = {"PCP"}
    bench.mapper.update_local_port(4567)
    assert await bench.settle() == ["PCP map 4567", "NAT-PMP map 4567"]
    assert bench.external is not None


async def test_nobody_is_asked_without_a_gateway_or_a_port(bench) -> None:
    bench.router = None
    bench.mapper.update_local_port(4567)
    await bench.settle()
    assert bench.log == []
    bench.router = HOME
    bench.mapper.update_local_port(None)
    bench.mapper.network_changed()
    assert await bench.settle() == []


async def test_renewal_at_half_the_lifetime(bench) -> None:
    bench.mapper.update_local_port(4567)
    await bench.settle()
    lines = await bench.after(1790)
    assert lines == ["PCP check"] * 14  # every 2 minutes
    assert await bench.after(120) == ["PCP map 4567 4567"]


async def test_a_renewal_that_fails_is_tried_again_until_the_end(bench) -> None:
    bench.mapper.update_local_port(4567)
    await bench.settle()
    await bench.after(1740)
    bench.speaks = set()
    lines = await bench.after(120)
    assert lines == ["PCP map 4567 4567"]
    assert bench.external is not None
    bench.speaks = {"PCP"}
    lines = await bench.after(1000)
    assert "PCP map 4567 4567" in lines
    bench.speaks = set()
    await bench.after(7200)
    assert bench.external is None


async def test_a_lost_mapping_is_got_anew_with_the_same_port(bench) -> None:
    bench.gives = 80
    bench.mapper.update_local_port(4567)
    await bench.settle()
    bench.lost, bench.gives = True, 0
    assert await bench.after(125) == ["PCP check", "PCP map 4567 80"]
    assert bench.external == ("203.0.113.1", 80)
    assert bench.mapper.counters.external_address_updated == 1


async def test_another_external_port_is_told(bench) -> None:
    watcher = bench.mapper.external.watch()
    bench.mapper.update_local_port(4567)
    assert (await watcher.updated()).port == 4567
    bench.lost, bench.gives = True, 81
    await bench.settle()
    await bench.after(125)
    assert (await watcher.updated()).port == 81


async def test_failures_are_put_off_longer_and_longer(bench) -> None:
    bench.speaks = set()
    bench.mapper.update_local_port(4567)
    for _second in range(3600):
        await bench.settle()
        bench.timers.advance(1)
    await bench.settle()
    # after 0, 5, 15, 35, 75, 155, 315, 635 s and then every 10 min
    assert bench.mapper.counters.attempts == 12
    assert bench.external is None
    bench.speaks = {"UPnP"}
    bench.mapper.network_changed()
    assert await bench.settle() == ["UPnP map 4567"]


async def test_another_network(bench) -> None:
    bench.mapper.update_local_port(4567)
    await bench.settle()
    bench.mapper.network_changed()
    assert await bench.settle() == ["PCP check"]
    bench.router = OFFICE
    bench.mapper.network_changed()
    assert await bench.settle() == ["PCP release 4567", "PCP map 4567"]
    bench.router = None
    bench.mapper.network_changed()
    assert await bench.settle() == ["PCP release 4567"]
    assert bench.external is None


async def test_another_port_of_ours(bench) -> None:
    bench.mapper.update_local_port(4567)
    await asyncio.sleep(0)
    bench.mapper.update_local_port(4568)
    bench.mapper.update_local_port(4569)  # while the first is under way
    assert await bench.settle() == ["PCP map 4567", "PCP release 4567", "PCP map 4569"]
    assert bench.external == ("203.0.113.1", 4569)
    bench.mapper.update_local_port(None)
    assert await bench.settle() == ["PCP release 4569"]


async def test_closing_takes_the_mapping_back(bench) -> None:
    bench.mapper.update_local_port(4567)
    await bench.settle()
    watcher = bench.mapper.external.watch()
    await bench.mapper.close()
    await bench.mapper.close()
    assert await bench.settle() == ["PCP release 4567"]
    assert [value async for value in watcher] == [None]
    bench.mapper.update_local_port(4568)
    assert await bench.settle() == []


async def test_closing_does_not_wait_for_a_gateway(bench, monkeypatch) -> None:
    monkeypatch.setattr("iroh.portmap.service.RELEASE_TIMEOUT", 0.01)
    bench.mapper.update_local_port(4567)
    await bench.settle()
    bench.stuck = True
    await bench.mapper.close()


async def test_closing_in_the_middle(bench) -> None:
    bench.mapper.update_local_port(4567)
    await asyncio.sleep(0)
    await bench.mapper.close()
    assert bench.external is None


async def test_a_bug_is_told_and_put_off(bench, monkeypatch, caplog) -> None:
    async def fail(*_: object) -> Mapping:
        raise RuntimeError("mine")

    monkeypatch.setattr(FakeProtocol, "map", fail)
    bench.mapper.update_local_port(4567)
    await bench.settle()
    assert "port mapping failed" in caplog.text
    assert await bench.settle() == []
