"""The real probes, over the endpoint's own sockets and with its own resolver.

Whatever goes wrong, a resolver of the application's included, is a ProbeFailed: one relay that
cannot be asked must not spoil the report.
"""

import asyncio
import ipaddress
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from iroh.ca_tls import CaTlsConfig
from iroh.magicsock.host import EngineDriver
from iroh.magicsock.transports.relay import RelayResolver
from iroh.resolver import DNS_TIMEOUT, DnsResolver, SystemClock, import_late, stagger
from iroh_base import IrohError, RelayUrl, SocketAddr
from iroh_relay.relay_map import DEFAULT_RELAY_QUIC_PORT, RelayConfig

from .report import Probe
from .run import PROBE_TIMEOUT, ProbeFailed

if TYPE_CHECKING:
    from .qad import QadConnection

__all__ = ["LiveProbes"]

logger: logging.Logger = logging.getLogger(__name__)

T = TypeVar("T")
_QAD_MODULE, _HTTP_MODULE = "iroh.net_report.qad", "iroh_relay.client.ws"
_FAMILY = {Probe.QAD_IPV4: socket.AF_INET, Probe.QAD_IPV6: socket.AF_INET6}


class LiveProbes:
    """What `run.Probes` asks for. resolver: None asks the operating system."""

    def __init__(
        self,
        engine: EngineDriver,
        families: Callable[[], tuple[bool, bool]],
        resolver: DnsResolver | None,
        tls: CaTlsConfig,
        home_first: Callable[[], Awaitable[None]],
        proxy_for: Callable[[str], str | None] = lambda _url: None,
    ) -> None:
        """home_first: waits for the home relay to be connected, for a moment at most."""
        self._home_first = home_first
        self.families = families
        self._engine = engine
        self._resolver = resolver
        self._relay_resolver = None if resolver is None else RelayResolver(resolver)
        self._tls = tls
        self._proxy_for = proxy_for

    async def ready(self, probe: Probe) -> None:
        """Load what a probe needs. TLS with certificates is 0.1 s of work: the home relay first."""
        if probe is Probe.HTTPS:
            await import_late(_HTTP_MODULE)
        elif _QAD_MODULE not in sys.modules:
            await self._home_first()
            await import_late("iroh.quic.tls.web", _QAD_MODULE)

    async def qad(self, relay: RelayConfig, probe: Probe) -> "QadConnection":
        """Connect to a relay's address discovery. Raises ProbeFailed; cancelling leaves nothing."""
        return await self._guard(self._qad(relay, probe))

    async def https(self, relay: RelayUrl) -> float:
        """Seconds until a relay answers an HTTP request. Raises ProbeFailed."""
        return await self._guard(self._https(relay))

    async def captive_portal(self, relay: RelayUrl) -> bool:
        """Whether something else answers in place of a relay. Raises ProbeFailed."""
        return await self._guard(self._captive_portal(relay))

    async def _guard(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except (IrohError, OSError, TimeoutError) as error:
            logger.debug("a probe failed: %s", error)
            raise ProbeFailed(str(error) or type(error).__name__) from error
        except ProbeFailed as error:
            logger.debug("a probe failed: %s", error)
            raise
        except Exception as error:  # foreign code: a resolver of the application's
            logger.exception("a probe failed by a bug")
            raise ProbeFailed(repr(error)) from error

    async def _qad(self, relay: RelayConfig, probe: Probe) -> "QadConnection":
        url = RelayUrl(relay.url)
        ip = await self._resolve(url.hostname, probe)
        from iroh.net_report.qad import QadConnection
        from iroh.quic.api import WebServer
        from iroh.quic.tls.web_trust import server_name

        trust = await self._tls.web_trust()
        remote = SocketAddr(ip, relay.quic_port or DEFAULT_RELAY_QUIC_PORT)
        server = WebServer(server_name(url.host), trust)
        return await QadConnection.open(self._engine, url, remote, server)

    async def _https(self, relay: RelayUrl) -> float:
        from .http import measure

        context, proxy = self._tls.ssl_context(), self._proxy_for(str(relay))
        return await measure(relay, self._relay_resolver, context, PROBE_TIMEOUT, proxy)

    async def _captive_portal(self, relay: RelayUrl) -> bool:
        await import_late(_HTTP_MODULE)
        from .http import looks_captive

        return await looks_captive(relay, self._relay_resolver)

    async def _resolve(self, host: str, probe: Probe) -> str:
        """Give an address of a host in the family of a probe. Raises ProbeFailed, OSError."""
        wants_v4 = probe is Probe.QAD_IPV4
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            found = await self._lookup(host, probe)
        else:
            found = [host] if (literal.version == 4) == wants_v4 else []
        if not found:
            raise ProbeFailed(f"{host} has no {'IPv4' if wants_v4 else 'IPv6'} address")
        return found[0]

    async def _lookup(self, host: str, probe: Probe) -> list[str]:
        resolver = self._resolver
        if resolver is None:
            loop = asyncio.get_running_loop()
            try:
                infos = await loop.getaddrinfo(
                    host, 0, family=_FAMILY[probe], type=socket.SOCK_DGRAM
                )
            except socket.gaierror:
                return []
            return [str(info[4][0]) for info in infos]
        lookup = resolver.lookup_ipv4 if probe is Probe.QAD_IPV4 else resolver.lookup_ipv6
        return await stagger(lambda: lookup(host, DNS_TIMEOUT), clock=SystemClock())
