"""A value that others can watch, without an event loop of its own.

`Watchable` owns the value, a `Watcher` sees its changes. Changes coalesce: a slow watcher sees the
latest value, never a backlog, so nothing here can grow but the number of waiting callers. The event
loop comes in through `create_future`, for asyncio

    lambda: asyncio.get_running_loop().create_future()

which is called in `Watcher.updated()`, hence in the loop of the one who waits. `set` and `close`
must be called in that same thread.
"""

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Generic, Protocol, TypeVar

from .errors import WatchClosedError

__all__ = ["FutureLike", "Watchable", "Watcher"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class FutureLike(Protocol):
    """What `Watchable` needs of a future; `asyncio.Future` has it."""

    def done(self) -> bool:
        """Whether it was resolved or cancelled."""
        ...

    def set_result(self, result: None, /) -> None:
        """Wake the one who awaits it."""
        ...

    def __await__(self) -> Generator[Any, None, None]: ...


class Watchable(Generic[T]):
    """Owns a value and tells watchers when it becomes a different one."""

    __slots__ = ("_closed", "_create_future", "_value", "_waiters")

    def __init__(self, value: T, create_future: Callable[[], FutureLike]) -> None:
        self._value = value
        self._create_future = create_future
        self._closed = False
        # A dict as an ordered set: waiters wake in the order in which they came.
        self._waiters: dict[FutureLike, None] = {}

    def get(self) -> T:
        """The current value."""
        return self._value

    def set(self, value: T) -> bool:
        """Replace the value; whether it differs from the one before (only then anybody wakes)."""
        if value == self._value:
            return False
        self._value = value
        self._wake()
        return True

    def watch(self) -> "Watcher[T]":
        """A new watcher that has seen nothing but the current value."""
        return Watcher(self)

    def close(self) -> None:
        """Declare that no change will follow; watchers see the last change, then the end."""
        self._closed = True
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Return after the next `set` to another value, or `close`. Cancel-safe."""
        waiter = self._create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)


class Watcher(Generic[T_co]):
    """One observer of a `Watchable`; remembers the last value it has handed out."""

    __slots__ = ("_seen", "_source")

    def __init__(self, source: Watchable[T_co]) -> None:
        self._source = source
        self._seen = source.get()

    def __repr__(self) -> str:
        return f"<Watcher: {self._source.get()!r}>"

    def get(self) -> T_co:
        """The current value, which counts as seen from now on."""
        self._seen = self._source.get()
        return self._seen

    async def updated(self) -> T_co:
        """Wait for a value other than the last one seen, and return it.

        Values that came and went in between are skipped. Cancel-safe: nothing is lost. Raises
        `WatchClosedError` when the source is closed and has nothing new.
        """
        while self._source.get() == self._seen:
            if self._source.closed:
                raise WatchClosedError("the watched value will not change any more")
            await self._source.changed()
        return self.get()

    async def initialized(self: "Watcher[U | None]") -> U:
        """Wait until the value is not `None`, and return it. Cancel-safe, errors as `updated`."""
        while (value := self.get()) is None:
            await self.updated()
        return value

    def __aiter__(self) -> AsyncIterator[T_co]:
        """The current value, then every update; ends when the source is closed."""
        return _Updates(self)


class _Updates(Generic[T_co]):
    """The iterator of `Watcher`: no generator, so that leaving a loop early leaves nothing open."""

    __slots__ = ("_started", "_watcher")

    def __init__(self, watcher: Watcher[T_co]) -> None:
        self._watcher = watcher
        self._started = False

    def __aiter__(self) -> "_Updates[T_co]":
        return self

    async def __anext__(self) -> T_co:
        if not self._started:
            self._started = True
            return self._watcher.get()
        try:
            return await self._watcher.updated()
        except WatchClosedError:
            raise StopAsyncIteration from None
