"""What all classes of the trio front have in common."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Self, TypeVar, cast

from iroh.trio.portal import Portal
from iroh_base import Watcher

__all__ = ["Front", "Steps", "Watch", "optional"]

F = TypeVar("F")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Front:
    """Shows an object of `iroh`, which lives in the asyncio loop, to trio's tasks."""

    _aio: Any

    def __init__(self, portal: Portal, aio: Any) -> None:
        self._portal = portal
        self._aio = aio

    @property
    def aio(self) -> Any:
        """The object of `iroh`, for code that runs in the asyncio loop."""
        return self._aio

    @property
    def portal(self) -> Portal:
        """The way into the asyncio loop."""
        return self._portal

    def __repr__(self) -> str:
        return repr(self._aio)


def optional(cls: Callable[[Portal, Any], F], portal: Portal, value: Any) -> F | None:
    """Show a value unless it is None."""
    return None if value is None else cls(portal, value)


class Steps(AsyncIterator[T]):
    """An async iterator. Leaving it early leaves nothing behind; a cancelled step loses nothing."""

    def __init__(
        self, portal: Portal, values: Any, wrap: Callable[[Portal, Any], T] | None = None
    ) -> None:
        self._portal = portal
        self._values = aiter(values)
        self._wrap = wrap

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        value, ended = await self._portal.wait(self._step)
        if ended:
            raise StopAsyncIteration
        return cast("T", value) if self._wrap is None else self._wrap(self._portal, value)

    async def _step(self) -> tuple[Any, bool]:
        try:
            return await anext(self._values), False
        except StopAsyncIteration:
            return None, True


class Watch(Generic[T_co]):
    """A value that changes: see `iroh_base.Watcher`. Iterate: now, then every change."""

    def __init__(self, portal: Portal, watcher: Watcher[T_co]) -> None:
        self._portal = portal
        self._watcher = watcher

    def get(self) -> T_co:
        """Return the current value, which counts as seen from now on."""
        return self._watcher.get()

    async def updated(self) -> T_co:
        """Wait for a value other than the last one seen. Raises WatchClosedError at the end.

        Cancelling it is harmless.
        """
        return await self._portal.wait(self._watcher.updated)

    async def initialized(self: "Watch[T | None]") -> T:
        """Wait until the value is not None. Raises WatchClosedError at the end.

        Cancelling it is harmless.
        """
        return await self._portal.wait(self._watcher.initialized)

    def __aiter__(self) -> Steps[T_co]:
        return Steps(self._portal, self._watcher)
