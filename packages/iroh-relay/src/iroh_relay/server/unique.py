"""How many different endpoints a relay sees in a day (UTC).

Rust keeps one such counter per connection, so that its `unique_client_keys` in fact counts
connections; here one counter serves the whole relay, which is what the name says.
"""

import time
from collections.abc import Callable
from typing import Final

from iroh_base.keys import PublicKey

__all__ = ["UniquePerDay"]

_DAY: Final = 86_400.0
_MAX_KEYS: Final = 1 << 20
"""Keys remembered per day, as many as Rust's key cache; beyond that new ones are not counted."""


class UniquePerDay:
    """A set of endpoint ids that is emptied at midnight. `clock` gives Unix time in seconds."""

    def __init__(self, clock: Callable[[], float] = time.time, max_keys: int = _MAX_KEYS) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._day = -1
        self._seen: set[bytes] = set()

    def add(self, endpoint_id: PublicKey) -> bool:
        """Whether this id is new today."""
        day = int(self._clock() // _DAY)
        if day != self._day:
            self._day = day
            self._seen.clear()
        key = endpoint_id.to_bytes()
        if key in self._seen or len(self._seen) >= self._max_keys:
            return False
        self._seen.add(key)
        return True
