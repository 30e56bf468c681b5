import asyncio
import dataclasses
import socket
import sys

import pytest

from iroh import (
    AddrChangeCallback,
    BindError,
    CallbackError,
    ConnectError,
    Endpoint,
    EndpointAddr,
    EndpointBuilder,
    EndpointClosedError,
    EndpointOptions,
    EndpointTicket,
    HomeRelayCallback,
    IrohError,
    Preset,
    RelayConfig,
    RelayMode,
    SecretKey,
    presets,
)
from iroh.options import EndpointSettings, PresetLike

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


def test_the_keywords_of_bind_are_the_fields_of_its_options() -> None:
    def written(annotation: object) -> object:
        return getattr(annotation, "__forward_arg__", annotation)

    keywords = {name: written(kind) for name, kind in EndpointSettings.__annotations__.items()}
    assert {"preset": PresetLike, **keywords} == {
        field.name: PresetLike if field.name == "preset" else field.type
        for field in dataclasses.fields(EndpointOptions)
    }


async def test_bind_forms() -> None:
    async with Endpoint.bind(presets.Minimal, bind_addr="127.0.0.1:0") as endpoint:
        assert endpoint.bound_sockets()
    options = EndpointOptions(preset=presets.preset_minimal(), bind_addr="127.0.0.1:0")
    endpoint = await Endpoint.bind(options)
    await endpoint.close()
    with pytest.raises(TypeError):
        Endpoint.bind(options, alpns=[ALPN])
    with pytest.raises(TypeError, match="a preset has a method apply"):
        await Endpoint.bind("minimal")

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


class Silent:
    """A lookup service that never answers."""

    def publish(self, data) -> None: ...

    async def resolve(self, endpoint_id):
        await asyncio.get_running_loop().create_future()
        yield


async def test_closing_ends_dials_that_wait_for_a_lookup(bind) -> None:
    client = await bind(address_lookup=[Silent()])
    dials = [
        asyncio.create_task(client.connect(SecretKey.generate().public(), ALPN)) for _ in range(3)
    ]
    await asyncio.sleep(0)
    await client.close()
    for dial in dials:
        with pytest.raises(EndpointClosedError):
            await dial


async def test_closing_ends_dials_and_handshakes_under_way(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    answered = asyncio.create_task(client.connect(server.addr(), ALPN))
    incoming = await server.accept_next()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    late = await server.accept_next()
    pending = await client.connect_pending(server.addr(), ALPN)
    accepting = await incoming.accept()
    await asyncio.gather(client.close(), server.close())
    await asyncio.gather(answered, return_exceptions=True)  # it may have been quicker
    for ended in (dial, pending.connect(), accepting.connect()):
        with pytest.raises(EndpointClosedError) as caught:
            await ended
        assert caught.value.reason is not None
    with pytest.raises(EndpointClosedError):
        await late.accept()
    with pytest.raises(IrohError, match="consumed"):
        await late.refuse()


async def test_everything_else_after_close(bind) -> None:
    endpoint = await bind(alpns=[ALPN])
    addr, sockets = endpoint.addr(), endpoint.bound_sockets()
    await endpoint.close()
    assert (endpoint.addr(), endpoint.bound_sockets()) == (addr, sockets)
    assert await endpoint.remote_addr(SecretKey.generate().public()) is None
    assert [_ async for _ in endpoint.incoming()] == []
    endpoint.set_alpns([b"other"])
    endpoint.set_user_data("text")
    await endpoint.insert_relay(RelayConfig(url="https://relay.example"))
    assert not await endpoint.remove_relay("https://relay.example")
    assert not await endpoint.remove_external_addr("192.0.2.1:1")
    assert endpoint.stats()["socket:num_conns_opened"].value == 0
    assert [paths async for paths in endpoint.watch_addr()] == [addr]
    for late in (
        endpoint.online(),
        endpoint.connect_pending(SecretKey.generate().public(), ALPN),
    ):
        with pytest.raises(EndpointClosedError):
            await late
    with pytest.raises(EndpointClosedError):
        endpoint.add_address(addr)
    assert "closed" in repr(endpoint)


def test_a_forgotten_await_is_told() -> None:
    binding = Endpoint.bind(presets.Minimal)
    assert "not bound yet: `await` it" in repr(binding)
    assert not hasattr(binding, "cr_await")
    with pytest.raises(AttributeError, match=r"no attribute 'id': .* `await` it"):
        binding.id()  # type: ignore[attr-defined]
    binding.close()  # or it would warn that it was never awaited


async def test_what_a_console_shows() -> None:
    assert repr(presets.N0()) == "<preset N0>"
    async with Endpoint.bind(presets.Minimal) as endpoint:
        assert repr(endpoint.watch_addr()) == f"<Watcher: {endpoint.addr()!r}>"


async def test_going_online_ends_with_the_endpoint(bind) -> None:
    endpoint = await bind()
    waiting = asyncio.create_task(endpoint.online())
    await asyncio.sleep(0)
    await endpoint.close()
    with pytest.raises(EndpointClosedError):
        await waiting


async def test_options_that_fail_leave_nothing_bound(bind) -> None:
    class Broken:
        def publish(self, data) -> None: ...

        def resolve(self, endpoint_id) -> None: ...

        def bind(self, context) -> None:
            raise RuntimeError("not today")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        addr = f"127.0.0.1:{probe.getsockname()[1]}"
    relays = RelayMode.custom_from_urls(["http://127.0.0.1:1/"])
    with pytest.raises(RuntimeError, match="not today"):
        await bind(bind_addr=addr, address_lookup=[Broken()], relay_mode=relays)
    with pytest.raises(ValueError, match="no lookup service"):
        await bind(bind_addr=addr, address_lookup=[object()], relay_mode=relays)
    await bind(bind_addr=addr)


def test_options_do_not_show_the_secret_key() -> None:
    options = EndpointOptions(secret_key=b"secret" * 5 + b"!!")
    assert "secret" not in repr(options).replace("secret_key", "")


async def test_an_endpoint_without_any_transport(bind) -> None:
    class Nothing(Preset):
        def apply(self, builder: EndpointBuilder) -> None:
            builder.clear_ip_transports()

    with pytest.raises(BindError, match="no valid address available"):
        await Endpoint.bind(Nothing())


@pytest.mark.parametrize("addr", ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"])
async def test_one_family_only(addr) -> None:
    class Only(Preset):
        def apply(self, builder: EndpointBuilder) -> None:
            builder.clear_ip_transports()
            builder.bind_addr(addr)

    async with (
        Endpoint.bind(Only(), alpns=[ALPN]) as server,
        Endpoint.bind(Only()) as client,
    ):
        assert len(server.bound_sockets()) == 1
        assert server.bound_sockets()[0].startswith("[") == addr.startswith("[")
        port = server.bound_sockets()[0].rpartition(":")[2]
        target = f"[::1]:{port}" if addr.startswith("[") else f"127.0.0.1:{port}"
        target = EndpointAddr(server.id(), None, [target])
        dial = asyncio.create_task(client.connect(target, ALPN))
        accepted = await (await server.accept_next())
        assert (await dial).remote_id() == server.id()
        assert accepted.remote_id() == client.id()


@pytest.mark.parametrize(
    ("addr", "error"),
    [
        ("127.0.0.1", "invalid socket address syntax"),
        ("localhost:0", "invalid socket address syntax"),
        ("127.0.0.1:65536", "invalid socket address syntax"),
        ("[::1%lo]:0", "invalid socket address syntax"),
        ("192.0.2.1:0", "cannot bind UDP 192.0.2.1:0"),
        ("[fe80::1%4294967295]:0", "cannot bind UDP"),
    ],
)
async def test_addresses_that_cannot_be_bound(bind, addr, error) -> None:
    with pytest.raises(IrohError, match=error):
        await bind(bind_addr=addr)


@pytest.mark.skipif(sys.platform != "linux", reason="sockets elsewhere do not tell")
async def test_a_stranger_is_answered_from_the_address_it_asked(bind) -> None:
    """Version negotiation and resets, too: seen on a plain socket."""
    server = await bind(bind_addr="0.0.0.0:0", alpns=[ALPN])
    port = int(server.bound_sockets()[0].rpartition(":")[2])
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.setblocking(False)
        plain.bind(("127.0.0.1", 0))
        unknown_version = b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(8) + b"\x08" + bytes(1185)
        await loop.sock_sendto(plain, unknown_version, ("127.0.0.3", port))
        answer, source = await loop.sock_recvfrom(plain, 2000)
    assert source == ("127.0.0.3", port)
    assert answer[1:5] == bytes(4)  # version 0: RFC 9000 section 17.2.1


async def test_counters(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    dialled, accepted = await meet(client, server)
    stats = client.stats()
    assert all(counter.description for counter in stats.values())
    assert stats["socket:num_conns_opened"].value == 1
    assert stats["socket:num_conns_direct"].value == 1
    assert stats["socket:num_conns_closed"].value == 0
    assert stats["socket:paths_direct"].value >= 1
    assert stats["socket:send_ipv4"].value > 1200
    assert stats["socket:recv_data_ipv4"].value > 1200
    assert stats["socket:recv_datagrams"].value >= 2
    assert stats["socket:send_relay"].value == 0
    assert stats["address_lookup:lookups"].value == 1
    assert stats["address_lookup:lookups_failed"].value == 1
    dialled.close()
    await accepted.closed()
    assert server.stats()["socket:num_conns_closed"].value == 1


async def test_a_callback_is_told_of_addresses_until_it_has_enough(bind, caplog) -> None:
    seen, told = [], asyncio.Event()

    class Callback(AddrChangeCallback):
        def __init__(self, error: Exception | None = None) -> None:
            self.error = error

        async def on_change(self, addr: EndpointAddr) -> None:
            seen.append(addr)
            told.set()
            if self.error is not None:
                raise self.error

    endpoint = await bind()
    handles = [endpoint.watch_addr(Callback())]
    await told.wait()
    assert seen == [endpoint.addr()]
    told.clear()
    await endpoint.add_external_addr("203.0.113.7:4433")
    await told.wait()
    assert "203.0.113.7:4433" in seen[-1].direct_addresses()
    for error in (CallbackError("enough"), RuntimeError("a bug in a callback")):
        handles.append(endpoint.watch_addr(Callback(error)))
        await asyncio.wait((handles[-1]._task,))
    assert "a bug in a callback" in caplog.text
    assert "enough" not in caplog.text
    assert [repr(handle).endswith("over>") for handle in handles] == [False, True, True]
    for handle in (*handles, *handles):
        await handle.stop()


async def test_a_watch_ends_in_its_own_callback_with_its_handle_or_the_endpoint(bind) -> None:
    class Callback(HomeRelayCallback):
        async def on_change(self, relay_urls: list[str]) -> None:
            seen.append(relay_urls)
            told.set()
            if self.stop:
                await handle.stop()

        stop = False

    seen, told = [], asyncio.Event()
    endpoint = await bind()
    stopping = Callback()
    stopping.stop = True
    handle = endpoint.watch_home_relay(stopping)
    await asyncio.wait((handle._task,))
    dropped = endpoint.watch_home_relay(Callback())
    task = dropped._task
    del dropped
    await asyncio.wait((task,))
    handle = endpoint.watch_home_relay(Callback())
    await endpoint.close()
    await asyncio.wait((handle._task,))
    assert seen[0] == []
