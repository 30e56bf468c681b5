"""Keeps a port of the gateway open for an endpoint, by whatever protocol the gateway speaks.

    wanted, no mapping   the three are asked in parallel; PCP goes before NAT-PMP before UPnP
    mapping              renewed after half its lifetime, looked after every 2 min
    lost, or elsewhere   got anew, the same external port if possible (gateway restarted, its
                         address changed, ours changed, another network)
    nothing to be had    asked again after 5 s, 10 s ... 10 min; a change of network starts that
                         over (upstream asks before each net report, every 25 s or so)

At most one task runs. Everything here may fail without harm: the endpoint then has other ways.
"""

import asyncio
import logging
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iroh.netmon.monitor import TimerHandle, Timers
from iroh_base import SocketAddr, Watchable

from .errors import PortmapError
from .mapping import Mapping, PortProtocol, Router
from .protocols import NatPmp, Pcp
from .upnp import Upnp

__all__ = ["PortMapper", "PortmapCounters", "protocols_of"]

logger: logging.Logger = logging.getLogger(__name__)

CHECK_INTERVAL = 120.0  # seconds between two looks whether a mapping is still there
FIRST_RETRY, LONGEST_RETRY = 5.0, 600.0  # seconds (portmapper *_TRUST_DURATION)
SHORTEST_RENEWAL = 15.0  # seconds, whatever lifetime a gateway gives
LONGEST_LIFETIME = 86_400.0  # seconds; also how long "for ever" is taken to last
RELEASE_TIMEOUT = 0.5  # seconds that taking a mapping back may hold up the end


@dataclass(slots=True)
class PortmapCounters:
    """What was done."""

    attempts: int = 0
    failures: int = 0
    external_address_updated: int = 0


def protocols_of(router: Router) -> list[PortProtocol]:
    """Return the three protocols, the preferred first."""
    return [Pcp(router, os.urandom), NatPmp(router), Upnp(router, random.randrange)]


@dataclass(slots=True)
class _Held:
    """A mapping, where it came from, and when it ends."""

    mapping: Mapping
    protocol: PortProtocol
    router: Router
    expires: float


class PortMapper:
    """The port mapping of one endpoint. Belongs to the running loop; end it with `close`."""

    def __init__(
        self,
        router: Callable[[], Router | None],
        make_protocols: Callable[[Router], Sequence[PortProtocol]] = protocols_of,
        timers: Timers | None = None,
    ) -> None:
        """router() tells the present gateway, None where there is none: then nothing is sent."""
        self._loop = asyncio.get_running_loop()
        self._timers: Timers = timers or self._loop
        self._router = router
        self._make_protocols = make_protocols
        self._port: int | None = None
        self._held: _Held | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: TimerHandle | None = None
        self._again = False
        self._retry = FIRST_RETRY
        self._not_before = 0.0
        self._renew_at = 0.0
        self._closed = False
        self.counters: PortmapCounters = PortmapCounters()
        self.external: Watchable[SocketAddr | None] = Watchable(None, self._loop.create_future)
        """Where the gateway forwards from, None as long as it does not."""

    def update_local_port(self, port: int | None) -> None:
        """Map this UDP port of ours from now on; None maps nothing and takes back what is."""
        if port != self._port:
            self._port = port
            self._start_over()

    def network_changed(self) -> None:
        """Look whether the gateway is another one, and whether it still has our mapping."""
        self._start_over()

    def _start_over(self) -> None:
        self._retry, self._not_before = FIRST_RETRY, 0.0
        self._run()

    async def close(self) -> None:
        """Take the mapping back and stop, within half a second. Idempotent."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._let_go()
        self.external.close()

    # -- one task ------------------------------------------------------------------------------

    def _run(self) -> None:
        """Work, or work again after what is being done."""
        if self._closed:
            return
        if self._task is not None:
            self._again = True
            return
        self._task = self._loop.create_task(self._work(), name="iroh-portmap")
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            logger.error("port mapping failed", exc_info=task.exception())
            self._put_off()
        again, self._again = self._again, False
        if again:
            self._run()
        elif not self._closed:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._timers.time()
        if self._held is not None:
            due = min(self._renew_at, now + CHECK_INTERVAL, self._held.expires)
        elif self._not_before > now:
            due = self._not_before
        else:
            return  # nothing is wanted, or there is nobody to ask
        self._timer = self._timers.call_later(max(due - now, 0.0), self._run)

    async def _work(self) -> None:
        router, port, held = self._router(), self._port, self._held
        if held is not None and (held.mapping.internal_port != port or held.router != router):
            await self._let_go()
            held = None
        if router is None or port is None:
            return
        if held is None or not await self._keep(held, port):
            wanted = None if held is None else held.mapping.external
            await self._get(router, port, wanted)

    async def _keep(self, held: _Held, port: int) -> bool:
        """Renew or check; False when the mapping is gone, or its protocol does not answer."""
        now = self._timers.time()
        try:
            if now >= self._renew_at:
                mapping = await held.protocol.map(port, held.mapping.external)
                self._hold(mapping, held.protocol, held.router)
                return True
            if await held.protocol.check(held.mapping):
                return True
            logger.debug("the gateway lost the mapping of %s", held.mapping.external)
        except PortmapError as error:
            logger.debug("%s: %s", held.protocol.name, error)
            if now < held.expires and now >= self._renew_at:
                # Still good for a while: try again halfway to its end (RFC 6887 section 11.2.1).
                left = (held.expires - now) / 2
                self._renew_at = now + max(left, SHORTEST_RENEWAL)
                return True
        return False

    async def _get(self, router: Router, port: int, wanted: SocketAddr | None) -> None:
        self.counters.attempts += 1
        protocols = self._make_protocols(router)
        probes = [self._loop.create_task(_try(protocol)) for protocol in protocols]
        try:
            for protocol, probe in zip(protocols, probes, strict=True):
                if not await probe:
                    continue
                try:
                    mapping = await protocol.map(port, wanted)
                except PortmapError as error:
                    logger.debug("%s: %s", protocol.name, error)
                    continue
                self._hold(mapping, protocol, router)
                return
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.wait(probes)
        self.counters.failures += 1
        self._held = None
        self._tell(None)
        self._put_off()

    def _put_off(self) -> None:
        self._not_before = self._timers.time() + self._retry
        self._retry = min(2 * self._retry, LONGEST_RETRY)

    def _hold(self, mapping: Mapping, protocol: PortProtocol, router: Router) -> None:
        now = self._timers.time()
        lifetime = min(mapping.lifetime or LONGEST_LIFETIME, LONGEST_LIFETIME)
        self._held = _Held(mapping, protocol, router, now + lifetime)
        self._renew_at = now + max(lifetime / 2, SHORTEST_RENEWAL)
        self._retry = FIRST_RETRY
        self._tell(mapping.external)

    def _tell(self, external: SocketAddr | None) -> None:
        if self.external.set(external):
            self.counters.external_address_updated += 1
            logger.debug("port mapping: %s", external)

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        self._tell(None)
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT):
                await held.protocol.release(held.mapping)
        except (TimeoutError, PortmapError) as error:
            logger.debug("%s: not taken back: %r", held.protocol.name, error)


async def _try(protocol: PortProtocol) -> bool:
    try:
        await protocol.probe()
    except PortmapError as error:
        logger.debug("%s: %s", protocol.name, error)
        return False
    return True
