"""Dialling and being dialled: where a dial goes, what refuses it, attempts step by step."""

import asyncio
import socket

import pytest

from iroh import (
    ConnectError,
    ConnectTimeoutError,
    EndpointAddr,
    Incoming,
    IncomingAddr,
    IncomingLocalAddr,
    IrohError,
    IrohErrorKind,
    LookupFailedError,
    SecretKey,
    TransportConfig,
)
from iroh.errors import ConsumedError

from .conftest import ALPN, meet


async def complete(incoming: Incoming):
    return await incoming


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


async def test_silence_times_out_and_says_what_was_tried(bind) -> None:
    impatient = TransportConfig(max_idle_timeout=0.2, initial_rtt=0.01)
    client = await bind(transport_config=impatient)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        addr = EndpointAddr(SecretKey.generate().public(), None, [target])
        with pytest.raises(ConnectTimeoutError, match=rf"tried {target}\)") as caught:
            await client.connect(addr, ALPN)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.reason.kind == "TimedOut"


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


async def test_what_is_offered_is_known_before_it_is_answered(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()
    more = [b"%03d" % number + bytes(250) for number in range(20)]  # a hello of several packets
    for also in ([], more):
        dial = asyncio.create_task(client.connect(server.addr(), ALPN, additional_alpns=also))
        incoming = await server.accept_next()
        offered = incoming.offered_alpns()
        while offered is None:  # its other packets are on the way
            await asyncio.sleep(0)
            offered = incoming.offered_alpns()
        assert offered == [ALPN, *also]
        accepted = await incoming
        assert (await dial).alpn() == accepted.alpn() == ALPN
        with pytest.raises(ConsumedError):
            incoming.offered_alpns()


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


async def test_dialling_takes_an_address_or_an_id(bind) -> None:
    client = await bind()
    for wrong in (str(client.id()), None, 5, client):
        with pytest.raises(TypeError, match="EndpointAddr or an EndpointId"):
            await client.connect(wrong, ALPN)
    with pytest.raises(TypeError, match="an ALPN is bytes, not str"):
        await client.connect(SecretKey.generate().public(), "text")
    with pytest.raises(TypeError, match="alpns is a list of bytes"):
        client.set_alpns(ALPN)


async def test_an_answer_comes_from_the_address_that_was_dialled(bind) -> None:
    """A machine with several addresses: a client that asked one of them hears that one."""
    server = await bind(bind_addr="0.0.0.0:0", alpns=[ALPN])
    client = await bind(bind_addr="127.0.0.1:0")
    port = server.bound_sockets()[0].rpartition(":")[2]
    target = f"127.0.0.2:{port}"
    dial = asyncio.create_task(client.connect(EndpointAddr(server.id(), None, [target]), ALPN))
    incoming = await server.accept_next()
    assert await incoming.local_addr() == IncomingLocalAddr.IP("127.0.0.2")
    accepted = await incoming
    conn = await dial
    assert [path.remote_addr for path in conn.paths() if path.is_selected] == [target]
    send = await accepted.open_uni()
    await send.write_all(b"x" * 300_000)
    await send.finish()
    assert len(await (await conn.accept_uni()).read_to_end(300_000)) == 300_000
    assert client._engine.engine.dropped.get("unexpected remote", 0) == 0


async def test_alpns_that_change_while_an_attempt_waits(bind) -> None:
    server, client = await bind(alpns=[ALPN]), await bind()

    async def attempt(alpns: list[bytes]):
        dial = asyncio.create_task(client.connect(server.addr(), ALPN))
        incoming = await server.accept_next()
        server.set_alpns(alpns)
        ends = await asyncio.gather(complete(incoming), dial, return_exceptions=True)
        server.set_alpns([ALPN])
        return ends

    for alpns in ([b"other/1"], []):
        for end in await attempt(alpns):
            assert isinstance(end, ConnectError)
            assert end.code == 0x178
    for end in await attempt([b"more", ALPN]):
        assert end.alpn() == ALPN


async def test_a_connection_that_is_closed_at_once_is_counted_out(bind) -> None:
    """The peer closes before the handshake is even awaited: what it sent can still be read."""
    server, client = await bind(alpns=[ALPN]), await bind()
    dial = asyncio.create_task(client.connect(server.addr(), ALPN))
    accepting = await (await server.accept_next()).accept()
    conn = await dial
    async with await conn.open_uni() as send:
        await send.write_all(b"last words")
    await send.stopped()
    conn.close(4, b"bye")
    while accepting._driver.inbox.close_reason is None:
        await accepting._driver.inbox.waiters.wait("closed")
    accepted = await accepting
    assert accepted.close_reason().code == 4
    assert await (await accepted.accept_uni()).read_to_end(100) == b"last words"
    assert server._sock.remotes.find(client.id()).users == 0
    assert server.stats()["socket:num_conns_closed"].value == 1


async def test_a_dial_does_not_go_to_the_dead_path_of_another_connection(bind) -> None:
    """The peer has come back at another address; the old connection has not noticed yet."""
    key = SecretKey.generate()
    old, client = await bind(secret_key=key, alpns=[ALPN]), await bind()
    first, _ = await meet(client, old)
    first.close()
    new = await bind(secret_key=key, alpns=[ALPN])
    second, _ = await meet(client, new)
    paths = {path.remote_addr for path in second.paths() if path.is_selected}
    assert paths == set(new.bound_sockets()[:1])
