"""What all classes of the blocking front have in common."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, Self, TypeVar, cast

from iroh.sync.portal import Portal
from iroh_base import Watcher

__all__ = ["Front", "Steps", "Watch", "optional"]

F = TypeVar("F")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Front:
    """Shows an object of `iroh`, which lives in a portal's thread, to all other threads."""

    _aio: Any

    def __init__(self, portal: Portal, aio: Any) -> None:
        self._portal = portal
        self._aio = aio

    @property
    def portal(self) -> Portal:
        """The thread that does the work."""
        return self._portal

    @property
    def aio(self) -> Any:
        """The object of `iroh`. Touch it in the portal's thread only: `portal.call`, `.wait`."""
        return self._aio

    def __repr__(self) -> str:
        return repr(self._aio)


def optional(cls: Callable[[Portal, Any], F], portal: Portal, value: Any) -> F | None:
    """Show a value unless it is None."""
    return None if value is None else cls(portal, value)


class Steps(Iterator[T]):
    """An iterator that waits for each value. Leaving it early leaves nothing behind."""

    def __init__(
        self, portal: Portal, values: Any, wrap: Callable[[Portal, Any], T] | None = None
    ) -> None:
        self._portal = portal
        self._values = aiter(values)
        self._wrap = wrap

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.step()

    def step(self, *, timeout: float | None = None) -> T:
        """Wait for the next value. Raises StopIteration at the end, TimeoutError."""
        try:
            value = self._portal.wait(timeout, self._step)
        except StopAsyncIteration:
            raise StopIteration from None
        return cast("T", value) if self._wrap is None else self._wrap(self._portal, value)

    async def _step(self) -> Any:
        return await anext(self._values)


class Watch(Generic[T_co]):
    """A value that changes: see `iroh_base.Watcher`. Iterate: now, then every change."""

    def __init__(self, portal: Portal, watcher: Watcher[T_co]) -> None:
        self._portal = portal
        self._watcher = watcher

    def get(self) -> T_co:
        """Return the current value, which counts as seen from now on."""
        return self._portal.call(self._watcher.get)

    def updated(self, *, timeout: float | None = None) -> T_co:
        """Wait for a value other than the last one seen. Raises WatchClosedError at the end."""
        return self._portal.wait(timeout, self._watcher.updated)

    def initialized(self: "Watch[T | None]", *, timeout: float | None = None) -> T:
        """Wait until the value is not None. Raises WatchClosedError at the end."""
        return self._portal.wait(timeout, self._watcher.initialized)

    def __iter__(self) -> Steps[T_co]:
        return Steps(self._portal, self._watcher)
