"""A DHT in memory: nodes of ours, datagrams with a delay, virtual time."""

import heapq
import itertools
import random
from collections.abc import Callable

from iroh_base.mainline import Addr, DhtNode, Result


class Network:
    """Nodes by address. `lose(data, source, target)` may drop datagrams."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.nodes: dict[Addr, DhtNode] = {}
        self.sent = 0
        self.lose: Callable[[bytes, Addr, Addr], bool] = lambda data, source, target: False
        self._flying: list[tuple[float, int, bytes, Addr, Addr]] = []
        self._order = itertools.count()
        self._count = itertools.count(1)
        self._results: dict[tuple[Addr, int], Result] = {}

    def add(self, *, server: bool = True) -> Addr:
        """One more node; it begins at the first one."""
        count = next(self._count)
        addr = (f"10.0.{count // 250}.{count % 250 + 1}", 6881)
        node = DhtNode(self.now, self.random.randbytes, server=server)
        if self.nodes:
            node.set_entrances([next(iter(self.nodes))])
        self.nodes[addr] = node
        return addr

    def grow(self, count: int) -> list[Addr]:
        """Some servers that have found each other."""
        addrs = [self.add() for _ in range(count)]
        for addr in addrs:
            self.finish(addr, self.nodes[addr].find(self.nodes[addr].id, self.now))
        return addrs

    def finish(self, addr: Addr, number: int) -> Result:
        """Let time pass until an operation of a node has ended."""
        while (addr, number) not in self._results:
            self.step()
        return self._results.pop((addr, number))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._next() <= until:
            self.step()
        self.now = until

    def step(self) -> None:
        """What comes next: a datagram, or a timer."""
        self._collect()
        self.now = max(self.now, self._next())
        while self._flying and self._flying[0][0] <= self.now:
            _, _, data, source, target = heapq.heappop(self._flying)
            if target in self.nodes:
                self.nodes[target].receive(data, source, self.now)
        for node in self.nodes.values():
            if node.next_timeout <= self.now:
                node.handle_timeout(self.now)
        self._collect()

    def _next(self) -> float:
        timers = [node.next_timeout for node in self.nodes.values()]
        return min(timers + [flight[0] for flight in self._flying[:1]])

    def _collect(self) -> None:
        for addr, node in self.nodes.items():
            for data, target in node.take_datagrams():
                self.sent += 1
                assert len(data) <= 1400
                if not self.lose(data, addr, target):
                    arrives = self.now + self.random.uniform(0.01, 0.1)
                    heapq.heappush(self._flying, (arrives, next(self._order), data, addr, target))
            for number, result in node.take_results():
                self._results[addr, number] = result
