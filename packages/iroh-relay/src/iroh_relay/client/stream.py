"""The seam between the relay client and whatever carries its frames.

A `RelayStream` is one WebSocket connection after the upgrade: frames in, frames out, nothing known
of what they mean. `ws.py` makes one with aiohttp; a test makes one of two queues.
"""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from iroh_base.keys import SecretKey

from ..protos.versions import ProtocolVersion

__all__ = ["DialRequest", "Dialer", "RelayStream", "Resolver"]


class Resolver(Protocol):
    """Turns a host name into addresses, in place of the operating system."""

    async def resolve(self, host: str) -> list[tuple[int, str]]:
        """All addresses of `host` as (`socket.AF_INET` or `AF_INET6`, text). `OSError` if none.

        Cancelled when the dial is, or takes too long.
        """
        ...


@dataclass(frozen=True, slots=True)
class DialRequest:
    """Everything a dialer needs to know about one connection attempt."""

    url: str
    """The relay's URL; scheme http or ws means no TLS, every other one TLS."""
    auth_token: str | None = None
    proxy: str | None = None
    ssl_context: ssl.SSLContext | None = None
    prefer_ipv6: bool = False
    resolver: Resolver | None = None
    secret_key: SecretKey | None = None
    """Signs the TLS session's keying material, if there is a session; saves a round trip."""


class RelayStream(Protocol):
    """One open connection that carries whole frames."""

    @property
    def version(self) -> ProtocolVersion:
        """The protocol version that the relay has chosen."""
        ...

    @property
    def local_ip(self) -> str | None:
        """Our own address on this connection, None if it has none."""
        ...

    @property
    def writing_paused(self) -> bool:
        """Whether the transport has enough to write and wants no more for now."""
        ...

    def write(self, frame: bytes) -> None:
        """Hand a frame to the transport, now. Raises `StreamClosedError`."""
        ...

    async def drain(self, frame: bytes) -> None:
        """Hand over a frame, and wait while the transport is full. Raises `StreamClosedError`.

        May let through as much as one more buffer before it waits. When cancelled, the frame was
        handed over all the same.
        """
        ...

    async def receive(self) -> bytes:
        """The next frame. Raises `StreamClosedError` when there will be none. Cancel-safe."""
        ...

    def abort(self) -> None:
        """Drop the connection at once; `receive` raises from now on."""
        ...

    async def close(self, linger: float) -> None:
        """Say goodbye, give what is unsent `linger` seconds, and free everything.

        Cancelling it gives up what is unsent.
        """
        ...


Dialer = Callable[[DialRequest], Awaitable[RelayStream]]
"""Opens a connection, up to and including the upgrade. Raises `RelayDialError`. Cancellable."""
