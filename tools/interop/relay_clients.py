"""Relay clients, frame by frame: ours, and the Rust one in a process (tools/rust_peer).

What they get from the relay is in `events`, in the words of that program:

    datagrams ID SEGMENT_SIZE ECN DATA | gone ID | status NAME | pong DATA | restarting MS MS |
    health TEXT | ended
"""

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import iroh_relay
from interop.relays import PEER_VARIABLE, about, rust_program
from iroh_base.keys import SecretKey
from iroh_relay.client.errors import StreamClosedError
from iroh_relay.client.stream import DialRequest, RelayStream
from iroh_relay.client.ws import dial
from iroh_relay.protos.errors import AuthDeniedError
from iroh_relay.protos.frames import (
    EndpointGone,
    Health,
    Ping,
    Pong,
    RelayToClientDatagrams,
    RelayToClientFrame,
    Restarting,
    Status,
    decode_relay_to_client,
    encode_datagrams,
)
from iroh_relay.protos.handshake import ClientHandshake

STATUS = {
    Status.HEALTHY: "Healthy",
    Status.SAME_ENDPOINT_ID_CONNECTED: "SameEndpointIdConnected",
    Status.RATE_LIMITED: "RateLimited",
}
PIPE = asyncio.subprocess.PIPE
LINE_LIMIT = 1 << 20


class Refused(Exception):
    """The relay did not let the client in; the text says why."""


class Client(Protocol):
    """A connected client."""

    id: bytes
    events: asyncio.Queue[list[str]]
    proof: str

    def send(self, to: bytes, data: bytes, segment_size: int = 0, ecn: int = 0) -> None:
        """Send one frame of datagrams."""
        ...

    def ping(self, data: bytes) -> None:
        """Ask for a pong with these 8 bytes."""
        ...


class OurClient:
    """What `RelayClient` is made of: its dialer, its handshake, its codec."""

    def __init__(self, stream: RelayStream, key: SecretKey) -> None:
        self.id = key.public().to_bytes()
        self.events: asyncio.Queue[list[str]] = asyncio.Queue()
        self.proof = f"relay client in Python, iroh_relay {iroh_relay.__version__}"
        self.was_challenged = False
        self.stream = stream

    async def handshake(self, key: SecretKey) -> None:
        """Prove who we are. Raises Refused."""
        machine = ClientHandshake(key)
        while not machine.done:
            try:
                answer = machine.receive(await self.stream.receive())
            except AuthDeniedError as error:
                raise Refused(str(error)) from None
            if answer is not None:
                self.was_challenged = True
                self.stream.write(answer)

    def send(self, to: bytes, data: bytes, segment_size: int = 0, ecn: int = 0) -> None:
        self.stream.write(encode_datagrams(to, data, ecn, segment_size or None))

    def ping(self, data: bytes) -> None:
        self.stream.write(Ping(data).encode())

    async def read(self) -> None:
        """Read until the end."""
        with contextlib.suppress(StreamClosedError):
            while True:
                frame = decode_relay_to_client(await self.stream.receive(), self.stream.version)
                if isinstance(frame, Ping):
                    self.stream.write(Pong(frame.data).encode())
                else:
                    self.events.put_nowait(words(frame))
        self.events.put_nowait(["ended"])


def words(frame: RelayToClientFrame) -> list[str]:
    """Say it as the Rust program would."""
    match frame:
        case RelayToClientDatagrams(source, datagrams):
            size, ecn = datagrams.segment_size or 0, datagrams.ecn or 0
            data = bytes(datagrams.contents).hex()
            return ["datagrams", bytes(source).hex(), str(size), str(ecn), data]
        case EndpointGone(endpoint_id):
            return ["gone", bytes(endpoint_id).hex()]
        case Status(code):
            return ["status", STATUS[code]]
        case Pong(data):
            return ["pong", data.hex()]
        case Restarting(reconnect_in, try_for):
            return ["restarting", str(reconnect_in), str(try_for)]
        case Health(problem):
            return ["health", *problem.split()]
        case _:
            return ["unexpected", repr(frame)]


class RustClient:
    """`iroh_relay::client::Client`."""

    def __init__(self, process: asyncio.subprocess.Process, key: SecretKey) -> None:
        self.id = key.public().to_bytes()
        self.events: asyncio.Queue[list[str]] = asyncio.Queue()
        self.proof = f"iroh-rust-peer (Rust iroh 1.4.1): {about(rust_program(PEER_VARIABLE))}"
        self._process = process

    def send(self, to: bytes, data: bytes, segment_size: int = 0, ecn: int = 0) -> None:
        self.order(f"send {to.hex()} {segment_size} {ecn} {data.hex()}")

    def ping(self, data: bytes) -> None:
        self.order(f"ping {data.hex()}")

    def order(self, line: str) -> None:
        """Write a line to the program."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def connected(self) -> None:
        """Wait until it is. Raises Refused."""
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode().strip()
        if line != "connected":
            raise Refused(line)

    async def read(self) -> None:
        """Read until the end."""
        assert self._process.stdout is not None
        while line := (await self._process.stdout.readline()).decode().split():
            self.events.put_nowait(line[:1] if line[0] == "ended" else line)


@asynccontextmanager
async def client(
    kind: str, url: str, roots: Path, key: SecretKey | None = None, token: str | None = None
) -> AsyncIterator[Client]:
    """Connect a client. Raises Refused."""
    key = key or SecretKey.generate()
    made = our_client if kind == "ours" else rust_client
    async with made(url, roots, key, token) as one:
        reading = asyncio.create_task(one.read())
        try:
            yield one
        finally:
            reading.cancel()
            await asyncio.wait([reading])


@asynccontextmanager
async def our_client(
    url: str, roots: Path, key: SecretKey, token: str | None
) -> AsyncIterator[OurClient]:
    """Dial and shake hands."""
    context = ssl.create_default_context(cafile=str(roots))
    request = DialRequest(url=url, auth_token=token, ssl_context=context, secret_key=key)
    stream = await dial(request)
    try:
        one = OurClient(stream, key)
        await one.handshake(key)
        yield one
    finally:
        await stream.close(0.5)


@asynccontextmanager
async def rust_client(
    url: str, roots: Path, key: SecretKey, token: str | None
) -> AsyncIterator[RustClient]:
    """Run the program."""
    process = await rust_process("relay-client", str(roots), url, key.to_bytes().hex(), token)
    try:
        one = RustClient(process, key)
        await one.connected()
        yield one
    finally:
        await end(process)


async def rust_process(*arguments: str | None) -> asyncio.subprocess.Process:
    """Start iroh-rust-peer with the arguments that are not None."""
    given = [word for word in arguments if word is not None]
    return await asyncio.create_subprocess_exec(
        rust_program(PEER_VARIABLE), *given, stdin=PIPE, stdout=PIPE, stderr=sys.stderr,
        limit=LINE_LIMIT,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> None:
    """Close its stdin, and wait; kill it when that takes too long."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(10):
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
    finally:
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
