"""The search for the addresses of one remote: one at a time, shared by all dials that wait."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable

from iroh.address_lookup import LookupItem
from iroh.errors import EndpointClosedError, LookupFailedError
from iroh_base import PublicKey, TransportAddr

logger: logging.Logger = logging.getLogger(__name__)

Lookup = Callable[[PublicKey], AsyncIterator[LookupItem]]
"""Starts a lookup. The iterator raises LookupFailedError when nothing is found."""


class RemoteLookup:
    """Starts lookups and hands on what they find, as it comes."""

    def __init__(
        self,
        endpoint_id: PublicKey,
        lookup: Lookup,
        found: Callable[[Iterable[TransportAddr]], None],
    ) -> None:
        self._endpoint_id = endpoint_id
        self._lookup = lookup
        self._found = found
        self._task: asyncio.Task[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    def start(self) -> None:
        """Start a lookup, unless one runs."""
        if self._task is None:
            name = f"iroh-lookup-{self._endpoint_id.fmt_short()}"
            self._task = asyncio.create_task(self._run(), name=name)
            self._task.add_done_callback(self._done)

    async def wait(self, is_enough: Callable[[], bool]) -> None:
        """Return when the running lookup, if any, has found enough.

        Raises LookupFailedError when it ends with nothing, EndpointClosedError when it is
        cancelled.
        """
        task = self._task
        while not is_enough() and task is not None:
            if task.done():
                raise self._why_nothing(task)
            found = asyncio.get_running_loop().create_future()
            self._waiters.add(found)
            try:
                await asyncio.wait((task, found), return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._waiters.discard(found)

    def _why_nothing(self, task: "asyncio.Task[None]") -> BaseException:
        if task.cancelled():
            return EndpointClosedError("the endpoint was closed while it looked up an address")
        return task.exception() or LookupFailedError(
            f"the lookup found endpoint {self._endpoint_id.fmt_short()}, but no address of it"
        )

    async def _run(self) -> None:
        async for item in self._lookup(self._endpoint_id):
            self._found(item.endpoint_info.data.addrs)
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            logger.debug("lookup of %s: %s", self._endpoint_id.fmt_short(), task.exception())

    def cancel(self) -> "asyncio.Task[None] | None":
        """Cancel a running lookup; gives its task, for somebody to wait for its end."""
        if self._task is not None:
            self._task.cancel()
        return self._task
