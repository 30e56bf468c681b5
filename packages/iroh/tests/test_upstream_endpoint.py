"""What the tests of upstream's endpoint.rs show of its Endpoint, shown of ours.

The names are upstream's where there is a counterpart; those that another file shows already are
listed in docs/endpoint-compared.md.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from iroh import (
    BindError,
    BindOpts,
    ConnectError,
    Connection,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointClosedError,
    Preset,
    RelayConfig,
    RelayMap,
    RelayMode,
    Router,
    SecretKey,
    presets,
)
from iroh.address_lookup import MemoryLookup
from iroh_relay.server import Access, RelayServer

from .conftest import ALPN, meet
from .relay_kit import LOCAL, RelayedOnly


@pytest.fixture
async def relay() -> AsyncIterator[RelayServer]:
    async with RelayServer(LOCAL) as server:
        yield server


def mode(relay: RelayServer) -> RelayMode:
    return RelayMode.custom_from_urls([str(relay.http_url)])


async def accept(endpoint: Endpoint) -> Connection:
    incoming = await endpoint.accept_next()
    assert incoming is not None
    return await incoming


async def dial(client: Endpoint, server: Endpoint, addr: EndpointAddr):
    return await asyncio.gather(client.connect(addr, ALPN), accept(server))


# -- closing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["dialler", "listener"])
async def test_graceful_close(bind, who) -> None:
    """A code and a reason arrive although the endpoint closes at once afterwards."""
    server, client = await bind(alpns=[ALPN]), await bind()
    dialled, accepted = await meet(client, server)
    ours, theirs, endpoint = (
        (dialled, accepted, client) if who == "dialler" else (accepted, dialled, server)
    )
    async with (await ours.open_bi()).send() as send:
        await send.write_all(b"Hello, world!")
    stream = await theirs.accept_bi()
    assert await stream.recv().read_to_end(1000) == b"Hello, world!"
    ours.close(42, b"thanks, bye!")
    await endpoint.close()
    closed = await theirs.closed()
    assert (closed.kind, closed.code) == ("ApplicationClosed", 42)
    assert closed.reason.reason == b"thanks, bye!"


async def test_endpoint_connect_close(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dialled, accepted = await meet(client, server)
    send = await dialled.open_uni()
    await send.write_all(b"hello")
    recv = await accepted.accept_uni()
    assert await recv.read_exact(5) == b"hello"
    dialled.close(7, b"bye")
    assert (await dialled.closed()).kind == "LocallyClosed"
    assert await accepted.closed() == "closed by peer: bye (code 7)"
    with pytest.raises(ConnectionError, match="bye"):
        await recv.read_to_end(10)


async def test_endpoint_bidi_send_recv(bind) -> None:
    """Both dial each other, and neither connection disturbs the other."""
    ends = await bind(alpns=[ALPN]), await bind(alpns=[ALPN])

    async def talk(ours: Endpoint, theirs: Endpoint) -> None:
        conn = await ours.connect(theirs.addr(), ALPN)
        send, recv = await conn.open_bi()
        async with send:
            await send.write_all(b"hello")
        assert await recv.read_to_end(100) == b"world"
        conn.close(1, b"bye")

    async def answer(endpoint: Endpoint) -> None:
        conn = await accept(endpoint)
        send, recv = await conn.accept_bi()
        assert await recv.read_to_end(100) == b"hello"
        async with send:
            await send.write_all(b"world")
        assert (await conn.closed()).code == 1

    await asyncio.gather(talk(*ends), talk(*ends[::-1]), *map(answer, ends))


@pytest.mark.parametrize("polled", [True, False])
async def test_closed_endpoint_accept_fut(bind, polled) -> None:
    endpoint = await bind(alpns=[ALPN])
    accepting = endpoint.accept_next()
    if polled:
        accepting = asyncio.create_task(accepting)
        await asyncio.sleep(0)
    await endpoint.close()
    assert await accepting is None


async def test_the_end_can_be_waited_for(bind) -> None:
    endpoint = await bind()
    waiting = [asyncio.create_task(endpoint.closed()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    assert not waiting[0].done()
    await endpoint.close()
    await waiting[0]
    await endpoint.closed()


# -- addresses -------------------------------------------------------------------------------------


async def test_external_addr(bind) -> None:
    endpoint = await bind(external_addrs=["1.2.3.4:12345"])
    assert "1.2.3.4:12345" in endpoint.addr().direct_addresses()
    await endpoint.add_external_addr("5.6.7.8:54321")
    assert {"1.2.3.4:12345", "5.6.7.8:54321"} <= set(endpoint.addr().direct_addresses())
    assert await endpoint.remove_external_addr("5.6.7.8:54321")
    assert "5.6.7.8:54321" not in endpoint.addr().direct_addresses()
    assert "1.2.3.4:12345" in endpoint.addr().direct_addresses()


def free_port(kind: socket.SocketKind) -> int:
    """A port where nobody listens."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_endpoint_unreachable_relay_direct_connect_succeeds(bind) -> None:
    """Nobody answers at the relay, neither over TCP nor for address discovery over UDP."""
    url = f"https://127.0.0.1:{free_port(socket.SOCK_STREAM)}/"
    dead = RelayMap.empty()
    dead.insert(RelayConfig(url=url, quic_port=free_port(socket.SOCK_DGRAM)))
    server = await bind(relay_mode=RelayMode.custom(dead), alpns=[ALPN])
    client = await bind(relay_mode=RelayMode.custom(dead))
    async with asyncio.timeout(10):
        conn, _ = await dial(client, server, server.addr().with_relay_url(url))
    assert conn.paths()[0].is_ip


async def test_direct_addresses_no_qad_relay(relay) -> None:
    config = RelayConfig(url=str(relay.http_url), quic_port=None)
    relays = RelayMap.empty()
    relays.insert(config)
    settings = {"relay_mode": RelayMode.custom(relays), "bind_addr": "127.0.0.1:0"}
    async with Endpoint.bind(presets.Minimal, **settings) as endpoint:
        assert endpoint.addr().direct_addresses()


# -- sockets ---------------------------------------------------------------------------------------

LOOPBACK, ANY_V4, ANY_V6 = "127.0.0.1", "0.0.0.0", "[::]"
BINDS = {
    "clear": (True, BindOpts(), False, [LOOPBACK]),
    "no_clear": (False, BindOpts(), False, [LOOPBACK, ANY_V6]),
    "default": (False, BindOpts(is_default_route=True), False, [LOOPBACK, ANY_V6]),
    "nonzero_prefix": (False, BindOpts(prefix_len=32), False, [LOOPBACK, ANY_V4, ANY_V6]),
    "prefix_len_0_not_default": (
        *(False, BindOpts(is_default_route=False), False),
        [ANY_V4, LOOPBACK, ANY_V6],
    ),
    "badport_notrequired": (
        *(False, BindOpts(prefix_len=32, is_required=False), True),
        [ANY_V4, ANY_V6],
    ),
    "badport_default_notrequired": (False, BindOpts(is_required=False), True, [ANY_V6]),
    "badport": (True, BindOpts(), True, "choose another address or port"),
    "badport_notrequired_no_other_transports": (
        *(True, BindOpts(is_required=False), True),
        "no valid address available",
    ),
}
"""Upstream's test_bind_addr_*: are the built-in sockets cleared, how it is bound, whether the port
is taken -> the IPs of what is bound, or the error."""


@pytest.mark.parametrize("name", BINDS)
async def test_bind_addr(name) -> None:
    clear, opts, taken, expected = BINDS[name]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((LOOPBACK, 0))
        port = other.getsockname()[1] if taken else 0

        class Bound(Preset):
            def apply(self, builder: EndpointBuilder) -> None:
                if clear:
                    builder.clear_ip_transports()
                builder.bind_addr_with_opts(f"{LOOPBACK}:{port}", opts)

        if isinstance(expected, str):
            with pytest.raises(BindError, match=expected):
                await Endpoint.bind(Bound())
            return
        async with Endpoint.bind(Bound()) as endpoint:
            found = [addr.rpartition(":")[0] for addr in endpoint.bound_sockets()]
    assert sorted(found) == sorted(expected)
    assert [addr.startswith("[") for addr in found] == sorted(a.startswith("[") for a in found)


# -- dialling --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("served", "wanted", "also", "agreed"),
    [
        ([b"alpn/2", b"alpn/1"], b"alpn/2", [b"alpn/1"], b"alpn/2"),
        ([b"alpn/1"], b"alpn/2", [b"alpn/1"], b"alpn/1"),
        ([b"alpn/2", b"alpn/1"], b"alpn/1", [b"alpn/2"], b"alpn/2"),
        ([b"alpn/2", b"alpn/1"], b"alpn/1", [], b"alpn/1"),
    ],
    ids=["the listener prefers", "an old listener", "the dialler's order", "an old dialler"],
)
async def test_connect_multiple_alpn_negotiated(bind, served, wanted, also, agreed) -> None:
    server, client = await bind(alpns=served), await bind()
    dialled, accepted = await asyncio.gather(
        client.connect(server.addr(), wanted, additional_alpns=also), accept(server)
    )
    assert dialled.alpn() == accepted.alpn() == agreed


async def test_connect_multi_time(bind) -> None:
    """32 servers by their ids, twice: what the first round has learnt costs the second nothing."""

    async def noop(conn: Connection) -> None:
        await conn.closed()

    servers = [await bind(protocols={b"noop": noop}) for _ in range(32)]
    lookup = MemoryLookup()
    for server in servers:
        lookup.add_endpoint_info(server.addr())
    client = await bind(address_lookup=[lookup])
    for _ in range(2):
        for server in servers:
            conn = await client.connect(server.id(), b"noop")
            conn.close(0, b"done")
    assert client.stats()["socket:num_conns_opened"].value == 64


# -- relays ----------------------------------------------------------------------------------------


async def test_endpoint_relay_connect_loop(bind, relay) -> None:
    server = await bind(relay_mode=mode(relay), alpns=[ALPN])
    await server.online()
    addr = EndpointAddr(server.id(), str(relay.http_url))
    for _ in range(5):
        client = await bind(relay_mode=mode(relay))
        dialled, accepted = await dial(client, server, addr)
        send, recv = await dialled.open_bi()
        await send.write_all(b"0" * 100)
        back, there = await accepted.accept_bi()
        for chunk in (b"0" * 100, b"1" * 100):
            await back.write_all(await there.read_exact(100))
            assert await recv.read_exact(100) == chunk
            await send.write_all(b"1" * 100)
        dialled.close(0, b"bye!")
        assert (await accepted.closed()).code == 0
        await client.close()


async def test_endpoint_two_direct_add_relay(bind, relay) -> None:
    """A direct connection gets a relayed path beside it, seen on both sides."""
    server = await bind(relay_mode=mode(relay), alpns=[ALPN])
    client = await bind(relay_mode=mode(relay))
    await server.online()
    direct = EndpointAddr(server.id(), None, server.addr().direct_addresses())
    dialled, accepted = await dial(client, server, direct)
    assert [path.is_ip for path in dialled.paths()] == [True]
    again, other = await dial(client, server, server.addr())  # now the relay is known, too
    for conn in (dialled, accepted, again, other):
        async for paths in conn.paths_stream():
            if {path.is_relay for path in paths} == {True, False}:
                break
        assert [path.is_ip for path in conn.paths() if path.is_selected] == [True]


async def test_same_endpoint_id_relay(bind, relay, caplog) -> None:
    """A second endpoint with the same key takes the relay over; the first is told once."""
    key = SecretKey.generate()
    settings = {"preset": RelayedOnly(), "bind_addr": None, "relay_mode": mode(relay)}
    client = await bind(**settings)
    addr = EndpointAddr(key.public(), str(relay.http_url))
    first = await bind(**settings, secret_key=key, alpns=[ALPN])
    await first.online()
    dialled, accepted = await dial(client, first, addr)
    accepted.close(1, b"bye")
    assert (await dialled.closed()).code == 1
    with caplog.at_level(logging.WARNING):
        second = await bind(**settings, secret_key=key, alpns=[ALPN])
        await second.online()
        dialled, accepted = await dial(client, second, addr)
        accepted.close(1, b"bye")
        assert (await dialled.closed()).code == 1
        waiting = asyncio.create_task(first.accept_next())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
    told = [
        record for record in caplog.records if "same endpoint id" in record.getMessage().lower()
    ]
    assert len(told) == 1


async def test_endpoint_online_add_relay(bind, relay) -> None:
    endpoint = await bind(relay_mode=RelayMode.custom(RelayMap.empty()))
    waiting = asyncio.create_task(endpoint.online())
    await asyncio.sleep(0)
    assert not waiting.done()
    await endpoint.insert_relay(RelayConfig(url=str(relay.http_url)))
    await waiting
    await endpoint.close()
    await endpoint.online()  # it was when it closed


async def test_endpoint_online_close(bind) -> None:
    """Upstream waits for ever there; ours says why it never will be."""
    endpoint = await bind()
    waiting = asyncio.create_task(endpoint.online())
    await asyncio.sleep(0)
    await endpoint.close()
    with pytest.raises(EndpointClosedError):
        await waiting


async def test_endpoint_relay_auth_token(bind) -> None:
    class Token:
        async def on_connect(self, request) -> Access:
            return Access(request.auth_token == "valid-token", "this token is no good")

        def on_disconnect(self, endpoint_id, connection_id) -> None: ...

    async with RelayServer(LOCAL, access=Token()) as relay:

        def with_token(token: str) -> RelayMode:
            relays = RelayMap.empty()
            relays.insert(RelayConfig(url=str(relay.http_url), auth_token=token))
            return RelayMode.custom(relays)

        bad = await bind(relay_mode=with_token("wrong-token"))
        async for status in bad.watch_home_relay():
            if status is not None and status.last_error is not None:
                assert "this token is no good" in status.last_error
                assert status.auth_denied_reason == "this token is no good"
                break
        good = await bind(relay_mode=with_token("valid-token"))
        await good.online()
        status = good.watch_home_relay().get()
        assert status is not None
        assert status.auth_denied_reason is None


async def test_connect_self_and_without_an_alpn(bind) -> None:
    endpoint = await bind(alpns=[ALPN])
    with pytest.raises(ConnectError, match="ourself"):
        await endpoint.connect(endpoint.addr(), ALPN)
    with pytest.raises(ConnectError, match="ALPN"):
        await endpoint.connect(SecretKey.generate().public(), b"")
    async with Router(endpoint, {}):
        assert not endpoint.is_closed()
    assert endpoint.is_closed()
