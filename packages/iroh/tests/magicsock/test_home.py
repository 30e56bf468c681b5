import asyncio

from iroh.magicsock.home import HomeRelay
from iroh_base import RelayUrl
from iroh_relay.relay_map import RelayConfig, RelayMap

A, B = RelayUrl("http://a.example/"), RelayUrl("http://b.example/")


class Fixture:
    def __init__(self, urls) -> None:
        self.map = RelayMap.from_urls([str(url) for url in urls])
        self.latency: dict[RelayUrl, float | Exception] = {}
        self.probed = 0
        self.homes: asyncio.Queue = asyncio.Queue()
        self.home = HomeRelay(self.map, self.probe, self.homes.put_nowait, lambda: 0.5)

    async def probe(self, url: RelayUrl) -> float:
        self.probed += 1
        answer = self.latency[url]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def __aenter__(self):
        self.task = asyncio.create_task(self.home.run())
        return self

    async def __aexit__(self, *_exc):
        self.task.cancel()
        await asyncio.wait((self.task,))


async def test_the_only_relay_is_home_without_measuring() -> None:
    async with Fixture([A]) as f:
        assert await f.homes.get() == A
        assert f.probed == 0


async def test_the_fastest_that_answers_is_home() -> None:
    f = Fixture([A, B])
    f.latency = {A: OSError("down"), B: 0.2}
    async with f:
        assert await f.homes.get() == B


async def test_home_moves_only_for_a_clear_gain() -> None:
    f = Fixture([A, B])
    f.latency = {A: 0.1, B: 0.2}
    async with f:
        assert await f.homes.get() == A
        f.latency = {A: 0.1, B: 0.08}
        f.home._choose(await f.home._measure())
        assert f.homes.empty()
        f.latency = {A: 0.1, B: 0.05}
        f.home._choose(await f.home._measure())
        assert await f.homes.get() == B


async def test_a_change_of_the_map_is_an_occasion() -> None:
    async with Fixture([]) as f:
        await asyncio.sleep(0)
        assert f.homes.empty()
        f.map.insert(RelayConfig(url=str(A)))
        assert await f.homes.get() == A
        f.map.remove(str(A))
        assert await f.homes.get() is None


async def test_a_relay_that_cannot_be_measured_leaves_the_others(caplog) -> None:
    f = Fixture([A, B])
    f.latency = {A: RuntimeError("a bug in a resolver"), B: 0.2}
    async with f:
        assert await f.homes.get() == B
    assert "a bug in a resolver" in caplog.text


async def test_when_nobody_answers_home_is_looked_for_again() -> None:
    f = Fixture([A, B])
    f.latency = {A: OSError("down"), B: OSError("down")}
    async with f:
        await asyncio.sleep(0)
        assert f.home._next_wait(retry=4.0) == 4.0
        f.latency = {A: 0.1, B: 0.2}
        f.home._choose(await f.home._measure())
        assert await f.homes.get() == A
        assert 20.0 <= f.home._next_wait(retry=4.0) <= 26.0
        f.latency = {A: OSError("down"), B: OSError("down")}
        f.home._choose(await f.home._measure())
        assert f.homes.empty()  # better the home we have than none
