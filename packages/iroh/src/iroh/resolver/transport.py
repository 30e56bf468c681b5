"""Carrying one question to one nameserver: UDP with resends, TCP, TLS, HTTPS.

    0 s      first datagram              an answer that is truncated, or an ICMP error,
    0.3 s    the same again              brings TCP in at once
    0.6 s    and again
    0.9 s    TCP joins; whichever answers first wins
    1.2 s, 2.4 s, 4.8 s                  the last datagrams
    6 s      the end

(n0-dns-resolver 0.1.0: `UDP_RETRANSMIT_MIN`, `UDP_DATAGRAMS`, `TCP_JOIN_DELAY`.) So a lookup
survives lost datagrams and networks that block UDP port 53. The datagrams carry the same question
from one connected socket with a port the system chose: the kernel drops what comes from elsewhere,
and `Question.accept` what does not answer it.

Every function raises `DnsError` only, and leaves no socket open however it ends.
"""

import asyncio
import ssl
from typing import TYPE_CHECKING

from .clock import Clock
from .doh import ask_https
from .errors import DnsError, InvalidResponseError, ResolveError
from .late import import_late
from .nameserver import Nameserver
from .records import CODEC_MODULES, Answer, Question, RecordType, rcode_text
from .stagger import hedge, reap, with_timeout

if TYPE_CHECKING:
    import dns.message

__all__ = ["exchange"]

UDP_RESEND_AT = (0.3, 0.6, 1.2, 2.4, 4.8)
TCP_JOIN_DELAY = 0.9
UDP_NAMESERVER_TIMEOUT = 6.0
STREAM_TIMEOUT = 5.0


async def exchange(
    nameserver: Nameserver,
    name: str,
    kind: RecordType,
    *,
    clock: Clock,
    ssl_context: ssl.SSLContext | None = None,
) -> Answer:
    """Ask a nameserver; on FORMERR once more without EDNS (RFC 6891 section 6.2.2)."""
    await import_late(*CODEC_MODULES)
    question = Question(name, kind)
    message = await _exchange_once(nameserver, question, clock, ssl_context)
    if rcode_text(message) == "FORMERR":
        question.drop_edns()
        message = await _exchange_once(nameserver, question, clock, ssl_context)
    return question.read(message)


async def _exchange_once(
    nameserver: Nameserver, question: Question, clock: Clock, context: ssl.SSLContext | None
) -> "dns.message.Message":
    async def stream() -> "dns.message.Message":
        return await with_timeout(
            lambda: _stream(nameserver, question, context), STREAM_TIMEOUT, clock=clock
        )

    async def datagrams() -> "dns.message.Message":
        return await _datagrams(nameserver, question, clock)

    if nameserver.protocol != "udp":
        return await stream()
    return await with_timeout(
        lambda: hedge((datagrams, stream), TCP_JOIN_DELAY, clock=clock),
        UDP_NAMESERVER_TIMEOUT,
        clock=clock,
    )


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers; keeps no other."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self.answer: asyncio.Future[dns.message.Message] = (
            asyncio.get_running_loop().create_future()
        )

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done() and (message := self._question.accept(data)) is not None:
            self.answer.set_result(message)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.answer.cancel()  # we closed it ourselves: nobody waits for the answer any more
        else:
            self.error_received(exc)


async def _datagrams(
    nameserver: Nameserver, question: Question, clock: Clock
) -> "dns.message.Message":
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.create_datagram_endpoint(
            lambda: _Datagrams(question), remote_addr=(nameserver.ip, nameserver.port)
        )
    except OSError as error:
        raise _transport_error(error) from error
    resend = asyncio.create_task(_resend(transport, question.wire, clock))
    try:
        transport.sendto(question.wire)
        message = await protocol.answer
    except OSError as error:
        raise _transport_error(error) from error
    finally:
        protocol.answer.cancel()
        transport.abort()
        await reap((resend,))
    if _is_truncated(message):
        raise ResolveError("the answer does not fit into a datagram")
    return message


async def _resend(transport: asyncio.DatagramTransport, wire: bytes, clock: Clock) -> None:
    before = 0.0
    for moment in UDP_RESEND_AT:
        await clock.sleep(moment - before)
        before = moment
        transport.sendto(wire)


async def _stream(
    nameserver: Nameserver, question: Question, context: ssl.SSLContext | None
) -> "dns.message.Message":
    if nameserver.protocol == "https":
        return _accepted(question, await ask_https(nameserver, question.wire, context))
    name = None
    if nameserver.protocol == "tls":
        context = context or ssl.create_default_context()
        name = nameserver.server_name or nameserver.ip
    else:
        context = None
    try:
        reader, writer = await asyncio.open_connection(
            nameserver.ip, nameserver.port, ssl=context, server_hostname=name
        )
    except OSError as error:  # ssl.SSLError is one too
        raise _transport_error(error) from error
    try:
        # RFC 1035 section 4.2.2: two bytes of length, then the message
        writer.write(len(question.wire).to_bytes(2) + question.wire)
        length = int.from_bytes(await reader.readexactly(2))
        answer = await reader.readexactly(length)
    except (OSError, EOFError) as error:
        raise _transport_error(error) from error
    finally:
        writer.transport.abort()  # a polite TLS goodbye would wait for the server
    return _accepted(question, answer)


def _accepted(question: Question, answer: bytes) -> "dns.message.Message":
    message = question.accept(answer)
    if message is None:
        raise InvalidResponseError
    return message


def _is_truncated(message: "dns.message.Message") -> bool:
    return bool(message.flags & 0x0200)  # TC, RFC 1035 section 4.1.1


def _transport_error(error: Exception) -> DnsError:
    return ResolveError(f"transport failure: {error}")
