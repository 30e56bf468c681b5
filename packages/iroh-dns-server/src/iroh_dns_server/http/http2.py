"""HTTP/2 (RFC 9113) on connections whose TLS agreed on it; `h2` knows the protocol, no I/O.

    bytes -> h2 -> RequestReceived    a task: Routes.answer, then headers and body as the peer's
                                      windows allow; an early answer resets what is still coming
                   DataReceived       kept up to BODY_LIMIT, then 413
                   StreamReset        the task is cancelled
                   anything else      counted

What bounds a connection, each counted in `http2_refused` when it ends one:

    MAX_STREAMS       requests at a time (a further one is an error of the protocol)
    HEADER_LIMIT      bytes of a request's headers, unpacked
    CONTROL_LIMIT     frames that ask for no answer: PING, SETTINGS, RST_STREAM (rapid reset,
                      CVE-2023-44487), PRIORITY, WINDOW_UPDATE, empty DATA; answers give credit
    BYTE_LIMIT        bytes between two answers
    UNREAD_LIMIT      bytes that the peer does not take
    idle_timeout      seconds without a request
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from multidict import CIMultiDict

from iroh_dns_server.http.body import BODY_LIMIT, BODY_TIMEOUT
from iroh_dns_server.http.exchange import Ask, BodyError, Reply
from iroh_dns_server.http.routes import Routes
from iroh_dns_server.metrics import Metrics

__all__ = ["Http2", "Http2Connection"]

logger: logging.Logger = logging.getLogger(__name__)

MAX_STREAMS: Final = 64
HEADER_LIMIT: Final = 16 * 1024
CONTROL_LIMIT: Final = 200
CONTROL_CREDIT: Final = 4
BYTE_LIMIT: Final = 512 * 1024
UNREAD_LIMIT: Final = 256 * 1024
IDLE_TIMEOUT: Final = 30.0
WRITE_TIMEOUT: Final = 10.0
"""Seconds for the peer to open its window for one answer."""
SHUTDOWN_TIMEOUT: Final = 5.0
"""Seconds for requests under way to end when the server is closed."""

_SETTINGS: Final = {
    h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIMIT,
    h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2 * BODY_LIMIT,
    h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
}
_CALM: Final = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


class _Engine(h2.connection.H2Connection):
    MAX_CLOSED_STREAMS = 2 * MAX_STREAMS  # remembered to tell late frames from wrong ones


class _Stream:
    """One request as far as it has come."""

    __slots__ = ("body", "id", "progress", "task", "whole")

    def __init__(self, id_: int) -> None:
        self.id = id_
        self.body = bytearray()
        self.whole = False
        self.progress = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def read(self) -> bytes:
        """The whole body; see `Ask.read`."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                while not self.whole and len(self.body) <= BODY_LIMIT:
                    self.progress.clear()
                    await self.progress.wait()
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_TIMEOUT:g} seconds"
            raise BodyError(408, detail) from None
        if len(self.body) > BODY_LIMIT:
            raise BodyError(413, f"the body is larger than {BODY_LIMIT} bytes")
        return bytes(self.body)


class Http2Connection(asyncio.Protocol):
    """One connection, from after its TLS handshake to its end."""

    def __init__(self, server: "Http2", routes: Routes, metrics: Metrics) -> None:
        self._server = server
        self._routes = routes
        self._metrics = metrics
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._h2 = _Engine(config)
        self._h2.local_settings = h2.settings.Settings(client=False, initial_values=_SETTINGS)
        self._h2.decoder.max_header_list_size = HEADER_LIMIT
        self._transport: asyncio.Transport | None = None
        self._remote: str | None = None
        self._streams: dict[int, _Stream] = {}
        self._window = asyncio.Event()
        self._control = self._bytes = 0
        self._draining = False
        self._idle: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we allow."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._remote = None if not peer else str(peer[0])
        self._server.connections.add(self)
        self._metrics.http2_connections += 1
        self._h2.initiate_connection()
        self._flush()
        self._wait_for_requests()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to be answered."""
        self._transport = None
        self._server.connections.discard(self)
        if self._idle is not None:
            self._idle.cancel()
        for stream in self._streams.values():
            if stream.task is not None:
                stream.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        if self._transport is None or self._transport.is_closing():
            return
        self._bytes += len(data)
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            logger.debug("HTTP/2 from %s: %r", self._remote, error)
            self._refuse()
            return
        for event in events:
            self._handle(event)
        if self._control > CONTROL_LIMIT or self._bytes > BYTE_LIMIT:
            logger.debug("HTTP/2 from %s: too much that asks for nothing", self._remote)
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self._h2.close_connection(_CALM)
            self._refuse()
            return
        self._flush()

    # -- events ---------------------------------------------------------------------------------

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._begin(event)
            case h2.events.DataReceived():
                self._keep(event)
            case h2.events.StreamEnded() if stream := self._streams.get(_id(event)):
                stream.whole = True
                stream.progress.set()
            case h2.events.StreamReset():
                self._control += 1
                stream = self._streams.get(_id(event))
                if stream is not None and stream.task is not None:
                    stream.task.cancel()
            case h2.events.ConnectionTerminated():
                self._draining = True
                self._end_if_drained()
            case h2.events.StreamEnded() | h2.events.TrailersReceived():
                pass
            case _:
                self._control += 1
                self._window.set()  # it may have been a WINDOW_UPDATE or SETTINGS

    def _begin(self, event: h2.events.RequestReceived) -> None:
        """A request: its headers are whole."""
        stream = _Stream(_id(event))
        if self._draining:
            self._reset(stream.id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        pairs = [(_text(name), _text(value)) for name, value in event.headers or ()]
        headers = CIMultiDict(pairs)
        path, _, query = headers.get(":path", "").partition("?")
        method = headers.get(":method", "")
        ask = Ask(method, unquote(path), query, headers, self._remote, stream.read)
        self._streams[stream.id] = stream
        stream.task = asyncio.get_running_loop().create_task(self._answer(stream, ask))
        stream.task.add_done_callback(lambda _: self._over(stream.id))
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _keep(self, event: h2.events.DataReceived) -> None:
        """A part of a body. What is too much is not kept, but the windows stay open for others."""
        data, size = event.data or b"", event.flow_controlled_length or 0
        if not data:
            self._control += 1
        stream = self._streams.get(_id(event))
        if stream is not None and len(stream.body) <= BODY_LIMIT:
            stream.body += data
            stream.progress.set()
        with contextlib.suppress(h2.exceptions.ProtocolError):
            if size:
                self._h2.acknowledge_received_data(size, _id(event))

    # -- answers --------------------------------------------------------------------------------

    async def _answer(self, stream: _Stream, ask: Ask) -> None:
        """The work of one request."""
        reply = await self._routes.answer(ask)
        try:
            await self._send(stream, reply, only_head=ask.method == "HEAD")
        except (TimeoutError, h2.exceptions.ProtocolError) as error:
            logger.debug("HTTP/2 to %s: an answer was not taken: %r", self._remote, error)
            self._reset(stream.id, h2.errors.ErrorCodes.CANCEL)
        self._control = max(0, self._control - CONTROL_CREDIT)
        self._bytes = 0

    async def _send(self, stream: _Stream, reply: Reply, *, only_head: bool) -> None:
        headers = [(":status", str(reply.status))]
        if reply.content_type is not None:
            headers.append(("content-type", reply.content_type))
        if reply.status != 204:
            headers.append(("content-length", str(len(reply.body))))
        headers += ((name.lower(), value) for name, value in reply.headers.items())
        body = b"" if only_head else reply.body
        self._h2.send_headers(stream.id, headers, end_stream=not body)
        async with asyncio.timeout(WRITE_TIMEOUT):
            while body:
                window = self._h2.local_flow_control_window(stream.id)
                room = min(window, self._h2.max_outbound_frame_size)
                if room <= 0:
                    self._flush()
                    self._window.clear()
                    await self._window.wait()
                    continue
                part, body = body[:room], body[room:]
                self._h2.send_data(stream.id, part, end_stream=not body)
        if not stream.whole:
            self._reset(stream.id, h2.errors.ErrorCodes.NO_ERROR)
        self._flush()

    def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2.reset_stream(stream_id, code)
        self._flush()

    def _over(self, stream_id: int) -> None:
        """A request is done with."""
        self._streams.pop(stream_id, None)
        if self._streams or self._transport is None:
            return
        self._end_if_drained()
        self._wait_for_requests()

    # -- the connection -------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what there is; a peer that does not take it is given up."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if out := self._h2.data_to_send():
            transport.write(out)
        if transport.get_write_buffer_size() > UNREAD_LIMIT:
            self._metrics.http2_refused += 1
            transport.abort()

    def _refuse(self) -> None:
        """End a connection that misbehaves, having said so."""
        self._metrics.http2_refused += 1
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _wait_for_requests(self) -> None:
        loop = asyncio.get_running_loop()
        if self._idle is not None:
            self._idle.cancel()
        self._idle = loop.call_later(self._server.idle_timeout, self.finish)

    def finish(self) -> None:
        """Take no further request; end when the present ones are answered."""
        self._draining = True
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        if not self._draining or self._streams or self._transport is None:
            return
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2.close_connection()
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def tasks(self) -> list["asyncio.Task[None]"]:
        """The requests under way."""
        return [stream.task for stream in self._streams.values() if stream.task is not None]


class Http2:
    """Makes a protocol for each connection that speaks HTTP/2, and ends them all."""

    def __init__(
        self, routes: Routes, metrics: Metrics, *, idle_timeout: float = IDLE_TIMEOUT
    ) -> None:
        self.connections: set[Http2Connection] = set()
        self.idle_timeout = idle_timeout
        self._make: Callable[[], Http2Connection] = lambda: Http2Connection(self, routes, metrics)

    def __call__(self) -> Http2Connection:
        """A protocol for a new connection."""
        return self._make()

    async def close(self) -> None:
        """Let the requests under way end, then every connection. Idempotent."""
        connections = list(self.connections)
        for connection in connections:
            connection.finish()
        if tasks := [task for connection in connections for task in connection.tasks()]:
            await asyncio.wait(tasks, timeout=SHUTDOWN_TIMEOUT)
            await asyncio.sleep(0)
        for connection in connections:
            connection.abort()


def _id(event: Any) -> int:
    """The stream that an event is about."""
    return int(event.stream_id or 0)


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("latin-1")
