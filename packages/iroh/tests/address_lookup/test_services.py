"""The registry: publishing to all, and merging what all find."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from iroh.address_lookup import (
    AddressLookup,
    AddressLookupServices,
    FilteredAddressLookup,
    LookupContext,
    LookupItem,
    LookupServiceError,
    LookupStats,
    MemoryLookup,
    NoResults,
    NoServiceConfigured,
)
from iroh.errors import LookupFailedError
from iroh.resolver import DnsResolver, NoResponseError
from iroh_base import (
    AddrFilter,
    EndpointData,
    EndpointInfo,
    InvalidInputError,
    IrohErrorKind,
    PublicKey,
    RelayUrl,
    SecretKey,
    SocketAddr,
)

from .kit import collect, settle

KEY = SecretKey.from_bytes(bytes(32))
ID = KEY.public()
OTHER = SecretKey.from_bytes(bytes(31) + b"\1").public()
RELAY = RelayUrl("https://relay.example.com")
IP = SocketAddr("1.2.3.4", 1234)
DATA = EndpointData([RELAY, IP])


def item(number: int, endpoint_id: PublicKey = ID) -> LookupItem:
    info = EndpointInfo(endpoint_id, EndpointData([SocketAddr("192.0.2.1", number)]))
    return LookupItem(info, "test")


class Service:
    """A service whose findings the test puts into a queue; an exception in it is raised."""

    def __init__(self, *outcomes: Any, endless: bool = False) -> None:
        self.published: list[EndpointData] = []
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        for outcome in outcomes:
            self.queue.put_nowait(outcome)
        if not endless:
            self.queue.put_nowait(None)
        self.cleaned_up = 0

    def publish(self, data: EndpointData) -> None:
        self.published.append(data)

    async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
        try:
            while (outcome := await self.queue.get()) is not None:
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            self.cleaned_up += 1


class Holder(Service):
    """One that also wants the context and to be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[LookupContext] = []
        self.closed = 0

    def bind(self, context: LookupContext) -> None:
        self.contexts.append(context)

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


def registry(*services: AddressLookup) -> AddressLookupServices:
    made = AddressLookupServices()
    for service in services:
        made.add(service)
    return made


async def test_no_service() -> None:
    services = registry()
    with pytest.raises(NoServiceConfigured, match="No address lookup configured") as caught:
        await collect(services.resolve(ID))
    assert isinstance(caught.value, LookupFailedError)
    assert caught.value.kind() is IrohErrorKind.CONNECT
    assert services.stats() == LookupStats(1, 1)


async def test_items_of_all_services_as_they_come() -> None:
    first, second = Service(endless=True), Service(endless=True)
    services = registry(Service(), first, MemoryLookup(), second)
    items = services.resolve(ID)
    for number, service in enumerate((second, first, second)):
        waiting = asyncio.create_task(anext(items))
        await settle()
        service.queue.put_nowait(item(number))
        assert await waiting == item(number)
    first.queue.put_nowait(None)
    second.queue.put_nowait(None)
    assert await collect(items) == []
    found = services.stats()
    assert (found.lookups, found.lookups_failed) == (1, 0)
    assert dict(found.service_results) == {"test": 3}
    assert not found.service_errors


async def test_errors_of_some_services_do_not_matter() -> None:
    """Upstream address_lookup_succeeds_after_other_resolver_errors."""
    late = Service(endless=True)
    items = registry(Service(OSError("broken")), late).resolve(ID)
    waiting = asyncio.create_task(anext(items))
    await settle()
    late.queue.put_nowait(item(1))
    late.queue.put_nowait(None)
    assert await waiting == item(1)
    assert await collect(items) == []


async def test_an_error_after_an_item_does_not_matter() -> None:
    assert await collect(registry(Service(item(1), OSError())).resolve(ID)) == [item(1)]


async def test_no_results() -> None:
    own = LookupServiceError("own name", OSError("late"))
    caused = NoResponseError()
    caused.__cause__ = OSError("root")
    caused.__cause__.__cause__ = OSError("oot")  # said already
    caused.__cause__.__cause__.__cause__ = caused  # a ring
    services = registry(Service(), Service(caused), Service(own), MemoryLookup())
    with pytest.raises(NoResults) as caught:
        await collect(services.resolve(ID))
    assert sorted(map(str, caught.value.errors)) == [
        "Service 'Service' failed: No response: root",
        "Service 'own name' failed: late",
    ]
    assert str(caught.value).startswith(
        "All address lookup services failed or produced no results\n    Service '"
    )
    assert caught.value.kind() is IrohErrorKind.CONNECT


async def test_no_results_without_errors() -> None:
    with pytest.raises(NoResults) as caught:
        await collect(registry(Service()).resolve(ID))
    text = "All address lookup services failed or produced no results"
    assert str(caught.value) == text


async def test_items_for_another_endpoint_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await collect(registry(Service(item(1, OTHER), item(2))).resolve(ID)) == [item(2)]
    assert "dropped" in caplog.text
    with pytest.raises(NoResults):
        await collect(registry(Service(item(1, OTHER))).resolve(ID))


async def test_a_hanging_service_holds_nobody_up() -> None:
    """Upstream concurrent_connects_not_blocked_by_slow_lookup, as far as it is about lookups."""
    services = registry(Service(endless=True), Service(item(1)), Service(item(1)))
    stuck = asyncio.create_task(collect(services.resolve(OTHER)))
    items = services.resolve(ID)
    assert await anext(items) == item(1)
    await items.aclose()
    assert not stuck.done()
    stuck.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stuck


async def test_closing_the_iterator_ends_the_work() -> None:
    hanging, finding = Service(endless=True), Service(item(1), endless=True)
    items = registry(hanging, finding).resolve(ID)
    assert await anext(items) == item(1)
    await items.aclose()
    assert (hanging.cleaned_up, finding.cleaned_up) == (1, 1)


async def test_cancelling_the_reader_ends_the_work() -> None:
    hanging = Service(endless=True)
    task = asyncio.create_task(collect(registry(hanging).resolve(ID)))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hanging.cleaned_up == 1


async def test_an_iterator_that_is_never_begun_does_nothing() -> None:
    service = Service(item(1))
    await registry(service).resolve(ID).aclose()
    assert service.queue.qsize() == 2


async def test_a_service_that_lets_its_own_cancellation_escape() -> None:
    with pytest.raises(NoResults, match="CancelledError"):
        await collect(registry(Service(asyncio.CancelledError())).resolve(ID))


async def test_a_flood_waits_for_the_reader() -> None:
    class Flood(AddressLookup):
        made = 0

        async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
            while True:
                self.made += 1
                yield item(1)

    flood = Flood()
    items = registry(flood).resolve(ID)
    await anext(items)
    await settle()
    assert flood.made < 30
    await items.aclose()


async def test_a_service_whose_clean_up_fails() -> None:
    class Messy(AddressLookup):
        async def resolve(self, endpoint_id: PublicKey) -> AsyncIterator[LookupItem]:
            try:
                yield item(1)
            finally:
                raise ZeroDivisionError("mess")

    assert await collect(registry(Messy()).resolve(ID)) == [item(1)]
    items = registry(Messy(), Service(endless=True)).resolve(ID)
    assert await anext(items) == item(1)
    await items.aclose()


async def test_other_shapes_of_resolve() -> None:
    class Awaitable(AddressLookup):
        async def resolve(self, endpoint_id: PublicKey) -> Any:  # type: ignore[override]
            return Service(item(3)).resolve(endpoint_id)

    class Raising(AddressLookup):
        def resolve(self, endpoint_id: PublicKey) -> Any:
            raise ZeroDivisionError("at once")

    class List(AddressLookup):
        def resolve(self, endpoint_id: PublicKey) -> Any:
            return [item(4)]

    assert await collect(registry(Awaitable()).resolve(ID)) == [item(3)]
    with pytest.raises(NoResults, match="Service 'Raising' failed: at once"):
        await collect(registry(Raising()).resolve(ID))
    with pytest.raises(NoResults, match="returned list, not an async iterator"):
        await collect(registry(List()).resolve(ID))


async def test_publish_and_replay() -> None:
    first, second = Service(), Service()
    services = registry(first)
    services.publish(DATA)
    services.add(second)  # it is told at once
    assert (first.published, second.published) == ([DATA], [DATA])


async def test_addr_filter() -> None:
    """Upstream concurrent_address_lookup_addr_filter; the replay is filtered too."""
    first, second = Service(), Service()
    services = AddressLookupServices()
    services.set_addr_filter(AddrFilter.relay_only())
    services.add(first)
    services.publish(DATA)
    services.add(second)
    assert first.published == second.published == [EndpointData([RELAY])]


async def test_publish_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Raising(AddressLookup):
        def publish(self, data: EndpointData) -> None:
            raise ZeroDivisionError

    last = Service()
    services = registry(Raising(), last)
    services.publish(DATA)
    services.add(Raising())
    assert last.published == [DATA]
    services.set_addr_filter(AddrFilter(lambda addrs: [addrs[99]]))
    services.publish(DATA)
    assert last.published == [DATA]  # unfiltered addresses do not get out
    assert "publish failed" in caplog.text
    assert "filter failed" in caplog.text


async def test_filtered_service() -> None:
    inner = Holder()
    inner.queue.put_nowait(item(1))
    service = FilteredAddressLookup(inner, AddrFilter.ip_only())
    services = registry(service)
    services.bind(context := LookupContext(KEY, DnsResolver([])))
    services.publish(DATA)
    assert inner.published == [EndpointData([IP])]
    assert inner.contexts == [context]
    assert service.provenance == "Holder"
    with pytest.raises(NoResults):
        await collect(services.resolve(ID))
    await services.close()
    assert inner.closed == 1


async def test_bind_and_close() -> None:
    early, late, plain = Holder(), Holder(), Service()
    services = registry(early, plain)
    context = LookupContext(KEY, DnsResolver([]))
    services.bind(context)
    services.add(late)
    assert early.contexts == late.contexts == [context]
    assert (len(services), services.len(), services.is_empty()) == (3, 3, False)
    services.clear()
    assert services.is_empty()
    await services.close()
    await services.close()
    assert (early.closed, late.closed) == (1, 1)


async def test_removed_while_it_runs() -> None:
    staying, going = Holder(), Holder()
    services = registry(staying, going)
    services.publish(DATA)
    assert services.remove(going)
    assert not services.remove(going)
    services.publish(EndpointData([IP]))
    assert len(staying.published) == 2
    assert going.published == [DATA]
    await services.close()
    assert (staying.closed, going.closed) == (1, 1)


async def test_close_survives_a_service_that_does_not(caplog: pytest.LogCaptureFixture) -> None:
    class Raising(Holder):
        async def close(self) -> None:
            raise ZeroDivisionError

    last = Holder()
    services = registry(Raising(), last)
    await services.close()
    assert last.closed == 1
    assert "close failed" in caplog.text


def test_what_is_no_service() -> None:
    with pytest.raises(InvalidInputError, match=r"has no publish\(\)"):
        AddressLookupServices().add(object())  # type: ignore[arg-type]


def test_defaults_of_the_protocol() -> None:
    class Nothing(AddressLookup):
        pass

    Nothing().publish(DATA)
    assert Nothing().resolve(ID) is None


def test_context_hides_the_key() -> None:
    assert "secret" not in repr(LookupContext(KEY, DnsResolver([])))
