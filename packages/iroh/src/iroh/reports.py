"""The net reports of one endpoint: between the reporter and the rest.

relay map, network --> NetReporter --> home relay       the relay transport
                                  \\-> public addresses  magicsock's direct addresses
                                   \\-> the report       Endpoint.net_report, its watchers
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from iroh.machine import Machine
from iroh.magicsock.host import EngineDriver
from iroh.magicsock.socket import MagicSock
from iroh.metrics import NetReportMetrics
from iroh.net_report.report import Report
from iroh.netmon import NetworkMonitor
from iroh.options import EndpointConfig
from iroh_base import RelayUrl, Watchable
from iroh_relay.relay_map import RelayMap

if TYPE_CHECKING:
    from iroh.net_report.reporter import NetReporter

__all__ = ["NetReports"]

HOME_FIRST = 0.5
"""Seconds that the first report of a process leaves to the home relay."""


class NetReports:
    """Makes reports from `start` on. `report` is the last one, None while there is none."""

    def __init__(
        self,
        config: EndpointConfig,
        machine: Machine,
        sock: MagicSock,
        engine: EngineDriver,
        monitor: NetworkMonitor,
        address_changed: Callable[[], None],
    ) -> None:
        """address_changed: called when there is another home relay."""
        self.report: Watchable[Report | None] = Watchable(None, engine.loop.create_future)
        self.metrics: NetReportMetrics = NetReportMetrics()
        self._config = config
        self._machine = machine
        self._sock = sock
        self._engine = engine
        self._monitor = monitor
        self._address_changed = address_changed
        self._reporter: NetReporter | None = None
        sock.report = self.report.get
        if sock.relay is not None:
            sock.relay.prefer_ipv6 = self._has_ipv6

    def start(self, relay_map: RelayMap) -> "NetReporter":
        """Make the reporter; whoever called runs it."""
        from iroh.net_report.reporter import NetReporter  # late: not without relays
        from iroh_relay.client import LoopClock

        config, machine = self._config, self._machine
        self._reporter = NetReporter(
            relay_map,
            machine.probes(config, self._engine, self.families, self._home_first),
            config.net_report,
            self.report,
            set_home=self._set_home,
            on_report=self._on_report,
            home_is_connected=self._home_is_connected,
            clock=LoopClock(self._engine.loop),
            rng=machine.chance,
            metrics=self.metrics,
        )
        return self._reporter

    def request(self, major: bool) -> None:
        """Ask for a report soon: the network changed. major: it is another network."""
        if self._reporter is not None:
            self._reporter.request(major)

    def close(self) -> None:
        """Take leave of the relays that were kept; there will be no more reports."""
        if self._reporter is not None:
            self._reporter.close()
        self.report.close()

    def families(self) -> tuple[bool, bool]:
        """Say for which of IPv4 and IPv6 there is a socket and a network.

        A machine without a network has itself, over both.
        """
        state = self._monitor.state
        alone = not (state.have_v4 or state.have_v6)
        bound = {addr.is_ipv4 for addr in self._sock.ip.bound_sockets()}
        return (
            (alone or state.have_v4) and True in bound,
            (alone or state.have_v6) and False in bound,
        )

    def _has_ipv6(self) -> bool:
        """Whether the last report saw IPv6 work (iroh `ipv6_reported`)."""
        report = self.report.get()
        return report is not None and report.udp_v6

    def _home_is_connected(self) -> bool:
        relay = self._sock.relay
        status = relay.home_status.get() if relay is not None else None
        return status is not None and status.is_connected

    async def _home_first(self) -> None:
        """Wait until the home relay is connected, if one is chosen; not for long."""
        assert self._sock.relay is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(HOME_FIRST):
                async for status in self._sock.relay.home_status.watch():
                    if status is None or status.is_connected:
                        return

    def _set_home(self, url: RelayUrl | None) -> None:
        assert self._sock.relay is not None
        self._sock.relay.set_home(url)
        self._address_changed()

    def _on_report(self, report: Report | None) -> None:
        found = report or Report()
        varies = found.mapping_varies_by_dest_ipv4
        if self._sock.direct.set_report(found.global_v4, found.global_v6, varies):
            self._sock.direct_changed()
