"""The lookup services of one endpoint, asked and told together (upstream `AddressLookupServices`).

publish(data) --filter--> every service; kept, and replayed to a service that is added later
resolve(id)   --> every service at once --> items as they come
                  a service that fails is noted; an item for another id is dropped
                  the end without any item is NoResults, or NoServiceConfigured
"""

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from iroh.resolver import reap
from iroh_base import AddrFilter, EndpointData, InvalidInputError, PublicKey

from .base import AddressLookup, LookupContext, LookupItem, SupportsBind, SupportsClose
from .errors import LookupServiceError, NoResults, NoServiceConfigured

__all__ = ["AddressLookupServices", "LookupStats"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_WAITING_ITEMS = 16
"""Items of one lookup that wait for the endpoint; a service that finds more waits itself."""

MAX_PROVENANCES = 64
"""Services that are counted by name; a service that makes up names counts as "other" then."""

_Items = asyncio.Queue[LookupItem | None]


@dataclass(frozen=True, slots=True)
class LookupStats:
    """Counters of the group `address_lookup` in upstream's metrics."""

    lookups: int
    """Lookups begun."""
    lookups_failed: int
    """Lookups that ended without an item."""
    service_results: Mapping[str, int] = field(default_factory=dict)
    """Items found, by the provenance of the service."""
    service_errors: Mapping[str, int] = field(default_factory=dict)
    """Failures, by the provenance of the service."""


class AddressLookupServices:
    """A registry of services. No method lets an error of a service through but as is said."""

    def __init__(self) -> None:
        self._services: list[AddressLookup] = []
        self._context: LookupContext | None = None
        self._filter: AddrFilter | None = None
        self._last_data: EndpointData | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._lookups = 0
        self._lookups_failed = 0
        self._results: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._services)

    def len(self) -> int:
        """How many services there are."""
        return len(self._services)

    def is_empty(self) -> bool:
        """Whether there is none."""
        return not self._services

    def stats(self) -> LookupStats:
        """The counters now."""
        by_service = dict(self._results), dict(self._errors)
        return LookupStats(self._lookups, self._lookups_failed, *by_service)

    def bind(self, context: LookupContext) -> None:
        """Tell all services, also those to come, which endpoint they serve.

        The endpoint calls this once. An error of a service's own `bind` is let through: the
        endpoint cannot be bound then.
        """
        self._context = context
        for service in self._services:
            if isinstance(service, SupportsBind):
                service.bind(context)

    def add(self, service: AddressLookup) -> None:
        """Add a service and tell it what was published last.

        Raises `InvalidInputError` if it has not the two methods, and what its `bind` raises.
        """
        for method in ("publish", "resolve"):
            if not callable(getattr(service, method, None)):
                raise InvalidInputError(f"{service!r} is no lookup service: it has no {method}()")
        if self._context is not None and isinstance(service, SupportsBind):
            service.bind(self._context)
        self._services.append(service)
        if self._last_data is not None:
            _publish(service, self._last_data)

    def remove(self, service: AddressLookup) -> bool:
        """Take a service out and begin to close it, as `clear`; say whether it was in.

        Lookups under way go on with it until it is closed. What it published stays as it is.
        """
        if service not in self._services:
            return False
        self._services.remove(service)
        self._begin_close(service)
        return True

    def set_addr_filter(self, addr_filter: AddrFilter | None) -> None:
        """Publish only what a filter lets through, from the next `publish` on."""
        self._filter = addr_filter

    def publish(self, data: EndpointData) -> None:
        """Hand our addresses to all services. Never raises; a filter that does stops it."""
        if self._filter is not None:
            try:
                data = data.filtered(self._filter)
            except Exception:
                logger.exception("the address filter failed: nothing is published")
                return
        self._last_data = data
        for service in self._services:
            _publish(service, data)

    def resolve(self, endpoint_id: PublicKey) -> AsyncGenerator[LookupItem, None]:
        """Look for an endpoint with all services; the items come as they are found.

        Raises `NoServiceConfigured` or `NoResults` where the first item would be. Cancelling the
        task that iterates, or closing the iterator (`aclose`; a `break` alone leaves that to the
        garbage collector), ends the services' work.
        """
        return self._resolve(endpoint_id, tuple(self._services))

    def clear(self) -> None:
        """Remove all services and begin to close them; `close` waits for that."""
        services, self._services = self._services, []
        for service in services:
            self._begin_close(service)

    def _begin_close(self, service: AddressLookup) -> None:
        if isinstance(service, SupportsClose):
            task = asyncio.create_task(_close(service))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Remove and close all services. Idempotent; services may be added again.

        Cancelling the wait does not stop the closing.
        """
        self.clear()
        closing, self._closing = self._closing, set()
        if closing:
            await asyncio.wait(closing)

    async def _resolve(
        self, endpoint_id: PublicKey, services: tuple[AddressLookup, ...]
    ) -> AsyncGenerator[LookupItem, None]:
        self._lookups += 1
        found = False
        errors: list[LookupServiceError] = []
        try:
            if not services:
                raise NoServiceConfigured
            async with aclosing(_merge(endpoint_id, services, errors)) as items:
                async for item in items:
                    found = True
                    _count(self._results, item.provenance)
                    yield item
            if not found:
                raise NoResults(errors)
        except (NoServiceConfigured, NoResults):
            self._lookups_failed += 1
            raise
        finally:
            for error in errors:
                _count(self._errors, error.provenance)


async def _merge(
    endpoint_id: PublicKey, services: tuple[AddressLookup, ...], errors: list[LookupServiceError]
) -> AsyncGenerator[LookupItem, None]:
    """All services' items as they come; what a service fails with goes to `errors`."""
    queue: _Items = asyncio.Queue(MAX_WAITING_ITEMS)
    tasks = [asyncio.create_task(_pump(s, endpoint_id, queue, errors)) for s in services]
    running = len(tasks)
    try:
        while running:
            item = await queue.get()
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        await reap(tasks)


async def _pump(
    service: AddressLookup,
    endpoint_id: PublicKey,
    queue: _Items,
    errors: list[LookupServiceError],
) -> None:
    """Put one service's items for the endpoint into the queue, and None at their end."""
    try:
        await _feed(service, endpoint_id, queue)
    except (Exception, asyncio.CancelledError) as error:  # task root: it fails for itself alone
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # nobody wants more; else the service let a cancellation of its own escape
        if not isinstance(error, LookupServiceError):
            error = LookupServiceError(_provenance(service), error)
        logger.debug("lookup of %s: %s", endpoint_id.fmt_short(), error)
        errors.append(error)
    await queue.put(None)


async def _feed(service: AddressLookup, endpoint_id: PublicKey, queue: _Items) -> None:
    found: object = service.resolve(endpoint_id)
    if inspect.isawaitable(found):  # `async def resolve` that returns an iterator: meant well
        found = await found
    if found is None:
        return
    if not isinstance(found, AsyncIterable):
        raise TypeError(f"resolve() returned {type(found).__name__}, not an async iterator")
    try:
        async for item in found:
            if item.endpoint_id == endpoint_id:
                await queue.put(item)
            else:
                logger.warning(
                    "lookup service %s answered %s for %s; dropped",
                    item.provenance,
                    item.endpoint_id.fmt_short(),
                    endpoint_id.fmt_short(),
                )
    finally:
        if isinstance(found, AsyncGenerator):
            await found.aclose()


def _count(counters: Counter[str], provenance: str) -> None:
    known = provenance in counters or len(counters) < MAX_PROVENANCES
    counters[provenance if known else "other"] += 1


def _publish(service: AddressLookup, data: EndpointData) -> None:
    try:
        service.publish(data)
    except Exception:
        logger.exception("lookup service %s: publish failed", _provenance(service))


async def _close(service: SupportsClose) -> None:
    try:
        await service.close()
    except Exception:
        logger.exception("lookup service %s: close failed", _provenance(service))


def _provenance(service: object) -> str:
    return str(getattr(service, "provenance", type(service).__name__))
