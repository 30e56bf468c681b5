"""0-RTT: data in the first packets of a second connection, over `into_0rtt` on both sides."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, Self

import pytest

from interop import results
from interop.relay_clients import end, rust_process
from interop.test_relay_endpoint import RustNode, node_proof
from iroh import Connection, Endpoint, EndpointAddr, EndpointBuilder, EndpointId
from iroh.errors import IrohError
from iroh.quic.packet import ZERO_RTT, parse_long

pytestmark = [pytest.mark.interop, pytest.mark.rust_relay]

ALPN = b"iroh-example/early/0"
SECRET = bytes([7]) * 32
PATIENCE = 20.0
LONG = 0x80
"""The bit of a long header, which handshakes and 0-RTT have (RFC 9000 section 17.2)."""
Evidence = Callable[[str], None]
Got = tuple[bool, str]
"""A stream that the listener read: whether its handshake was still under way then, and its text."""


class Listener(Protocol):
    """Echoes one stream of each connection."""

    id: str

    async def got(self) -> Got:
        """Give what it read, in the order of the connections."""
        ...


class Dialler(Protocol):
    """Sends a text on each connection."""

    async def dial_with(self, text: str) -> tuple[str, str]:
        """Dial with early data if there is a ticket: ("plain", "accepted" or "rejected", echo)."""
        ...


class OurListener:
    """Our endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.id = bytes(endpoint.id().to_bytes()).hex()
        self._endpoint = endpoint
        self._got: asyncio.Queue[Got] = asyncio.Queue()

    async def got(self) -> Got:
        return await self._got.get()

    async def serve(self) -> None:
        """Take connections for ever."""
        async with asyncio.TaskGroup() as tasks:
            while (incoming := await self._endpoint.accept_next()) is not None:
                accepting = await incoming.accept()
                tasks.create_task(self._echo(await accepting.into_0rtt()))

    async def _echo(self, early: Connection) -> None:
        try:
            stream = await early.accept_bi()
        except IrohError:
            return  # a replay: nobody is there
        is_early = early._quic.peer is None  # noqa: SLF001  # as Rust's `is_0rtt` asks
        data = await stream.recv().read_to_end(1000)
        self._got.put_nowait((is_early, data.decode()))
        await stream.send().write_all(data)
        await stream.send().finish()
        await early.closed()


class RustListener(RustNode):
    """The Rust program."""

    async def got(self) -> Got:
        early, _, text = (await self.told("got")).partition(" ")
        await self.told("peer")
        return early == "true", text


class OurDialler:
    """Our endpoint."""

    def __init__(self, endpoint: Endpoint, peer: EndpointAddr) -> None:
        self._endpoint, self._peer = endpoint, peer

    async def dial_with(self, text: str) -> tuple[str, str]:
        connecting = await self._endpoint.connect_pending(self._peer, ALPN)
        early = connecting.into_0rtt()
        if early is None:
            connection: Connection = await connecting
            how, answer = "plain", await self._ask(connection, text)
        else:
            connection = early
            asking = asyncio.create_task(self._ask(early, text))
            status = await early.handshake_completed()
            how = "accepted" if status.is_accepted() else "rejected"
            answer = await asking  # what was rejected has been sent again
        connection.close()
        return how, answer

    async def _ask(self, connection: Connection, text: str) -> str:
        send, recv = await connection.open_bi()
        await send.write_all(text.encode())
        await send.finish()
        return (await recv.read_to_end(1000)).decode()


class RustDialler(RustNode):
    """The Rust program."""

    async def dial_with(self, text: str) -> tuple[str, str]:
        how, _, answer = (await self.order(text, "dialled")).partition(" ")
        return how, answer


async def bind(addr: str) -> Endpoint:
    """Bind an endpoint of ours with one socket."""
    builder = EndpointBuilder()
    builder.apply_minimal()
    builder.clear_ip_transports()
    builder.bind_addr(addr)
    builder.secret_key(SECRET if not addr.endswith(":0") else bytes([8]) * 32)
    builder.alpns([ALPN])
    return await builder.bind()


@asynccontextmanager
async def listening(kind: str, port: int, host: str = "127.0.0.1") -> AsyncIterator[Listener]:
    """Start a listener, always with the same key."""
    if kind == "rust":
        process = await rust_process("early-serve", SECRET.hex(), f"{host}:{port}")
        try:
            node = RustListener(process)
            node.id = await node.told("id")
            yield node
        finally:
            await end(process)
        return
    async with await bind(f"{host}:{port}") as endpoint:
        ours = OurListener(endpoint)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(ours.serve())
            yield ours
            serving.cancel()


@asynccontextmanager
async def dialling(kind: str, listener: str, port: int) -> AsyncIterator[Dialler]:
    """Start a dialler of a listener, which need not be there any more when it dials."""
    if kind == "rust":
        process = await rust_process("early-dial", listener, f"127.0.0.1:{port}")
        try:
            node = RustDialler(process)
            node.id = await node.told("id")
            yield node
        finally:
            await end(process)
        return
    peer = EndpointAddr(EndpointId.from_bytes(bytes.fromhex(listener))).with_ip_addr(
        f"127.0.0.1:{port}"
    )
    async with await bind("127.0.0.1:0") as endpoint:
        yield OurDialler(endpoint, peer)


def free_port() -> int:
    """Give a UDP port that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(params=results.PAIRS)
def kinds(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> tuple[str, str]:
    """Who dials and who listens."""
    dialler, listener = request.param.split("-")
    for kind in (dialler, listener):
        record_property(results.PROOF, node_proof(kind))
    return dialler, listener


async def test_early_data_is_accepted(kinds: tuple[str, str], evidence: Evidence) -> None:
    """A second connection's data comes before its handshake is complete, and is answered"""
    port = free_port()
    async with (
        asyncio.timeout(PATIENCE),
        listening(kinds[1], port) as listener,
        dialling(kinds[0], listener.id, port) as dialler,
    ):
        assert await dialler.dial_with("first") == ("plain", "first")
        assert (await listener.got())[1] == "first"
        seen = []
        for text in ("early", "again"):  # Rust gives two tickets before the first answer
            assert await dialler.dial_with(text) == ("accepted", text)
            seen.append(await listener.got())
        assert [text for _, text in seen] == ["early", "again"]
    evidence(f"2 accepted of 2, {sum(early for early, _ in seen)} read before the handshake's end")


async def test_rejected_early_data_comes_again(kinds: tuple[str, str], evidence: Evidence) -> None:
    """A listener that was started anew knows no tickets and rejects it: it is sent again, once"""
    port = free_port()
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        async with listening(kinds[1], port) as listener:
            dialler = await stack.enter_async_context(dialling(kinds[0], listener.id, port))
            assert await dialler.dial_with("first") == ("plain", "first")
            assert (await listener.got())[1] == "first"
        async with listening(kinds[1], port) as anew:
            assert await dialler.dial_with("lost") == ("rejected", "lost")
            assert await dialler.dial_with("taken") == ("accepted", "taken")
            assert [(await anew.got())[1], (await anew.got())[1]] == ["lost", "taken"]
    evidence("1 rejected and read once, the next accepted")


async def test_a_replayed_first_flight(kinds: tuple[str, str], evidence: Evidence) -> None:
    """The same first packets from elsewhere, after the connection ended: answered, but not read"""
    port = free_port()
    async with (
        asyncio.timeout(2 * PATIENCE),
        listening(kinds[1], port, "[::1]") as listener,
        Tap().open(port) as tap,
        dialling(kinds[0], listener.id, tap.port) as dialler,
    ):
        assert await dialler.dial_with("first") == ("plain", "first")
        assert (await listener.got())[1] == "first"
        tap.keeps = True
        assert await dialler.dial_with("early") == ("accepted", "early")
        tap.keeps = False
        assert (await listener.got())[1] == "early"
        assert sum(map(early_packets, tap.flight)) >= 1
        count = await replay(tap.flight, port)
        assert await dialler.dial_with("after") == ("accepted", "after")
        assert (await listener.got())[1] == "after", "the replay was not read"
    evidence(f"{len(tap.flight)} datagrams, answered at try {count}, read 0 times")


class Tap:
    """Forwards datagrams from a dialler, which has IPv4 only, to a listener, which has IPv6 only.

    So they have no other way to each other. Keeps the dialler's Initial, 0-RTT and Handshake
    packets while `keeps` is on.
    """

    def __init__(self) -> None:
        self._dialler: tuple[str, int] | None = None
        self.flight: list[bytes] = []
        self.keeps = False

    @asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[Self]:
        """Listen in front of a listener."""
        endpoint = asyncio.get_running_loop().create_datagram_endpoint
        near, _ = await endpoint(lambda: Hear(self._from_dialler), local_addr=("127.0.0.1", 0))
        far, _ = await endpoint(lambda: Hear(self._from_listener), remote_addr=("::1", port))
        self._near, self._far = near, far
        self.port = int(near.get_extra_info("sockname")[1])
        try:
            yield self
        finally:
            near.close()
            far.close()

    def _from_dialler(self, data: bytes, addr: tuple[str, int]) -> None:
        self._dialler = addr
        if self.keeps and data[0] & LONG:  # the last connection may still say goodbye
            self.flight.append(data)
        self._far.sendto(data)

    def _from_listener(self, data: bytes, _addr: object) -> None:
        if self._dialler is not None:
            self._near.sendto(data, self._dialler)


def early_packets(datagram: bytes) -> int:
    """Count the 0-RTT packets in a datagram."""
    at = count = 0
    while at < len(datagram) and datagram[at] & LONG:
        header = parse_long(datagram, at)
        count += header.kind == ZERO_RTT
        at = header.end
    return count


class Hear(asyncio.DatagramProtocol):
    """Calls back with what comes."""

    def __init__(self, call: Callable[[bytes, Any], None]) -> None:
        self._call = call

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._call(data, addr)


async def replay(flight: list[bytes], port: int) -> int:
    """Send a flight from a socket of its own until it is answered; give how often that took.

    A listener drops it while it remembers the connection, which it does for some round trips.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.connect(("::1", port))
        for count in range(1, 100):
            for data in flight:
                sender.send(data)
            try:
                async with asyncio.timeout(0.3):
                    assert await loop.sock_recv(sender, 2000)
                    return count
            except TimeoutError:
                pass
    raise AssertionError("nobody answers")
