"""A whole relay server: the listening socket, the HTTP face, and the relay behind it.

async with RelayServer(RelayServerConfig(http_bind_addr=SocketAddr("127.0.0.1", 0))) as server:
    print(server.http_url)
    await server.wait_closed()
"""

import asyncio
import logging
from types import TracebackType
from typing import Final, Self

from iroh_base.addr import SocketAddr
from iroh_base.keys import PublicKey
from iroh_base.relay_url import RelayUrl

from .access import AccessControl
from .bucket import RxLimit
from .config import RelayServerConfig
from .errors import RelayServerError
from .http import HttpServer, RelayHttp
from .listen import bound_addr, listening_socket
from .metrics import RelayMetrics
from .service import RelayService

__all__ = ["RelayServer"]

logger = logging.getLogger(__name__)

_SHUTDOWN_GRACE: Final = 1.0
"""Seconds that requests in progress get when the server closes."""
_LOOPBACK: Final = {"::": "::1", "0.0.0.0": "127.0.0.1"}


class RelayServer:
    """A relay server; `start` and `close` it, or use it as an async context manager.

    `access` decides who may use it (default: everyone). One server starts once.
    """

    def __init__(
        self,
        config: RelayServerConfig | None = None,
        *,
        access: AccessControl | None = None,
        metrics: RelayMetrics | None = None,
    ) -> None:
        self.service = RelayService(config, access, metrics)
        self._http: HttpServer | None = None
        self._listener: asyncio.Server | None = None
        self._addr: SocketAddr | None = None
        self._closed: asyncio.Event = asyncio.Event()

    @property
    def metrics(self) -> RelayMetrics:
        """The live counters."""
        return self.service.metrics

    @property
    def http_addr(self) -> SocketAddr:
        """The address that the server listens on. Raises `RelayServerError` before `start`."""
        if self._addr is None:
            raise RelayServerError("the relay server has not been started")
        return self._addr

    @property
    def http_url(self) -> RelayUrl:
        """A URL for endpoints on this machine: `http_addr`, or loopback if that is all addresses.

        Raises `RelayServerError` before `start`.
        """
        addr = self.http_addr
        return RelayUrl(f"http://{addr._replace(ip=_LOOPBACK.get(addr.ip, addr.ip))}")

    async def start(self) -> None:
        """Listen and serve; returns when connections are accepted.

        Raises `ListenError` if the address cannot be had. Cancelling leaves nothing open.
        """
        if self._http is not None:
            raise RelayServerError("a relay server starts only once")
        config = self.service.config
        sock = listening_socket(config.http_bind_addr)
        try:
            front = RelayHttp(self.service, captive=True)
            self._http = HttpServer(front, self.metrics, config.establish_timeout)
            self._listener = await asyncio.get_running_loop().create_server(self._http, sock=sock)
        except BaseException:
            sock.close()
            raise
        self._addr = bound_addr(sock)
        logger.debug("relay serves HTTP on %s", self._addr)

    async def close(self) -> None:
        """Stop listening, drop all clients, and return when nothing is left; safe to repeat.

        Clients are dropped without a close frame, as by a Rust relay, so that they look for a
        relay again at once.
        """
        listener, self._listener = self._listener, None
        if listener is not None and self._http is not None:
            listener.close()
            self.service.shutdown()
            self._http.pre_shutdown()  # idle HTTP connections need not be waited for
            await self._http.shutdown(_SHUTDOWN_GRACE)
            await listener.wait_closed()
            logger.debug("relay on %s is closed", self._addr)
        self._closed.set()

    async def wait_closed(self) -> None:
        """Return when somebody has called `close` and it is done."""
        await self._closed.wait()

    def disconnect(self, endpoint_id: PublicKey, connection_id: int | None = None) -> bool:
        """End one connection of an endpoint, or all of them; False if there is none such."""
        return self.service.disconnect(endpoint_id, connection_id)

    def set_rx_limit(self, limit: RxLimit | None) -> None:
        """Limit what is read from each client from now on, those connected included."""
        self.service.set_rx_limit(limit)

    async def set_access(self, access: AccessControl) -> int:
        """Let another object decide who may use the relay, and ask it for all who do.

        Gives the number of connections that it does not want, which have been ended.
        """
        self.service.set_access(access)
        return await self.service.recheck_access()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
