"""The relay's WebSocket, dialled with aiohttp. Imported when first needed: aiohttp is slow to load.

What goes out (RFC 6455; iroh-relay `client.rs`):

    GET /relay HTTP/1.1
    Host: relay.example.                      a trailing dot stays here, not in SNI or the check
    Upgrade: websocket                        of the certificate
    Connection: Upgrade
    Sec-WebSocket-Version: 13
    Sec-WebSocket-Key: <16 random bytes>
    Sec-WebSocket-Protocol: iroh-relay-v2, iroh-relay-v1
    Authorization: Bearer <token>             only with a token
    x-iroh-relay-client-auth-v1: <proof>      only over TLS, where Python can make it

and the answer must be a 101 that echoes exactly one of the two versions; no redirects.
How the relay is reached: connector.py. Each attempt has a session and a connection of its own.
"""

import asyncio
import contextlib
import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn, cast

import aiohttp
from yarl import URL

from ..protos.frames.types import MAX_FRAME_SIZE
from ..protos.http import RELAY_PATH
from ..protos.versions import ProtocolVersion, offer
from .connector import connector, http_proxy
from .errors import RelayDialError, StreamClosedError
from .stream import DialRequest

__all__ = ["WebSocketStream", "dial"]

#: Seconds that aiohttp may wait for the other side's close frame after a WebSocket error.
_CLOSE_TIMEOUT = 0.25
#: The close frame of a normal end (RFC 6455 section 7.4.1, code 1000).
_NORMAL_CLOSURE = struct.pack("!H", 1000)
#: What a header value may hold (Rust's `HeaderValue::from_str`): visible ASCII, space and tab.
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_PLAIN_SCHEMES = ("http", "ws")
# Rust sends none of these, and they would tell who we are.
_SKIPPED_HEADERS = ("Accept", "Accept-Encoding", "User-Agent")


def _retrieved(future: asyncio.Future[None]) -> None:
    """Why a connection was lost is told by `receive`; asyncio must not complain elsewhere."""
    if not future.cancelled():
        future.exception()


class _WebSocket(aiohttp.ClientWebSocketResponse):
    """aiohttp's WebSocket, with the few things the relay client needs to see and do beyond it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.upgrade: aiohttp.ClientResponse = cast(aiohttp.ClientResponse, args[3])
        connection = self.upgrade.connection
        # aiohttp checks both before it makes one of us.
        assert connection is not None
        assert connection.protocol is not None
        assert connection.transport is not None
        self._carrier = connection.protocol
        self.transport: asyncio.Transport = connection.transport
        self.lost: asyncio.Future[None] | None = connection.protocol.closed
        if self.lost is not None:
            self.lost.add_done_callback(_retrieved)

    @property
    def writing_paused(self) -> bool:
        """Whether the transport's buffer is full."""
        return self._carrier.writing_paused

    def write_now(self, payload: bytes, opcode: aiohttp.WSMsgType) -> None:
        """Frame, mask and write in this turn of the loop, without waiting for the transport."""
        sending = self.send_frame(payload, opcode)
        try:
            waiting_for = sending.send(None)
        except StopIteration:
            return
        # The frame is in the transport's buffer; what we leave out is the wait for it to drain. The
        # future that it waits for is shared with later senders and marked as being awaited. Whoever
        # runs a coroutine has to take that mark back, as a task does, or nobody else can wait.
        waiting_for._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's future protocol
        waiting_for.add_done_callback(_retrieved)
        sending.close()


class WebSocketStream:
    """A `RelayStream` over one aiohttp WebSocket."""

    def __init__(
        self, session: aiohttp.ClientSession, ws: _WebSocket, version: ProtocolVersion
    ) -> None:
        self._session = session
        self._ws = ws
        self.version = version
        name = ws.get_extra_info("sockname")
        self.local_ip: str | None = name[0] if isinstance(name, tuple) else None

    @property
    def writing_paused(self) -> bool:
        """As `RelayStream.writing_paused`."""
        return self._ws.writing_paused

    def write(self, frame: bytes) -> None:
        """As `RelayStream.write`."""
        try:
            self._ws.write_now(frame, aiohttp.WSMsgType.BINARY)
        except (aiohttp.ClientError, OSError) as error:
            raise StreamClosedError(f"write failed: {error}") from error

    async def drain(self, frame: bytes) -> None:
        """As `RelayStream.drain`."""
        try:
            await self._ws.send_frame(frame, aiohttp.WSMsgType.BINARY)
        except (aiohttp.ClientError, OSError) as error:
            raise StreamClosedError(f"write failed: {error}") from error

    async def receive(self) -> bytes:
        """As `RelayStream.receive`. Text messages are skipped, as in Rust."""
        while True:
            message = await self._ws.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                return cast(bytes, message.data)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise StreamClosedError(_end_reason(message))

    def abort(self) -> None:
        """As `RelayStream.abort`."""
        self._ws.transport.abort()

    async def close(self, linger: float) -> None:
        """As `RelayStream.close`."""
        with contextlib.suppress(aiohttp.ClientError, OSError):  # it may be gone already
            self._ws.write_now(_NORMAL_CLOSURE, aiohttp.WSMsgType.CLOSE)
        try:
            if not self._ws.transport.is_closing():  # a second time breaks asyncio's TLS transport
                self._ws.transport.close()
            if linger and self._ws.lost is not None:
                await asyncio.wait((self._ws.lost,), timeout=linger)
        finally:
            self._ws.transport.abort()
            try:
                # The session still owns the connection and waits until its socket is closed.
                await self._session.close()
            finally:
                self._ws.upgrade.close()


def _end_reason(message: aiohttp.WSMessage) -> str:
    if message.type is aiohttp.WSMsgType.ERROR:
        return f"WebSocket error: {message.data}"
    if message.type is aiohttp.WSMsgType.CLOSE:
        return f"closed by the relay (code {message.data})"
    return "connection lost"


async def dial(request: DialRequest) -> WebSocketStream:
    """Resolve, connect, start TLS and upgrade. Raises `RelayDialError`; cancelling leaves nothing.

    There is no time limit in here but the one of name lookups: the caller sets it.
    """
    session = aiohttp.ClientSession(
        connector=connector(
            prefer_ipv6=request.prefer_ipv6,
            resolver=request.resolver,
            proxy=request.proxy,
            secret_key=request.secret_key,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=_SKIPPED_HEADERS,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        trace_configs=[_no_redirects()],
        ws_response_class=_WebSocket,
    )
    try:
        return await _upgrade(session, request)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        await session.close()
        raise RelayDialError(_describe(error)) from error
    except BaseException:  # cancelled, or our own error: nothing may stay open
        await session.close()
        raise


async def _upgrade(session: aiohttp.ClientSession, request: DialRequest) -> WebSocketStream:
    url, headers = _request_line(request)
    ws = cast(
        _WebSocket,
        await session.ws_connect(
            url,
            headers=headers,
            proxy=http_proxy(request.proxy),
            ssl=request.ssl_context or True,
            max_msg_size=MAX_FRAME_SIZE,
            autoclose=False,
            timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT),
        ),
    )
    echoed = ws.upgrade.headers.getall("Sec-WebSocket-Protocol", [])
    version = ProtocolVersion.from_subprotocol(echoed[0]) if len(echoed) == 1 else None
    stream = WebSocketStream(session, ws, version or ProtocolVersion.V1)
    if version is None:
        await stream.close(0.0)
        shown = ", ".join(echoed) or "<empty>"
        raise RelayDialError(f"Server replied with invalid iroh-relay version header: {shown}")
    return stream


def _request_line(request: DialRequest) -> tuple[URL, dict[str, str]]:
    relay = URL(request.url).with_user(None)
    if relay.raw_host is None:
        raise RelayDialError(f"Invalid relay URL: {request.url}")
    scheme = "ws" if relay.scheme in _PLAIN_SCHEMES else "wss"
    headers = {"Host": relay.raw_authority, "Sec-WebSocket-Protocol": offer()}
    if request.auth_token is not None:
        if _HEADER_VALUE.fullmatch(request.auth_token) is None:
            raise RelayDialError(
                "Authorization token set to a string that is not a valid HTTP header value"
            )
        headers["Authorization"] = f"Bearer {request.auth_token}"
    url = URL.build(
        scheme=scheme, authority=relay.raw_authority, path=RELAY_PATH,
        query_string=relay.raw_query_string, encoded=True,
    )  # fmt: skip
    return url, headers


def _no_redirects() -> aiohttp.TraceConfig:
    """aiohttp's WebSocket client has no switch against redirects, but it asks this on each."""

    async def refuse(_session: object, _context: object, params: Any) -> NoReturn:
        raise RelayDialError(f"Unexpected status during upgrade: {params.response.status}")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(cast(Callable[..., Any], refuse))
    return trace


def _describe(error: Exception) -> str:
    """What to tell people: aiohttp's texts, except where they say little."""
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return f"Unexpected status during upgrade: {error.status} ({error.message})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error}"
    return str(error) or type(error).__name__
