"""A relay client made of a TCP stream and nothing else, so that a test can break every rule."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Self

from iroh_base.keys import PublicKey, SecretKey
from iroh_relay.protos.frames import (
    Ping,
    Pong,
    RelayToClientFrame,
    decode_relay_to_client,
    encode_datagrams,
)
from iroh_relay.protos.handshake import ClientHandshake
from iroh_relay.protos.versions import ProtocolVersion, offer
from iroh_relay.server import RelayServer

PATIENCE = 10.0
"""Seconds after which a test that waits for an event has failed."""
GET_RELAY = (
    "GET {target} HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    "{more}\r\n"
)


def secret(seed: int) -> SecretKey:
    """A secret key for each number below 256."""
    return SecretKey.from_bytes(bytes((seed,)) * 32)


def websocket_frame(payload: bytes, first: int = 0x82) -> bytes:
    """A client's WebSocket frame, masked with zeros."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2)
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8)
    return head + bytes(4) + payload


class Peer:
    """A client; reads only when told to, and closes only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""
        self.key = secret(0)
        self.version = ProtocolVersion.V2

    @property
    def id(self) -> PublicKey:
        """Who this client is."""
        return self.key.public()

    @classmethod
    async def tcp(cls, server: RelayServer) -> Self:
        """Connect and send nothing."""
        addr = server.http_addr
        return cls(*await asyncio.open_connection(addr.ip, addr.port))

    @classmethod
    async def upgrade(
        cls,
        server: RelayServer,
        *,
        subprotocols: str | None = None,
        target: str = "/relay",
        headers: str = "",
    ) -> Self:
        """Connect and read the answer to the upgrade request into `head`."""
        peer = await cls.tcp(server)
        return await peer.upgraded(subprotocols=subprotocols, target=target, headers=headers)

    async def upgraded(
        self, *, subprotocols: str | None = None, target: str = "/relay", headers: str = ""
    ) -> Self:
        """Ask for the upgrade on this connection, and read the answer into `head`."""
        more = f"Sec-WebSocket-Protocol: {subprotocols or offer()}\r\n{headers}"
        self.writer.write(GET_RELAY.format(target=target, more=more).encode())
        async with asyncio.timeout(PATIENCE):
            self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        if "iroh-relay-v1" in self.head:
            self.version = ProtocolVersion.V1
        return self

    async def handshake(self, key: SecretKey) -> None:
        """Prove an id; raises what `ClientHandshake` raises."""
        self.key = key
        machine = ClientHandshake(key)
        while not machine.done:
            frame = await self.receive_raw()
            assert frame is not None, "the relay hung up"
            answer = machine.receive(frame)
            if answer is not None:
                self.send(answer)

    def send(self, frame: bytes) -> None:
        """Send one message."""
        self.writer.write(websocket_frame(frame))

    def send_datagram(self, to: "Peer | PublicKey", data: bytes, ecn: int = 0) -> None:
        """Send a datagram to an endpoint."""
        self.send(encode_datagrams(bytes(to.id if isinstance(to, Peer) else to), data, ecn))

    async def receive_raw(self) -> bytes | None:
        """The next message, or None at the end of the connection."""
        try:
            async with asyncio.timeout(PATIENCE):
                first, size = await self.reader.readexactly(2)
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                payload = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        assert first in (0x82, 0x88, 0x8A), f"unexpected WebSocket frame {first:#x}"
        return payload if first == 0x82 else await self.receive_raw()

    async def receive(self) -> RelayToClientFrame:
        """The next message, decoded; pings of the relay are answered and skipped."""
        while True:
            raw = await self.receive_raw()
            assert raw is not None, "the relay hung up"
            frame = decode_relay_to_client(raw, self.version)
            if not isinstance(frame, Ping):
                return frame
            self.send(Pong(frame.data).encode())

    async def settle(self) -> None:
        """Return when the relay has handled all that was sent; nothing else may arrive."""
        self.send(Ping(b"settle!!").encode())
        assert await self.receive() == Pong(b"settle!!")

    async def ended(self) -> bool:
        """Whether the relay ends the connection, instead of sending anything."""
        return await self.receive_raw() is None

    async def close(self) -> None:
        """Drop the connection."""
        self.writer.close()
        with contextlib.suppress(OSError):  # TLS: what the relay said after our goodbye
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def connect(
    server: RelayServer,
    seed: int,
    *,
    subprotocols: str | None = None,
    target: str = "/relay",
    headers: str = "",
) -> AsyncIterator[Peer]:
    """A client that has been admitted."""
    peer = await Peer.upgrade(server, subprotocols=subprotocols, target=target, headers=headers)
    try:
        await peer.handshake(secret(seed))
        yield peer
    finally:
        await peer.close()
