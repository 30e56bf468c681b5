"""The end of a random run: the network heals, and everything must come to its end.

From here on the applications act on events alone, as sleeping coroutines do: a wake-up that an
engine forgets leaves a stream hanging, and the run fails for lack of time.
"""

from collections.abc import Callable

from iroh.quic import events as ev

from .link import Conditions, Orders
from .model import HalfStream, Model
from .pair import Pair

HEALED_SECONDS = 60.0
"""Virtual time for streams to end after the network healed."""
REST_SECONDS = 200.0
"""For a closed pair to come to rest: idle timeouts and closing periods with backed-off timers."""
LIMIT = 50_000


class Ending:
    """Finishes every half that can be finished and reads every half to its end."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.pair: Pair = model.pair

    def run(self) -> None:
        """Bring the run to its end and check it. Raises AssertionError."""
        self._heal()
        if self.model.is_open:
            self._end_streams()
        if self.model.is_open:
            self._check_limits()
            self._check_held()
            self.model.close(0, 1)
        self.pair.sim.settle(REST_SECONDS)
        self.model.check_closed()
        self.pair.check_forgotten()

    def _heal(self) -> None:
        network = self.pair.sim.network
        clean = network.conditions = Conditions(mtu=network.conditions.mtu)
        for links in (network.between("client", "server"), network.between("server", "client")):
            for link in links:
                link.conditions, link.orders = clean, Orders()

    def _end_streams(self) -> None:
        model = self.model
        model.on_event = self._on_event
        for side in (0, 1):
            for half in model.sending(side):
                self._finish(half)
            for half in model.receiving(side):
                self._drain(half)
        self.pair.sim.run(self._are_streams_over, HEALED_SECONDS)
        model.on_event = None

    def _are_streams_over(self) -> bool:
        """Whether all is said, or a close that was under way ended it."""
        model = self.model
        return not model.is_open or all(half.is_over for half in model.halves.values())

    def _on_event(self, side: int, event: ev.Event) -> None:
        halves = self.model.halves
        if isinstance(event, ev.StreamOpened | ev.StreamReadable):
            self._soon(side, self._drain, halves[event.stream_id, 1 - side])
        if isinstance(event, ev.StreamOpened) and (event.stream_id, side) in halves:
            self._soon(side, self._finish, halves[event.stream_id, side])

    def _soon(self, side: int, act: Callable[[HalfStream], None], half: HalfStream) -> None:
        self.model.ends[side].soon(lambda: act(half))

    def _finish(self, half: HalfStream) -> None:
        if half.is_writable:
            self.model.finish(half)

    def _drain(self, half: HalfStream) -> None:
        while half.is_readable and self.model.read(half, LIMIT):
            pass

    def _check_limits(self) -> None:
        """Who waits for a stream is told once the others are over, and gets one."""
        model = self.model
        for side, mine in enumerate(model.sides):
            for bidirectional in sorted(mine.wants):
                self.pair.sim.run(lambda m=mine, b=bidirectional: b in m.may_open, HEALED_SECONDS)
                stream_id = model.open(side, bidirectional)
                assert stream_id is not None, "StreamsAvailable, but there is none"
                model.reset(model.halves[stream_id, side], 9)

    def _check_held(self) -> None:
        """What was acknowledged is let go."""
        self.pair.sim.sleep(1.0)
        for end, engine in self.pair.sides:
            if engine.can.held is not None and end.closed is None:
                assert engine.can.held(end.connection) == 0
        self.pair.check_healthy()
