"""From the options to an endpoint, and what both ends of a command need of one."""

import argparse
import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from iroh import presets
from iroh.ca_tls import CaTlsConfig
from iroh.cli import exits
from iroh.cli.console import Console
from iroh.cli.identity import secret_key
from iroh.connection import Connection
from iroh.endpoint import Endpoint
from iroh.options import EndpointBuilder
from iroh.quic.config import TransportConfig
from iroh.relay_mode import RelayMode
from iroh.router import Handler, ProtocolHandler, Router
from iroh_base import EndpointAddr, EndpointTicket, IrohError, PublicKey

__all__ = ["Allowed", "bound", "dial", "our_ticket", "serving", "wait_online"]

ONLINE_TIMEOUT = 5.0  # dumbpipe ONLINE_TIMEOUT


@asynccontextmanager
async def bound(options: argparse.Namespace, console: Console) -> AsyncIterator[Endpoint]:
    """Bind an endpoint as the options say, and close it in the end. Raises BindError, CliError."""
    builder = EndpointBuilder()
    builder.apply(presets.N0 if options.preset == "n0" else presets.Minimal)
    key = secret_key(options.secret_file, console)
    if key is not None:
        builder.secret_key(key)
    for addr in options.bind or ():
        builder.bind_addr(addr)
    builder.transport_config(_transport(options))
    _set_relays(builder, options)
    _set_lookup(builder, options)
    if options.ca_file is not None:
        builder.ca_tls_config(CaTlsConfig.system().with_extra_roots(_read(options.ca_file)))
    if options.proxy is not None:
        builder.proxy_url(options.proxy)
    endpoint = await builder.bind()
    try:
        yield endpoint
    finally:
        await endpoint.close()


def _transport(options: argparse.Namespace) -> TransportConfig:
    config = TransportConfig()
    window = getattr(options, "window", None)
    if window is not None:
        config = dataclasses.replace(config, stream_receive_window=window)
    if options.idle_timeout is None:
        return config
    idle = options.idle_timeout  # there are signs of life thrice as often
    alive = min(config.keep_alive_interval or idle, idle / 3)
    return dataclasses.replace(config, max_idle_timeout=idle, keep_alive_interval=alive)


def _read(file: str) -> bytes:
    return Path(file).read_bytes()


def _set_relays(builder: EndpointBuilder, options: argparse.Namespace) -> None:
    if options.relay:
        builder.relay_mode(RelayMode.custom_from_urls(options.relay))
    elif options.relay_mode == "disabled":
        builder.relay_mode(RelayMode.disabled())
    elif options.relay_mode == "staging":
        builder.relay_mode(RelayMode.staging())
    elif options.relay_mode == "default":
        builder.relay_mode(RelayMode.default_mode())


def _set_lookup(builder: EndpointBuilder, options: argparse.Namespace) -> None:
    from iroh.address_lookup import (
        DhtAddressLookup,
        DnsAddressLookup,
        MdnsAddressLookup,
        PkarrPublisher,
        PkarrResolver,
    )
    from iroh.resolver import DnsResolver

    if options.lookup or options.pkarr is not None or options.dns_origin is not None:
        builder.clear_address_lookup()
    for name in options.lookup or ():
        if name == "n0":
            for service in (PkarrPublisher.n0(), PkarrResolver.n0(), DnsAddressLookup.n0()):
                builder.address_lookup(service)
        elif name == "dht":
            builder.address_lookup(DhtAddressLookup())
        elif name == "mdns":
            builder.address_lookup(MdnsAddressLookup())
    if options.pkarr is not None:
        builder.address_lookup(PkarrPublisher(options.pkarr))
        builder.address_lookup(PkarrResolver(options.pkarr))
    if options.dns_origin is not None:
        builder.address_lookup(DnsAddressLookup(options.dns_origin))
    if options.nameserver:
        builder.dns_resolver(DnsResolver(nameservers=options.nameserver))


# -- the side that is dialled ------------------------------------------------------------------


async def wait_online(endpoint: Endpoint, options: argparse.Namespace, console: Console) -> None:
    """Wait for the home relay, as long as there is hope, so that the ticket names it."""
    if options.relay_mode == "disabled" or (options.preset == "minimal" and not options.relay):
        return
    tasks = {
        asyncio.ensure_future(endpoint.online()),
        asyncio.ensure_future(_until_no_relay_answers(endpoint)),
    }
    try:
        await asyncio.wait(tasks, timeout=ONLINE_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if endpoint.addr().relay_url() is None:
        console.warn(
            "no relay answers: only who reaches one of our addresses directly can connect "
            "(--no-relay says that this is meant)"
        )


async def _until_no_relay_answers(endpoint: Endpoint) -> None:
    async for report in endpoint.watch_net_report():
        if report is not None and report.preferred_relay is None:
            return


def our_ticket(endpoint: Endpoint) -> str:
    """The ticket by which others reach us now."""
    return str(EndpointTicket(endpoint.addr()))


class Allowed(ProtocolHandler):
    """Lets only some peers through to another handler."""

    def __init__(
        self, handler: ProtocolHandler, ids: Collection[PublicKey], console: Console
    ) -> None:
        self._handler = handler
        self._ids = frozenset(ids)
        self._console = console

    async def accept(self, conn: Connection) -> None:
        """Serve it, or close it with code 403."""
        if conn.remote_id() in self._ids:
            await self._handler.accept(conn)
            return
        peer = str(conn.remote_id())
        self._console.tell("refused", f"refused {peer}: not allowed", peer=peer)
        conn.close(exits.NOT_ALLOWED, b"not allowed")


@asynccontextmanager
async def serving(
    endpoint: Endpoint,
    handlers: Mapping[bytes, ProtocolHandler],
    allow: Collection[PublicKey] | None,
    console: Console,
) -> AsyncIterator[Router]:
    """Serve protocols, and pings beside them, to the peers that are allowed (None: to all)."""
    from iroh.protocols import PING_ALPN, Ping

    served: dict[bytes, Handler] = {}
    for alpn, handler in {PING_ALPN: Ping(), **handlers}.items():
        served[alpn] = handler if not allow else Allowed(handler, allow, console)
    router = Router(endpoint, served)
    try:
        yield router
    finally:
        await router.stop()


# -- the side that dials -----------------------------------------------------------------------

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between the attempts of a dial that is repeated; each pause is twice the one before."""


async def dial(
    endpoint: Endpoint,
    addr: EndpointAddr,
    alpn: bytes,
    options: argparse.Namespace,
    console: Console,
) -> Connection:
    """Dial a peer, with --reconnect until it answers. Raises CliError, ConnectError."""
    pause = FIRST_PAUSE
    while True:
        try:
            return await _dial_once(endpoint, addr, alpn, options.timeout)
        except (exits.CliError, IrohError, OSError) as error:  # a bug is not dialled again
            if not getattr(options, "reconnect", False):
                raise
            told = exits.in_words(error)
            if told.status not in (exits.NOT_REACHED, exits.FAILED):
                raise told from None
            text = f"{told.message}; again in {pause:g} s"
            console.tell("retry", text, message=told.message, after=pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def _dial_once(
    endpoint: Endpoint, addr: EndpointAddr, alpn: bytes, timeout: float
) -> Connection:
    if addr.id() == endpoint.id():
        raise exits.CliError("this is our own id", "dial another one", exits.USAGE)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            return await endpoint.connect(addr, alpn)
    remedy = "is it running? is one of its addresses reachable from here? `iroh doctor` helps"
    raise exits.CliError(
        f"the peer does not answer within {timeout:g} s", remedy, exits.NOT_REACHED
    )
