"""A small relay on loopback, built on the protocol's own machines, that misbehaves on demand."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import WSMsgType, web

from iroh_relay.protos import Pong, ServerHandshake, negotiate
from iroh_relay.protos.http import RELAY_PATH, RELAY_PROBE_PATH


@dataclass
class Session:
    """One client that was let in. `frames` gets everything it sends but pings."""

    ws: web.WebSocketResponse
    request: web.Request
    endpoint_id: bytes
    frames: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, frame: bytes) -> None:
        await self.ws.send_bytes(frame)

    def drop(self) -> None:
        """Cut the connection, as the Rust relay does: without a close frame."""
        transport = self.request.transport
        if transport is not None:
            transport.abort()


class FakeRelay:
    """Set the attributes to choose how it behaves; `clients` gets every session."""

    def __init__(self) -> None:
        self.clients: asyncio.Queue[Session] = asyncio.Queue()
        self.requests: list[web.Request] = []
        self.deny: str | None = None
        self.token: str | None = None
        #: Answers the upgrade request instead of us.
        self.instead: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        #: What to echo as the version instead of the negotiated one.
        self.echo: str | None = None
        #: Called after a pong was sent.
        self.after_pong: Callable[[], object] = lambda: None
        #: While clear, pings are not answered and nothing is read.
        self.reading = asyncio.Event()
        self.reading.set()
        #: While clear, pings are read but not answered.
        self.answering = asyncio.Event()
        self.answering.set()
        self.probe_status = 200
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def start(self, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application()
        app.router.add_get(RELAY_PATH, self._relay)
        app.router.add_get(RELAY_PROBE_PATH, self._probe)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, self.port, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and drop everybody."""
        for request in self.requests:
            if request.transport is not None:
                request.transport.abort()
        self.requests.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _probe(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if self.probe_status == 302:
            raise web.HTTPFound("/elsewhere")
        return web.Response(status=self.probe_status)

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.instead is not None:
            return await self.instead(request)
        version = negotiate(request.headers["Sec-WebSocket-Protocol"])
        assert version is not None
        # aiohttp would put what it chose itself in place of what we want to echo.
        chosen = (version.subprotocol,) if self.echo is None else ()
        ws = web.WebSocketResponse(protocols=chosen, compress=False, max_msg_size=1 << 20)
        if self.echo is not None:
            ws.headers["Sec-WebSocket-Protocol"] = self.echo
        await ws.prepare(request)
        endpoint_id = await self._shake_hands(request, ws)
        if endpoint_id is not None:
            await self._serve(Session(ws, request, endpoint_id))
        if request.transport is not None:
            request.transport.close()
        return ws

    async def _shake_hands(self, request: web.Request, ws: web.WebSocketResponse) -> bytes | None:
        handshake = ServerHandshake()
        challenge = handshake.start()
        assert challenge is not None
        await ws.send_bytes(challenge)
        message = await ws.receive()
        if message.type is not WSMsgType.BINARY:
            return None
        handshake.receive(message.data)
        assert handshake.endpoint_id is not None
        bearer = None if self.token is None else f"Bearer {self.token}"
        if bearer != request.headers.get("Authorization"):
            self.deny = "not authorized"
        if self.deny is not None:
            await ws.send_bytes(handshake.deny(self.deny))
            return None
        await ws.send_bytes(handshake.confirm())
        return handshake.endpoint_id.to_bytes()

    async def _serve(self, session: Session) -> None:
        self.clients.put_nowait(session)
        try:
            while True:
                await self.reading.wait()
                message = await session.ws.receive()
                if message.type is not WSMsgType.BINARY:
                    return
                if message.data[0] != 9:
                    session.frames.put_nowait(message.data)
                    continue
                await self.answering.wait()
                await session.send(Pong(message.data[1:]).encode())
                self.after_pong()
        except ConnectionError:
            pass
        finally:
            session.over.set()


@asynccontextmanager
async def fake_relay(context: ssl.SSLContext | None = None) -> AsyncIterator[FakeRelay]:
    """A relay that listens while the block runs."""
    relay = FakeRelay()
    await relay.start(context)
    try:
        yield relay
    finally:
        relay.reading.set()
        relay.answering.set()
        await relay.stop()
