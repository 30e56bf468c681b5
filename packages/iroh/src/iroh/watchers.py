"""Callbacks on changes, by the bindings' names. `async for` over a Watcher does the same."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from iroh_base import EndpointAddr, IrohError, Watcher

if TYPE_CHECKING:
    from iroh.netmon import NetworkState
    from iroh.path_events import PathEvent
    from iroh.path_snapshot import PathSnapshot
    from iroh_relay.client import RelayStatus

logger: logging.Logger = logging.getLogger(__name__)
T = TypeVar("T")

__all__ = [
    "AddrChangeCallback",
    "CallbackError",
    "HomeRelayCallback",
    "NetworkChangeCallback",
    "PathChangeCallback",
    "PathEventCallback",
    "WatchHandle",
    "watch_home_relay",
    "watch_network_change",
]


class CallbackError(Exception):
    """Raise it in a callback to stop the watch."""

    Error: "type[CallbackError]"


class _Error(CallbackError):
    """The bindings' name of it."""


_Error.__name__, _Error.__qualname__ = "Error", "CallbackError.Error"
CallbackError.Error = _Error


def method_of(callback: object, name: str) -> Callable[..., Awaitable[None]]:
    """Return a callback object's method. Raises TypeError when it has none of that name."""
    method: Callable[..., Awaitable[None]] | None = getattr(callback, name, None)
    if not callable(method):
        raise TypeError(f"a callback has a method {name}; {callback!r} has none")
    return method


class AddrChangeCallback:
    """Told when the endpoint's own address changes."""

    async def on_change(self, addr: EndpointAddr) -> None:
        """Take the new address. Cancelled when the watch is stopped."""
        raise NotImplementedError


class HomeRelayCallback:
    """Told when the home relay changes."""

    async def on_change(self, relay_urls: list[str]) -> None:
        """Take the URLs of the connected home relay: one, or none.

        Cancelled when the watch is stopped.
        """
        raise NotImplementedError


class NetworkChangeCallback:
    """Told when the network of this machine changes: interfaces, addresses, default route."""

    async def on_change(self) -> None:
        """Take note. Cancelled when the watch is stopped."""
        raise NotImplementedError


class PathChangeCallback:
    """Told when the open paths of a connection change."""

    async def on_change(self, paths: "list[PathSnapshot]") -> None:
        """Take the open paths. Cancelled when the watch is stopped."""
        raise NotImplementedError


class PathEventCallback:
    """Told of each change of a connection's paths."""

    async def on_event(self, event: "PathEvent") -> None:
        """Take the event. Cancelled when the watch is stopped."""
        raise NotImplementedError


class WatchHandle:
    """A running watch. `stop` ends it, so does what is watched; dropping the handle does, too."""

    def __init__(
        self, values: AsyncIterable[T], tell: Callable[[T], Awaitable[None]], name: str
    ) -> None:
        self._task = asyncio.create_task(_run(values, tell), name=name)

    async def stop(self) -> None:
        """Stop telling; a call of the callback that is under way is cancelled. Idempotent.

        Cancelling it is harmless: the watch ends all the same.
        """
        self._task.cancel()
        await asyncio.wait((self._task,))

    def __repr__(self) -> str:
        return f"<WatchHandle {self._task.get_name()}: {'over' if self._task.done() else 'on'}>"

    def __del__(self) -> None:
        task = getattr(self, "_task", None)
        if task is not None and not task.done():
            with contextlib.suppress(RuntimeError):  # the loop is closed: it is all over
                task.get_loop().call_soon_threadsafe(task.cancel)


async def _run(values: AsyncIterable[T], tell: Callable[[T], Awaitable[None]]) -> None:
    try:
        async for value in values:
            await tell(value)
    except (CallbackError, IrohError) as error:
        logger.debug("a watch was stopped by its callback: %s", error)
    except Exception:  # the root of a callback's task: a bug there must not pass unseen
        logger.exception("a watch callback failed")


def watch_home_relay(
    statuses: "Watcher[RelayStatus | None]", callback: HomeRelayCallback
) -> WatchHandle:
    """Call back with the URLs of the connected home relay, now and when they change."""
    told: list[str] | None = None
    on_change = method_of(callback, "on_change")

    async def tell(status: "RelayStatus | None") -> None:
        nonlocal told
        urls = [str(status.url)] if status is not None and status.is_connected else []
        if urls != told:
            told = urls
            await on_change(urls)

    return WatchHandle(statuses, tell, "iroh-watch-home-relay")


def watch_network_change(
    states: "Watcher[NetworkState]", callback: NetworkChangeCallback
) -> WatchHandle:
    """Call back at each change from now on. (The bindings call back without an end.)"""
    known = states.get()
    on_change = method_of(callback, "on_change")

    async def tell(state: "NetworkState") -> None:
        nonlocal known
        if state != known:
            known = state
            await on_change()

    return WatchHandle(states, tell, "iroh-watch-network-change")
