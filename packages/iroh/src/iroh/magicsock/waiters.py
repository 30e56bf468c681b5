"""Coroutines asleep until something about a key changes."""

import asyncio
from collections.abc import Hashable
from itertools import islice


class Waiters:
    """Wakes coroutines that wait for a key, in their order; each looks for itself what is there.

    Belongs to the loop it is made on. Cancelling `wait` is harmless: nothing is handed over that
    could be lost, and a wake-up that the cancelled one cannot use goes to the next in line.
    """

    __slots__ = ("_by_key", "_closed", "_loop", "woken")

    def __init__(self) -> None:
        self.woken: bool = False
        """Whether anybody was woken since the caller last set it to False."""
        self._by_key: dict[Hashable, dict[asyncio.Future[None], None]] = {}
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def wait(self, key: Hashable) -> None:
        """Sleep until `wake(key)` or `close`; return at once after `close`.

        Raises RuntimeError on another event loop: nobody would wake the sleeper there.
        """
        if self._closed:
            return
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("an endpoint and its connections belong to the loop it was bound on")
        future = self._loop.create_future()
        waiting = self._by_key.get(key)
        if waiting is None:
            waiting = self._by_key[key] = {}
        waiting[future] = None
        try:
            await future
        except BaseException:
            waiting.pop(future, None)
            if not waiting and self._by_key.get(key) is waiting:
                del self._by_key[key]
            if not future.cancelled() and future.done():
                self.wake(key, 1)
            raise

    def wake(self, key: Hashable, count: int | None = None) -> None:
        """Wake those that wait for the key: all, or the first `count` of them."""
        waiting = self._by_key.get(key)
        if waiting is None:
            return
        self.woken = True
        if len(waiting) == 1 or count is None or count >= len(waiting):  # all of them
            del self._by_key[key]
            for future in waiting:
                if not future.done():  # else it was cancelled
                    future.set_result(None)
            return
        asleep = (future for future in waiting if not future.done())
        for future in list(islice(asleep, count)):
            del waiting[future]
            future.set_result(None)

    def close(self) -> None:
        """Wake everybody, and let nobody sleep again."""
        self._closed = True
        for key in list(self._by_key):
            self.wake(key)

    def __len__(self) -> int:
        """How many sleep."""
        return sum(map(len, self._by_key.values()))
