"""Gateways on loopback, made to behave or to misbehave."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager

from iroh.portmap import Router, nat_pmp

from .test_texts import V1, described, fault, reply

HERE = Router("127.0.0.1", "127.0.0.1")


class UdpGateway(asyncio.DatagramProtocol):
    """`answers(request)` gives the datagrams to send back; by default it is a good gateway."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.epoch = 1000
        self.ip = "203.0.113.1"
        self.lifetime = 7200
        self.taken: set[int] = set()
        self.mapped: dict[int, int] = {}
        self.released = asyncio.Event()
        self.nat_pmp = self.pcp = True
        self.answers: Callable[[bytes], list[bytes]] = self.good

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr) -> None:
        self.requests.append(data)
        for answer in self.answers(data):
            self.transport.sendto(answer, addr)

    def good(self, data: bytes) -> list[bytes]:
        if data[0] == 0 and self.nat_pmp:
            return [self._nat_pmp(data)]
        if data[0] == 2 and self.pcp:
            return [self._pcp(data)]
        return [bytes((0, 128 + data[1], 0, 1)) + bytes(8)] if self.nat_pmp else []

    def _nat_pmp(self, data: bytes) -> bytes:
        epoch = self.epoch.to_bytes(4, "big")
        if data == nat_pmp.ADDRESS_REQUEST:
            return b"\0\x80\0\0" + epoch + bytes(map(int, self.ip.split(".")))
        internal, external = int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big")
        life = min(int.from_bytes(data[8:], "big"), self.lifetime)
        external = self._map(internal, external, life)
        ports = internal.to_bytes(2, "big") + external.to_bytes(2, "big")
        return b"\0\x81\0\0" + epoch + ports + life.to_bytes(4, "big")

    def _pcp(self, data: bytes) -> bytes:
        life = min(int.from_bytes(data[4:8], "big"), self.lifetime)
        head = bytes((2, 128 + data[1], 0, 0)) + life.to_bytes(4, "big")
        head += self.epoch.to_bytes(4, "big") + bytes(12)
        if data[1] == 0:
            return head
        internal, external = int.from_bytes(data[40:42], "big"), int.from_bytes(data[42:44], "big")
        external = self._map(internal, external, life)
        packed = bytes(10) + b"\xff\xff" + bytes(map(int, self.ip.split(".")))
        return head + data[24:42] + external.to_bytes(2, "big") + packed

    def _map(self, internal: int, external: int, life: int) -> int:
        if not life:
            self.mapped = {e: i for e, i in self.mapped.items() if i != internal}
            self.released.set()
            return 0
        while external in self.taken or not external:
            external += 1
        self.mapped[external] = internal
        return external


@asynccontextmanager
async def udp_gateway():
    loop = asyncio.get_running_loop()
    transport, gateway = await loop.create_datagram_endpoint(
        UdpGateway, local_addr=("127.0.0.1", 0)
    )
    try:
        yield gateway
    finally:
        transport.close()


class UpnpGateway(asyncio.DatagramProtocol):
    """SSDP and HTTP of a device; `pages` and `location` can be replaced by worse ones."""

    def __init__(self) -> None:
        self.searches = 0
        self.calls: list[str] = []
        self.mapped: dict[str, bytes] = {}
        self.faults: list[int] = []
        self.ip = "203.0.113.1"
        self.location: str | None = None
        self.description = described()
        self.raw: bytes | None = None
        """What is answered to every HTTP request instead."""

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self.port = self.transport.get_extra_info("sockname")[1]
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.http = self.server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.transport.close()
        self.server.close()
        await self.server.wait_closed()

    def datagram_received(self, data: bytes, addr) -> None:
        self.searches += 1
        location = self.location or f"http://127.0.0.1:{self.http}/desc.xml"
        answer = f"HTTP/1.1 200 OK\r\nLOCATION: {location}\r\n\r\n".encode()
        self.transport.sendto(b"nonsense", addr)
        self.transport.sendto(answer, addr)

    async def serve(self, reader, writer) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = head.partition("Content-Length:")[2].partition("\r")[0]
            body = await reader.readexactly(int(length or 0))
            writer.write(self.raw or self._answer(head, body))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client had enough of it
        finally:
            writer.close()

    def _answer(self, head: str, body: bytes) -> bytes:
        status, text = "200 OK", self.description
        if head.startswith("POST /ctl/IPConn "):
            action = head.partition("#")[2].partition('"')[0]
            self.calls.append(action)
            text = self._call(action, body)
            if b"<UPnPError" in text:
                status = "500 Internal Server Error"
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text

    def _call(self, action: str, body: bytes) -> bytes:
        port = body.partition(b"<NewExternalPort>")[2].partition(b"<")[0].decode()
        if action == "GetExternalIPAddress":
            return self._ok(action, f"<NewExternalIPAddress>{self.ip}</NewExternalIPAddress>")
        if action == "AddPortMapping":
            if self.faults:
                return fault(self.faults.pop(0))
            self.mapped[port] = body
            return self._ok(action, "")
        if port not in self.mapped:
            return fault(714, "NoSuchEntryInArray")
        if action == "DeletePortMapping":
            del self.mapped[port]
        return self._ok(action, "<NewInternalClient>127.0.0.1</NewInternalClient>")

    def _ok(self, action: str, inner: str) -> bytes:
        return reply(f'<u:{action}Response xmlns:u="{V1}">{inner}</u:{action}Response>')


@asynccontextmanager
async def upnp_gateway():
    gateway = UpnpGateway()
    await gateway.open()
    try:
        yield gateway
    finally:
        await gateway.close()
