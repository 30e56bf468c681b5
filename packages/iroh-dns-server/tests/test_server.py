"""The server as a whole: start, stop, expiry, and what happens when it cannot start."""

import asyncio
import dataclasses
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import aiohttp
import dns.message
import pytest

from iroh_dns_server import (
    BindError,
    Config,
    ConfigError,
    DnsConfig,
    DnsServer,
    DnsServerError,
    HttpConfig,
    Metrics,
    SqliteStore,
    StoreError,
)
from iroh_dns_server.dns import ZoneCache
from iroh_dns_server.expiry import Expiry
from iroh_dns_server.http.pkarr import PkarrHandlers
from iroh_dns_server.sockets import bind_tcp, local_addr

ORIGIN = "irohdns.example."
WEEK_US = 7 * 86400 * 1_000_000


async def put(server: DnsServer, who: Any, payload: bytes) -> None:
    url = f"http://{server.http_addr}/pkarr/{who.z32}"
    async with aiohttp.ClientSession() as session, session.put(url, data=payload) as response:
        assert response.status == 204


async def test_from_http_to_dns(
    server: DnsServer,
    publisher: Callable[[int], Any],
    query: Callable[..., bytes],
    ask_udp: Callable[..., Any],
) -> None:
    who = publisher(1)
    for name in (f"_iroh.{who.z32}.{ORIGIN}", f"_iroh.{who.z32}."):
        reply = dns.message.from_wire(await ask_udp(server.dns_addr, query(name)))
        assert reply.rcode() == dns.rcode.NXDOMAIN
    for text in ("relay=https://one.example./", "relay=https://two.example./"):
        await put(server, who, who.txt(text))
        for name in (f"_iroh.{who.z32}.{ORIGIN}", f"_iroh.{who.z32}."):
            reply = dns.message.from_wire(await ask_udp(server.dns_addr, query(name)))
            assert reply.answer[0].to_text() == f'{name} 30 IN TXT "{text}"'


async def test_packets_survive_a_restart(config: Config, publisher: Callable[[int], Any]) -> None:
    who = publisher(1)
    payload = who.txt("x")
    async with DnsServer(config) as server:
        await put(server, who, payload)
    async with (
        DnsServer(config) as server,
        aiohttp.ClientSession(f"http://{server.http_addr}") as session,
        session.get(f"/pkarr/{who.z32}") as response,
    ):
        assert await response.read() == payload


async def test_addresses_are_known_only_while_it_runs(config: Config) -> None:
    server = DnsServer(config)
    with pytest.raises(DnsServerError, match="not started"):
        _ = server.http_addr
    with pytest.raises(DnsServerError, match="not started"):
        _ = server.dns_addr
    await server.close()  # never started: nothing to do
    async with server:
        assert server.http_addr.port
        assert server.dns_addr.port
    await server.close()


async def test_a_port_in_use_is_said_and_everything_is_given_back(config: Config) -> None:
    taken = bind_tcp(IPv4Address("127.0.0.1"), 0, "test")
    port = local_addr(taken).port
    try:
        http = HttpConfig(port=port, bind_addr=IPv4Address("127.0.0.1"))
        at_http = dataclasses.replace(config, http=http)
        with pytest.raises(BindError, match=rf"http: cannot listen on 127\.0\.0\.1:{port}: .*use"):
            await DnsServer(at_http).start()
        at_dns = dataclasses.replace(config, dns=dataclasses.replace(config.dns, port=port))
        with pytest.raises(BindError, match=r"dns over tcp: cannot listen on .* choose another"):
            await DnsServer(at_dns).start()
    finally:
        taken.close()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        udp.bind(("127.0.0.1", port))
        with pytest.raises(BindError, match="dns over udp"):
            await DnsServer(at_dns).start()
    finally:
        udp.close()
    async with DnsServer(at_dns) as server:  # the store's lock was given back each time
        assert server.dns_addr.port == port


async def test_an_address_that_is_not_ours(config: Config) -> None:
    for address in (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")):
        there = dataclasses.replace(config, http=HttpConfig(port=0, bind_addr=address))
        with pytest.raises(BindError, match="does not have that address"):
            await DnsServer(there).start()


async def test_without_ipv6_every_address_means_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iroh_dns_server.sockets.socket.has_ipv6", False)
    sock = bind_tcp(None, 0, "test")
    try:
        assert sock.family == socket.AF_INET
    finally:
        sock.close()


async def test_bad_settings_fail_at_once(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"dns\.origins\[0\]"):
        DnsServer(dataclasses.replace(config, dns=DnsConfig(origins=("a..b",))))


async def test_two_servers_do_not_share_a_directory(server: DnsServer, config: Config) -> None:
    with pytest.raises(StoreError, match="in use"):
        await DnsServer(config).start()


async def test_a_put_under_way_is_finished_when_the_server_closes(
    config: Config, publisher: Callable[[int], Any], tmp_path: Path
) -> None:
    who = publisher(1)
    store = SqliteStore.open(tmp_path)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    class Slow:
        get = store.get
        expire = store.expire
        close = store.close

        async def put(self, public_key: bytes, payload: bytes) -> Any:
            arrived.set()
            await go_on.wait()
            return await store.put(public_key, payload)

    server = DnsServer(config, store=Slow())
    await server.start()
    publishing = asyncio.create_task(put(server, who, who.txt("x")))
    await arrived.wait()
    closing = asyncio.create_task(server.close())
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(publishing, closing)


async def test_old_packets_go(
    tmp_path: Path, publisher: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iroh_dns_server.expiry.PASS_LIMIT", 2)
    now = 2 * WEEK_US
    metrics = Metrics()
    store = SqliteStore.open(tmp_path)
    zones = ZoneCache(store, metrics)
    rounds = 0

    async def sleep(seconds: float) -> None:
        nonlocal rounds
        assert seconds == 10
        rounds += 1
        if rounds > 2:
            raise asyncio.CancelledError

    expiry = Expiry(
        store,
        zones,
        metrics,
        age=7 * 86400,
        interval=10,
        max_packets=100,
        clock=lambda: now,
        sleep=sleep,
    )
    try:
        people = [publisher(number) for number in range(1, 7)]
        for number, who in enumerate(people):
            key = who.key.to_bytes()
            await store.put(key, who.txt("x", now - WEEK_US - 1 if number < 5 else now - WEEK_US))
            await zones.load(key)
        zone = zones.peek(people[0].key.to_bytes())
        assert zone is not None
        with pytest.raises(asyncio.CancelledError):
            await expiry.run()
        assert metrics.store_packets_expired == 5
        assert metrics.cache_zones == 1
        assert not zone.alive
        assert await store.get(people[5].key.to_bytes()) is not None
    finally:
        await store.close()
    with pytest.raises(StoreError):
        await expiry.remove_old()
    rounds = 1
    with pytest.raises(asyncio.CancelledError):  # a failing store does not end it
        await expiry.run()
    assert metrics.store_errors == 1


async def test_the_oldest_go_when_there_are_too_many(
    tmp_path: Path, publisher: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iroh_dns_server.expiry.PASS_LIMIT", 2)
    store, metrics = SqliteStore.open(tmp_path), Metrics()
    expiry = Expiry(
        store,
        ZoneCache(store, metrics),
        metrics,
        age=7 * 86400,
        interval=10,
        max_packets=4,
        clock=lambda: WEEK_US,
    )
    try:
        people = [publisher(number) for number in range(1, 8)]
        for age, who in enumerate(people):
            await store.put(who.key.to_bytes(), who.txt("x", WEEK_US - age))
        assert await expiry.remove_old() == 3
        left = [await store.get(who.key.to_bytes()) is not None for who in people]
        assert left == [True] * 4 + [False] * 3
        assert await expiry.remove_old() == 0
    finally:
        await store.close()


def test_the_wall_clock_is_in_microseconds() -> None:
    handlers = PkarrHandlers.__init__.__kwdefaults__
    assert handlers is not None
    assert 1_700_000_000_000_000 < handlers["clock"]() < 10_000_000_000_000_000
