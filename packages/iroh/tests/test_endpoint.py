import asyncio
import socket

import pytest

from iroh import (
    BindError,
    ConnectError,
    ConnectTimeoutError,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointClosedError,
    EndpointOptions,
    EndpointTicket,
    IncomingAddr,
    IncomingLocalAddr,
    IrohError,
    IrohErrorKind,
    LookupFailedError,
    Preset,
    RelayMode,
    SecretKey,
    TransportConfig,
    presets,
)

from .conftest import ALPN, meet


async def test_life_of_an_endpoint(bind) -> None:
    secret = SecretKey.generate()
    endpoint = await bind(secret_key=secret.to_bytes())
    assert endpoint.id() == secret.public() == endpoint.secret_key().public()
    assert endpoint.addr().id() == endpoint.id()
    assert endpoint.bound_sockets()[0].startswith("127.0.0.1:")
    ticket = str(EndpointTicket.from_addr(endpoint.addr()))
    assert EndpointTicket.from_string(ticket).endpoint_addr() == endpoint.addr()
    assert not endpoint.is_closed()
    await endpoint.close()
    await endpoint.close()
    assert endpoint.is_closed()
    assert endpoint.bound_sockets()
    assert await endpoint.accept_next() is None
    with pytest.raises(EndpointClosedError):
        await endpoint.connect(EndpointAddr(SecretKey.generate().public()), ALPN)


async def test_bind_forms() -> None:
    async with Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0") as endpoint:
        assert endpoint.bound_sockets()
    options = EndpointOptions(preset=presets.preset_minimal(), bind_addr="127.0.0.1:0")
    endpoint = await Endpoint.bind(options)
    await endpoint.close()
    with pytest.raises(TypeError):
        Endpoint.bind(options, alpns=[ALPN])

    class Mine(Preset):
        def apply(self, builder: EndpointBuilder) -> None:
            builder.apply_minimal()
            builder.bind_addr("127.0.0.1:0")
            builder.alpns([ALPN])

    await (await Endpoint.bind(Mine())).close()
    builder = EndpointBuilder()
    builder.apply(Mine)
    await (await builder.bind()).close()
    with pytest.raises(IrohError, match="already consumed"):
        await builder.bind()


async def test_add_address_then_dial_by_id_alone(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    ip = server.bound_sockets()[0]
    client.add_address(EndpointAddr(server.id()).with_ip_addr(ip))
    dial = asyncio.create_task(client.connect(server.id(), ALPN))
    accepted = await (await server.accept_next())
    assert (await dial).remote_id() == server.id()
    assert accepted.remote_id() == client.id()
    assert (await client.remote_addr(server.id())).direct_addresses() == [ip]


async def test_dialling_goes_to_every_address_and_the_first_answer_wins(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{silent.getsockname()[1]}"
        addr = EndpointAddr(server.id(), None, [dead, server.bound_sockets()[0]])
        dial = asyncio.create_task(client.connect(addr, ALPN))
        accepted = await (await server.accept_next())
        conn = await dial
    assert conn.paths()[0].remote_addr == server.bound_sockets()[0]
    assert accepted.remote_id() == client.id()


async def test_dialling_errors(bind) -> None:
    client = await bind()
    with pytest.raises(ConnectError, match="ourself"):
        await client.connect(client.addr(), ALPN)
    with pytest.raises(ValueError, match="ALPN"):
        await client.connect(SecretKey.generate().public(), b"")
    with pytest.raises(LookupFailedError) as caught:
        await client.connect(SecretKey.generate().public(), ALPN)
    assert caught.value.is_kind(IrohErrorKind.CONNECT)
    assert isinstance(caught.value, ConnectionError)


async def test_a_wrong_key_is_refused_on_both_sides(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    addr = EndpointAddr(SecretKey.generate().public(), None, server.addr().direct_addresses())
    dial = asyncio.create_task(client.connect(addr, ALPN))
    incoming = await server.accept_next()
    with pytest.raises(ConnectError):
        await incoming
    with pytest.raises(ConnectError):
        await dial


async def test_no_common_alpn(bind) -> None:
    server, client = await bind(alpns=[b"other/1"]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    with pytest.raises(ConnectError):
        await (await server.accept_next())
    with pytest.raises(ConnectError) as caught:
        await dial
    assert caught.value.code == 0x178  # no_application_protocol, RFC 7301 and RFC 9001 4.8


async def test_silence_times_out(bind) -> None:
    client = await bind(transport_config=TransportConfig(max_idle_timeout=0.2))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        addr = EndpointAddr(
            SecretKey.generate().public(), None, [f"127.0.0.1:{silent.getsockname()[1]}"]
        )
        with pytest.raises(ConnectTimeoutError) as caught:
            await client.connect(addr, ALPN)
    assert isinstance(caught.value, TimeoutError)


async def test_an_endpoint_without_alpns_refuses(bind) -> None:
    server, client = await bind(), await bind()
    with pytest.raises(ConnectError) as caught:
        await client.connect(server.addr(), ALPN)
    assert caught.value.code == 0x2
    server.set_alpns([ALPN])
    await meet(client, server)


async def test_incoming_refuse_ignore_retry(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    incoming = await server.accept_next()
    assert await incoming.remote_addr() == IncomingAddr.IP(client.bound_sockets()[0])
    assert (await incoming.local_addr()) in (
        IncomingLocalAddr.IP("127.0.0.1"),
        IncomingLocalAddr.IP(None),
    )
    assert not await incoming.remote_addr_validated()
    await incoming.refuse()
    with pytest.raises(IrohError, match="consumed"):
        await incoming.accept()
    with pytest.raises(ConnectError) as caught:
        await dial
    assert caught.value.code == 0x2

    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    await (await server.accept_next()).retry()
    again = await server.accept_next()
    assert await again.remote_addr_validated()
    with pytest.raises(IrohError):
        await again.retry()
    accepted = await again
    assert accepted.remote_id() == client.id()
    assert (await dial).remote_id() == server.id()


async def test_an_undecided_attempt_is_refused_when_dropped(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    await server.accept_next()
    with pytest.raises(ConnectError) as caught:
        await dial
    assert caught.value.code == 0x2


async def test_step_by_step_as_in_the_bindings(bind) -> None:
    server, client = await bind(alpns=[b"a", ALPN]), await bind()
    connecting = await client.connect_pending(server.addr(), ALPN)
    assert await connecting.remote_id() == server.id()
    accepting = await (await server.accept_next()).accept()
    assert await accepting.alpn() == ALPN
    ours, theirs = await asyncio.gather(connecting.connect(), accepting.connect())
    assert await connecting.alpn() == ALPN
    assert ours.remote_id() == server.id()
    assert theirs.remote_id() == client.id()
    with pytest.raises(IrohError, match="consumed"):
        await connecting.connect()


async def test_cancelling_a_dial_leaves_nothing(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    await server.accept_next()
    dial.cancel()
    await asyncio.wait((dial,))
    assert dial.cancelled()
    assert all(d.inbox.close_reason is not None for d in client._engine.drivers())


async def test_closing_tells_every_peer(bind) -> None:
    server = await bind(alpns=[ALPN])
    ends = [await meet(await bind(), server) for _ in range(3)]
    await server.close()
    for dialled, accepted in ends:
        assert await dialled.closed() == "closed by peer: 0"
        assert await accepted.closed() == "closed"


async def test_closing_wakes_accept_next_and_dials(bind) -> None:
    endpoint = await bind(alpns=[ALPN])
    accepting = asyncio.create_task(endpoint.accept_next())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        addr = EndpointAddr(SecretKey.generate().public(), None, [target])
        dial = asyncio.create_task(endpoint.connect(addr, ALPN))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await endpoint.close()
        assert await accepting is None
        with pytest.raises(ConnectError):
            await dial


async def test_garbage_datagrams_harm_nobody(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dialled, accepted = await meet(client, server)
    host, _, port = server.bound_sockets()[0].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as evil:
        for length in (0, 1, 2, 20, 21, 50, 1199, 1200, 1500, 60_000):
            for first in (0x00, 0x40, 0x80, 0xC0, 0xC3, 0xFF):
                evil.sendto(bytes([first]) + b"\x00\x00\x00\x01" * (length // 4), (host, int(port)))
    send = await dialled.open_uni()
    await send.write_all(b"fine")
    await send.finish()
    assert await (await accepted.accept_uni()).read_to_end(10) == b"fine"
    assert sum(server._engine.engine.dropped.values()) > 0


async def test_binding_errors_say_what_to_do(bind) -> None:
    endpoint = await bind()
    taken = endpoint.bound_sockets()[0]
    with pytest.raises(BindError, match="choose another address or port"):
        await bind(bind_addr=taken)
    with pytest.raises(ValueError, match="address"):
        await bind(bind_addr="nonsense")
    with pytest.raises(ValueError, match="32"):
        await bind(secret_key=b"short")


async def test_external_addresses_and_watchers(bind) -> None:
    endpoint = await bind()
    watcher = endpoint.watch_addr()
    await endpoint.add_external_addr("203.0.113.7:4433")
    assert "203.0.113.7:4433" in (await watcher.updated()).direct_addresses()
    assert await endpoint.remove_external_addr("203.0.113.7:4433")
    assert not await endpoint.remove_external_addr("203.0.113.7:4433")


async def test_relay_mode_disabled_has_no_relay(bind) -> None:
    endpoint = await bind(relay_mode=RelayMode.disabled())
    assert endpoint.addr().relay_url() is None
    waiting = asyncio.create_task(endpoint.online())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait((waiting,))
