"""The clock: moves hosts, network and scripted actions in the order of time.

One step: the turn ends (whoever was touched is pumped), the clock jumps to the next thing that is
due, datagrams arrive, timers fire, actions run. Nothing else moves the clock.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence

from iroh.quic.api import ServerConfig
from iroh.quic.config import TransportConfig
from iroh.quic.datagrams import Address, Datagrams
from iroh_base import SecretKey

from .engines import Engine
from .host import End, Host
from .link import Conditions
from .network import Network

ALPN = b"sim/1"
START = 1000.0
MAX_STEPS = 300_000
"""Of one `run`: a few seconds of real time with the slowest engine."""


class Simulation:
    """Hosts on a network. quantum: arrivals are rounded up to it, as a busy host wakes up late."""

    def __init__(
        self, seed: int = 0, conditions: Conditions | None = None, quantum: float = 0.0
    ) -> None:
        self.seed = seed
        self.now = START
        self.hosts: dict[str, Host] = {}
        self.network = Network(random.Random(seed), conditions or Conditions(), quantum)
        self.steps = 0
        self._actions: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._soon: deque[Callable[[], object]] = deque()

    def host(
        self,
        name: str,
        engine: Engine,
        addresses: Sequence[Address],
        *,
        is_server: bool = False,
        transport: TransportConfig | None = None,
    ) -> Host:
        """Add a host. Its randomness comes from the simulation's seed and its name."""
        rng = random.Random(f"{self.seed} {name}").randbytes
        key = SecretKey.generate(rng)
        server = ServerConfig([ALPN], transport or TransportConfig())
        endpoint = engine.make(key, server if is_server else None, transport, rng)
        host = Host(self, name, endpoint, addresses, server, key.public().to_bytes())
        self.network.attach(name, addresses)
        self.hosts[name] = host
        return host

    @property
    def ends(self) -> list[End]:
        """The connections alive or draining."""
        return [end for host in self.hosts.values() for end in host.ends.values()]

    def send(self, host: Host, batches: Sequence[Datagrams], of_connection: bool = True) -> None:
        """Put datagrams on the network."""
        for batch in batches:
            self.network.send(host.name, batch, self.now, of_connection)

    def at(self, delay: float, action: Callable[[], object]) -> None:
        """Run `action` so many seconds from now."""
        heapq.heappush(self._actions, (self.now + delay, next(self._order), action))

    def soon(self, action: Callable[[], object]) -> None:
        """Run `action` in this turn, after what runs now: as a coroutine that was woken."""
        self._soon.append(action)

    # -- time ----------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Run whoever was woken and pump whoever was touched, until there is nobody."""
        for _ in range(1000):
            while self._soon:
                self._soon.popleft()()
            dirty = [end for end in self.ends if end.dirty]
            if not dirty:
                return
            for end in dirty:
                end.pump()
        raise AssertionError("a turn never ends: applications wake each other for ever")

    def next_time(self) -> float | None:
        """Say when something happens next; None for never."""
        times = [end.timer for end in self.ends if end.timer is not None]
        arrival = self.network.next_arrival()
        if arrival is not None:
            times.append(arrival)
        if self._actions:
            times.append(self._actions[0][0])
        return min(times, default=None)

    def step(self, before: float | None = None) -> bool:
        """Go to the next thing that happens. False when there is none (before this time)."""
        self.end_turn()
        at = self.next_time()
        if at is None or (before is not None and at > before):
            return False
        self.steps += 1
        self.now = max(self.now, at)
        for name, batches in self.network.arrived(self.now).items():
            self.hosts[name].take(batches)
        for end in self.ends:
            if end.timer is not None and end.timer <= self.now:
                end.on_timer()
        while self._actions and self._actions[0][0] <= self.now:
            heapq.heappop(self._actions)[2]()
        return True

    def run(self, until: Callable[[], bool], seconds: float = 60.0) -> float:
        """Step until `until` holds, and say how long it took. Fails after so many seconds."""
        start = self.now
        for _ in range(MAX_STEPS):
            self.end_turn()
            if until():
                return self.now - start
            if not self.step(before=start + seconds):
                break
        raise AssertionError(f"did not happen in {seconds} virtual seconds\n{self.story()}")

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        for _ in range(MAX_STEPS):
            if not self.step(before=end):
                self.now = end
                return
        raise AssertionError(f"too much happened in {seconds} virtual seconds\n{self.story()}")

    def settle(self, seconds: float) -> float:
        """Run until nothing is left to happen, and say how long it took. Fails after `seconds`."""
        start = self.now
        for _ in range(MAX_STEPS):
            if not self.step(before=start + seconds):
                break
        assert self.next_time() is None, f"not idle after {seconds} s\n{self.story()}"
        return self.now - start

    def connect(self, client: Host, server: Host, remote: Address | None = None) -> tuple[End, End]:
        """Dial, and wait until both ends are connected."""
        known = len(server.accepted)
        dialled = client.dial(server.key, remote or server.addresses[0], [ALPN])
        self.run(lambda: dialled.connected and any(e.connected for e in server.accepted[known:]))
        return dialled, next(end for end in server.accepted[known:] if end.connected)

    def story(self, length: int = 25) -> str:
        """Tell what is needed to understand and to replay a failure."""
        lines = [f"seed {self.seed}, {self.steps} steps, now {self.now:.6f}"]
        lines += [
            f"  {end} next {end.timer} last {list(end.last_events)[-5:]}" for end in self.ends
        ]
        lines += [f"  {name} dropped {dict(h.endpoint.dropped)}" for name, h in self.hosts.items()]
        lines.append(f"  fates {dict(self.network.fates())}")
        for at, source, destination, size, fate in list(self.network.trace)[-length:]:
            lines.append(f"  {at:.6f} {source} -> {destination} {size} bytes: {fate}")
        return "\n".join(lines)
