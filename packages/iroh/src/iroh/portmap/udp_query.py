"""Questions and answers by UDP, to the gateway alone.

The socket is connected: the kernel lets nothing in but what comes from the gateway's port, and
says at once when nobody listens there.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from .errors import NoAnswerError
from .mapping import Router

__all__ = ["WAITS", "Answers", "accepting", "ask", "tell"]

T = TypeVar("T")

WAITS = (0.25, 0.5, 1.0)
"""Seconds after each sending (RFC 6886 section 3.1; it goes on for a minute, we do not)."""
_MAX_QUEUE = 16  # answers not looked at yet


class Answers(asyncio.DatagramProtocol):
    """What arrived, with the IP it came from, or errors; a few, the rest is dropped."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[bytes, str] | OSError] = asyncio.Queue(_MAX_QUEUE)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """As asyncio calls it."""
        self._put((data, addr[0]))

    def error_received(self, exc: Exception) -> None:
        """As asyncio calls it."""
        if isinstance(exc, OSError):
            self._put(exc)

    def _put(self, item: tuple[bytes, str] | OSError) -> None:
        if not self._queue.full():
            self._queue.put_nowait(item)

    async def next(self) -> tuple[bytes, str]:
        """Wait for the next datagram. Raises NoAnswerError for an error. Cancel-safe."""
        item = await self._queue.get()
        if isinstance(item, OSError):
            raise NoAnswerError(f"the gateway does not listen: {item.strerror or item}")
        return item


async def ask(router: Router, port: int, request: bytes, accept: Callable[[bytes], T | None]) -> T:
    """Send until an answer is accepted. `accept` gives None for one that is not ours.

    Raises NoAnswerError, and whatever PortmapError `accept` raises.
    """
    transport, answers = await _open(router, port)
    try:
        for wait in WAITS:
            transport.sendto(request)
            try:
                async with asyncio.timeout(wait):
                    return await _first(answers, accept)
            except TimeoutError:
                continue
    finally:
        transport.close()
    raise NoAnswerError(f"no answer from {router.gateway} port {port}")


async def _first(answers: Answers, accept: Callable[[bytes], T | None]) -> T:
    while True:
        data, _ = await answers.next()
        found = accept(data)
        if found is not None:
            return found


async def tell(router: Router, port: int, request: bytes) -> None:
    """Send once and wait for nothing. Raises NoAnswerError if it cannot even be sent."""
    transport, _ = await _open(router, port)
    transport.sendto(request)
    transport.close()


async def _open(router: Router, port: int) -> tuple[asyncio.DatagramTransport, Answers]:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_datagram_endpoint(
            Answers, local_addr=(router.local_ip, 0), remote_addr=(router.gateway, port)
        )
    except OSError as error:
        raise NoAnswerError(f"no way to {router.gateway}: {error.strerror or error}") from error


def accepting(decode: Callable[[bytes], object], kind: type[T]) -> Callable[[bytes], T | None]:
    """Return an `accept` for answers of one kind; others are passed over, refusals raise."""

    def accept(data: bytes) -> T | None:
        answer = decode(data)
        return answer if isinstance(answer, kind) else None

    return accept
