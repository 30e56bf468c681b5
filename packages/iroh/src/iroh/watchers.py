"""Callbacks on changes, by the bindings' names. `async for` over a Watcher does the same."""

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TypeVar

from iroh_base import EndpointAddr, IrohError

logger = logging.getLogger(__name__)
T = TypeVar("T")

__all__ = ["AddrChangeCallback", "CallbackError", "HomeRelayCallback", "WatchHandle"]


class CallbackError(Exception):
    """Raise it in a callback to stop the watch."""

    Error: "type[CallbackError]"


CallbackError.Error = CallbackError


class AddrChangeCallback:
    """Told when the endpoint's own address changes."""

    async def on_change(self, addr: EndpointAddr) -> None:
        """Take the new address."""
        raise NotImplementedError


class HomeRelayCallback:
    """Told when the home relay changes."""

    async def on_change(self, relay_urls: list[str]) -> None:
        """Take the URLs of the connected home relay: one, or none."""
        raise NotImplementedError


class WatchHandle:
    """A running watch; `stop` ends it, so does the endpoint's end."""

    def __init__(
        self, values: AsyncIterable[T], tell: Callable[[T], Awaitable[None]], name: str
    ) -> None:
        self._task = asyncio.create_task(self._run(values, tell), name=name)

    async def stop(self) -> None:
        """Stop telling. Idempotent."""
        self._task.cancel()
        await asyncio.wait((self._task,))

    def __del__(self) -> None:
        task = getattr(self, "_task", None)
        if task is not None and not task.done():
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

    @staticmethod
    async def _run(values: AsyncIterable[T], tell: Callable[[T], Awaitable[None]]) -> None:
        try:
            async for value in values:
                await tell(value)
        except (CallbackError, IrohError) as error:
            logger.debug("a watch was stopped by its callback: %s", error)
        except Exception:  # the root of a callback's task: a bug there must not pass unseen
            logger.exception("a watch callback failed")
