"""A QAD connection: QUIC to a relay's address discovery, over the endpoint's own UDP sockets.

It has to be the same socket that peers are reached with: a NAT maps each socket to an address of
its own. The first answer comes after one round trip; as long as the connection is open, the relay
tells of every change.

What a relay may say is not all believed: see `is_plausible`.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable

from iroh.magicsock.driver import ConnectionDriver
from iroh.magicsock.host import EngineDriver
from iroh.quic.api import WebServer
from iroh.quic.config import TransportConfig
from iroh.quic.events import Event
from iroh.quic.path_events import ObservedAddressChanged
from iroh_base import RelayUrl, SocketAddr
from iroh_relay.qad import ALPN, CLOSE_CODE, CLOSE_REASON

from .run import ProbeFailed

__all__ = ["QAD_TRANSPORT", "QadConnection", "is_plausible"]

logger: logging.Logger = logging.getLogger(__name__)

QAD_TRANSPORT = TransportConfig(
    initial_rtt=0.111,
    keep_alive_interval=25.0,
    max_idle_timeout=35.0,
    max_concurrent_bidi_streams=0,
    max_concurrent_uni_streams=0,
    datagram_receive_buffer_size=0,
)
"""iroh-relay `quic.rs` (`QuicClient::new`); nothing but addresses is to come."""
MAX_CHANGES = 32
"""Addresses that one relay may give in turn; then its connection is closed. A NAT that changes the
mapping this often within five minutes is of no use anyhow."""


class QadConnection:
    """Made by `open`. addr: the latest address that the relay told."""

    def __init__(self, relay: RelayUrl, remote: SocketAddr, driver: ConnectionDriver) -> None:
        self.addr: SocketAddr = SocketAddr("0.0.0.0", 0)
        self.on_change: Callable[[], None] | None = None
        self._relay = relay
        self._remote = remote
        self._driver = driver
        self._told = asyncio.Event()
        self._changes = 0
        driver.inbox.on_path_event = self._on_path_event
        driver.inbox.at_end(self._told.set)

    @classmethod
    async def open(
        cls, engine: EngineDriver, relay: RelayUrl, remote: SocketAddr, server: WebServer
    ) -> "QadConnection":
        """Connect and wait for the first address. Raises ProbeFailed; cancelling leaves nothing."""
        driver = engine.connect_web(remote, server, [ALPN], QAD_TRANSPORT)
        connection = cls(relay, remote, driver)
        try:
            await connection._told.wait()
            if not connection.is_open:
                raise ProbeFailed(f"address discovery of {relay}: {driver.inbox.close_reason}")
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def relay(self) -> RelayUrl:
        """Whose it is."""
        return self._relay

    @property
    def latency(self) -> float:
        """Smoothed round trip, seconds; the last known one when the connection is over."""
        paths = self._driver.connection.paths()
        if paths:
            self._latency = paths[0].stats.rtt
        return self._latency

    _latency = QAD_TRANSPORT.initial_rtt

    @property
    def is_open(self) -> bool:
        """Whether it still tells us of changes."""
        return self._driver.inbox.close_reason is None

    def close(self) -> None:
        """End it with code 1 "finished"."""
        self.on_change = None
        if self.is_open:
            self._driver.close(CLOSE_CODE, CLOSE_REASON)

    def _on_path_event(self, event: Event) -> None:
        if not isinstance(event, ObservedAddressChanged):
            return
        if not is_plausible(event.addr, self._remote):
            logger.debug("relay %s says that we are %s: not believed", self._relay, event.addr)
            return
        self._changes += 1
        if self._changes > MAX_CHANGES:
            logger.warning("relay %s keeps changing its mind about our address", self._relay)
            self.close()
            return
        self.addr = event.addr
        self._told.set()
        if self.on_change is not None:
            self.on_change()


def is_plausible(addr: SocketAddr, relay: SocketAddr) -> bool:
    """Whether a relay at `relay` can have seen us at `addr`.

    The family is that of the packets, the port is one, and it is an address that packets can come
    from. A relay of the public network sees public addresses: one that claims to see 192.168.1.1
    lies, or sits in the same house, but then it has such an address itself.
    """
    seen, at = (ipaddress.ip_address(a.ip.partition("%")[0]) for a in (addr, relay))
    if seen.version != at.version or not addr.port:
        return False
    if seen.is_unspecified or seen.is_multicast or (seen.version == 4 and seen.is_reserved):
        return False
    if seen.is_loopback and not at.is_loopback:
        return False
    return seen.is_global or not at.is_global
