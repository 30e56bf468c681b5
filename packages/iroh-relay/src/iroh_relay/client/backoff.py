"""How long to wait before dialling a relay again.

The wait is d + U(0, 1) * d with d = 10 ms, 20 ms, 40 ms ... 16 s, without end; so the longest is
32 s. (iroh `socket/transports/relay/actor.rs`, which uses the crate backon with these numbers.)
"""

import random
from collections.abc import Callable

__all__ = ["Backoff"]

#: The first step in seconds.
FIRST_DELAY = 0.010
#: The largest step in seconds, before jitter.
MAX_DELAY = 16.0


class Backoff:
    """A growing, jittered delay. `uniform` gives floats in [0, 1)."""

    __slots__ = ("_step", "_uniform")

    def __init__(self, uniform: Callable[[], float] = random.random) -> None:
        self._uniform = uniform
        self._step = FIRST_DELAY

    def next_delay(self) -> float:
        """Seconds to wait this time; the next call waits twice as long."""
        step = self._step
        self._step = min(2 * step, MAX_DELAY)
        return step + self._uniform() * step

    def reset(self) -> None:
        """Start over from the first step."""
        self._step = FIRST_DELAY
