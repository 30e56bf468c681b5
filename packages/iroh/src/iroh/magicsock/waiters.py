"""Coroutines asleep until something about a key changes."""

import asyncio
from collections.abc import Hashable


class Waiters:
    """Wakes every coroutine that waits for a key; each looks for itself whether to go on.

    Cancelling `wait` is harmless: nothing is handed over that could be lost.
    """

    __slots__ = ("_by_key", "_closed")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, list[asyncio.Future[None]]] = {}
        self._closed = False

    async def wait(self, key: Hashable) -> None:
        """Sleep until `wake(key)` or `close`; return at once after `close`."""
        if self._closed:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._by_key.setdefault(key, []).append(future)
        try:
            await future
        finally:
            waiting = self._by_key.get(key)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del self._by_key[key]

    def wake(self, key: Hashable) -> None:
        """Wake all that wait for the key."""
        for future in self._by_key.pop(key, ()):
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Wake everybody, and let nobody sleep again."""
        self._closed = True
        for key in list(self._by_key):
            self.wake(key)
