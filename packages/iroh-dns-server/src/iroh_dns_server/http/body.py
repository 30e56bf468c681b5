"""Reading a request body that must be small.

The framework would buffer megabytes before it complains. Here the size is checked first against
the announced length and then against what really comes (a chunked body announces nothing), and the
whole body must arrive within a deadline.

An answer that is given before the body was read must reach a client that is still sending: a
connection closed on unread bytes is reset, and the reset destroys the answer. So the rest is read
and thrown away for a moment, here and not by the framework, whose own lingering outlives a server
that is closed.
"""

import asyncio
import contextlib

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from iroh_dns_server.http.exchange import BodyError

__all__ = [
    "BODY_LIMIT",
    "BODY_TIMEOUT",
    "answer_early",
    "expect_continue",
    "read_body",
]

BODY_LIMIT = 4096
"""Bytes of a body. The largest valid one has 1072; up to here the answer says what is wrong with
it, beyond it is 413. (The Rust server reads up to 2 MB.)"""
BODY_TIMEOUT = 10.0
"""Seconds for a body to arrive."""
LINGER_TIME = 2.0
LINGER_BYTES = 1024 * 1024
"""How long and how much to read on after an early answer."""


async def read_body(
    request: web.BaseRequest, *, limit: int = BODY_LIMIT, timeout: float = BODY_TIMEOUT
) -> bytes:
    """The whole body. Raises `BodyError`: 413 too large, 408 too slow, 400 cut off or malformed."""
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise BodyError(408, f"the body did not arrive within {timeout:g} seconds") from None
    except (web.RequestPayloadError, HttpProcessingError, OSError) as error:
        raise BodyError(400, f"the body is cut off or malformed: {error}") from None
    return bytes(body)


async def answer_early(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    """Send an answer now, read on for a moment if the body has not ended, then close."""
    if request.content.is_eof():
        return response
    response.force_close()
    # The peer may be gone at any point of this, and nobody is left to be told.
    with contextlib.suppress(web.RequestPayloadError, HttpProcessingError, OSError, TimeoutError):
        async with asyncio.timeout(LINGER_TIME):
            await response.prepare(request)
            await response.write_eof()
            left = LINGER_BYTES
            async for chunk in request.content.iter_any():
                left -= len(chunk)
                if left < 0:
                    break
    return response


async def expect_continue(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue`, but do not invite a body that is known to be too large."""
    length = request.content_length
    if length is None or length <= BODY_LIMIT:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _too_large(limit: int) -> BodyError:
    return BodyError(413, f"the body is larger than {limit} bytes")
