"""0-RTT under trio: taken, and rejected by a server that was started anew."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from iroh import SecretKey, presets
from iroh.errors import HandshakePendingError
from iroh.trio import Connection, Endpoint, ZeroRttStatus, open_endpoint

ALPN = b"early/0"
KEY = SecretKey(bytes([9]) * 32)
HERE = {"bind_addr": "127.0.0.1:0"}


def listen():
    return open_endpoint(presets.Minimal, alpns=[ALPN], secret_key=KEY, **HERE)


async def talk(one: Connection, other: Connection, text: bytes) -> None:
    async with await one.open_uni() as send:
        await send.write_all(text)
    assert await (await other.accept_uni()).read_to_end(100) == text


@asynccontextmanager
async def early(client: Endpoint, server: Endpoint):
    """Dial with the ticket that there is. The server does not answer before it is used."""
    connecting = await client.connect_pending(server.addr(), ALPN)
    here = connecting.into_0rtt()
    assert here is not None
    async with here:
        async with await here.open_uni() as send:
            await send.write_all(b"early")
        async with await (await (await server.accept_next()).accept()).into_0rtt() as there:
            assert await (await there.accept_uni()).read_to_end(100) == b"early"
            yield here, there


async def first_connection(client: Endpoint, server: Endpoint) -> None:
    """Leave a ticket at the client."""
    connecting = await client.connect_pending(server.addr(), ALPN)
    assert connecting.into_0rtt() is None
    there = await (await (await server.accept_next()).accept()).into_0rtt()
    with pytest.raises(HandshakePendingError):
        there.remote_id()
    async with await connecting.establish() as here, there:
        assert await there.handshake_completed() is there
        await talk(here, there, b"first")
        await talk(there, here, b"the ticket came before this")


def test_early_data() -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(open_endpoint(presets.Minimal, **HERE))
            async with listen() as server:
                await first_connection(client, server)
                async with early(client, server) as (dialled, accepted):
                    status = await dialled.handshake_completed()
                    assert isinstance(status, ZeroRttStatus.ACCEPTED)
                    assert status.connection is dialled
                    assert (await accepted.handshake_completed()).remote_id() == client.id()
                    await talk(accepted, status.connection, b"later")
            async with listen() as anew, early(client, anew) as (dialled, _):
                assert (await dialled.handshake_completed()).is_rejected(), "it was sent again"

    async def limited() -> None:
        with trio.fail_after(30):
            await main()

    trio.run(limited)
