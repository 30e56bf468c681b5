"""`DnsResolver`: what the rest of iroh asks for addresses, TXT records and endpoint info.

It puts a timeout on each lookup of a `Resolver` behind it, and exchanges that for a fresh one at a
`reset` (after the network changed); lookups that are under way then start again.
"""

import asyncio
import ipaddress
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, Self, TypeVar

from iroh_base import IROH_TXT_NAME, EndpointInfo, EndpointInfoError, PublicKey

from .builder import DnsResolverBuilder
from .clock import Clock, SystemClock
from .errors import (
    DnsError,
    DnsTimeoutError,
    EndpointLookupError,
    MissingHostError,
    NoResponseError,
    ResolveBothError,
)
from .nameserver import PUBLIC_NAMESERVERS, Nameserver
from .records import TxtRecord
from .stagger import DNS_STAGGERING_MS, Randbelow, reap, stagger
from .stub import FallbackMode, StubResolver

__all__ = ["DNS_TIMEOUT", "DnsResolver", "Resolver"]

DNS_TIMEOUT = 3.0
"""Seconds for one lookup; upstream iroh-dns `DNS_TIMEOUT`."""

T = TypeVar("T")


class Resolver(Protocol):
    """What answers the lookups; write one for `DnsResolver.custom`. Methods raise `DnsError`."""

    async def lookup_ipv4(self, host: str) -> list[str]:
        """The IPv4 addresses of a host, as text. Cancelled when nobody waits for it any more."""
        ...

    async def lookup_ipv6(self, host: str) -> list[str]:
        """The IPv6 addresses of a host, as text. Cancelled when nobody waits for it any more."""
        ...

    async def lookup_txt(self, host: str) -> list[TxtRecord]:
        """The TXT records of a name. Cancelled when nobody waits for it any more."""
        ...

    def clear_cache(self) -> None:
        """Forget all cached answers."""
        ...

    def reset(self) -> "Resolver":
        """A fresh resolver to take this one's place after a network change; must do no I/O."""
        ...


class DnsResolver:
    """The DNS resolver of an endpoint.

    With no argument: the nameservers, search list and hosts file of the system, and public
    nameservers behind them (`fallback`, default `FallbackMode.DEFERRED`, as Rust iroh does).
    With `nameservers`, each "ip:port" (UDP, TCP where needed), "tcp://ip:port", "tls://ip:port#name"
    or "https://ip:port#name": these alone, unless `with_system` or `fallback` says otherwise.
    ssl_context: whom to trust over TLS and HTTPS, for instance an authority of your own.

    Belongs to one event loop at a time. Holds no socket between lookups, so it needs no closing.
    Every lookup may be cancelled, which ends its queries.
    """

    def __init__(
        self,
        nameservers: Iterable[str | Nameserver] | None = None,
        *,
        with_system: bool = False,
        fallback: FallbackMode | None = None,
        fallback_nameservers: Iterable[str | Nameserver] = PUBLIC_NAMESERVERS,
        ssl_context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        randbelow: Randbelow = random.randrange,
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._randbelow = randbelow
        self._resolver: Resolver = StubResolver(
            nameservers,
            with_system=with_system,
            fallback=fallback,
            fallback_nameservers=fallback_nameservers,
            clock=self._clock,
            ssl_context=ssl_context,
        )
        self._interrupts: set[asyncio.Future[None]] = set()  # one per lookup under way

    @classmethod
    def custom(cls, resolver: Resolver, *, clock: Clock | None = None) -> Self:
        """A resolver whose lookups are answered by your own `Resolver`."""
        made = cls((), clock=clock)
        made._resolver = resolver
        return made

    @classmethod
    def builder(cls) -> DnsResolverBuilder:
        """Begin to put one together, by upstream's names."""
        return DnsResolverBuilder()

    @classmethod
    def with_nameserver(cls, addr: str) -> Self:
        """A resolver that asks one nameserver by UDP (and TCP), "ip:port", and no other."""
        return cls([addr])

    def clear_cache(self) -> None:
        """Forget all cached answers."""
        self._resolver.clear_cache()

    def reset(self) -> None:
        """Exchange the resolver for a fresh one; running lookups start again, with fresh time."""
        self._resolver = self._resolver.reset()
        for interrupt in self._interrupts:
            if not interrupt.done():
                interrupt.set_result(None)

    async def lookup_txt(self, name: str, timeout: float = DNS_TIMEOUT) -> list[TxtRecord]:
        """The TXT records of a name; empty if it has none. Raises `DnsError`.

        Cancelling it ends its queries.
        """
        return await self._run(lambda resolver: resolver.lookup_txt(name), timeout)

    async def lookup_ipv4(self, host: str, timeout: float = DNS_TIMEOUT) -> list[str]:
        """The IPv4 addresses of a host; empty if it has none. Raises `DnsError`.

        Cancelling it ends its queries.
        """
        return await self._run(lambda resolver: resolver.lookup_ipv4(host), timeout)

    async def lookup_ipv6(self, host: str, timeout: float = DNS_TIMEOUT) -> list[str]:
        """The IPv6 addresses of a host; empty if it has none. Raises `DnsError`.

        Cancelling it ends its queries.
        """
        return await self._run(lambda resolver: resolver.lookup_ipv6(host), timeout)

    async def resolve_host(
        self, host: str, *, prefer_ipv6: bool = False, timeout: float = DNS_TIMEOUT
    ) -> list[str]:
        """All addresses of a host or an IP literal, IPv4 first unless told otherwise.

        Both families are asked at once; one that fails does not matter if the other has an answer.
        Raises `ResolveBothError`, or `NoResponseError` when there are no addresses. Cancelling it
        ends its queries.
        """
        found: list[str] = [ip async for ip in self.resolve_host_all(host, timeout=timeout)]
        return sorted(found, key=lambda ip: (":" in ip) != prefer_ipv6)

    async def resolve_host_all(
        self, host: str, *, timeout: float = DNS_TIMEOUT
    ) -> AsyncIterator[str]:
        """As `resolve_host`, but each family's addresses come as soon as they are known.

        Raises `MissingHostError` for an empty host, `NoResponseError`, `ResolveBothError`.
        Cancelling it, and closing the iterator, end its queries.
        """
        if not host:
            raise MissingHostError
        if (literal := _ip_literal(host)) is not None:
            yield literal
            return
        ipv4 = asyncio.create_task(self.lookup_ipv4(host, timeout))
        ipv6 = asyncio.create_task(self.lookup_ipv6(host, timeout))
        some = False
        try:
            pending = {ipv4, ipv6}
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(done, key=(ipv4, ipv6).index):
                    if not isinstance(task.exception(), DnsError):
                        for address in task.result():
                            some = True
                            yield address
            errors = ipv4.exception(), ipv6.exception()
        finally:
            await reap((ipv4, ipv6))
        if isinstance(errors[0], DnsError) and isinstance(errors[1], DnsError):
            raise ResolveBothError(errors[0], errors[1])
        if not some:
            raise NoResponseError

    async def resolve_host_staggered(
        self,
        host: str,
        *,
        timeout: float = DNS_TIMEOUT,
        delays_ms: Iterable[int] = DNS_STAGGERING_MS,
    ) -> list[str]:
        """`resolve_host` again and again until one succeeds; raises `StaggeredError`.

        Cancelling it ends its queries.
        """
        return await self._stagger(lambda: self.resolve_host(host, timeout=timeout), delays_ms)

    async def lookup_endpoint_by_id(self, endpoint_id: PublicKey, origin: str) -> EndpointInfo:
        """What `_iroh.<z32 id>.<origin>` says about an endpoint. Raises `EndpointLookupError`.

        Cancelling it ends its queries.
        """
        return await self.lookup_endpoint_by_domain_name(f"{endpoint_id.to_z32()}.{origin}")

    async def lookup_endpoint_by_domain_name(self, name: str) -> EndpointInfo:
        """What `_iroh.<name>` says; the first label of `name` is an id in z-base-32.

        Raises `EndpointLookupError`, caused by the `DnsError` or by what is wrong with the records.
        Cancelling it ends its queries.
        """
        name = f"{IROH_TXT_NAME}.{name.removeprefix(f'{IROH_TXT_NAME}.')}"
        try:
            records = await self.lookup_txt(name)
        except DnsError as error:
            raise _lookup_error("Failed to resolve TXT record", error) from error
        try:
            return EndpointInfo.from_txt_lookup(name, [str(record) for record in records])
        except EndpointInfoError as error:
            raise _lookup_error("Malformed txt from lookup", error) from error

    async def lookup_endpoint_by_id_staggered(
        self,
        endpoint_id: PublicKey,
        origin: str,
        delays_ms: Iterable[int] = DNS_STAGGERING_MS,
    ) -> EndpointInfo:
        """The same, again and again until one succeeds; raises `StaggeredError`.

        Cancelling it ends its queries.
        """
        return await self._stagger(
            lambda: self.lookup_endpoint_by_id(endpoint_id, origin), delays_ms
        )

    async def lookup_endpoint_by_domain_name_staggered(
        self, name: str, delays_ms: Iterable[int] = DNS_STAGGERING_MS
    ) -> EndpointInfo:
        """The same, again and again until one succeeds; raises `StaggeredError`.

        Cancelling it ends its queries.
        """
        return await self._stagger(lambda: self.lookup_endpoint_by_domain_name(name), delays_ms)

    async def _stagger(self, call: Callable[[], Awaitable[T]], delays_ms: Iterable[int]) -> T:
        return await stagger(call, delays_ms, clock=self._clock, randbelow=self._randbelow)

    async def _run(self, call: Callable[[Resolver], Awaitable[T]], timeout: float) -> T:
        """One lookup with a timeout, begun again at each `reset` (upstream `Inner::op`)."""

        async def run() -> T:
            return await call(self._resolver)

        while True:
            task = asyncio.create_task(run())
            timer = asyncio.create_task(self._clock.sleep(timeout))
            interrupt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._interrupts.add(interrupt)
            try:
                await asyncio.wait((task, timer, interrupt), return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    return task.result()
                if not interrupt.done():
                    raise DnsTimeoutError
            finally:
                self._interrupts.discard(interrupt)
                await reap((task, timer))


def _ip_literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


def _lookup_error(text: str, error: DnsError | EndpointInfoError) -> DnsError:
    return EndpointLookupError(text, debug_message=f"{text}: {error}")
